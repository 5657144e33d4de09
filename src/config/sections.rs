//! The sections and their keys: names, explanations, defaults, allowed values.
//!
//! One declaration of a section yields its struct, its parser, its documentation and its part of the shipped
//! `config.ini`, so that these cannot differ.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use super::key::{Key, camel_case};
use super::kind::{
    bytes, choice, count, file_mode, group, ip, ip_and_port, millis, object_type, origins, path, port,
    proxies, seconds, switch, text, url_path, user,
};
use super::source::Source;
use crate::api::EventType;
use crate::forwarded::TrustedProxies;
use crate::log;
use crate::origins::Origins;

/// Declares the struct of a section. Each field is one key: its doc comment explains the key, its name in camelCase
/// is the key's name; the text of the default and the [`Kind`](super::kind::Kind) of the values follow.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        $visibility:vis struct $Section:ident = $section:literal {
            $($(#[doc = $about:literal])* $field:ident: $Type:ty = $default:expr, $kind:expr;)*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        $visibility struct $Section {
            $($(#[doc = $about])* pub $field: $Type,)*
        }

        impl $Section {
            pub(super) const SECTION: &'static str = $section;

            /// The section's keys, in the order of the fields.
            fn keys() -> impl Iterator<Item = Key> {
                [$(Key {
                    section: Self::SECTION,
                    name: camel_case(stringify!($field)),
                    default: $default,
                    allowed: $kind.allowed,
                    about: concat!($($about, "\n"),*).trim(),
                }),*]
                .into_iter()
            }

            /// The section's values; `None` if any is missing or invalid, after noting each mistake in `source`.
            pub(super) fn take(source: &mut Source) -> Option<Self> {
                $(let $field = source.take(Self::SECTION, &camel_case(stringify!($field)), $default, &$kind);)*
                Some(Self { $($field: $field?,)* })
            }
        }
    };
}

/// All keys, in the order of the shipped `config.ini`.
#[must_use]
pub fn keys() -> Vec<Key> {
    WebSocketEvents::keys()
        .chain(Events::keys())
        .chain(Token::keys())
        .chain(AccessSection::keys())
        .chain(Limits::keys())
        .chain(Metrics::keys())
        .chain(Log::keys())
        .collect()
}

section! {
    /// `[webSocketEvents]`: where and how clients connect.
    pub struct WebSocketEvents = "webSocketEvents" {
        /// The address to listen on for WebSocket clients. 0.0.0.0 is every IPv4 address of this machine, :: every
        /// address.
        address: IpAddr = "0.0.0.0", ip();
        /// The TCP port to listen on. 0 takes any free port, which is printed and logged.
        port: u16 = "8081", port();
        /// The path of the WebSocket endpoint; requests for other paths are answered with 404.
        path: String = "/ws", url_path();
        /// The origins of the web pages that may connect; empty allows any. A client that sends no Origin header is
        /// not a browser and may always connect.
        origins: Origins = "", origins();
        /// The proxies whose X-Forwarded-For or Forwarded header is trusted.
        trusted_proxies: TrustedProxies = "", proxies();
        /// Whether to compress events for clients that offer permessage-deflate (RFC 7692).
        compression: bool = "off", switch();
        /// The length from which an event is compressed; shorter events and all replies are sent plain.
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
        /// The users whose processes may write events. If this and allowGroups are empty, only the socket's permissions
        /// decide. The server's own user always may.
        allow_users: Vec<u32> = "", user().list();
        /// The groups whose processes may write events; only a process's primary group counts.
        allow_groups: Vec<u32> = "", group().list();
    }
}

section! {
    /// `[token]`: which access tokens are accepted.
    pub struct Token = "token" {
        /// The PEM files with the public keys (or X.509 certificates) that verify tokens. At least one key is needed,
        /// here or in jwks.
        public_key: Vec<PathBuf> = "", path().list();
        /// A JSON Web Key Set (RFC 7517) with more public keys; a token's kid selects one of them.
        jwks: Option<PathBuf> = "", path().or_none();
        /// The issuers whose tokens are accepted (iss); empty accepts any.
        issuer: Vec<String> = "", text("names like dev.airlay.ru").list();
        /// The audience that a token must name (aud); empty means that aud is not checked.
        audience: Option<String> = "", text("a name like airlay-events").or_none();
        /// How far the issuer's clock may differ from the server's: added to exp, subtracted from nbf.
        leeway_seconds: Duration = "30", seconds(0..=3600);
        /// Whether a subscription ends when its token expires. An expired token never attaches, whatever this says.
        enforce_expiry: bool = "true", switch();
        /// How many verified tokens to remember; 0 means none.
        cache_entries: usize = "100000", count(0..=10_000_000);
    }
}

section! {
    /// `[access]` as written; [`Access`] is its meaning.
    pub(super) struct AccessSection = "access" {
        /// What decides which users exist and what they may see. token: the user of every valid token exists and may
        /// see everything. file: the file named below. socket: the service at the socket named below. There is no
        /// default.
        mode: ModeWord = "", choice(&[
            ("token", ModeWord::Token),
            ("file", ModeWord::File),
            ("socket", ModeWord::Socket),
        ]);
        /// For mode file: the JSON file of users and their datasets.
        file: Option<PathBuf> = "", path().or_none();
        /// For mode socket: the Unix-domain stream socket of the access service.
        socket: Option<PathBuf> = "", path().or_none();
        /// For mode socket: how long an answer is reused; 0 asks for every request. A granted subscription outlives
        /// it; the backend revokes rights with a revoke line.
        cache_seconds: Duration = "30", seconds(0..=86_400);
        /// For mode socket: how long an answer may take; after that the request gets code 8.
        timeout_ms: Duration = "2000", millis(1..=60_000);
        /// For mode socket: how many questions may be unanswered at once; a request beyond that gets code 8.
        questions: usize = "100000", count(1..=10_000_000);
        /// The event types whose id is a dataset's; the user needs access to that dataset.
        dataset_events: Vec<EventType> = dataset_types(), object_type().list();
    }
}

/// The default of `[access] datasetEvents`.
fn dataset_types() -> &'static str {
    static NAMES: LazyLock<String> = LazyLock::new(|| EventType::names(EventType::dataset_by_default));
    &NAMES
}

