//! The sections and their keys: names, explanations, defaults, allowed values.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use super::kind::{
    bytes, choice, count, file_mode, group, ip, ip_and_port, millis, object_type, origins, path, port,
    proxies, seconds, switch, text, url_path, user,
};
use super::table::{Key, section};
use crate::api::EventType;
use crate::forwarded::TrustedProxies;
use crate::log;
use crate::origins::Origins;

/// All keys, in the order of the shipped `config.ini`.
pub(super) fn keys() -> Vec<Key> {
    WebSocketEvents::keys()
        .chain(Events::keys())
        .chain(Token::keys())
        .chain(AccessKeys::keys())
        .chain(Limits::keys())
        .chain(Metrics::keys())
        .chain(Log::keys())
        .collect()
}

section! {
    /// `[webSocketEvents]`: where and how clients connect.
    pub struct WebSocketEvents = "webSocketEvents" {
        /// The address to listen on for WebSocket clients. 0.0.0.0 is every IPv4 address of this machine,
        /// :: every address.
        address: IpAddr = "0.0.0.0", ip();
        /// The TCP port to listen on. 0 takes any free one, which is then printed and logged.
        port: u16 = "8081", port();
        /// The path of the WebSocket endpoint; a request for another one is answered with 404.
        path: String = "/ws", url_path();
        /// The web pages that may connect, by their origin. None listed means any page may; a client that sends no
        /// Origin header is no browser and is let in.
        origins: Origins = "", origins();
        /// The proxies whose X-Forwarded-For or Forwarded header is believed.
        trusted_proxies: TrustedProxies = "", proxies();
        /// Whether events are compressed for clients that offer it (permessage-deflate, RFC 7692).
        compression: bool = "off", switch();
        /// An event shorter than this goes out plain, and so does every reply.
        compression_min_bytes: usize = "128", bytes(0..=1 << 30);
    }
}

section! {
    /// `[events]`: the socket that backend processes write events into.
    pub struct Events = "events" {
        /// The Unix-domain stream socket that backend processes write events into.
        socket: PathBuf = "/run/airlay/events.sock", path();
        /// The socket's permissions.
        socket_mode: u32 = "0660", file_mode();
        /// The users whose processes may write events. None listed, here and in allowGroups, means whoever the
        /// socket's permissions let in; the server's own user always may.
        allow_users: Vec<u32> = "", user().list();
        /// The groups whose processes may write events, by the primary group of each process.
        allow_groups: Vec<u32> = "", group().list();
    }
}

section! {
    /// `[token]`: which access tokens are good.
    pub struct Token = "token" {
        /// The PEM files with the public keys (or X.509 certificates) that sign tokens. At least one key is needed,
        /// here or in jwks.
        public_key: Vec<PathBuf> = "", path().list();
        /// A JSON Web Key Set (RFC 7517) with further public keys; a token's kid chooses among them.
        jwks: Option<PathBuf> = "", path().or_none();
        /// The issuers whose tokens are good (iss). None listed means any.
        issuer: Vec<String> = "", text("names like dev.airlay.ru").list();
        /// The audience this service counts itself to (aud). Empty means that aud is not looked at.
        audience: Option<String> = "", text("a name like airlay-events").or_none();
        /// How far the clock of the token's maker may differ from ours: added to exp, taken off nbf.
        leeway_seconds: Duration = "30", seconds(0..=3600);
        /// Whether a subscription ends when its token does. An expired token never makes a new one, whatever this says.
        enforce_expiry: bool = "true", switch();
        /// How many verified tokens are remembered; 0 for none.
        cache_entries: usize = "100000", count(0..=10_000_000);
    }
}

section! {
    /// `[access]` as it is written; [`Access`] is what it means.
    pub(super) struct AccessKeys = "access" {
        /// Who says which users exist and what they may see. token: every good token's user exists and may see
        /// everything. file: the file named below. socket: the service at the socket named below. There is no default.
        mode: Mode = "", choice(&[("token", Mode::Token), ("file", Mode::File), ("socket", Mode::Socket)]);
        /// For mode file: the JSON file of users and their datasets.
        file: Option<PathBuf> = "", path().or_none();
        /// For mode socket: the Unix-domain stream socket of the access service.
        socket: Option<PathBuf> = "", path().or_none();
        /// For mode socket: how long an answer counts for further requests; 0 asks each time. A subscription once
        /// granted does not end with it: what the service no longer allows it takes back by a revoke line.
        cache_seconds: Duration = "30", seconds(0..=86_400);
        /// For mode socket: how long an answer may take; then the request gets code 8.
        timeout_ms: Duration = "2000", millis(1..=60_000);
        /// For mode socket: how many questions may wait for their answers; requests beyond get code 8.
        questions: usize = "100000", count(1..=10_000_000);
        /// The event types whose id is that of a dataset, which the user has to have access to.
        dataset_events: Vec<EventType> = dataset_types(), object_type().list();
    }
}

