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
mod floods;
mod id;
mod settings;
mod shared;
mod timers;

pub use application::Application;
pub use counters::{CloseReason, Ending, PeerCounters, Slowness};
pub use delivery::{Lane, Sockets};
pub use id::PeerId;
pub use settings::PeerLimits;
pub use shared::Shared;

use crate::time::{Monotonic, Now};
use crate::websocket::connection::{Connection, Ended, Step};
use crate::websocket::deflate::Codec;
use crate::websocket::handshake::Rejection;
use crate::websocket::message::Limits;
use crate::websocket::outgoing::Outgoing;
use addresses::{AddressKey, Addresses};
use delivery::Delivery;
use drain::Drain;
use floods::FrameCount;
use slab::Slab;
use std::net::IpAddr;
use timers::Timers;

/// All peers of one server.
#[derive(Debug)]
pub struct Peers {
    slab: Slab<Peer>,
    generations: u32,
    open: usize,
    addresses: Addresses,
    limits: PeerLimits,
    message_limits: Limits,
    /// Whether compression is negotiated with peers that offer it: then shared messages of so many bytes and more are
    /// compressed for them.
    compress_from: Option<usize>,
    codec: Codec,
    delivery: Delivery,
    timers: Timers,
    /// The closings to come, once the server is stopping.
    drain: Option<Drain>,
    counters: PeerCounters,
    /// Peers that were open and are not, of which the application has not been told.
    ended: Vec<PeerId>,
    /// Peers whose sockets are to be given back.
    gone: Vec<PeerId>,
    /// Peers that were paused and are to be read from again.
    resumed: Vec<PeerId>,
}

/// One peer. There may be a million of these.
#[derive(Debug)]
struct Peer {
    outgoing: Outgoing,
    connection: Connection,
    generation: u32,
    address: AddressKey,
    stage: Stage,
    marks: Marks,
    frames: FrameCount,
}

/// How far a peer's transport has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Bytes are read for their meaning.
    Live,
    /// What is queued is written, then the socket is shut for writing. What still comes is thrown away.
    Finishing,
    /// Shut for writing; the peer's end of stream is awaited.
    Shut,
    /// The socket is to be given back.
    Gone,
}

bitflags::bitflags! {
    /// What else is known of a peer, each a yes or no.
    #[derive(Clone, Copy, Debug)]
    struct Marks: u8 {
        /// The WebSocket is open, and the application counts on it.
        const OPEN = 1;
        /// Has shown a good token.
        const TRUSTED = 1 << 1;
        /// Not to be read from.
        const PAUSED = 1 << 2;
        /// A ping is out, and nothing has come since.
        const AWAITS_PONG = 1 << 3;
        /// In the list of those to write to at once.
        const DIRTY_PROMPT = 1 << 4;
        /// In the list of those to write to in bulk.
        const DIRTY_BULK = 1 << 5;
        /// The socket took less than it was given: waits until it is writable.
        const BLOCKED = 1 << 6;
        /// A message has begun: counted in `Timers`.
        const UNFINISHED = 1 << 7;
    }
}

impl Marks {
    /// In the list of peers to write to in this lane.
    const fn dirty(lane: Lane) -> Self {
        match lane {
            Lane::Prompt => Self::DIRTY_PROMPT,
            Lane::Bulk => Self::DIRTY_BULK,
        }
    }

    /// Takes a mark away. Returns whether it was there.
    fn take(&mut self, mark: Self) -> bool {
        let was = self.contains(mark);
        self.remove(mark);
        was
    }
}

impl Peers {
    /// None yet.
    #[must_use]
    pub fn new(limits: PeerLimits, message_limits: Limits) -> Self {
        Self {
            slab: Slab::new(),
            generations: 0,
            open: 0,
            addresses: Addresses::default(),
            message_limits,
            compress_from: None,
            codec: Codec::new(),
            delivery: Delivery::default(),
            timers: Timers::new(&limits),
            limits,
            drain: None,
            counters: PeerCounters::default(),
            ended: Vec::new(),
            gone: Vec::new(),
            resumed: Vec::new(),
        }
    }

