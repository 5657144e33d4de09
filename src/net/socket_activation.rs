//! Socket activation (sd_listen_fds(3)): listeners that the service manager holds open and passes at the start.
//! Connections queue in them while no server runs, so a restart refuses none.
//!
//! This module checks that each socket is of the kind that its name requires.

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use std::env;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

/// `FileDescriptorName=` of the socket for WebSocket clients.
const WEBSOCKET: &str = "websocket";

/// `FileDescriptorName=` of the socket for producers.
const EVENTS: &str = "events";

/// The passed listeners.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// For WebSocket clients, named `websocket`.
    pub(super) websocket: Option<TcpListener>,
    /// For producers, named `events`.
    pub(super) events: Option<UnixListener>,
}

/// Why a passed socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum InheritedError {
    #[error("one is named \"{0}\"; FileDescriptorName= must be {WEBSOCKET} or {EVENTS}")]
    UnknownName(String),
    #[error("two are named {0}; there may be one")]
    Twice(&'static str),
    #[error("{name} is none of the right kind: {error}")]
    Unfit { name: &'static str, error: io::Error },
}

impl Inherited {
    /// Takes the sockets passed to this process, and removes the environment variables that announce them.
    ///
    /// # Errors
    ///
    /// A socket has an unknown name or the name of another one, or is not of the kind that its name requires.
    pub(super) fn from_environment() -> Result<Self, InheritedError> {
        let mut passed = ListenFd::from_env();
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut inherited = Self::default();
        for index in 0..passed.len() {
            match names.next().unwrap_or_default() {
                WEBSOCKET => put(&mut inherited.websocket, passed.take_tcp_listener(index), WEBSOCKET)?,
                EVENTS => put(&mut inherited.events, passed.take_unix_listener(index), EVENTS)?,
                other => return Err(InheritedError::UnknownName(other.to_owned())),
            }
        }
        if let Some(listener) = &inherited.websocket {
            listener.set_nonblocking(true).map_err(|error| unfit(WEBSOCKET, error))?;
        }
        if let Some(listener) = &inherited.events {
            listener.set_nonblocking(true).map_err(|error| unfit(EVENTS, error))?;
        }
        Ok(inherited)
    }
}

fn put<L: AsFd>(
    place: &mut Option<L>,
    taken: io::Result<Option<L>>,
    name: &'static str,
) -> Result<(), InheritedError> {
    let Some(listener) = taken.map_err(|error| unfit(name, error))? else { return Ok(()) };
    if !socket_acceptconn(&listener).map_err(|error| unfit(name, error.into()))? {
        return Err(unfit(name, io::Error::other("it does not listen; the unit needs Accept=no")));
    }
    match place.replace(listener) {
        None => Ok(()),
        Some(_) => Err(InheritedError::Twice(name)),
    }
}

const fn unfit(name: &'static str, error: io::Error) -> InheritedError {
    InheritedError::Unfit { name, error }
}
