//! Deadlines of equal duration: they are due in the order they were set, so a queue holds them instead of a heap.
//!
//! A deadline cannot be cancelled. When one is due, callers must check whether it still applies: the peer may be gone or
//! may have done what was expected.

use super::PeerId;
use crate::time::Monotonic;
use std::collections::VecDeque;
use std::time::Duration;

/// Deadlines are due at multiples of this many milliseconds: late by less than this, never early. Deadlines due together
/// share a bucket, so each costs only the eight bytes of its peer's id.
const GRANULARITY: u64 = 128;

/// A queue of deadlines that all have the same duration.
#[derive(Debug)]
pub(super) struct Deadlines {
    duration: Duration,
    buckets: VecDeque<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    due: Monotonic,
    peers: Vec<PeerId>,
}

impl Deadlines {
    /// An empty queue of deadlines that are due `duration` after they are set.
    pub(super) const fn new(duration: Duration) -> Self {
        Self { duration, buckets: VecDeque::new() }
    }

    /// Sets a deadline for `peer`, `duration` from now.
    pub(super) fn set(&mut self, peer: PeerId, now: Monotonic) {
        let due = Monotonic((now + self.duration).0.div_ceil(GRANULARITY).saturating_mul(GRANULARITY));
        match self.buckets.back_mut() {
            // The clock is monotonic; even if it were not, the order would hold.
            Some(last) if last.due >= due => last.peers.push(peer),
            _ => self.buckets.push_back(Bucket { due, peers: vec![peer] }),
        }
    }

    /// Takes the next peer whose deadline has passed.
    pub(super) fn pop(&mut self, now: Monotonic) -> Option<PeerId> {
        while let Some(bucket) = self.buckets.front_mut()
            && bucket.due <= now
        {
            if let Some(peer) = bucket.peers.pop() {
                return Some(peer);
            }
            self.buckets.pop_front();
        }
        None
    }

    /// When the next deadline is due.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.buckets.front().map(|bucket| bucket.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_due_on_time_and_never_early() {
        let mut deadlines = Deadlines::new(Duration::from_secs(5));
        let peers: Vec<PeerId> = (0..1000).map(|index| PeerId::new(index, 1)).collect();
        for (&peer, set) in peers.iter().zip((0..).step_by(7)) {
            deadlines.set(peer, Monotonic(set));
        }
        let mut popped = Vec::new();
        for now in 0..20_000 {
            while let Some(peer) = deadlines.pop(Monotonic(now)) {
                let set = peer.index() as u64 * 7;
                assert!((set + 5000..=set + 5000 + GRANULARITY).contains(&now), "set at {set}, due at {now}");
                popped.push(peer);
            }
        }
        popped.sort_unstable();
        assert_eq!(popped, peers);
        assert_eq!(deadlines.next(), None);
    }
}
