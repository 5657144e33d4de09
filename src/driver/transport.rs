//! The system calls that a driver needs, each as a method.

use crate::peers::{PeerId, Sockets};
use crate::producers::ProducerId;
use crate::time::Wall;
use std::io::{self, Write};
use std::net::IpAddr;

/// Why no connection was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAccepted {
    /// None waits. Readiness tells when one does.
    NoneWaiting,
    /// That one was gone before, or may not connect: others may wait.
    Lost,
    /// Descriptors or memory have run out.
    Exhausted,
}

/// Sockets of peers and producers, and their listeners. No method waits. After each `accept_…`, the driver calls the
/// matching `adopt_…` or `refuse_…`.
pub trait Transport: Sockets {
    /// A producer's socket, to write answers to.
    type ProducerSocket: Write;

    /// Accepts one client; `is_first` for the first one of a turn. Returns its address.
    ///
    /// # Errors
    /// See [`NotAccepted`].
    fn accept_peer(&mut self, is_first: bool) -> Result<IpAddr, NotAccepted>;

    /// Keeps the client that was accepted as this peer and watches its socket for reading.
    ///
    /// # Errors
    /// The socket cannot be watched; it is kept until [`Transport::close_peer`] all the same.
    fn adopt_peer(&mut self, peer: PeerId) -> io::Result<()>;

    /// Closes the client that was accepted.
    fn refuse_peer(&mut self);

    /// Reads from a peer's socket; 0 is the end of its stream.
    ///
    /// # Errors
    /// Those of read(2).
    fn read_peer(&mut self, peer: PeerId, buffer: &mut [u8]) -> io::Result<usize>;

    /// Closes a peer's socket.
    fn close_peer(&mut self, peer: PeerId);

    /// Closes the clients' listener, or lets go of an inherited one.
    fn stop_accepting_peers(&mut self);

    /// Accepts one producer that may connect.
    ///
    /// # Errors
    /// See [`NotAccepted`].
    fn accept_producer(&mut self) -> Result<(), NotAccepted>;

    /// Keeps the producer that was accepted and watches its socket for reading and writing.
    ///
    /// # Errors
    /// The socket cannot be watched; it is closed.
    fn adopt_producer(&mut self, producer: ProducerId) -> io::Result<()>;

    /// Reads from a producer's socket; 0 is the end of its stream.
    ///
    /// # Errors
    /// Those of read(2).
    fn read_producer(&mut self, producer: ProducerId, buffer: &mut [u8]) -> io::Result<usize>;

    /// Bytes that can be read from a producer's socket at this moment.
    fn unread_of(&mut self, producer: ProducerId) -> u64;

    /// A producer's socket.
    fn producer(&mut self, producer: ProducerId) -> &mut Self::ProducerSocket;

    /// Closes a producer's socket.
    fn close_producer(&mut self, producer: ProducerId);

    /// Closes the producers' listener, or lets go of an inherited one.
    fn stop_accepting_producers(&mut self);

    /// The wall clock, asked after a producer was read: no line that was read was written later.
    fn wall(&mut self) -> Wall;
}
