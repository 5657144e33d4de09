//! A whole server without its sockets: peers, producers, and the service between them.
//!
//! A driver (the event loop in `net/`, or a simulation) does turns: it gives all that has come to [`Server::receive`] and
//! [`Server::receive_lines`], then calls [`Server::advance`], [`Server::flush`] and [`Server::reap`].

use crate::ndjson::TooLong;
use crate::peers::{Application, PeerId, Peers, Sockets};
use crate::producers::{ProducerId, Producers};
use crate::time::{Monotonic, Now};
use std::time::Duration;

/// An [`Application`] that takes producers' lines and has work of its own.
pub trait Service: Application {
    /// A producer has written a line (without its end), counted from 1; or one longer than is allowed. Answers are appended to
    /// `answers`, each with its line feed.
    fn line(
        &mut self,
        peers: &mut Peers,
        number: u64,
        line: Result<&[u8], TooLong>,
        answers: &mut Vec<u8>,
        now: Now,
    );

    /// Does a turn's share of what waits, and what is due.
    fn work(&mut self, peers: &mut Peers, now: Now);

    /// Whether something waits for the next turn's share.
    fn has_work(&self) -> bool;

    /// When something is due.
    fn next_deadline(&self, now: Now) -> Option<Monotonic>;

    /// Queues what has been held back to be sent together: the turn's input is all read.
    fn flush_batch(&mut self, peers: &mut Peers, now: Now);
}

/// See the module.
#[derive(Debug)]
pub struct Server<S> {
    /// The connected peers.
    pub peers: Peers,
    /// The connected producers.
    pub producers: Producers,
    /// What gives the messages and lines their meaning.
    pub service: S,
    ahead: Ahead,
    /// Bytes read from producers since every peer was last offered all there was.
    taken: usize,
}

/// How far producers may be ahead of the peers: bytes read from them, and not yet offered to every peer they concern.
///
/// Within these bounds events that go to the same peers are sent together; beyond them a producer waits. One producer alone
/// cannot use up what all have together, so that one in a hurry does not keep another waiting.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    one: usize,
    all: usize,
}

/// As much as is worth joining: some sockets' fill.
const MOST_AHEAD: usize = 256 << 10;

impl<S: Service> Server<S> {
    /// A server that nobody is connected to. `queue` is how many bytes may be queued for a peer that does not read:
    /// producers get less far ahead than that, so that a peer has been offered most of what fills its queue.
    #[must_use]
    pub fn new(peers: Peers, producers: Producers, service: S, queue: usize) -> Self {
        let one = MOST_AHEAD.min(queue / 4);
        Self { peers, producers, service, ahead: Ahead { one, all: 2 * one }, taken: 0 }
    }

    /// Bytes have come from a peer; they are unmasked in place.
    pub fn receive(&mut self, peer: PeerId, input: &mut [u8], now: Now) {
        self.peers.receive(&mut self.service, peer, input, now);
        self.peers.settle(&mut self.service);
    }

    /// A peer's stream has ended, or its socket has failed.
    pub fn disconnect(&mut self, peer: PeerId) {
        self.peers.disconnect(peer);
        self.peers.settle(&mut self.service);
    }

    /// Bytes have come from a producer.
    pub fn receive_lines(&mut self, producer: ProducerId, input: &[u8], now: Now) {
        let Self { peers, producers, service, taken, .. } = self;
        *taken += input.len();
        producers.receive(producer, input, |number, line, answers| {
            service.line(peers, number, line, answers, now)
        });
        self.peers.settle(&mut self.service);
    }

    /// A producer's stream has ended in order. Its answers are still to be written, then [`Producers::disconnect`] ends it.
    pub fn finish_lines(&mut self, producer: ProducerId, now: Now) {
        let Self { peers, producers, service, .. } = self;
        producers.finish(producer, |number, line, answers| service.line(peers, number, line, answers, now));
        self.peers.settle(&mut self.service);
    }

    /// Whether the driver should read from this producer's socket now.
    #[must_use]
    pub fn wants_lines(&self, producer: ProducerId) -> bool {
        self.taken < self.ahead.all && self.producers.taken(producer) < self.ahead.one
    }

    /// Does what is due, and a turn's share of what waits.
    pub fn advance(&mut self, now: Now) {
        // A peer that is closed now still gets what was read before.
        self.service.flush_batch(&mut self.peers, now);
        self.peers.advance(now.monotonic);
        self.peers.settle(&mut self.service);
        self.service.work(&mut self.peers, now);
        self.peers.settle(&mut self.service);
    }

    /// Begins to close every peer over `span`, as [`Peers::drain`] does: after what producers have written up to now.
    pub fn drain(&mut self, span: Duration, seed: u64, now: Now) {
        self.service.flush_batch(&mut self.peers, now);
        self.peers.drain(span, seed, now.monotonic);
        self.peers.settle(&mut self.service);
    }

    /// Writes a turn's share of what is queued.
    pub fn flush(&mut self, sockets: &mut impl Sockets, now: Now) {
        self.service.flush_batch(&mut self.peers, now);
        self.peers.flush(sockets, now.monotonic);
        self.peers.settle(&mut self.service);
        if self.taken > 0 && !self.peers.has_unflushed() {
            self.taken = 0;
            self.producers.forget_taken();
        }
    }

    /// Whether some of what producers have written has not been offered to every peer it concerns.
    #[must_use]
    pub const fn has_backlog(&self) -> bool {
        self.taken > 0
    }

    /// Frees the slots of the peers that are gone, telling `close` of each so that it closes the socket.
    pub fn reap(&mut self, close: impl FnMut(PeerId)) {
        self.peers.reap(close);
    }

    /// Whether the next turn has something to do even if nothing comes and nothing is due.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.service.has_work() || self.peers.has_unflushed()
    }

    /// When the next turn is due at the latest.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        self.peers.next_deadline().into_iter().chain(self.service.next_deadline(now)).min()
    }
}
