//! The producers' sockets: the system calls on them and on the events socket.

use super::events_socket::EventsSocket;
use super::peer_sockets::not_accepted;
use super::readiness::Source;
use crate::driver::NotAccepted;
use crate::producers::ProducerId;
use mio::net::UnixStream;
use mio::{Interest, Registry};
use rustix::io::ioctl_fionread;
use std::io;

/// The events socket and the producers it has accepted.
#[derive(Debug)]
pub(super) struct ProducerSockets {
    listener: Option<EventsSocket>,
    registry: Registry,
    /// Accepted but not adopted yet.
    accepted: Option<UnixStream>,
    /// By the producer's slot.
    sockets: Vec<Option<UnixStream>>,
}

impl ProducerSockets {
    /// The producers of this socket; without one there are none.
    pub(super) fn new(listener: Option<EventsSocket>, registry: &Registry) -> io::Result<Self> {
        Ok(Self { listener, registry: registry.try_clone()?, accepted: None, sockets: Vec::new() })
    }

    /// Accepts one producer and keeps its socket for [`adopt`](Self::adopt).
    pub(super) fn accept(&mut self) -> Result<(), NotAccepted> {
        let listener = self.listener.as_ref().ok_or(NotAccepted::NoneWaiting)?;
        match listener.accept() {
            Ok(Some(stream)) => {
                self.accepted = Some(stream);
                Ok(())
            }
            Ok(None) => Err(NotAccepted::Lost),
            Err(error) => Err(not_accepted(&error, "producer")),
        }
    }

    pub(super) fn adopt(&mut self, producer: ProducerId) -> io::Result<()> {
        let Some(mut stream) = self.accepted.take() else { return Ok(()) };
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut stream, Source::Producer(producer).into(), interest)?;
        if self.sockets.len() <= producer.index() {
            self.sockets.resize_with(producer.index() + 1, || None);
        }
        self.sockets[producer.index()] = Some(stream);
        Ok(())
    }

    /// The producer's socket.
    pub(super) fn socket(&mut self, producer: ProducerId) -> &mut UnixStream {
        self.sockets[producer.index()].as_mut().expect("a producer has its socket until it is closed")
    }

    /// The number of bytes that can be read now.
    pub(super) fn unread_of(&mut self, producer: ProducerId) -> u64 {
        // FIONREAD does not fail for sockets. If it did, reading until the socket is empty would be correct too.
        ioctl_fionread(self.socket(producer)).unwrap_or(u64::MAX)
    }

    /// Closes a producer's socket, which removes it from the poll too.
    pub(super) fn close(&mut self, producer: ProducerId) {
        self.sockets[producer.index()] = None;
    }

    /// Closes the events socket.
    pub(super) fn stop_accepting(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.close(&self.registry);
        }
    }
}