/// The default of `[access] datasetEvents`.
fn dataset_types() -> &'static str {
    static NAMES: LazyLock<String> = LazyLock::new(|| EventType::names(EventType::dataset_by_default));
    &NAMES
}

/// The word in `[access] mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Token,
    File,
    Socket,
}

section! {
    /// `[limits]`: what one peer, and all of them, may cost.
    pub struct Limits = "limits" {
        /// The longest head of an upgrade request; a longer one is answered with 431.
        head_bytes: usize = "16384", bytes(1024..=1 << 20);
        /// How long a client may take for its upgrade request, from accept; a slower one is answered with 408.
        handshake_seconds: Duration = "5", seconds(1..=3600);
        /// The longest message a client may send; a longer one closes its connection with 1009.
        message_bytes: usize = "16384", bytes(256..=1 << 24);
        /// The most fragments one message may have; more close the connection with 1008.
        fragments: u32 = "64", count(1..=1 << 20);
        /// How long a client may take for one message, from its first byte; a slower one is closed with 1008.
        message_seconds: Duration = "10", seconds(1..=3600);
        /// How many frames without a message (fragments, pings, pongs) a client may send in one second; more close the
        /// connection with 1008. 0 means any number.
        frames_per_second: u32 = "1000", count(0..=65_534);
        /// How often a client is sent a ping. Below the idle time-out of a proxy in front (nginx: 60).
        ping_seconds: Duration = "25", seconds(1..=86_400);
        /// How long a client may take for its pong; a later one finds the connection gone. Less than pingSeconds.
        pong_seconds: Duration = "10", seconds(1..=86_400);
        /// The most that may wait for a client that reads slowly; with more waiting it is closed with 1008.
        queue_bytes: usize = "1048576", bytes(1024..=1 << 30);
        /// What may wait for a client for queueSoftSeconds at most; with more for longer it is closed with 1008.
        queue_soft_bytes: usize = "262144", bytes(1024..=1 << 30);
        /// How long more than queueSoftBytes may wait for a client, and how long one may read nothing at all.
        queue_soft_seconds: Duration = "10", seconds(1..=3600);
        /// The most that may wait for all clients together; with more waiting the fullest queues are closed first.
        queue_total_bytes: usize = "268435456", bytes(1 << 16..=1 << 40);
        /// The most that may wait for a client that has shown no good token yet.
        queue_unauthenticated_bytes: usize = "16384", bytes(1024..=1 << 30);
        /// The most subscriptions of one connection; a further one is refused with code 6.
        subscriptions: usize = "128", count(1..=1_000_000);
        /// The most connections; a further one is answered with 503. 0 means as many as the limit on open files allows.
        connections: usize = "0", count(0..=100_000_000);
        /// The most connections from one address; a further one is answered with 503. 0 means any number.
        connections_per_address: usize = "0", count(0..=100_000_000);
        /// The most connections of one user; a request on a further one is refused with code 7. 0 means any number.
        connections_per_user: usize = "32", count(0..=100_000_000);
        /// How many requests a second one connection may make, on the average; one more is refused with code 7.
        /// 0 means any number.
        requests_per_second: u32 = "20", count(0..=1_000_000);
        /// How many requests one connection may make at once after a pause.
        request_burst: u32 = "256", count(1..=1_000_000);
        /// How long a client may take to answer a close.
        close_seconds: Duration = "5", seconds(1..=3600);
        /// Over how long the closings are spread when the server is told to stop.
        drain_seconds: Duration = "30", seconds(0..=3600);
        /// The longest line of a backend process; a longer one is skipped and answered with an error.
        line_bytes: usize = "1048576", bytes(256..=1 << 28);
        /// The longest token; a longer one is a bad one.
        token_bytes: usize = "8192", bytes(256..=1 << 20);
    }
}

section! {
    /// `[metrics]`: the numbers for monitoring.
    pub struct Metrics = "metrics" {
        /// Where the metrics are served over HTTP. Anyone who can connect can read them.
        address: Option<SocketAddr> = "", ip_and_port().or_none();
        /// The most connections there may be at that address; a further one is answered with 503.
        connections: usize = "16", count(1..=1024);
        /// The longest head of a request there; a longer one is answered with 431.
        head_bytes: usize = "8192", bytes(256..=1 << 20);
        /// How long a connection there may take, from accept to the end of the answer.
        seconds: Duration = "5", seconds(1..=3600);
    }
}

section! {
    /// `[log]`: the log on standard error.
    pub struct Log = "log" {
        /// The least important lines that are written.
        level: ::log::LevelFilter = "info", choice(&[
            ("off", ::log::LevelFilter::Off),
            ("error", ::log::LevelFilter::Error),
            ("warn", ::log::LevelFilter::Warn),
            ("info", ::log::LevelFilter::Info),
            ("debug", ::log::LevelFilter::Debug),
            ("trace", ::log::LevelFilter::Trace),
        ]);
        /// How a line is written.
        format: log::Format = "logfmt", choice(&[("logfmt", log::Format::Logfmt), ("json", log::Format::Json)]);
    }
}
