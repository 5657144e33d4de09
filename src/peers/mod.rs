//! All connected peers: their connections, what is queued for them, their time-outs.
//!
//! The driver (the event loop, or a simulation) tells what came from a peer's socket, lends the sockets for writing, and
//! says what time it is; the [`Application`] gives the messages their meaning. No socket, no clock, no meaning here.
//!
//! A peer's life: [`Peers::connect`] → bytes ([`Peers::receive`]) → its end, by a closing handshake, by a fault of its
//! own, by a limit, or because the transport broke. In the end its socket is shut for writing once all is written,
//! waits for the peer's end of stream so that nothing on its way is lost, and is given back by [`Peers::reap`].
//! Between two calls of `reap` no slot is given to another peer, so no stale event meets a new one.

mod addresses;
mod application;
mod counters;
mod deadlines;
mod delivery;
mod drain;
mod ending;
mod floods;
mod lifecycle;
mod memory;
mod settings;
mod shared;
mod timers;

pub use application::Application;
pub use counters::PeerCounters;
pub use delivery::{Lane, Sockets};
pub use ending::{CloseReason, Ending, Slowness};
pub use settings::PeerLimits;
pub use shared::{Prepared, Shared, Texts};

use crate::cost::{self, Budget};
use crate::slots::{Generation, SlotId, Slots};
use crate::time::{Monotonic, Now};
use crate::websocket::connection::{Connection, Step};
use crate::websocket::deflate::Codec;
use crate::websocket::message::Limits;
use crate::websocket::outgoing::Outgoing;
use addresses::{AddressKey, Addresses};
use delivery::Delivery;
use drain::Drain;
use floods::FrameCount;
use lifecycle::{Marks, Stage};
use memory::Memory;
use std::collections::BTreeMap;
use std::net::IpAddr;
use timers::Timers;

/// One connected peer: its slot, and the generation that tells it from earlier ones in the slot.
pub type PeerId = SlotId<Peer>;

/// All peers of one server.
///
/// The driver calls, in each turn: [`connect`](Self::connect) for who was accepted; [`receive`](Self::receive) and
/// [`disconnect`](Self::disconnect) for what came; [`advance`](Self::advance) for what is due;
/// [`flush`](Self::flush) to write; [`reap`](Self::reap) to close sockets and free slots. After each of them but `reap`
/// it calls [`settle`](Self::settle), so that the application learns of ends before their slots are free.
#[derive(Debug)]
pub struct Peers {
    slots: Slots<Peer>,
    open: usize,
    /// Peers with deliveries queued that their sockets have not been offered.
    owed: usize,
    addresses: Addresses,
    limits: PeerLimits,
    message_limits: Limits,
    /// Shared messages of at least this many bytes are compressed for peers that negotiated it; `None`: it is never
    /// negotiated.
    compress_from: Option<usize>,
    codec: Codec,
    delivery: Delivery,
    timers: Timers,
    memory: Memory,
    /// By slot: input that was read and not taken yet, because the budget was spent or its replies had no room.
    leftovers: BTreeMap<usize, Leftover>,
    /// The closings to come, once the server is stopping.
    drain: Option<Drain>,
    /// After a stop of the process: what came meanwhile came all at once, and is not a flood.
    catching_up: bool,
    counters: PeerCounters,
    /// Peers that were open and are not, of which the application has not been told.
    ended: Vec<PeerId>,
    /// Peers whose sockets are about to be closed.
    gone: Vec<PeerId>,
    /// Peers to read from again.
    resumed: Vec<PeerId>,
}

/// One peer. There may be a million of these.
#[derive(Debug)]
pub struct Peer {
    outgoing: Outgoing,
    connection: Connection,
    generation: Generation,
    address: AddressKey,
    stage: Stage,
    marks: Marks,
    frames: FrameCount,
}

/// Input that was read and not taken yet: `bytes[taken..]`.
#[derive(Debug)]
struct Leftover {
    bytes: Vec<u8>,
    taken: usize,
}

/// Bytes of replies that may be queued for a peer before its socket has been offered them; its further input waits.
const UNOFFERED_REPLIES: usize = 16 << 10;

impl Peers {
    /// No peers.
    #[must_use]
    pub fn new(limits: PeerLimits, message_limits: Limits) -> Self {
        Self {
            slots: Slots::new(),
            open: 0,
            owed: 0,
            addresses: Addresses::default(),
            message_limits,
            compress_from: None,
            codec: Codec::new(),
            delivery: Delivery::default(),
            timers: Timers::new(&limits),
            memory: Memory::default(),
            leftovers: BTreeMap::new(),
            limits,
            drain: None,
            catching_up: false,
            counters: PeerCounters::default(),
            ended: Vec::new(),
            gone: Vec::new(),
            resumed: Vec::new(),
        }
    }

    /// Negotiates permessage-deflate with peers that offer it; [`Shared`] messages of at least `bytes` are compressed for
    /// them.
    #[must_use]
    pub const fn with_compression_from(mut self, bytes: usize) -> Self {
        self.compress_from = Some(bytes);
        self
    }

