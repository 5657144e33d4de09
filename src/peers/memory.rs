//! The one account of memory: everything held for peers, against `queueTotalBytes`.
//!
//! Counted are the queues (shared frames by this queue's share of them, and what a queue needs to find its chunks), input
//! that waits to be taken, and half-received heads, frames and messages; of every peer, whether its socket is full or not
//! and whether it is open, connecting or closing. An exact sum walks all peers that hold something, so it is taken only
//! when what was added since the last one could have exceeded the budget: at most a sixteenth of the budget too late.

use super::{CloseReason, Lane, Marks, PeerId, Peers, Slowness, Stage};
use crate::time::Monotonic;
use crate::websocket::handshake::Rejection;

/// What is known between two exact sums.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The last exact sum.
    last: usize,
    /// Bytes added since, shared ones once; what was freed is not taken off.
    added: usize,
}

/// A sum is taken when this part of the budget was added.
const OVERSHOOT: usize = 16;

/// The largest rest of a frame that is kept for a peer closed over the memory budget; with more, it gets no Close.
const KEPT_FOR_CLOSE: usize = 16 << 10;

/// Seconds after which a client refused over the memory budget should try again.
const RETRY_AFTER: u32 = 5;

impl Memory {
    /// Notes that bytes are held that were not before.
    pub(super) const fn added(&mut self, bytes: usize) {
        self.added = self.added.saturating_add(bytes);
    }

    /// Whether the budget may be exceeded.
    const fn is_doubtful(&self, budget: usize) -> bool {
        let unused = budget.saturating_sub(self.last);
        self.added > if unused > budget / OVERSHOOT { unused } else { budget / OVERSHOOT }
    }
}

impl Peers {
    /// Whether the memory of all peers has to be summed up now.
    pub(super) const fn is_memory_doubtful(&self) -> bool {
        self.memory.is_doubtful(self.limits.queue_total)
    }

    /// Sums up the memory of all peers; while it is over the budget, ends those that hold the most.
    pub(super) fn bound_memory(&mut self, now: Monotonic) {
        let budget = self.limits.queue_total;
        loop {
            let mut holders: Vec<(usize, PeerId)> = Vec::new();
            self.for_each_holder(|peers, id| holders.push((peers.held_by(id), id)));
            let mut total: usize = holders.iter().map(|(held, _)| held).sum();
            if total <= budget {
                self.memory = Memory { last: total, added: 0 };
                return;
            }
            // What they share with others is not freed by ending them alone, so the sum is taken again.
            holders.sort_unstable();
            while total > budget
                && let Some((held, id)) = holders.pop()
            {
                total -= held;
                self.end_for_memory(id, now);
            }
        }
    }

    /// Bytes queued for all peers, shared ones counted for each; and for how many peers something is queued.
    #[must_use]
    pub fn queued(&self) -> (usize, usize) {
        let (mut bytes, mut peers) = (0, 0);
        self.for_each_holder(|all, id| {
            let queued = all.slots.get(id).map_or(0, |peer| peer.outgoing.queued());
            bytes += queued;
            peers += usize::from(queued > 0);
        });
        (bytes, peers)
    }

    /// Memory held for all peers in bytes, shared frames counted once.
    #[must_use]
    pub fn held(&self) -> usize {
        let mut held = 0;
        self.for_each_holder(|all, id| held += all.held_by(id));
        held
    }

    /// Memory held for one peer.
    fn held_by(&self, id: PeerId) -> usize {
        let Some(peer) = self.slots.get(id) else { return 0 };
        let leftover = self.leftovers.get(&id.index()).map_or(0, |left| left.bytes.capacity());
        peer.outgoing.share() + peer.connection.held() + leftover
    }

    /// Calls `each` once for every peer that may hold something: those to write to, those whose sockets are full, those
    /// that have begun something and those with input that waits.
    fn for_each_holder(&self, mut each: impl FnMut(&Self, PeerId)) {
        // A peer may be in several lists, and in one of them twice: for itself and for one that had its slot before.
        let dirty = Lane::ALL.into_iter().flat_map(|lane| self.delivery.slots(lane));
        let mut slots: Vec<usize> = dirty
            .chain(self.delivery.watched())
            .chain(self.timers.unfinished())
            .chain(self.leftovers.keys().copied())
            .collect();
        slots.sort_unstable();
        slots.dedup();
        for id in slots.into_iter().filter_map(|slot| self.slots.id_at(slot)) {
            each(self, id);
        }
    }

    /// Ends a peer so that its memory is freed: with a Close or an HTTP answer where that holds little.
    fn end_for_memory(&mut self, id: PeerId, now: Monotonic) {
        let Some(peer) = self.slots.get(id) else { return };
        if peer.is_connecting() {
            self.reject(id, Rejection::Unavailable { retry_after: RETRY_AFTER }, now);
            self.take_leftover(id);
        } else if peer.marks.contains(Marks::OPEN) {
            self.close_slow(id, Slowness::AllQueuesFull, now);
            self.take_leftover(id);
            if self.held_by(id) > KEPT_FOR_CLOSE {
                self.disconnect(id);
            }
        } else if peer.stage != Stage::Gone {
            log::debug!(reason:? = CloseReason::SlowConsumer; "connection dropped during its closing: the memory budget is exceeded");
            self.disconnect(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_due_before_the_budget_can_be_exceeded_by_a_sixteenth() {
        let budget = 800;
        for last in [0, 100, 500, 700, 790, 800, 1000] {
            let mut memory = Memory { last, added: 0 };
            while !memory.is_doubtful(budget) {
                memory.added(1);
            }
            assert!(memory.added > 50 || last == 0, "not at each byte");
            assert!(
                last + memory.added <= (budget + budget / OVERSHOOT).max(last + 51) + 1,
                "{last}: {}",
                memory.added
            );
        }
    }
}
