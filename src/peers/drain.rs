//! Closes all connections when the server stops, spread over a time, so that clients do not all reconnect at once.

use super::{CloseReason, PeerId, Peers};
use crate::time::Monotonic;
use crate::websocket::handshake::Rejection;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// `Retry-After` for clients that were still connecting, in seconds.
const RETRY_AFTER: u32 = 1;

/// The remaining closings: in random order, at equal intervals, each delayed by a random part of one interval.
#[derive(Debug)]
pub(super) struct Drain {
    start: Monotonic,
    span: Duration,
    seed: u64,
    /// The number of peers at the start.
    total: usize,
    remaining: Vec<PeerId>,
}

impl Drain {
    fn new(peers: Vec<PeerId>, span: Duration, seed: u64, start: Monotonic) -> Self {
        Self { start, span, seed, total: peers.len(), remaining: peers }
    }

    /// When the next closing is due.
    pub(super) fn next(&self) -> Option<Monotonic> {
        let done = self.total - self.remaining.len();
        let moved = f64::from(u32::try_from(self.random() >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 peers")]
        let share = (done as f64 + moved) / self.total as f64;
        (!self.remaining.is_empty()).then(|| self.start + self.span.mul_f64(share))
    }

    /// Takes a random peer, if a closing is due.
    fn pop(&mut self, now: Monotonic) -> Option<PeerId> {
        self.next().filter(|&due| due <= now)?;
        #[expect(clippy::cast_possible_truncation, reason = "any of its bits are random")]
        let chosen = self.random() as usize % self.remaining.len();
        Some(self.remaining.swap_remove(chosen))
    }

    /// A number that differs for each closing and each seed. A hash is random enough to spread clients.
    fn random(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, self.remaining.len()).hash(&mut hasher);
        hasher.finish()
    }
}

impl Peers {
    /// Begins to close every connection with 1001, spread over `span` from now. Peers that are still connecting are
    /// refused at once. Messages queued for a peer before its Close are still sent. `seed` determines order and jitter.
    pub fn drain(&mut self, span: Duration, seed: u64, now: Monotonic) {
        let mut open = Vec::with_capacity(self.open);
        for id in self.ids().collect::<Vec<_>>() {
            match self.is_open(id) {
                true => open.push(id),
                false => self.reject(id, Rejection::Unavailable { retry_after: RETRY_AFTER }, now),
            }
        }
        self.drain = Some(Drain::new(open, span, seed, now));
        self.close_drained(now);
    }

    /// Closes the peers whose closing is due.
    pub(super) fn close_drained(&mut self, now: Monotonic) {
        while let Some(id) = self.drain.as_mut().and_then(|drain| drain.pop(now)) {
            self.close(id, CloseReason::Stopping, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The closings, each with its time in milliseconds since the start.
    fn run(peers: u32, span: Duration, seed: u64) -> Vec<(u64, PeerId)> {
        let start = Monotonic(1_000_000);
        let mut drain =
            Drain::new((0..peers).map(|index| PeerId::new(index, 1)).collect(), span, seed, start);
        let mut closed = Vec::new();
        while let Some(due) = drain.next() {
            assert_eq!(drain.pop(Monotonic(due.0 - 1)), None, "never early");
            closed.push((due.0 - start.0, drain.pop(due).unwrap()));
        }
        closed
    }

    #[test]
    fn s27_closings_are_spread_evenly_with_jitter_and_in_no_order() {
        let span = Duration::from_secs(30);
        let closed = run(20_000, span, 7);
        let mut peers: Vec<PeerId> = closed.iter().map(|&(_, peer)| peer).collect();
        assert!(!peers.is_sorted());
        peers.sort_unstable();
        peers.dedup();
        assert_eq!(peers.len(), 20_000, "each once");
        assert!(closed.is_sorted_by_key(|&(due, _)| due));
        assert!(closed.iter().all(|&(due, _)| due <= 30_000));
        // A hundredth of them in each hundredth of the time, give or take one at either border.
        for hundredth in 0..100 {
            let borders = hundredth * 300..(hundredth + 1) * 300;
            let count = closed.iter().filter(|(due, _)| borders.contains(due)).count();
            assert!((199..=201).contains(&count), "{count} in {borders:?}");
        }
        let distances: Vec<u64> = run(10, span, 7).windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(distances.iter().any(|&distance| distance != distances[0]), "no jitter: {distances:?}");
    }

    #[test]
    fn another_seed_is_another_order_and_the_same_seed_the_same() {
        let span = Duration::from_secs(1);
        assert_eq!(run(100, span, 1), run(100, span, 1));
        assert_ne!(run(100, span, 1), run(100, span, 2));
    }

    #[test]
    fn without_time_all_are_closed_at_once() {
        assert!(run(1000, Duration::ZERO, 3).iter().all(|&(due, _)| due == 0));
        assert_eq!(run(0, Duration::from_secs(1), 3), []);
    }
}