/// `[access]`: what decides which users exist and what they may see.
#[derive(Clone, Debug)]
pub struct Access {
    /// The source of the decision.
    pub mode: AccessMode,
    /// How long an answer of the access service is reused; zero asks for every request.
    pub cache_seconds: Duration,
    /// How long the access service may take to answer.
    pub timeout_ms: Duration,
    /// How many questions to the access service may be unanswered at once.
    pub questions: usize,
    /// The event types whose id is a dataset's; the user needs access to that dataset.
    pub dataset_events: Vec<EventType>,
}

/// `[access] mode`, with the path it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// The user of every valid token exists and may see everything.
    Token,
    /// The JSON file at this path decides.
    File(PathBuf),
    /// The service at this Unix-domain stream socket decides.
    Socket(PathBuf),
}

/// The value of `[access] mode` as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModeWord {
    Token,
    File,
    Socket,
}

section! {
    /// `[limits]`: what one client, and all of them together, may use.
    pub struct Limits = "limits" {
        /// The longest head of an upgrade request; a longer head is answered with 431.
        head_bytes: usize = "16384", bytes(1024..=1 << 20);
        /// How long a client may take to send its upgrade request, from accept on; then it is answered with 408.
        handshake_seconds: Duration = "5", seconds(1..=3600);
        /// The longest message a client may send; a longer message closes the connection with 1009.
        message_bytes: usize = "16384", bytes(256..=1 << 24);
        /// The most fragments in one message; more close the connection with 1008.
        fragments: u32 = "64", count(1..=1 << 20);
        /// How long a client may take to send one message, from its first byte on; then it is closed with 1008.
        message_seconds: Duration = "10", seconds(1..=3600);
        /// How many frames that complete no message (fragments, pings, pongs) a client may send in one second; more
        /// close the connection with 1008. 0 means no limit.
        frames_per_second: u32 = "1000", count(0..=65_534);
        /// How often to ping a client. Keep it below the idle time-out of a proxy in front (nginx: 60).
        ping_seconds: Duration = "25", seconds(1..=86_400);
        /// How long a client may take to answer a ping before its connection is dropped. Must be less than pingSeconds.
        pong_seconds: Duration = "10", seconds(1..=86_400);
        /// The most that may be queued for one client; with more it is closed with 1008.
        queue_bytes: usize = "1048576", bytes(1024..=1 << 30);
        /// The most that may be queued for one client for longer than queueSoftSeconds; with more it is closed with 1008.
        queue_soft_bytes: usize = "262144", bytes(1024..=1 << 30);
        /// How long more than queueSoftBytes may be queued for a client, and how long a client may read nothing at all.
        queue_soft_seconds: Duration = "10", seconds(1..=3600);
        /// The most that is held for all clients together: queues, and requests they have begun to send. With more, those
        /// that hold most are closed first.
        queue_total_bytes: usize = "268435456", bytes(1 << 16..=1 << 40);
        /// The most that may be queued for a client that has not yet sent a valid token.
        queue_unauthenticated_bytes: usize = "16384", bytes(1024..=1 << 30);
        /// The most subscriptions of one connection; further ones are refused with code 6.
        subscriptions: usize = "128", count(1..=1_000_000);
        /// The most connections; further ones are answered with 503. 0 means as many as the limit on open files allows.
        connections: usize = "0", count(0..=100_000_000);
        /// The most connections from one address; further ones are answered with 503. 0 means no limit.
        connections_per_address: usize = "0", count(0..=100_000_000);
        /// The most connections of one user; requests on further ones are refused with code 7. 0 means no limit.
        connections_per_user: usize = "32", count(0..=100_000_000);
        /// How many requests a second one connection may make on average; further ones are refused with code 7.
        /// 0 means no limit.
        requests_per_second: u32 = "20", count(0..=1_000_000);
        /// How many requests one connection may make in a burst.
        request_burst: u32 = "256", count(1..=1_000_000);
        /// How long a client may take to answer a Close.
        close_seconds: Duration = "5", seconds(1..=3600);
        /// The time over which a stopping server spreads the closing of its connections.
        drain_seconds: Duration = "30", seconds(0..=3600);
        /// The longest line a backend process may write; a longer line is skipped and answered with an error.
        line_bytes: usize = "1048576", bytes(256..=1 << 28);
        /// The most backend processes connected at once; further ones wait until one of them has gone.
        producers: usize = "512", count(1..=100_000);
        /// The most that is held for all backend processes: unfinished lines, and answers that they have not read. With more,
        /// the longest unfinished line is refused and skipped.
        producer_bytes: usize = "67108864", bytes(1 << 16..=1 << 40);
        /// About how long one turn of the event loop may take. Each kind of work has a share of it.
        turn_ms: Duration = "10", millis(1..=1000);
        /// The longest token; a longer token is invalid.
        token_bytes: usize = "8192", bytes(256..=1 << 20);
    }
}

