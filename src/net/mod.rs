//! The only I/O: sockets, the event loop, signals, the clock, and the files that are read again while serving.
//!
//! [`Listening::bind`] takes hold of everything that can be refused; [`Listening::serve`] runs the loop. Between the two
//! the addresses are known and nobody is served, so a caller can say that the server is ready when it is.
//! [`serve_clients`] runs the same loop for another [`Service`].
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the one place that knows sockets, the event loop and the clock"
)]

mod access_socket;
mod clock;
mod event_loop;
mod events_socket;
mod housekeeping;
mod metrics_http;
mod peer_sockets;
mod producer_sockets;
mod random;
mod readiness;
mod reload;
mod service_manager;
mod signals;
mod socket_activation;

use crate::access::{self, Access, ServiceSettings};
use crate::config::{self, AccessMode, Config, FileError, read_access_file};
use crate::hub::{Admission, Hub, HubLimits};
use crate::metrics::{self, Facts};
use crate::peers::{PeerLimits, Peers};
use crate::producers::{ProducerLimits, Producers};
use crate::server::{Server, Service};
use crate::token::{KeySet, Tokens};
use crate::websocket::message::Limits;
use access_socket::AccessSocket;
use event_loop::{EventLoop, Metrics, NoHousekeeping};
use events_socket::{Allowed, EventsSocket};
use housekeeping::Household;
use metrics_http::{MetricsHttp, ScraperLimits};
use mio::{Poll, Registry};
use peer_sockets::PeerSockets;
use reload::Reload;
use rustix::process::{Resource, getrlimit, setrlimit};
use service_manager::ServiceManager;
use socket_activation::Inherited;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Descriptors that are no peers': listeners, producers, files, the poll's own.
const OTHER_DESCRIPTORS: u64 = 128;

/// Peers beyond `connections` that may be there to be told 503, or on their way out.
const PEERS_OVER: usize = 64;

/// Bytes of answers that wait for a producer which does not read them.
const ANSWERS: usize = 1 << 20;

/// The service with its sockets bound, about to serve.
pub struct Listening {
    event_loop: EventLoop<Hub>,
    /// A server that was given all it knows has none.
    household: Option<Household>,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    events_path: PathBuf,
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
    /// The service manager passed a socket that is of no use.
    #[error("the sockets passed by the service manager cannot be used: {0}")]
    Inherited(String),
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
    /// Reads the files that the configuration names and binds both sockets, or takes over those that the service manager
    /// passed (sd_listen_fds(3), named `websocket` and `events`), whatever the configuration says of their addresses.
    /// Nothing is half-started if it fails.
    ///
    /// It removes the variables of the environment that tell of passed sockets.
    ///
    /// # Errors
    /// What of it cannot be had.
    pub fn bind(config: &Config) -> Result<Self, ServeError> {
        let household = Household { reload: Reload::new(config.clone()), access: access_socket(config) };
        let keys = config.token.read_keys().map_err(|mut errors| errors.swap_remove(0))?;
        let access = access(&config.access)?;
        let inherited =
            Inherited::from_environment().map_err(|error| ServeError::Inherited(error.to_string()))?;
        let manager = ServiceManager::from_environment();
        Self::bind_with(config, Embedded { keys, access, page: None }, Some(household), inherited, manager)
    }

    /// As [`Listening::bind`], with what is given in place of any file: the configuration's keys and `[access] mode` are
    /// not looked at.
    ///
    /// # Errors
    /// What cannot be had.
    pub fn bind_embedded(config: &Config, embedded: Embedded) -> Result<Self, ServeError> {
        Self::bind_with(config, embedded, None, Inherited::default(), ServiceManager::default())
    }

