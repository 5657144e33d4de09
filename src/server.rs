//! The sans-I/O server: peers, producers, and the service between them.
//!
//! It is the one door into the core. Its driver (`driver/`, or a fuzz target) calls, in each turn:
//!
//! 1. [`Server::connect`], [`Server::receive`], [`Server::receive_lines`] … for what came,
//! 2. [`Server::advance`] for what is due and what waits,
//! 3. [`Server::flush`] to write,
//! 4. [`Server::reap`] to close sockets and free slots.
//!
//! Every method that lets the service act queues first what was batched before, and tells the service of ended peers
//! afterwards.

use crate::cost::{self, Budget, Shares};
use crate::peers::{Application, PeerId, Peers, Sockets};
use crate::producers::{Line, Loss, ProducerId, Producers};
use crate::time::{Monotonic, Now};
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

/// An [`Application`] that takes producers' lines and has work of its own.
pub trait Service: Application {
    /// A producer has written a line (without its end), counted from 1; or one that is too long. Answers are appended to
    /// `answers`, each with its line feed.
    fn line(&mut self, peers: &mut Peers, number: u64, line: Line<'_>, answers: &mut Vec<u8>, now: Now);

    /// How many topics and users lines have made the service look at since the last call, besides those that they were
    /// delivered to.
    fn take_examined(&mut self) -> usize {
        0
    }

    /// Does what is due, and pending work within `budget`.
    fn work(&mut self, peers: &mut Peers, budget: &mut Budget, now: Now);

    /// Whether work is pending.
    fn has_work(&self) -> bool;

    /// When something is due.
    fn next_deadline(&self, now: Now) -> Option<Monotonic>;

    /// Queues the events that were batched.
    fn flush_batch(&mut self, peers: &mut Peers, now: Now);
}

/// A server without its sockets.
#[derive(Debug)]
pub struct Server<S> {
    peers: Peers,
    producers: Producers,
    service: S,
    shares: Shares,
    backlog: Backlog,
}

/// What was read from producers and has not been offered to every peer it concerns. When it is full, producers wait.
///
/// Within these bounds events for the same peers are sent together. No producer can fill the bound for all alone, so one in
/// a hurry does not keep another waiting.
#[derive(Debug)]
struct Backlog {
    /// Most bytes of one producer.
    one: usize,
    /// Most bytes of all producers.
    all: usize,
    /// Most batches queued for a subscriber, one for each subscriber; half of them of one producer.
    deliveries: u64,
    bytes: usize,
    /// [`Peers::fanned_out`] when there was no backlog.
    fanned_out: u64,
}

/// Most bytes worth batching: a few socket buffers.
const BATCHED_BYTES: usize = 256 << 10;

/// The share of `queueTotalBytes` that the backlog's deliveries may take beside the events themselves.
const DELIVERIES_SHARE: usize = 8;

/// What a batch queued for one subscriber takes beside the events themselves, in bytes: its place in a queue that has been
/// doubled.
const DELIVERY_BYTES: usize = 32;

impl<S: Service> Server<S> {
    /// A server without peers and producers, whose turns are to take about `turn`.
    ///
    /// `queue` is how many bytes may be queued for a peer that does not read: the backlog is kept below that, so that a peer
    /// has been offered most of what fills its queue. `queue_total` is what may be held for all peers.
    #[must_use]
    pub fn new(
        peers: Peers,
        producers: Producers,
        service: S,
        turn: Duration,
        queue: usize,
        queue_total: usize,
    ) -> Self {
        let one = BATCHED_BYTES.min(queue / 4);
        let deliveries = (queue_total / DELIVERIES_SHARE / DELIVERY_BYTES) as u64;
        let backlog = Backlog { one, all: 2 * one, deliveries, bytes: 0, fanned_out: 0 };
        Self { peers, producers, service, shares: Shares::of(turn), backlog }
    }

    /// Lets `change` act on the service and its peers: for what comes neither from a peer nor from a producer.
    pub fn act<R>(&mut self, now: Now, change: impl FnOnce(&mut S, &mut Peers) -> R) -> R {
        self.service.flush_batch(&mut self.peers, now);
        let result = change(&mut self.service, &mut self.peers);
        self.peers.settle(&mut self.service);
        result
    }

    /// A client has connected from `address`. `None` when it has to be closed at once.
    pub fn connect(&mut self, address: IpAddr, now: Now) -> Option<PeerId> {
        self.peers.connect(&self.service, address, now.monotonic)
    }

