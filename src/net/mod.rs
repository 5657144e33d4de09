//! The only I/O: sockets, the event loop, signals, the clock, and the files that are read again while serving.
//!
//! [`Listening::bind`] takes hold of everything that can be refused; [`Listening::serve`] runs the loop. Between the two
//! the addresses are known and nobody is served, so a caller can say that the server is ready when it is.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the one place that knows sockets, the event loop and the clock"
)]

mod clock;
mod event_loop;
mod events_socket;
mod metrics_http;
mod peer_sockets;
mod producer_sockets;
mod reload;
mod signals;
mod token;

use crate::access::{self, Access, ServiceSettings};
use crate::config::{self, AccessMode, Config, FileError, read_access_file};
use crate::hub::{Admission, Hub, HubLimits};
use crate::metrics::{self, Facts};
use crate::peers::{PeerLimits, Peers};
use crate::producers::{ProducerLimits, Producers};
use crate::server::Server;
use crate::token::{KeySet, Tokens};
use crate::websocket::message::Limits;
use event_loop::{EventLoop, Metrics, NoHousekeeping};
use events_socket::{Allowed, EventsSocket};
use metrics_http::{MetricsHttp, ScraperLimits};
use mio::{Poll, Registry};
use peer_sockets::PeerSockets;
use reload::Reload;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;
use std::net::SocketAddr;

/// Descriptors that are no peers': listeners, producers, files, the poll's own.
const OTHER_DESCRIPTORS: u64 = 128;

/// Peers beyond `connections` that may be there to be told 503, or on their way out.
const PEERS_OVER: usize = 64;

/// Bytes of answers that wait for a producer which does not read them.
const ANSWERS: usize = 1 << 20;

/// The service with its sockets bound, about to serve.
pub struct Listening {
    event_loop: EventLoop<Hub>,
    /// The files to read again; a server that was given all it knows has none.
    reload: Option<Reload>,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
}

/// What a server decides by, and a page that it has.
#[derive(Debug)]
pub struct Embedded {
    /// The keys that tokens are verified with.
    pub keys: KeySet,
    /// Who exists and who may see what.
    pub access: Access,
    /// The whole HTTP response to a request for the page `/`; the service itself has no page.
    pub page: Option<Box<[u8]>>,
}

