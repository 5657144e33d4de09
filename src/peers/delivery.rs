//! What is queued for the peers and how it gets to them: bounds, the order of writing, and those who do not read.

use super::{Application, CloseReason, Marks, PeerId, Peers, Shared, Slowness, Stage, id_of};
use crate::time::Monotonic;
use crate::websocket::frame::Frames;
use crate::websocket::outgoing::Flush;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};

/// Writes one call of [`Peers::flush`] makes for each lane, about half a millisecond's worth on loopback: so long does a
/// fan-out keep others waiting. A turn's own system call is lost among them.
const WRITES_A_TURN: usize = 64;

/// Bytes offered to one peer at once.
const BYTES_A_WRITE: usize = 1 << 20;

/// The sockets of the peers, as a driver lends them.
pub trait Sockets {
    /// What is written to. A write that would block says so.
    type Socket: Write;

    /// The peer's socket.
    fn socket(&mut self, peer: PeerId) -> &mut Self::Socket;

    /// The peer's socket has refused bytes: once it takes some again, [`Peers::writable`] is to be called.
    ///
    /// # Errors
    /// The system cannot watch the socket.
    fn await_writable(&mut self, peer: PeerId) -> io::Result<()>;

    /// Shuts the peer's socket for writing: the peer sees the end of the stream.
    fn shut(&mut self, peer: PeerId);
}

/// Whose turn it is to be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// At once: an answer, or an event for few.
    Prompt,
    /// As one of many who get the same: after those at once.
    Bulk,
}

/// The peers to write to, and those who cannot be written to.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// By [`Lane`]: the slots of peers with something new in their queue, each once a lane.
    dirty: [VecDeque<u32>; 2],
    /// Peers whose sockets are full, by slot.
    blocked: BTreeMap<usize, Blocked>,
    /// Bytes queued for them since they were last looked through.
    added_to_blocked: usize,
    /// Those closed for not reading, of whom the log has not been told.
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

impl Delivery {
    pub(super) fn forget(&mut self, id: PeerId) {
        self.blocked.remove(&id.index());
    }
}

impl Peers {
    /// Queues short frames for this peer alone; they are not compressed.
    pub fn send(&mut self, id: PeerId, frames: &Frames, now: Monotonic) {
        if self.get(id).is_some_and(|peer| peer.marks.contains(Marks::OPEN))
            && self.has_room(id.index(), frames.as_bytes().len(), now)
        {
            self.slab[id.index()].outgoing.push_short(frames);
            self.mark_dirty(id.index(), Lane::Prompt);
        }
    }

    /// Queues shared messages for the peer in `slot`, in the form it has negotiated, if its connection is open. Returns
    /// whether they are queued.
    pub fn deliver(&mut self, slot: usize, messages: &mut Shared, lane: Lane, now: Monotonic) -> bool {
        let Some(peer) = self.slab.get(slot).filter(|peer| peer.marks.contains(Marks::OPEN)) else {
            return false;
        };
        let frames = match (peer.connection.deflate(), self.compress_from) {
            (Some(bits), Some(min_bytes)) => messages.compressed(bits, min_bytes, &mut self.codec),
            _ => messages.plain(),
        };
        let queued = self.has_room(slot, frames.as_bytes().len(), now);
        if queued {
            self.slab[slot].outgoing.push(frames.clone());
            self.mark_dirty(slot, lane);
        }
        queued
    }

    /// Whether `bytes` more may be queued. If not, the peer is closed: it misses nothing without being told.
    ///
    /// Only a peer whose socket is full can have too much queued. What the others have queued is offered to them before
    /// the producers may add much more, and if their sockets do not take it they are looked at then.
    fn has_room(&mut self, slot: usize, bytes: usize, now: Monotonic) -> bool {
        let peer = &self.slab[slot];
        if !peer.marks.contains(Marks::BLOCKED) {
            return true;
        }
        self.delivery.added_to_blocked += bytes;
        let has_room = peer.outgoing.queued() + bytes <= self.queue_limit(slot);
        if !has_room {
            self.close_slow(slot, Slowness::QueueFull, now);
        }
        has_room
    }

    /// Bytes that may be queued for a peer whose socket is full.
    fn queue_limit(&self, slot: usize) -> usize {
        if self.slab[slot].marks.contains(Marks::TRUSTED) {
            self.limits.queue
        } else {
            self.limits.queue_unauthenticated
        }
    }

    /// Closes a slow consumer, unless it is being closed already.
    fn close_slow(&mut self, slot: usize, slowness: Slowness, now: Monotonic) {
        let peer = &self.slab[slot];
        if peer.marks.contains(Marks::OPEN) {
            let id = id_of(slot, peer);
            self.delivery.slow.push(SlowConsumer { id, queued: peer.outgoing.queued(), slowness });
            self.counters.count_slow(slowness);
            self.close_now(id, CloseReason::SlowConsumer, now);
        }
    }

    /// Puts the peer on the list of those to write to.
    pub(super) fn mark_dirty(&mut self, slot: usize, lane: Lane) {
        let peer = &mut self.slab[slot];
        if !peer.marks.contains(Marks::dirty(lane)) {
            peer.marks.insert(Marks::dirty(lane));
            self.delivery.dirty[lane as usize].push_back(u32::try_from(slot).expect("fewer than 2^32 peers"));
        }
    }