    /// Bytes have come from a peer; they are unmasked in place. What `budget` does not suffice for is kept.
    pub fn receive(&mut self, peer: PeerId, input: &mut [u8], now: Now, budget: &mut Budget) {
        self.act(now, |service, peers| peers.receive(service, peer, input, now, budget));
    }

    /// Goes on with a peer's bytes that were kept; only with [`Server::has_leftover`].
    pub fn receive_leftover(&mut self, peer: PeerId, now: Now, budget: &mut Budget) {
        self.act(now, |service, peers| peers.receive_leftover(service, peer, now, budget));
    }

    /// A peer's stream has ended, or its socket has failed.
    pub fn disconnect(&mut self, peer: PeerId) {
        self.peers.disconnect(peer);
        self.peers.settle(&mut self.service);
    }

    /// A peer's socket can be written to again.
    pub fn writable(&mut self, peer: PeerId) {
        self.peers.writable(peer);
    }

    /// Says whether a peer's socket may have something to read.
    pub fn set_unread(&mut self, peer: PeerId, unread: bool) {
        self.peers.set_unread(peer, unread);
    }

    /// Whether the driver should read from this peer's socket, or go on with what was kept.
    #[must_use]
    pub fn wants_input(&self, peer: PeerId) -> bool {
        self.peers.wants_input(peer)
    }

    /// Whether bytes of this peer were read and kept.
    #[must_use]
    pub fn has_leftover(&self, peer: PeerId) -> bool {
        self.peers.has_leftover(peer)
    }

    /// The peers to read from again since the last call.
    pub fn take_resumed(&mut self) -> impl Iterator<Item = PeerId> {
        self.peers.take_resumed()
    }

    /// A producer has connected. `None` when there are as many as there may be.
    pub fn connect_producer(&mut self) -> Option<ProducerId> {
        self.producers.connect()
    }

    /// Bytes have come from a producer. What `budget` does not suffice for is kept.
    pub fn receive_lines(&mut self, producer: ProducerId, input: &[u8], now: Now, budget: &mut Budget) {
        self.backlog.bytes += input.len();
        self.take_lines(producer, now, budget, |producers, take| producers.receive(producer, input, take));
    }

    /// Goes on with a producer's bytes that were kept; only with [`Server::has_leftover_lines`].
    pub fn receive_leftover_lines(&mut self, producer: ProducerId, now: Now, budget: &mut Budget) {
        self.take_lines(producer, now, budget, |producers, take| producers.receive_leftover(producer, take));
    }

