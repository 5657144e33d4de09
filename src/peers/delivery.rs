//! What is queued for peers and how it gets to them: bounds, the order of writing, and those that do not read.

use super::{Application, CloseReason, Marks, Peer, PeerId, Peers, Prepared, Shared, Slowness, Stage};
use crate::cost::{self, Shares};
use crate::time::Monotonic;
use crate::websocket::outgoing::{CHUNK_OVERHEAD, Flush};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};

/// Bytes offered to one peer at once.
const BYTES_A_WRITE: usize = 1 << 20;

/// The sockets of the peers, as a driver lends them.
pub trait Sockets {
    /// What is written to. A write that would block says so.
    type Socket: Write;

    /// The peer's socket.
    fn socket(&mut self, peer: PeerId) -> &mut Self::Socket;

    /// The peer's socket has refused bytes. Call [`Peers::writable`] once it takes some again.
    ///
    /// # Errors
    /// The system cannot watch the socket.
    fn await_writable(&mut self, peer: PeerId) -> io::Result<()>;

    /// Shuts the peer's socket for writing: the peer sees the end of the stream.
    fn shut(&mut self, peer: PeerId);
}

/// The lists of peers to write to. Each is written to within a budget of its own, so that none keeps another waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// An event for few.
    Event,
    /// Replies, and what the protocol answers by itself.
    Reply,
    /// An event for many.
    Bulk,
}

/// The peers to write to, and those that cannot be written to.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// By [`Lane`]: the slots of peers with something new in their queue, each once a lane.
    dirty: [VecDeque<u32>; Lane::ALL.len()],
    /// Peers whose sockets are full, by slot.
    blocked: BTreeMap<usize, Blocked>,
    /// Batches queued for a subscriber since the start.
    fanned_out: u64,
    /// Peers closed for not reading, not logged yet.
    slow: Vec<SlowConsumer>,
}

/// A peer that was closed because it did not read.
#[derive(Clone, Copy, Debug)]
struct SlowConsumer {
    id: PeerId,
    /// Bytes that were queued for it.
    queued: usize,
    slowness: Slowness,
}

/// What is watched of a peer whose socket is full.
#[derive(Clone, Copy, Debug)]
struct Blocked {
    /// When it last took something.
    progress: Monotonic,
    /// Since when its queue has been over the soft limit.
    over_soft: Option<Monotonic>,
}

impl Lane {
    /// Every lane, in the order in which they are written.
    pub(super) const ALL: [Self; 3] = [Self::Event, Self::Reply, Self::Bulk];
}

impl Delivery {
    pub(super) fn forget(&mut self, slot: usize) {
        self.blocked.remove(&slot);
    }

    /// The slots in a lane's list.
    pub(super) fn slots(&self, lane: Lane) -> impl Iterator<Item = usize> {
        self.dirty[lane as usize].iter().map(|&slot| slot as usize)
    }

    /// The slots of peers whose sockets are full.
    pub(super) fn watched(&self) -> impl Iterator<Item = usize> {
        self.blocked.keys().copied()
    }

    /// Whether the peer's socket is known to be full.
    pub(super) fn is_watched(&self, slot: usize) -> bool {
        self.blocked.contains_key(&slot)
    }
}

impl Peers {
    /// Queues a short message for this peer alone; it is not compressed.
    pub fn send(&mut self, id: PeerId, message: &Prepared, now: Monotonic) {
        let frames = message.frames();
        if self.is_open(id)
            && self.has_room(id, frames.as_bytes().len(), now)
            && let Some(peer) = self.slots.get_mut(id)
        {
            peer.outgoing.push_short(frames);
            self.memory.added(frames.as_bytes().len() + CHUNK_OVERHEAD);
            self.mark_dirty(id.index(), Lane::Reply);
        }
    }

    /// Queues shared messages for the peers in `slots` whose connections are open, each in the form it has negotiated.
    /// Returns for how many.
    pub fn fan_out(
        &mut self,
        slots: impl Iterator<Item = usize>,
        messages: &mut Shared,
        lane: Lane,
        now: Monotonic,
    ) -> usize {
        let queued = slots.filter(|&slot| self.deliver(slot, messages, lane, now)).count();
        self.memory.added(messages.memory() + queued * CHUNK_OVERHEAD);
        self.delivery.fanned_out += queued as u64;
        queued
    }