    fn bind_with(
        config: &Config,
        embedded: Embedded,
        household: Option<Household>,
        inherited: Inherited,
        manager: ServiceManager,
    ) -> Result<Self, ServeError> {
        let poll = Poll::new()?;
        let peers = bind_clients(config, &poll, inherited.websocket)?;
        let allowed =
            Allowed { users: config.events.allow_users.clone(), groups: config.events.allow_groups.clone() };
        let events = match inherited.events {
            Some(listener) => {
                log::info!("the service manager's socket events replaces [events] socket and socketMode");
                EventsSocket::inherit(listener, allowed, poll.registry())
            }
            None => {
                let mode = config.events.socket_mode;
                EventsSocket::bind(&config.events.socket, mode, allowed, poll.registry())
            }
        };
        let events = events.map_err(|error| ServeError::EventsSocket(error.to_string()))?;
        let address = peers.address()?;
        let metrics =
            config.metrics.address.map(|address| metrics(address, &config.metrics, poll.registry()));
        let metrics = metrics.transpose()?;
        let metrics_address = metrics.as_ref().map(|metrics| metrics.http.address()).transpose()?;
        let connections = connections(&config.limits)?;
        let server = server(config, connections, hub(config, connections, embedded));
        let events_path = events.path().to_owned();
        if events_path != config.events.socket {
            let configured = config.events.socket.display();
            log::warn!(socket:% = events_path.display(), configured:%; "the command publish looks for another events socket");
        }
        let event_loop =
            EventLoop::new(poll, server, peers, Some(events), manager, metrics, config.limits.drain_seconds)?;
        Ok(Self { event_loop, household, address, metrics_address, events_path })
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

    /// The path of the socket that producers connect to.
    #[must_use]
    pub fn events_path(&self) -> &Path {
        &self.events_path
    }

    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// The event loop has failed.
    pub fn serve(self) -> Result<(), ServeError> {
        match self.household {
            Some(household) => self.event_loop.run(household)?,
            None => self.event_loop.run(NoHousekeeping)?,
        }
        Ok(())
    }
}

/// Serves WebSocket clients with `service` in place of the hub, until a signal ends it: at the address, with the limits and
/// the compression that `config` says. There are no producers. `ready` is told the address that clients connect to.
///
/// # Errors
/// What cannot be had, or the event loop has failed.
pub fn serve_clients(
    config: &Config,
    service: impl Service,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let poll = Poll::new()?;
    let sockets = bind_clients(config, &poll, None)?;
    ready(sockets.address()?);
    let server = server(config, connections(&config.limits)?, service);
    let (manager, drain) = (ServiceManager::default(), config.limits.drain_seconds);
    Ok(EventLoop::new(poll, server, sockets, None, manager, None, drain)?.run(NoHousekeeping)?)
}

/// The listener for clients: the service manager's, or one at the configured address.
fn bind_clients(
    config: &Config,
    poll: &Poll,
    inherited: Option<std::net::TcpListener>,
) -> Result<PeerSockets, ServeError> {
    let address = SocketAddr::new(config.web_socket_events.address, config.web_socket_events.port);
    match inherited {
        Some(listener) => {
            log::info!("the service manager's socket websocket replaces [webSocketEvents] address and port");
            PeerSockets::inherit(listener, poll.registry())
        }
        None => PeerSockets::bind(address, poll.registry()),
    }
    .map_err(|error| ServeError::Address { address, error })
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
            questions: config.questions,
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

/// The socket of whoever decides, if it is a service.
fn access_socket(config: &Config) -> Option<AccessSocket> {
    match &config.access.mode {
        AccessMode::Socket(path) => Some(AccessSocket::new(path.clone(), config.limits.line_bytes)),
        AccessMode::Token | AccessMode::File(_) => None,
    }
}

/// The core around a service, as the configuration wants it.
fn server<S: Service>(config: &Config, connections: usize, service: S) -> Server<S> {
    let limits = &config.limits;
    let message_limits = Limits {
        head_bytes: limits.head_bytes,
        message_bytes: limits.message_bytes,
        fragments: limits.fragments,
    };
    let producer_limits = ProducerLimits { line: limits.line_bytes, answers: ANSWERS };
    let mut peers = Peers::new(peer_limits(limits, connections), message_limits);
    if config.web_socket_events.compression {
        peers = peers.with_compression_from(config.web_socket_events.compression_min_bytes);
    }
    Server::new(peers, Producers::new(producer_limits), service, limits.queue_bytes)
}

fn peer_limits(limits: &config::Limits, connections: usize) -> PeerLimits {
    PeerLimits {
        peers: connections.saturating_add(PEERS_OVER),
        handshake: limits.handshake_seconds,
        message: limits.message_seconds,
        ping: limits.ping_seconds,
        pong: limits.pong_seconds,
        frames_per_second: limits.frames_per_second,
        close: limits.close_seconds,
        queue: limits.queue_bytes,
        queue_soft: limits.queue_soft_bytes,
        queue_soft_time: limits.queue_soft_seconds,
        queue_unauthenticated: limits.queue_unauthenticated_bytes,
        queue_total: limits.queue_total_bytes,
    }
}

/// The service itself as the configuration wants it.
fn hub(config: &Config, connections: usize, embedded: Embedded) -> Hub {
    let Embedded { keys, access, page } = embedded;
    let limits = &config.limits;
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
    Hub::new(
        admission,
        Tokens::new(keys, config.token.rules(limits), config.token.cache_entries),
        access,
        hub_limits,
        config.token.enforce_expiry,
    )
}

/// How many connections there may be: what the limit on open files allows, after it has been raised as far as it may be, if
/// the configuration does not say.
fn connections(limits: &config::Limits) -> io::Result<usize> {
    if limits.connections != 0 {
        return Ok(limits.connections);
    }
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    let descriptors = limit.current.unwrap_or(u64::MAX).saturating_sub(OTHER_DESCRIPTORS);
    Ok(usize::try_from(descriptors).unwrap_or(usize::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_may_cost_unless_told_otherwise_is_what_the_shipped_configuration_says() {
        let shipped = peer_limits(&Config::without_files().limits, 1);
        assert_eq!(shipped, PeerLimits { peers: 1 + PEERS_OVER, ..PeerLimits::default() });
    }
}
