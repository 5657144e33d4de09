//! All I/O of the server: sockets, the event loop, signals, clocks, and files reloaded while serving.
//!
//! [`Listening::bind`] acquires all resources that may be unavailable; [`Listening::serve`] runs the loop. Between the two
//! calls the addresses are known, so a caller can report them before serving. [`serve_clients`] runs the same loop for
//! another [`Service`].
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

/// Descriptors reserved for listeners, scrapers, files and the poll.
const OTHER_DESCRIPTORS: u64 = 64;

/// Producers get at most this part of all descriptors.
const PRODUCERS_PART: u64 = 8;

/// The service with its sockets bound, ready to serve.
pub struct Listening {
    event_loop: EventLoop<Hub>,
    /// `None` for a server that has no files to reload.
    household: Option<Household>,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    events_path: PathBuf,
}

/// Why the service cannot start, or has failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address for clients is in use or not available.
    #[error("cannot listen on {address} ([webSocketEvents] address and port): {error}")]
    Address {
        /// The configured address.
        address: SocketAddr,
        /// The cause.
        error: io::Error,
    },
    /// The address for metrics is in use or not available.
    #[error("cannot listen on {address} ([metrics] address): {error}")]
    Metrics {
        /// The configured address.
        address: SocketAddr,
        /// The cause.
        error: io::Error,
    },
    /// The service manager passed an unusable socket.
    #[error("the sockets passed by the service manager cannot be used: {0}")]
    Inherited(String),
    /// The events socket is in use or cannot be created.
    #[error("{0} ([events] socket)")]
    EventsSocket(String),
    /// A configured file has become unusable since the configuration was checked.
    #[error(transparent)]
    File(#[from] FileError),
    /// The event loop cannot be created, or polling failed.
    #[error("the event loop failed: {0}")]
    EventLoop(#[from] io::Error),
}

impl Listening {
    /// Reads the configured files and binds the sockets. Sockets passed by the service manager (sd_listen_fds(3), named
    /// `websocket` and `events`) are used instead of the configured addresses. On failure everything is released.
    ///
    /// Removes the environment variables that announce passed sockets.
    ///
    /// # Errors
    ///
    /// A file, an address, a passed socket or the event loop is unavailable or unusable.
    pub fn bind(config: &Config) -> Result<Self, ServeError> {
        let household = Household { reload: Reload::new(config.clone()), access: access_socket(config) };
        let keys = config.token.read_keys().map_err(|mut errors| errors.swap_remove(0))?;
        let access = assembly::access(&config.access)?;
        let inherited =
            Inherited::from_environment().map_err(|error| ServeError::Inherited(error.to_string()))?;
        let manager = ServiceManager::from_environment();
        Self::bind_with(config, Embedded { keys, access, page: None }, Some(household), inherited, manager)
    }

    /// Like [`Listening::bind`], but with embedded keys and access policy: the configured keys and `[access] mode` are
    /// ignored.
    ///
    /// # Errors
    ///
    /// An address, the events socket or the event loop is unavailable.
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

    /// The address of the metrics endpoint, if there is one.
    #[must_use]
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The path of the socket that producers connect to.
    #[must_use]
    pub fn events_path(&self) -> &Path {
        &self.events_path
    }

    /// Serves until stopped by a signal.
    ///
    /// # Errors
    ///
    /// The event loop failed.
    pub fn serve(self) -> Result<(), ServeError> {
        match self.household {
            Some(household) => self.event_loop.run(household)?,
            None => self.event_loop.run(NoHousekeeping)?,
        }
        Ok(())
    }
}

/// Serves WebSocket clients with `service` instead of the hub until stopped by a signal, with the address, limits and
/// compression of `config`. There are no producers. Calls `ready` with the address before serving.
///
/// # Errors
///
/// The address is unavailable, or the event loop failed.
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

/// Binds the metrics endpoint at `address`.
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

/// The access service's socket, in the mode that has one.
fn access_socket(config: &Config) -> Option<AccessSocket> {
    match &config.access.mode {
        AccessMode::Socket(path) => Some(AccessSocket::new(path.clone(), config.limits.line_bytes)),
        AccessMode::Token | AccessMode::File(_) => None,
    }
}

/// The configured limit on connections; if it is 0, what the limit on open files allows, which is raised first to its
/// maximum.
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