    fn deliver(&mut self, slot: usize, messages: &mut Shared, lane: Lane, now: Monotonic) -> bool {
        let Some(peer) = self.slots.at_mut(slot).filter(|peer| peer.marks.contains(Marks::OPEN)) else {
            return false;
        };
        let frames = match (peer.connection.deflate(), self.compress_from) {
            (Some(bits), Some(min_bytes)) => messages.compressed(bits, min_bytes, &mut self.codec),
            _ => messages.plain(),
        };
        if peer.marks.contains(Marks::BLOCKED)
            && peer.outgoing.queued() + frames.as_bytes().len() > self.limits.queue_of(peer)
        {
            if let Some(id) = self.slots.id_at(slot) {
                self.close_slow(id, Slowness::QueueFull, now);
            }
            return false;
        }
        peer.outgoing.push(frames.clone());
        // A full socket has been offered what it takes; the limits of the queue bound the rest.
        if !peer.marks.intersects(Marks::OWED | Marks::BLOCKED) {
            peer.marks.insert(Marks::OWED);
            self.owed += 1;
        }
        self.mark_dirty(slot, lane);
        true
    }

    /// Whether `bytes` more may be queued. If not, the peer is closed: it misses nothing without being told.
    ///
    /// Only a peer whose socket is full can have too much queued. Others are offered what they have queued before much
    /// more is added: their replies by [`UNOFFERED_REPLIES`](super::UNOFFERED_REPLIES), events by the producers' backlog.
    fn has_room(&mut self, id: PeerId, bytes: usize, now: Monotonic) -> bool {
        let Some(peer) = self.slots.get(id) else { return false };
        let is_full = peer.marks.contains(Marks::BLOCKED)
            && peer.outgoing.queued() + bytes > self.limits.queue_of(peer);
        if is_full {
            self.close_slow(id, Slowness::QueueFull, now);
        }
        !is_full
    }

    /// Closes a slow consumer, unless it is being closed already.
    pub(super) fn close_slow(&mut self, id: PeerId, slowness: Slowness, now: Monotonic) {
        if let Some(peer) = self.slots.get(id).filter(|peer| peer.marks.contains(Marks::OPEN)) {
            self.delivery.slow.push(SlowConsumer { id, queued: peer.outgoing.queued(), slowness });
            self.counters.count_slow(slowness);
            self.close_now(id, CloseReason::SlowConsumer, now);
        }
    }

    /// Puts the peer on the list of those to write to.
    pub(super) fn mark_dirty(&mut self, slot: usize, lane: Lane) {
        if let Some(peer) = self.slots.at_mut(slot)
            && !peer.marks.contains(Marks::dirty(lane))
        {
            peer.marks.insert(Marks::dirty(lane));
            self.delivery.dirty[lane as usize].push_back(u32::try_from(slot).expect("fewer than 2^32 peers"));
        }
    }

    /// Batches queued for a subscriber since the start, one for each subscriber.
    #[must_use]
    pub const fn fanned_out(&self) -> u64 {
        self.delivery.fanned_out
    }

    /// Whether peers have deliveries queued that their sockets have not been offered.
    #[must_use]
    pub const fn owes_deliveries(&self) -> bool {
        self.owed > 0
    }

    /// The peer's socket can be written to again.
    pub fn writable(&mut self, id: PeerId) {
        if let Some(peer) = self.slots.get_mut(id)
            && peer.marks.take(Marks::BLOCKED)
        {
            self.mark_dirty(id.index(), Lane::Event);
        }
    }

    /// Whether [`Peers::flush`] has something to do.
    #[must_use]
    pub fn has_unflushed(&self) -> bool {
        self.delivery.dirty.iter().any(|lane| !lane.is_empty())
    }