    /// Gives the lines that `read` finds to the service, as far as the budget and the backlog have room.
    fn take_lines(
        &mut self,
        producer: ProducerId,
        now: Now,
        budget: &mut Budget,
        read: impl FnOnce(&mut Producers, &mut dyn FnMut(u64, Line<'_>, &mut Vec<u8>) -> bool),
    ) {
        let Self { peers, producers, service, backlog, .. } = self;
        let start = peers.fanned_out();
        let most = backlog.deliveries_left(peers, producers.deliveries(producer));
        read(producers, &mut |number, line, answers| {
            let before = peers.fanned_out();
            budget.charge(cost::LINE);
            budget.charge_each(cost::LINE_BYTE, line.map_or(0, <[u8]>::len));
            service.line(peers, number, line, answers, now);
            budget.charge_each(cost::EXAMINED, service.take_examined());
            budget.charge(cost::DELIVERY.saturating_mul(peers.fanned_out() - before));
            !budget.is_spent() && peers.fanned_out() - start < most
        });
        producers.add_deliveries(producer, peers.fanned_out() - start);
        self.peers.settle(&mut self.service);
    }

    /// A producer's stream has ended in order. Its answers are still to be written, then
    /// [`Server::disconnect_producer`] ends it.
    pub fn finish_lines(&mut self, producer: ProducerId, now: Now) {
        let Self { peers, producers, service, .. } = self;
        producers.finish(producer, |number, line, answers| service.line(peers, number, line, answers, now));
        self.peers.settle(&mut self.service);
    }

    /// Whether the driver should read from this producer's socket, or go on with what was kept.
    #[must_use]
    pub fn wants_lines(&self, producer: ProducerId) -> bool {
        let Self { backlog, producers, .. } = self;
        backlog.deliveries_left(&self.peers, producers.deliveries(producer)) > 0
            && (self.has_leftover_lines(producer)
                || backlog.bytes < backlog.all && producers.backlog(producer) < backlog.one)
    }

    /// Whether bytes of this producer were read and kept.
    #[must_use]
    pub fn has_leftover_lines(&self, producer: ProducerId) -> bool {
        self.producers.has_leftover(producer)
    }

    /// The producers that have answers to be written though they were not read, since the last call.
    pub fn take_refused_producers(&mut self) -> impl Iterator<Item = ProducerId> {
        self.producers.take_refused()
    }

    /// Writes as many answers as a producer's socket takes. Returns whether that is all of them.
    ///
    /// # Errors
    /// Those of the socket, but not that it would block.
    pub fn write_answers(&mut self, producer: ProducerId, socket: &mut impl Write) -> io::Result<bool> {
        self.producers.write_answers(producer, socket)
    }

    /// A producer is gone. Returns what was lost of it.
    pub fn disconnect_producer(&mut self, producer: ProducerId) -> Loss {
        self.producers.disconnect(producer)
    }

    /// Does what is due, and a turn's share of pending work.
    pub fn advance(&mut self, now: Now) {
        let mut budget = self.shares.verification(self.peers.has_unflushed());
        // A peer that is closed now still gets what was read before.
        self.act(now, |_, peers| peers.advance(now.monotonic));
        self.act(now, |service, peers| service.work(peers, &mut budget, now));
    }

    /// Begins to close every peer over `span`, as [`Peers::drain`] does: after what producers have written up to now.
    pub fn drain(&mut self, span: Duration, seed: u64, now: Now) {
        self.act(now, |_, peers| peers.drain(span, seed, now.monotonic));
    }

    /// Writes a turn's share of what is queued.
    pub fn flush(&mut self, sockets: &mut impl Sockets, now: Now) {
        let shares = self.shares;
        self.act(now, |_, peers| peers.flush(sockets, shares, now.monotonic));
        if !self.peers.owes_deliveries() {
            let fanned_out = self.peers.fanned_out();
            if self.backlog.bytes > 0 || self.backlog.fanned_out != fanned_out {
                self.backlog.fanned_out = fanned_out;
                // Kept input has not been offered.
                self.backlog.bytes = self.producers.clear_backlog();
            }
        }
    }

    /// Whether something that producers have written has not been offered to every peer it concerns.
    #[must_use]
    pub const fn has_backlog(&self) -> bool {
        self.backlog.bytes > 0 || self.producers.has_leftovers() || self.peers.owes_deliveries()
    }

    /// Bytes read from producers since everything read from them had last been offered to every peer it concerns.
    #[must_use]
    pub const fn backlog_bytes(&self) -> usize {
        self.backlog.bytes
    }

    /// Frees the slots of peers that are gone, telling `close` of each so that it closes the socket: a turn's share.
    pub fn reap(&mut self, close: impl FnMut(PeerId)) {
        self.peers.reap(&mut self.shares.closing(), close);
    }

    /// Whether the next turn has something to do even if nothing comes and nothing is due.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.service.has_work()
            || self.peers.has_unflushed()
            || self.peers.has_resumed()
            || self.peers.has_gone()
    }

    /// When the next turn is due at the latest.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        self.peers.next_deadline().into_iter().chain(self.service.next_deadline(now)).min()
    }

    /// The shares of a turn that reading and accepting may take.
    #[must_use]
    pub const fn shares(&self) -> Shares {
        self.shares
    }

    /// After a stop of the process, what came meanwhile comes all at once: as long as this is set, no flood is seen in it.
    pub const fn set_catching_up(&mut self, catching_up: bool) {
        self.peers.set_catching_up(catching_up);
    }

    /// The connected peers.
    #[must_use]
    pub const fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The connected producers.
    #[must_use]
    pub const fn producers(&self) -> &Producers {
        &self.producers
    }

    /// What gives messages and lines their meaning.
    #[must_use]
    pub const fn service(&self) -> &S {
        &self.service
    }
}

impl Backlog {
    /// How many deliveries more a producer may cause that has caused `own`.
    fn deliveries_left(&self, peers: &Peers, own: u64) -> u64 {
        let all = self.deliveries.saturating_sub(peers.fanned_out() - self.fanned_out);
        all.min((self.deliveries / 2).saturating_sub(own))
    }
}