    /// The same peers, with compression (permessage-deflate) for those of them that offer it: messages to them of `bytes` and
    /// more are compressed if they are [`Shared`].
    #[must_use]
    pub const fn with_compression_from(mut self, bytes: usize) -> Self {
        self.compress_from = Some(bytes);
        self
    }

    /// A peer has connected from `address`. `None` when there are as many as there may be.
    pub fn connect(&mut self, address: IpAddr, now: Monotonic) -> Option<PeerId> {
        if self.slab.len() >= self.limits.peers {
            self.counters.turned_away += 1;
            return None;
        }
        // As many bits as a driver can put beside the slot and a kind of its own into 64.
        self.generations = (self.generations + 1) & (u32::MAX >> 2);
        let peer = Peer {
            outgoing: Outgoing::default(),
            connection: Connection::server(),
            generation: self.generations,
            address: self.addresses.add(address),
            stage: Stage::Live,
            marks: Marks::empty(),
            frames: FrameCount::default(),
        };
        let index = u32::try_from(self.slab.insert(peer)).expect("fewer than 2^32 peers");
        let id = PeerId::new(index, self.generations);
        self.timers.handshake.set(id, now);
        self.counters.accepted += 1;
        Some(id)
    }

    /// Bytes have come from a peer.
    pub fn receive<A: Application>(
        &mut self,
        application: &mut A,
        id: PeerId,
        mut input: &mut [u8],
        now: Now,
    ) {
        self.counters.bytes_received += input.len() as u64;
        if let Some(peer) = self.get_mut(id) {
            peer.marks.remove(Marks::AWAITS_PONG);
        }
        loop {
            let Some(peer) = self.slab.get_mut(id.index()).filter(|peer| peer.is(id)) else { return };
            if peer.stage != Stage::Live {
                return;
            }
            let Peer { connection, outgoing, .. } = peer;
            match connection.receive(&mut input, outgoing, &self.message_limits, &mut self.codec) {
                Step::Starved => break,
                Step::Message(message) => {
                    self.counters.messages += 1;
                    self.message_finished(id);
                    application.message(self, id, message, now);
                }
                Step::Frame(_) => {
                    // A control frame that ends ends what has begun, unless it stands amid a message (§5.4).
                    if !connection.is_unfinished() {
                        self.message_finished(id);
                    }
                    self.count_frame(id, now.monotonic);
                }
                Step::Upgrade(upgrade) => match application.upgrade(self, id, &upgrade, now) {
                    Ok(()) => {
                        let Peer { connection, outgoing, marks, .. } = &mut self.slab[id.index()];
                        connection.accept(&upgrade, self.compress_from.is_some(), outgoing);
                        marks.insert(Marks::OPEN);
                        self.open += 1;
                        self.counters.opened += 1;
                        self.timers.ping.set(id, now.monotonic);
                    }
                    Err(rejection) => self.reject(id, rejection, now.monotonic),
                },
                Step::Page(request) => match application.page(&request) {
                    Ok(page) => {
                        let sent =
                            self.answer(id, now.monotonic, |connection, out| connection.respond(page, out));
                        self.counters.pages += u64::from(sent);
                    }
                    Err(rejection) => self.reject(id, rejection, now.monotonic),
                },
                Step::Ended(ended) => self.finish(id, &ended, now.monotonic),
                Step::Opened => unreachable!("a server's connection is opened by its client"),
            }
        }
        self.message_begun(id, now.monotonic);
        self.mark_dirty(id.index(), Lane::Prompt);
    }

    /// The peer's stream has ended, or its socket failed: no more is read or written.
    pub fn disconnect(&mut self, id: PeerId) {
        self.drop_peer(id, Ending::Lost);
    }

