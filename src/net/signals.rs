//! The signals that the server handles, as readiness events of its loop.

use super::readiness::Source;
use mio::{Interest, Registry};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use std::io;

/// What a signal requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// SIGHUP: reload files.
    Reload,
    /// SIGTERM, SIGINT: stop gracefully; a second one stops at once.
    Stop,
}

/// The pipe of signals.
pub(super) struct SignalPipe(Signals);

impl SignalPipe {
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        registry.register(&mut signals, Source::Signals.into(), Interest::READABLE)?;
        Ok(Self(signals))
    }

    /// The signals received.
    pub(super) fn pending(&mut self) -> impl Iterator<Item = Request> {
        self.0.pending().map(|signal| if signal == SIGHUP { Request::Reload } else { Request::Stop })
    }
}
