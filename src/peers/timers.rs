//! Peers' deadlines, and what happens when they pass.

use super::deadlines::Deadlines;
use super::drain::Drain;
use super::{CloseReason, Ending, Lane, Marks, Peer, PeerId, PeerLimits, Peers};
use crate::time::Monotonic;
use crate::websocket::handshake::Rejection;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often unfinished messages and blocked peers are checked. They are few, so each check visits them all.
const SWEEP: Duration = Duration::from_secs(1);

/// Deadlines that are handled in one turn: about a millisecond's worth.
const DUE_A_TURN: usize = 1024;

/// With one of these, what a peer has sent may wait for us: it is not late then.
const UNTAKEN: Marks = Marks::PAUSED.union(Marks::LEFTOVER).union(Marks::AWAITS_FLUSH).union(Marks::UNREAD);

/// The deadlines of all peers.
#[derive(Debug)]
pub(super) struct Timers {
    pub(super) handshake: Deadlines,
    pub(super) ping: Deadlines,
    pong: Deadlines,
    pub(super) close: Deadlines,
    /// When each peer began its unfinished message or request head, by slot.
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

    /// The slots of peers with an unfinished message or request head.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = usize> {
        self.unfinished.keys().copied()
    }
}

impl Peers {
    /// When [`Peers::advance`] is due next; `None` if nothing is.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let Timers { handshake, ping, pong, close, unfinished, next_sweep } = &self.timers;
        let sweep = (!unfinished.is_empty() || self.has_blocked()).then_some(*next_sweep);
        let drain = self.drain.as_ref().and_then(Drain::next);
        [handshake.next(), ping.next(), pong.next(), close.next(), sweep, drain].into_iter().flatten().min()
    }

    /// Does what is due: pings open peers, and closes or drops those past a deadline or over a limit.
    pub fn advance(&mut self, now: Monotonic) {
        // What is left is due still, so the next turn follows at once.
        let mut left = DUE_A_TURN;
        while let Some(id) = pop(&mut self.timers.handshake, &mut left, now) {
            // Not the peer's fault: its request may be in what was read and not taken.
            match self.has_leftover(id) {
                true => self.timers.handshake.set(id, now),
                false => self.reject(id, Rejection::RequestTimeout, now),
            }
        }
        // Before the next pings: a deadline of one that was answered must not be taken for theirs.
        while let Some(id) = pop(&mut self.timers.pong, &mut left, now) {
            let waits = |peer: &&mut Peer| {
                peer.marks.contains(Marks::AWAITS_PONG) && peer.marks.contains(Marks::OPEN)
            };
            let Some(peer) = self.slots.get_mut(id).filter(waits) else { continue };
            if peer.marks.intersects(UNTAKEN) || peer.waits_for_us() {
                // Its pong may have come and was not read, or our ping was not written: the next ping will tell.
                peer.marks.remove(Marks::AWAITS_PONG);
            } else {
                log::info!(peer:% = self.addresses.get(peer.address); "no pong, connection dropped");
                self.drop_peer(id, Ending::NoPong);
            }
        }
        while let Some(id) = pop(&mut self.timers.ping, &mut left, now) {
            if let Some(peer) = self.slots.get_mut(id)
                && peer.marks.contains(Marks::OPEN)
            {
                peer.connection.ping(b"", &mut peer.outgoing);
                peer.marks.insert(Marks::AWAITS_PONG);
                self.timers.pong.set(id, now);
                self.timers.ping.set(id, now);
                self.mark_dirty(id.index(), Lane::Reply);
            }
        }
        while let Some(id) = pop(&mut self.timers.close, &mut left, now) {
            // Not the peer's fault: its socket has not been offered what is queued.
            match self.slots.get(id).is_some_and(Peer::waits_for_us) {
                true => self.timers.close.set(id, now),
                false => self.disconnect(id),
            }
        }
        self.close_drained(now);
        if self.timers.next_sweep <= now {
            let is_all = self.sweep_messages(now) & self.sweep_blocked(now, DUE_A_TURN);
            self.timers.next_sweep = if is_all { now + SWEEP } else { now };
        }
        if self.is_memory_doubtful() {
            self.bound_memory(now);
        }
    }

    /// Closes peers that take too long for a message. While a peer is not read from, that is not its fault. Returns whether
    /// all of them are closed.
    fn sweep_messages(&mut self, now: Monotonic) -> bool {
        let limit = self.limits.message;
        let mut late = Vec::new();
        for (&slot, since) in &mut self.timers.unfinished {
            let Some(peer) = self.slots.at(slot) else { continue };
            if peer.marks.intersects(UNTAKEN) {
                *since = now;
            } else if peer.marks.contains(Marks::OPEN) && now - *since >= limit {
                late.extend(self.slots.id_at(slot));
            }
        }
        let is_all = late.len() <= DUE_A_TURN;
        for id in late.into_iter().take(DUE_A_TURN) {
            self.message_finished(id);
            self.close_now(id, CloseReason::MessageNotFinished, now);
        }
        is_all
    }

    /// Records whether the peer has an unfinished message or request head, and since when.
    pub(super) fn note_unfinished(&mut self, id: PeerId, now: Monotonic) {
        let Some(peer) = self.slots.get_mut(id) else { return };
        let held = peer.connection.held();
        let unfinished = match peer.marks.contains(Marks::OPEN) {
            true => peer.connection.is_unfinished(),
            false => held > 0 && peer.is_connecting(),
        };
        if unfinished != peer.marks.contains(Marks::UNFINISHED) {
            peer.marks.set(Marks::UNFINISHED, unfinished);
            match unfinished {
                true => drop(self.timers.unfinished.insert(id.index(), now)),
                false => drop(self.timers.unfinished.remove(&id.index())),
            }
        }
        self.memory.added(held);
    }

    /// Stops the clock of a message.
    pub(super) fn message_finished(&mut self, id: PeerId) {
        if let Some(peer) = self.slots.get_mut(id)
            && peer.marks.take(Marks::UNFINISHED)
        {
            self.timers.unfinished.remove(&id.index());
        }
    }
}

/// The next peer whose deadline is past, while there are any `left` in this turn.
fn pop(deadlines: &mut Deadlines, left: &mut usize, now: Monotonic) -> Option<PeerId> {
    *left = left.checked_sub(1)?;
    deadlines.pop(now)
}
