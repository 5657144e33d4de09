//! What a peer must do in time, and what happens when it does not.

use super::deadlines::Deadlines;
use super::drain::Drain;
use super::{CloseReason, Ending, Lane, Marks, Peer, PeerId, PeerLimits, Peers};
use crate::time::Monotonic;
use crate::websocket::handshake::Rejection;
use std::collections::BTreeMap;
use std::time::Duration;

/// Unfinished messages and blocked peers are few and come and go: they are looked through this often.
const SWEEP: Duration = Duration::from_secs(1);

/// The deadlines of all peers.
#[derive(Debug)]
pub(super) struct Timers {
    pub(super) handshake: Deadlines,
    pub(super) ping: Deadlines,
    pong: Deadlines,
    pub(super) close: Deadlines,
    /// Peers in the middle of a message, by slot, and since when.
    unfinished: BTreeMap<usize, Monotonic>,
    next_sweep: Monotonic,
}

impl Timers {
    pub(super) fn new(limits: &PeerLimits) -> Self {
        Self {
            handshake: Deadlines::new(limits.handshake),
            ping: Deadlines::new(limits.ping),
            pong: Deadlines::new(limits.pong),
            close: Deadlines::new(limits.close),
            unfinished: BTreeMap::new(),
            next_sweep: Monotonic::default(),
        }
    }

    pub(super) fn forget(&mut self, id: PeerId) {
        self.unfinished.remove(&id.index());
    }
}

impl Peers {
    /// When [`Peers::advance`] has something to do; `None` as long as there is no peer to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let Timers { handshake, ping, pong, close, unfinished, next_sweep } = &self.timers;
        let sweep = (!unfinished.is_empty() || self.has_blocked()).then_some(*next_sweep);
        let drain = self.drain.as_ref().and_then(Drain::next);
        [handshake.next(), ping.next(), pong.next(), close.next(), sweep, drain].into_iter().flatten().min()
    }

    /// Does what is due: pings the quiet, drops the dead and the late.
    pub fn advance(&mut self, now: Monotonic) {
        while let Some(id) = self.timers.handshake.pop(now) {
            self.reject(id, Rejection::RequestTimeout, now);
        }
        // Before the next pings: a deadline of one that was answered must not be taken for theirs.
        while let Some(id) = self.timers.pong.pop(now) {
            let waits = |peer: &&mut Peer| {
                peer.marks.contains(Marks::AWAITS_PONG) && peer.marks.contains(Marks::OPEN)
            };
            let Some(peer) = self.get_mut(id).filter(waits) else { continue };
            if peer.marks.contains(Marks::PAUSED) || peer.waits_for_us() {
                // Its pong may have come and is not read, or our ping was not written: the next ping will tell.
                peer.marks.remove(Marks::AWAITS_PONG);
            } else {
                log::info!(peer:% = self.addresses.get(self.slab[id.index()].address); "no pong, connection dropped");
                self.drop_peer(id, Ending::NoPong);
            }
        }
        while let Some(id) = self.timers.ping.pop(now) {
            if let Some(peer) = self.get_mut(id)
                && peer.marks.contains(Marks::OPEN)
            {
                peer.connection.ping(b"", &mut peer.outgoing);
                peer.marks.insert(Marks::AWAITS_PONG);
                self.timers.pong.set(id, now);
                self.timers.ping.set(id, now);
                self.mark_dirty(id.index(), Lane::Prompt);
            }
        }
        while let Some(id) = self.timers.close.pop(now) {
            // It is not late as long as it is us who are: what is queued for it has not been offered to it.
            match self.get(id).is_some_and(Peer::waits_for_us) {
                true => self.timers.close.set(id, now),
                false => self.disconnect(id),
            }
        }
        self.close_drained(now);
        if self.timers.next_sweep <= now || self.is_sweep_due() {
            self.timers.next_sweep = now + SWEEP;
            self.sweep_messages(now);
            self.sweep_blocked(now);
        }
    }

    /// Closes those who take too long for a message. While a peer is not read from, that is not its fault.
    fn sweep_messages(&mut self, now: Monotonic) {
        let limit = self.limits.message;
        for (&slot, since) in &mut self.timers.unfinished {
            if self.slab[slot].marks.contains(Marks::PAUSED) {
                *since = now;
            }
        }
        let late = |(&slot, &since): (&usize, &Monotonic)| (now - since >= limit).then_some(slot);
        for slot in self.timers.unfinished.iter().filter_map(late).collect::<Vec<_>>() {
            self.timers.unfinished.remove(&slot);
            let id = super::id_of(slot, &self.slab[slot]);
            self.close_now(id, CloseReason::MessageNotFinished, now);
        }
    }

    /// Starts the clock of a message, if one has begun.
    pub(super) fn message_begun(&mut self, id: PeerId, now: Monotonic) {
        let peer = &mut self.slab[id.index()];
        let unfinished = peer.marks.contains(Marks::OPEN) && peer.connection.is_unfinished();
        if unfinished != peer.marks.contains(Marks::UNFINISHED) {
            peer.marks.set(Marks::UNFINISHED, unfinished);
            match unfinished {
                true => drop(self.timers.unfinished.insert(id.index(), now)),
                false => drop(self.timers.unfinished.remove(&id.index())),
            }
        }
    }

    /// Stops the clock of a message.
    pub(super) fn message_finished(&mut self, id: PeerId) {
        if self.slab[id.index()].marks.take(Marks::UNFINISHED) {
            self.timers.unfinished.remove(&id.index());
        }
    }
}
