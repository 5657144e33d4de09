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
mod sockets;

use crate::assembly::{self, Embedded};
use crate::config::{self, AccessMode, Config, FileError};
use crate::hub::Hub;
use crate::metrics::{self, Facts};
use crate::server::Service;
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

/// Descriptors that are neither peers' nor producers': listeners, scrapers, files, the poll's own.
const OTHER_DESCRIPTORS: u64 = 64;

/// Of all descriptors, producers get this part at most.
const PRODUCERS_PART: u64 = 8;

/// The service with its sockets bound, about to serve.
pub struct Listening {
    event_loop: EventLoop<Hub>,
    /// A server that was given all it knows has none.
    household: Option<Household>,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    events_path: PathBuf,
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
        let access = assembly::access(&config.access)?;
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
        let server = assembly::server(config, connections, assembly::hub(config, connections, embedded));
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
    let server = assembly::server(config, connections(&config.limits)?, service);
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
    let all = limit.current.unwrap_or(u64::MAX);
    let producers = (limits.producers as u64).min(all / PRODUCERS_PART);
    let descriptors = all.saturating_sub(producers + OTHER_DESCRIPTORS);
    Ok(usize::try_from(descriptors).unwrap_or(usize::MAX).max(1))
}
