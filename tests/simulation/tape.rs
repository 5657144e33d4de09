//! What the driver did, in its order: its calls on the transport, and the server's calls on the service.
//!
//! The oracle's books are written from this tape and from nothing else. Both ends of the server write to it, so the order of
//! a read, of what was taken of it, and of the writes that followed is never in doubt.

use crate::clients::End;
use crate::faults::Fault;
use airlay::peers::PeerId;
use airlay::producers::ProducerId;
use std::cell::RefCell;
use std::rc::Rc;

/// One call. Clients and producers are named by their numbers.
#[derive(Debug)]
pub(crate) enum Entry {
    Adopted(usize, PeerId),
    /// Its socket could not be watched.
    Unwatched(usize),
    Refused(usize),
    /// A client's socket gave this many bytes.
    Read(usize, usize),
    /// A client's socket gave the end of its stream, or an error.
    ReadEnd(usize),
    Wrote(usize, Vec<u8>),
    /// A client's socket took nothing.
    WriteRefused(usize),
    WriteFailed(usize),
    Closed(usize),
    /// A fault of a socket has had its effect.
    Fault(Fault),
    /// Bytes have come from a producer while the server was amid a turn, at this moment of the wall clock.
    Arrived(usize, usize, u64),
    ProducerAdopted(usize, ProducerId),
    /// A producer's socket gave this many bytes.
    ProducerRead(usize, usize),
    ProducerEnded(usize, End),
    Answered(usize, Vec<u8>),
    ProducerClosed(usize),
    PeersStopped,
    ProducersStopped,
    /// The wall clock was asked.
    Wall(u64),
    /// The service was given a line with this number: its bytes, or none if it was refused before.
    Line(u64, Result<Vec<u8>, Refusal>, u64),
    /// The service was given a message.
    Message(PeerId),
    /// The service was asked to upgrade a connection, and did or did not.
    Upgrade(PeerId, bool),
    /// The service was told that an open connection has ended.
    Gone(PeerId),
}

/// Why a line was refused before the service saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooLong,
    NoRoom,
}

/// The tape, shared by those who write to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape(Rc<RefCell<Vec<Entry>>>);

impl Tape {
    pub(crate) fn note(&self, entry: Entry) {
        self.0.borrow_mut().push(entry);
    }

    /// What has been noted since the last call.
    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}