    /// No more is read from this peer or written to it.
    fn drop_peer(&mut self, id: PeerId, ending: Ending) {
        if let Some(peer) = self.get_mut(id)
            && peer.stage != Stage::Gone
        {
            let was_connecting = peer.is_connecting();
            peer.stage = Stage::Gone;
            peer.outgoing.clear();
            self.counters.abandoned += u64::from(was_connecting);
            self.gone.push(id);
            self.end(id, ending);
        }
    }

    /// Begins to close an open connection, after all that is queued for it.
    pub fn close(&mut self, id: PeerId, reason: CloseReason, now: Monotonic) {
        if let Some(peer) = self.get_mut(id)
            && peer.marks.contains(Marks::OPEN)
        {
            peer.connection.close(reason.code(), reason.text(), &mut peer.outgoing);
            self.closing(id, Ending::Told(reason), now);
        }
    }

    /// Begins to close an open connection, in place of what is queued for it.
    fn close_now(&mut self, id: PeerId, reason: CloseReason, now: Monotonic) {
        if let Some(peer) = self.get_mut(id)
            && peer.marks.contains(Marks::OPEN)
        {
            peer.connection.close_now(reason.code(), reason.text(), &mut peer.outgoing);
            self.closing(id, Ending::Told(reason), now);
        }
    }

    /// Something last has been queued for a peer whose connection is over for the application.
    fn closing(&mut self, id: PeerId, ending: Ending, now: Monotonic) {
        self.timers.close.set(id, now);
        self.mark_dirty(id.index(), Lane::Prompt);
        // Its own Close and the end of its stream are to be read, whatever it was paused for.
        self.resume(id);
        self.end(id, ending);
    }

    /// Refuses a peer that is still connecting.
    pub fn reject(&mut self, id: PeerId, rejection: Rejection, now: Monotonic) {
        if self.answer(id, now, |connection, outgoing| connection.reject(rejection, outgoing)) {
            self.counters.count_refusal(rejection);
        }
    }

    /// Gives a peer that is still connecting the HTTP answer that is all it gets. Returns whether it was connecting.
    fn answer(
        &mut self,
        id: PeerId,
        now: Monotonic,
        answer: impl FnOnce(&mut Connection, &mut Outgoing),
    ) -> bool {
        let Some(peer) = self.get_mut(id).filter(|peer| peer.is_connecting()) else { return false };
        answer(&mut peer.connection, &mut peer.outgoing);
        peer.stage = Stage::Finishing;
        self.timers.close.set(id, now);
        self.mark_dirty(id.index(), Lane::Prompt);
        true
    }

    /// Nothing more is expected of a peer but the end of its stream.
    fn finish(&mut self, id: PeerId, ended: &Ended, now: Monotonic) {
        let peer = &mut self.slab[id.index()];
        // The reason that a client gave stays out of it: it may hold anything, even a token.
        let why: &dyn std::fmt::Debug = match ended {
            Ended::Closed { code, .. } => code,
            other => other,
        };
        log::debug!(peer:% = self.addresses.get(peer.address), why:?; "connection ended");
        peer.stage = Stage::Finishing;
        let ending = match *ended {
            Ended::Rejected(rejection) => {
                self.counters.count_refusal(rejection);
                Ending::Lost
            }
            Ended::Failed(violation) => violation.into(),
            Ended::Closed { .. } | Ended::Refused(_) => Ending::Client,
        };
        self.closing(id, ending, now);
    }

    /// Notes that the application is to be told of a peer's end, once.
    fn end(&mut self, id: PeerId, ending: Ending) {
        let marks = &mut self.slab[id.index()].marks;
        if marks.take(Marks::OPEN) {
            self.open -= 1;
            self.counters.count_ending(ending);
            self.ended.push(id);
        }
    }

    /// Tells the application of the peers whose connections have ended.
    pub fn settle<A: Application>(&mut self, application: &mut A) {
        if self.ended.is_empty() {
            return;
        }
        self.log_slow(application);
        while let Some(id) = self.ended.pop() {
            application.closed(id);
        }
    }