    /// A peer has connected from `address`. `None` when there are as many as there may be, in all or at its address.
    pub fn connect<A: Application>(
        &mut self,
        application: &A,
        address: IpAddr,
        now: Monotonic,
    ) -> Option<PeerId> {
        let is_crowded =
            application.connections_at(address).is_some_and(|most| self.count_at(address) >= most);
        if is_crowded || self.slots.len() >= self.limits.peers {
            self.counters.turned_away += 1;
            return None;
        }
        let address = self.addresses.add(address);
        let id = self.slots.insert(|generation| Peer {
            outgoing: Outgoing::default(),
            connection: Connection::server(),
            generation,
            address,
            stage: Stage::Live,
            marks: Marks::empty(),
            frames: FrameCount::default(),
        });
        self.timers.handshake.set(id, now);
        self.counters.accepted += 1;
        Some(id)
    }

    /// Takes bytes that came from a peer (unmasking them in place) until `budget` is spent. What is left is kept:
    /// [`has_leftover`](Self::has_leftover).
    pub fn receive<A: Application>(
        &mut self,
        application: &mut A,
        id: PeerId,
        input: &mut [u8],
        now: Now,
        budget: &mut Budget,
    ) {
        debug_assert!(!self.has_leftover(id), "earlier input comes first");
        self.counters.bytes_received += input.len() as u64;
        if let Some(peer) = self.slots.get_mut(id) {
            peer.marks.remove(Marks::AWAITS_PONG | Marks::UNREAD);
        }
        let taken = self.take_input(application, id, input, now, budget);
        if taken < input.len()
            && let Some(peer) = self.slots.get_mut(id).filter(|peer| peer.stage == Stage::Live)
        {
            peer.marks.insert(Marks::LEFTOVER);
            self.memory.added(input.len() - taken);
            self.leftovers.insert(id.index(), Leftover { bytes: input[taken..].to_vec(), taken: 0 });
        }
        self.check(id);
    }

    /// Goes on with input that [`receive`](Self::receive) left.
    pub fn receive_leftover<A: Application>(
        &mut self,
        application: &mut A,
        id: PeerId,
        now: Now,
        budget: &mut Budget,
    ) {
        let Some(mut left) = self.take_leftover(id) else { return };
        left.taken += self.take_input(application, id, &mut left.bytes[left.taken..], now, budget);
        if left.taken < left.bytes.len()
            && let Some(peer) = self.slots.get_mut(id).filter(|peer| peer.stage == Stage::Live)
        {
            peer.marks.insert(Marks::LEFTOVER);
            self.leftovers.insert(id.index(), left);
        }
        self.check(id);
    }

    /// Whether input of this peer was read and waits to be taken.
    #[must_use]
    pub fn has_leftover(&self, id: PeerId) -> bool {
        self.slots.get(id).is_some_and(|peer| peer.marks.contains(Marks::LEFTOVER))
    }

    fn take_leftover(&mut self, id: PeerId) -> Option<Leftover> {
        let peer = self.slots.get_mut(id)?;
        if peer.marks.take(Marks::LEFTOVER) { self.leftovers.remove(&id.index()) } else { None }
    }

    /// Takes input until there is none, the budget is spent, or there are replies to offer first. Returns how much.
    fn take_input<A: Application>(
        &mut self,
        application: &mut A,
        id: PeerId,
        input: &mut [u8],
        now: Now,
        budget: &mut Budget,
    ) -> usize {
        let length = input.len();
        let mut input = input;
        loop {
            let Some(peer) = self.slots.get_mut(id) else { return length };
            if peer.stage != Stage::Live {
                self.count_ignored(id, input.len(), now.monotonic);
                return length;
            }
            if !input.is_empty() && (budget.is_spent() || peer.has_unoffered_replies()) {
                if !budget.is_spent() {
                    peer.marks.insert(Marks::AWAITS_FLUSH);
                }
                break;
            }
            let Peer { connection, outgoing, .. } = peer;
            match connection.receive(&mut input, outgoing, &self.message_limits, &mut self.codec) {
                Step::Starved => break,
                Step::Message(message) => {
                    let bytes = message.payload().len();
                    let inflated = self.codec.take_inflated();
                    budget.charge(cost::MESSAGE);
                    budget.charge_each(cost::MESSAGE_BYTE, bytes);
                    budget.charge_each(cost::INFLATED_BYTE, inflated);
                    self.counters.messages += 1;
                    self.message_finished(id);
                    application.message(self, id, message, now);
                }
                Step::Frame(_) => {
                    budget.charge(cost::FRAME);
                    // A complete control frame clears the unfinished mark, unless it stands amid a message (§5.4).
                    if !connection.is_unfinished() {
                        self.message_finished(id);
                    }
                    self.count_frame(id, now.monotonic);
                }
                Step::Upgrade(upgrade) => {
                    budget.charge(cost::UPGRADE);
                    match application.upgrade(self, id, &upgrade, now) {
                        Ok(()) => {
                            self.message_finished(id);
                            let Some(peer) = self.slots.get_mut(id) else { return length };
                            peer.connection.accept(
                                &upgrade,
                                self.compress_from.is_some(),
                                &mut peer.outgoing,
                            );
                            peer.marks.insert(Marks::OPEN);
                            self.open += 1;
                            self.counters.opened += 1;
                            self.timers.ping.set(id, now.monotonic);
                        }
                        Err(rejection) => self.reject(id, rejection, now.monotonic),
                    }
                }
                Step::Page(request) => {
                    budget.charge(cost::UPGRADE);
                    match application.page(&request) {
                        Ok(page) => {
                            let sent = self
                                .answer(id, now.monotonic, |connection, out| connection.respond(page, out));
                            self.counters.pages += u64::from(sent);
                        }
                        Err(rejection) => self.reject(id, rejection, now.monotonic),
                    }
                }
                Step::Ended(ended) => {
                    budget.charge_each(cost::INFLATED_BYTE, self.codec.take_inflated());
                    self.finish(id, &ended, now.monotonic);
                }
                Step::Opened => unreachable!("a server's connection is opened by its client"),
            }
        }
        self.note_unfinished(id, now.monotonic);
        self.mark_dirty(id.index(), Lane::Reply);
        length - input.len()
    }