/// Why the service cannot start, or has failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address for clients is taken, or not this machine's.
    #[error("cannot listen on {address} ([webSocketEvents] address and port): {error}")]
    Address {
        /// What was to be listened on.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The address for the metrics is taken, or not this machine's.
    #[error("cannot listen on {address} ([metrics] address): {error}")]
    Metrics {
        /// What was to be listened on.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The events socket is taken, or cannot be made.
    #[error("{0} ([events] socket)")]
    EventsSocket(String),
    /// A file that the configuration names is not what it was when that was loaded.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system gives no event loop, or does not run it.
    #[error("the event loop failed: {0}")]
    EventLoop(#[from] io::Error),
}

impl Listening {
    /// Reads the files that the configuration names and binds both sockets. Nothing is half-started if it fails.
    ///
    /// # Errors
    /// What of it cannot be had.
    pub fn bind(config: &Config) -> Result<Self, ServeError> {
        let reload = Reload::new(config.clone());
        let keys = config.token.read_keys().map_err(|mut errors| errors.swap_remove(0))?;
        let access = access(&config.access)?;
        Self::bind_with(config, Embedded { keys, access, page: None }, Some(reload))
    }

    /// As [`Listening::bind`], with what is given in place of any file: the configuration's keys and `[access] mode` are
    /// not looked at.
    ///
    /// # Errors
    /// What cannot be had.
    pub fn bind_embedded(config: &Config, embedded: Embedded) -> Result<Self, ServeError> {
        Self::bind_with(config, embedded, None)
    }

    fn bind_with(config: &Config, embedded: Embedded, reload: Option<Reload>) -> Result<Self, ServeError> {
        let poll = Poll::new()?;
        let address = SocketAddr::new(config.web_socket_events.address, config.web_socket_events.port);
        let peers = PeerSockets::bind(address, poll.registry())
            .map_err(|error| ServeError::Address { address, error })?;
        let allowed =
            Allowed { users: config.events.allow_users.clone(), groups: config.events.allow_groups.clone() };
        let events =
            EventsSocket::bind(&config.events.socket, config.events.socket_mode, allowed, poll.registry())
                .map_err(|error| ServeError::EventsSocket(error.to_string()))?;
        let address = peers.address()?;
        let server = server(config, embedded)?;
        let metrics =
            config.metrics.address.map(|address| metrics(address, &config.metrics, poll.registry()));
        let metrics = metrics.transpose()?;
        let metrics_address = metrics.as_ref().map(|metrics| metrics.http.address()).transpose()?;
        let event_loop = EventLoop::new(poll, server, peers, Some(events), metrics)?;
        Ok(Self { event_loop, reload, address, metrics_address })
    }

    /// The address clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the metrics' endpoint, if there is one.
    #[must_use]
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// The event loop has failed.
    pub fn serve(self) -> Result<(), ServeError> {
        match self.reload {
            Some(reload) => self.event_loop.run(reload)?,
            None => self.event_loop.run(NoHousekeeping)?,
        }
        Ok(())
    }
}

/// Who decides, as `[access]` says.
fn access(config: &config::Access) -> Result<Access, FileError> {
    Ok(match &config.mode {
        AccessMode::Token => Access::Token,
        AccessMode::File(path) => {
            Access::File { dataset_events: config.dataset_events.clone(), file: read_access_file(path)? }
        }
        AccessMode::Socket(_) => Access::Service(Box::new(access::Service::new(ServiceSettings {
            keep: config.cache_seconds,
            timeout: config.timeout_ms,
        }))),
    })
}

/// The metrics' endpoint at `address`.
fn metrics(
    address: SocketAddr,
    config: &config::Metrics,
    registry: &Registry,
) -> Result<Metrics<Hub>, ServeError> {
    let limits = ScraperLimits {
        connections: config.connections,
        head_bytes: config.head_bytes,
        time: config.seconds,
    };
    let http = MetricsHttp::bind(address, limits, registry)
        .map_err(|error| ServeError::Metrics { address, error })?;
    Ok(Metrics { http, render: |server, figures| metrics::render(Facts { server, figures }) })
}

/// The core as the configuration wants it.
fn server(config: &Config, embedded: Embedded) -> io::Result<Server<Hub>> {
    let Embedded { keys, access, page } = embedded;
    let limits = &config.limits;
    let connections = match limits.connections {
        0 => descriptors()?,
        connections => connections,
    };
    let peer_limits = PeerLimits {
        peers: connections.saturating_add(PEERS_OVER),
        handshake: limits.handshake_seconds,
        message: limits.message_seconds,
        ping: limits.ping_seconds,
        pong: limits.pong_seconds,
        close: limits.close_seconds,
        queue: limits.queue_bytes,
        queue_soft: limits.queue_soft_bytes,
        queue_soft_time: limits.queue_soft_seconds,
        queue_unauthenticated: limits.queue_unauthenticated_bytes,
        queue_total: limits.queue_total_bytes,
    };
    let message_limits = Limits {
        head_bytes: limits.head_bytes,
        message_bytes: limits.message_bytes,
        fragments: limits.fragments,
    };
    let admission = Admission {
        path: config.web_socket_events.path.clone(),
        origins: config.web_socket_events.origins.clone(),
        trusted_proxies: config.web_socket_events.trusted_proxies.clone(),
        connections,
        connections_per_address: limits.connections_per_address,
        page,
    };
    let hub_limits = HubLimits {
        subscriptions: limits.subscriptions,
        connections_per_user: limits.connections_per_user,
        requests_per_second: limits.requests_per_second,
        request_burst: limits.request_burst,
        line: limits.line_bytes,
    };
    let hub = Hub::new(
        admission,
        Tokens::new(keys, config.token.rules(limits), config.token.cache_entries),
        access,
        hub_limits,
        config.token.enforce_expiry,
    );
    let producer_limits = ProducerLimits { line: limits.line_bytes, answers: ANSWERS };
    Ok(Server::new(
        Peers::new(peer_limits, message_limits),
        Producers::new(producer_limits),
        hub,
        limits.queue_bytes,
    ))
}

/// The connections that the limit on open files allows, after it has been raised as far as it may be.
fn descriptors() -> io::Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    let descriptors = limit.current.unwrap_or(u64::MAX).saturating_sub(OTHER_DESCRIPTORS);
    Ok(usize::try_from(descriptors).unwrap_or(usize::MAX).max(1))
}