    /// The peer's socket can be written to again.
    pub fn writable(&mut self, id: PeerId) {
        if let Some(peer) = self.get_mut(id)
            && peer.marks.take(Marks::BLOCKED)
        {
            self.mark_dirty(id.index(), Lane::Prompt);
        }
    }

    /// Whether [`Peers::flush`] has something left to do.
    #[must_use]
    pub fn has_unflushed(&self) -> bool {
        self.delivery.dirty.iter().any(|lane| !lane.is_empty())
    }

    /// Bytes queued for all peers, those of shared frames counted for each; and the number of peers that wait for some.
    #[must_use]
    pub fn queued(&self) -> (usize, usize) {
        // Whoever has something queued is to be written to or blocked; some are in several of the lists.
        let [prompt, bulk] = &self.delivery.dirty;
        let mut slots: Vec<usize> = prompt.iter().chain(bulk).map(|&slot| slot as usize).collect();
        slots.extend(self.delivery.blocked.keys());
        slots.sort_unstable();
        slots.dedup();
        let queued = slots.iter().filter_map(|&slot| self.slab.get(slot)).map(|peer| peer.outgoing.queued());
        let queued = queued.filter(|&bytes| bytes > 0);
        queued.fold((0, 0), |(bytes, peers), more| (bytes + more, peers + 1))
    }

    /// Writes what is queued to as many peers as a turn's budget allows: first those who are to be written to at
    /// once, then those in bulk.
    pub fn flush<S: Sockets>(&mut self, sockets: &mut S, now: Monotonic) {
        for lane in [Lane::Prompt, Lane::Bulk] {
            for _ in 0..WRITES_A_TURN {
                let Some(slot) = self.delivery.dirty[lane as usize].pop_front() else { break };
                self.flush_peer(slot as usize, lane, sockets, now);
            }
        }
    }

    fn flush_peer<S: Sockets>(&mut self, slot: usize, lane: Lane, sockets: &mut S, now: Monotonic) {
        // The peer may be gone since, and its slot another's: then that one's flag stands or falls with its own entry.
        let Some(peer) = self.slab.get_mut(slot) else { return };
        peer.marks.remove(Marks::dirty(lane));
        if peer.stage == Stage::Gone || peer.marks.contains(Marks::BLOCKED) {
            return;
        }
        let id = id_of(slot, peer);
        let before = peer.outgoing.queued();
        let flushed = match before {
            0 => Ok(Flush::Done),
            _ => peer.outgoing.write_to(sockets.socket(id), BYTES_A_WRITE),
        };
        let after = peer.outgoing.queued();
        self.counters.bytes_sent += (before - after) as u64;
        match flushed {
            Ok(Flush::Done) => {
                self.delivery.blocked.remove(&slot);
                if self.slab[slot].stage == Stage::Finishing {
                    sockets.shut(id);
                    self.slab[slot].stage = Stage::Shut;
                }
            }
            Ok(Flush::Unfinished) => self.mark_dirty(slot, lane),
            Ok(Flush::Blocked) => {
                peer.marks.insert(Marks::BLOCKED);
                let soft = self.limits.queue_soft;
                let blocked =
                    self.delivery.blocked.entry(slot).or_insert(Blocked { progress: now, over_soft: None });
                if after < before {
                    blocked.progress = now;
                }
                if after <= soft {
                    blocked.over_soft = None;
                }
                if after > self.queue_limit(slot) {
                    self.close_slow(slot, Slowness::QueueFull, now);
                }
                if let Err(error) = sockets.await_writable(id) {
                    self.write_failed(id, &error);
                }
            }
            Err(error) => self.write_failed(id, &error),
        }
    }

    fn write_failed(&mut self, id: PeerId, error: &io::Error) {
        log::debug!(peer:% = self.addresses.get(self.slab[id.index()].address), error:%; "write failed");
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

    /// Whether so much has been queued for blocked peers that their budget is to be looked at before its time.
    pub(super) const fn is_sweep_due(&self) -> bool {
        self.delivery.added_to_blocked > self.limits.queue_total / 8
    }

    /// Closes those who have not read for too long, or have had too much queued for too long; then, while the queues of all
    /// blocked peers together are over their budget, the fullest.
    pub(super) fn sweep_blocked(&mut self, now: Monotonic) {
        self.delivery.added_to_blocked = 0;
        let soft_time = self.limits.queue_soft_time;
        let mut slow = Vec::new();
        let mut others = Vec::new();
        for (&slot, blocked) in &mut self.delivery.blocked {
            let outgoing = &self.slab[slot].outgoing;
            if outgoing.queued() > self.limits.queue_soft
                && now - *blocked.over_soft.get_or_insert(now) >= soft_time
            {
                slow.push((slot, Slowness::OverSoftLimit));
            } else if now - blocked.progress >= soft_time {
                slow.push((slot, Slowness::NothingRead));
            } else {
                others.push((outgoing.share(), slot));
            }
        }
        let mut total: usize = others.iter().map(|&(share, _)| share).sum();
        others.sort_unstable();
        while total > self.limits.queue_total
            && let Some((share, slot)) = others.pop()
        {
            total -= share;
            slow.push((slot, Slowness::AllQueuesFull));
        }
        for (slot, slowness) in slow {
            self.close_slow(slot, slowness, now);
        }
    }
}