    /// See [`Server::set_catching_up`](crate::server::Server::set_catching_up).
    pub const fn set_catching_up(&mut self, catching_up: bool) {
        self.catching_up = catching_up;
    }

    /// Whether the peer's socket may have something that was not read: it is not judged by the clock for what may be there.
    pub fn set_unread(&mut self, id: PeerId, unread: bool) {
        if let Some(peer) = self.slots.get_mut(id) {
            peer.marks.set(Marks::UNREAD, unread);
        }
    }

    /// Whether what comes now may have come while the process was stopped.
    #[must_use]
    pub const fn is_catching_up(&self) -> bool {
        self.catching_up
    }

    /// Stops reading from a peer until [`Peers::resume`]; input already given to `receive` is still taken.
    pub fn pause(&mut self, id: PeerId) {
        if let Some(peer) = self.slots.get_mut(id) {
            peer.marks.insert(Marks::PAUSED);
        }
    }

    /// Reads from a peer again.
    pub fn resume(&mut self, id: PeerId) {
        if let Some(peer) = self.slots.get_mut(id)
            && peer.marks.take(Marks::PAUSED)
        {
            self.resumed.push(id);
        }
    }

    /// The peers to read from again since the last call.
    pub fn take_resumed(&mut self) -> impl Iterator<Item = PeerId> {
        self.resumed.drain(..)
    }

    /// Whether there are peers to read from again.
    #[must_use]
    pub const fn has_resumed(&self) -> bool {
        !self.resumed.is_empty()
    }

    /// Whether the driver should read from this peer's socket.
    #[must_use]
    pub fn wants_input(&self, id: PeerId) -> bool {
        self.slots.get(id).is_some_and(|peer| {
            !peer.marks.intersects(Marks::PAUSED | Marks::AWAITS_FLUSH) && peer.stage != Stage::Gone
        })
    }

    /// Notes that a peer has shown a good token: `queueBytes` applies to it from now on.
    pub fn trust(&mut self, id: PeerId) {
        if let Some(peer) = self.slots.get_mut(id) {
            peer.marks.insert(Marks::TRUSTED);
        }
    }

    /// Whether the peer's WebSocket is open.
    #[must_use]
    pub fn is_open(&self, id: PeerId) -> bool {
        self.slots.get(id).is_some_and(|peer| peer.marks.contains(Marks::OPEN))
    }

    /// The address the peer is counted under.
    #[must_use]
    pub fn address_of(&self, id: PeerId) -> Option<IpAddr> {
        self.slots.get(id).map(|peer| self.addresses.get(peer.address))
    }

    /// Counts the peer under the address that its trusted proxy named.
    pub fn set_address(&mut self, id: PeerId, address: IpAddr) {
        if let Some(peer) = self.slots.get_mut(id)
            && peer.stage != Stage::Gone
        {
            let key = self.addresses.add(address);
            {
                let former = std::mem::replace(&mut peer.address, key);
                self.addresses.leave(former);
                self.addresses.remove(former);
            }
        }
    }

    /// How many peers are counted under `address`, excluding those that are gone: a client that reconnects may arrive in
    /// the turn in which its former connection ended.
    #[must_use]
    pub fn count_at(&self, address: IpAddr) -> usize {
        self.addresses.count(address)
    }

    /// How many peers there are, connecting and closing ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many peers have an open WebSocket.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.open
    }

    /// The counters since the start.
    #[must_use]
    pub const fn counters(&self) -> &PeerCounters {
        &self.counters
    }

    /// All peers, in no order.
    pub fn ids(&self) -> impl Iterator<Item = PeerId> {
        self.slots.iter().map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests;