section! {
    /// `[metrics]`: the endpoint for monitoring.
    pub struct Metrics = "metrics" {
        /// Where to serve the metrics over HTTP; empty turns them off. Anyone who can connect can read them.
        address: Option<SocketAddr> = "", ip_and_port().or_none();
        /// The most connections to that address; further ones are answered with 503.
        connections: usize = "16", count(1..=1024);
        /// The longest head of a request to it; a longer head is answered with 431.
        head_bytes: usize = "8192", bytes(256..=1 << 20);
        /// How long a connection to it may last, from accept to the end of the answer.
        seconds: Duration = "5", seconds(1..=3600);
    }
}

section! {
    /// `[log]`: the log on standard error.
    pub struct Log = "log" {
        /// The least severe level that is logged.
        level: ::log::LevelFilter = "info", choice(&[
            ("off", ::log::LevelFilter::Off),
            ("error", ::log::LevelFilter::Error),
            ("warn", ::log::LevelFilter::Warn),
            ("info", ::log::LevelFilter::Info),
            ("debug", ::log::LevelFilter::Debug),
            ("trace", ::log::LevelFilter::Trace),
        ]);
        /// The format of a log line.
        format: log::Format = "logfmt", choice(&[("logfmt", log::Format::Logfmt), ("json", log::Format::Json)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_names_of_the_contract() {
        let port = keys().into_iter().find(|key| key.name == "port").unwrap();
        assert_eq!(port.variable(), "AIRLAY_WEBSOCKETEVENTS_PORT");
    }

    #[test]
    fn no_key_is_declared_twice_and_each_is_explained() {
        let keys = keys();
        let mut variables: Vec<_> = keys.iter().map(Key::variable).collect();
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), keys.len());
        for key in keys {
            assert!(key.about.ends_with('.') && !key.allowed.is_empty(), "{key:?}");
        }
    }

    /// `UPDATE_CONFIG_INI=1 cargo test config_ini` rewrites both files.
    #[test]
    fn config_ini_and_its_page_are_up_to_date() {
        for (path, text) in [("config.ini", config_ini()), ("docs/configuration.md", page())] {
            let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("UPDATE_CONFIG_INI").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{path}");
        }
    }

    fn config_ini() -> String {
        let mut text = HEAD.to_owned();
        let mut section = "";
        for key in keys() {
            if key.section != section {
                section = key.section;
                text += &format!("\n\n[{section}]\n");
            }
            text += "\n";
            for line in key.about.lines() {
                text += &format!("# {}\n", line.trim());
            }
            let default = if key.default.is_empty() { "none" } else { key.default };
            text += &format!("# Allowed: {}\n# Default: {default}\n", key.allowed);
            text += &match (section, key.name.as_str()) {
                ("access", "mode") => "# mode = token\n# mode = file\n# mode = socket\n".to_owned(),
                ("metrics", "address") => "address = 127.0.0.1:9081\n".to_owned(),
                (_, name) => format!("{name} = {}", key.default).trim_end().to_owned() + "\n",
            };
        }
        text
    }

    fn page() -> String {
        let mut text = PAGE_HEAD.to_owned();
        let mut section = "";
        for key in keys() {
            if key.section != section {
                section = key.section;
                text += &format!(
                    "\n## [{section}]\n\n| key | default | allowed | meaning |\n|---|---|---|---|\n"
                );
            }
            let default =
                if key.default.is_empty() { "none".to_owned() } else { format!("`{}`", key.default) };
            let about = key.about.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            assert!(!format!("{about}{}", key.allowed).contains('|'), "a bar would end the cell: {key:?}");
            text += &format!("| `{}` | {default} | {} | {about} |\n", key.name, key.allowed);
        }
        text
    }

    const HEAD: &str = "\
# Configuration of the Airlay event service (airlay-cli web_socket server).
#
# Two settings have no default and must be set: [access] mode, and [token] publicKey or jwks.
# Names are in camelCase; sizes are in bytes, times in the unit that ends the name. Relative paths are relative to
# this file. A comment needs a line of its own. An environment variable AIRLAY_<SECTION>_<KEY>, all in upper case,
# overrides the key: AIRLAY_WEBSOCKETEVENTS_PORT=8082.
# `airlay-cli web_socket check-config` reports every mistake in this file.
";
    const PAGE_HEAD: &str = "\
# Configuration

The server reads one INI file: the one given with `--config`, else `./config.ini`, else `/etc/airlay/config.ini`. The shipped
[`config.ini`](../config.ini) has every key with its default. Two keys have no default and must be set: `[access] mode`, and `[token] publicKey` or
`jwks`.

- Names are in camelCase; sizes are in bytes, times in the unit that ends the name.
- Relative paths are relative to the file.
- A comment needs a line of its own.
- An environment variable `AIRLAY_<SECTION>_<KEY>`, all in upper case, overrides the key: `AIRLAY_WEBSOCKETEVENTS_PORT=8082`.
- `airlay-cli web_socket check-config` reports every mistake at once, with section, key and line. So does the server before it starts
  anything, and exits with 2.
- SIGHUP rereads the key files and the access file named here, but not this file; restart the server to apply changes to it.
";
}