    /// Forgets the peers that are gone, telling `close` of each so that it closes the socket.
    pub fn reap(&mut self, mut close: impl FnMut(PeerId)) {
        debug_assert!(self.ended.is_empty(), "the application is told of an end before the slot is free");
        for id in self.gone.drain(..) {
            let peer = self.slab.remove(id.index());
            self.addresses.remove(peer.address);
            self.timers.forget(id);
            self.delivery.forget(id);
            close(id);
        }
    }

    /// Stops reading from a peer until [`Peers::resume`]; what has been read is still given to the application.
    pub fn pause(&mut self, id: PeerId) {
        if let Some(peer) = self.get_mut(id) {
            peer.marks.insert(Marks::PAUSED);
        }
    }

    /// Reads from a peer again.
    pub fn resume(&mut self, id: PeerId) {
        if let Some(peer) = self.get_mut(id)
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
        self.get(id).is_some_and(|peer| !peer.marks.contains(Marks::PAUSED) && peer.stage != Stage::Gone)
    }

    /// Notes that a peer has shown a good token: more may be queued for it.
    pub fn trust(&mut self, id: PeerId) {
        if let Some(peer) = self.get_mut(id) {
            peer.marks.insert(Marks::TRUSTED);
        }
    }

    /// Whether the peer's WebSocket is open, so that something can be sent to it.
    #[must_use]
    pub fn is_open(&self, id: PeerId) -> bool {
        self.get(id).is_some_and(|peer| peer.marks.contains(Marks::OPEN))
    }

    /// The address the peer is counted under.
    #[must_use]
    pub fn address_of(&self, id: PeerId) -> Option<IpAddr> {
        self.get(id).map(|peer| self.addresses.get(peer.address))
    }

    /// Counts the peer under another address: the one its trusted proxy has named.
    pub fn set_address(&mut self, id: PeerId, address: IpAddr) {
        if self.get(id).is_some() {
            let key = self.addresses.add(address);
            self.addresses.remove(std::mem::replace(&mut self.slab[id.index()].address, key));
        }
    }

    /// How many peers are counted under `address`; those not that are gone and wait to be reaped, for somebody who comes back
    /// may be looked at in the turn in which his former connection ended.
    #[must_use]
    pub fn count_at(&self, address: IpAddr) -> usize {
        let is_there = |id: &&PeerId| self.address_of(**id) == Some(address);
        self.addresses.count(address) - self.gone.iter().filter(is_there).count()
    }

    /// How many peers there are, those included that are connecting or closing.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// How many peers have an open WebSocket.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.open
    }

    /// What has become of the peers since the start.
    #[must_use]
    pub const fn counters(&self) -> &PeerCounters {
        &self.counters
    }

    /// All peers, in no order.
    pub fn ids(&self) -> impl Iterator<Item = PeerId> {
        self.slab.iter().map(|(index, peer)| id_of(index, peer))
    }

    fn get(&self, id: PeerId) -> Option<&Peer> {
        self.slab.get(id.index()).filter(|peer| peer.is(id))
    }

    fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.slab.get_mut(id.index()).filter(|peer| peer.is(id))
    }
}

impl Peer {
    const fn is(&self, id: PeerId) -> bool {
        self.generation == id.generation()
    }

    /// Whether something is queued for it that its socket would perhaps take.
    const fn waits_for_us(&self) -> bool {
        self.marks.intersects(Marks::DIRTY_PROMPT.union(Marks::DIRTY_BULK))
            && !self.marks.contains(Marks::BLOCKED)
            && !self.outgoing.is_empty()
    }

    /// Whether its request has not been answered yet.
    const fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Live) && !(self.connection.is_open() || self.connection.is_closing())
    }
}

fn id_of(index: usize, peer: &Peer) -> PeerId {
    PeerId::new(u32::try_from(index).expect("fewer than 2^32 peers"), peer.generation)
}

#[cfg(test)]
mod tests;