    /// Whether no more input should be read in this turn: too many peers wait for replies, or the memory budget may be
    /// exceeded, which [`Peers::advance`] decides.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.delivery.dirty[Lane::Reply as usize].len() > UNFLUSHED_REPLIES || self.is_memory_doubtful()
    }

    /// Writes what is queued, in each lane to as many peers as its share of the turn allows.
    pub fn flush<S: Sockets>(&mut self, sockets: &mut S, shares: Shares, now: Monotonic) {
        for lane in Lane::ALL {
            let mut budget = match lane {
                Lane::Event | Lane::Reply => shares.prompt_writes(),
                Lane::Bulk => shares.bulk_writes(),
            };
            // A peer that takes more than one write comes again in a later turn.
            for _ in 0..self.delivery.dirty[lane as usize].len() {
                if budget.is_spent() {
                    break;
                }
                let Some(slot) = self.delivery.dirty[lane as usize].pop_front() else { break };
                let written = self.flush_peer(slot as usize, lane, sockets, now);
                if let Some(bytes) = written {
                    budget.charge(cost::WRITE);
                    budget.charge_each(cost::WRITTEN_KILOBYTE, bytes / 1000);
                }
            }
        }
    }

    /// Offers a peer's socket what is queued. Returns the bytes written, if it was written to.
    fn flush_peer<S: Sockets>(
        &mut self,
        slot: usize,
        lane: Lane,
        sockets: &mut S,
        now: Monotonic,
    ) -> Option<usize> {
        // The peer may be gone since, and its slot another's: then that one's mark stands for its own entry.
        let id = self.slots.id_at(slot)?;
        let peer = self.slots.at_mut(slot)?;
        peer.marks.remove(Marks::dirty(lane));
        if peer.stage == Stage::Gone || peer.marks.contains(Marks::BLOCKED) {
            return None;
        }
        let before = peer.outgoing.queued();
        let flushed = match before {
            0 => Ok(Flush::Done),
            _ => peer.outgoing.write_to(sockets.socket(id), BYTES_A_WRITE),
        };
        let after = peer.outgoing.queued();
        let is_offered = !matches!(flushed, Ok(Flush::Unfinished));
        if is_offered {
            self.owed -= usize::from(peer.marks.take(Marks::OWED));
            if peer.marks.take(Marks::AWAITS_FLUSH) {
                self.resumed.push(id);
            }
        }
        self.counters.bytes_sent += (before - after) as u64;
        match flushed {
            Ok(Flush::Done) => {
                if peer.stage == Stage::Finishing {
                    sockets.shut(id);
                    peer.stage = Stage::Shut;
                }
                self.delivery.blocked.remove(&slot);
            }
            Ok(Flush::Unfinished) => self.mark_dirty(slot, lane),
            Ok(Flush::Blocked) => {
                peer.marks.insert(Marks::BLOCKED);
                let is_full = after > self.limits.queue_of(peer);
                let soft = self.limits.queue_soft;
                let blocked =
                    self.delivery.blocked.entry(slot).or_insert(Blocked { progress: now, over_soft: None });
                if after < before {
                    blocked.progress = now;
                }
                if after <= soft {
                    blocked.over_soft = None;
                }
                if is_full {
                    self.close_slow(id, Slowness::QueueFull, now);
                }
                if let Err(error) = sockets.await_writable(id) {
                    self.write_failed(id, &error);
                }
            }
            Err(error) => self.write_failed(id, &error),
        }
        self.check(id);
        (before > 0).then_some(before - after)
    }

    fn write_failed(&mut self, id: PeerId, error: &io::Error) {
        log::debug!(peer = self.address_of(id).map(|address| address.to_string()), error:%; "write failed");
        self.disconnect(id);
    }

    /// Tells the log of the slow consumers, while the application still knows whose connections they were.
    pub(super) fn log_slow<A: Application>(&mut self, application: &A) {
        for SlowConsumer { id, queued, slowness } in std::mem::take(&mut self.delivery.slow) {
            let Some(address) = self.address_of(id) else { continue };
            let (user, why) = (application.user(id), slowness.text());
            log::warn!(peer:% = address, user, queued, why; "slow consumer");
        }
    }

    pub(super) fn has_blocked(&self) -> bool {
        !self.delivery.blocked.is_empty()
    }

    /// Closes up to `most` peers that have read nothing for too long, or have had too much queued for too long. Returns
    /// whether those are all of them.
    pub(super) fn sweep_blocked(&mut self, now: Monotonic, most: usize) -> bool {
        let soft_time = self.limits.queue_soft_time;
        let mut slow = Vec::new();
        for (&slot, blocked) in &mut self.delivery.blocked {
            let is_open = |peer: &&Peer| peer.marks.contains(Marks::OPEN);
            let Some(peer) = self.slots.at(slot).filter(is_open) else { continue };
            if peer.outgoing.queued() > self.limits.queue_soft
                && now - *blocked.over_soft.get_or_insert(now) >= soft_time
            {
                slow.push((slot, Slowness::OverSoftLimit));
            } else if now - blocked.progress >= soft_time {
                slow.push((slot, Slowness::NothingRead));
            }
        }
        let is_all = slow.len() <= most;
        for (slot, slowness) in slow.into_iter().take(most) {
            if let Some(id) = self.slots.id_at(slot) {
                self.close_slow(id, slowness, now);
            }
        }
        is_all
    }
}

impl Peer {
    /// Whether replies are queued that its socket has to be offered before more of its input is taken.
    pub(super) fn has_unoffered_replies(&self) -> bool {
        !self.marks.contains(Marks::BLOCKED) && self.outgoing.queued() > super::UNOFFERED_REPLIES
    }
}

/// Peers that may wait for their replies before reading requests stops.
const UNFLUSHED_REPLIES: usize = 1024;
