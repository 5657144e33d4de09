//! Deadlines of one duration: those set first are due first, so a queue holds them, not a heap.
//!
//! A deadline cannot be taken back. Whoever gets one that is due looks whether it still matters: the peer may be gone,
//! or may have done what was waited for.

use super::PeerId;
use crate::time::Monotonic;
use std::collections::VecDeque;
use std::time::Duration;

/// Deadlines are due at multiples of this many milliseconds: up to this much late, never early. Those due together share
/// one bucket, so a deadline costs the eight bytes of its peer's id.
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
    /// None yet; each will be due `duration` after it is set.
    pub(super) const fn new(duration: Duration) -> Self {
        Self { duration, buckets: VecDeque::new() }
    }

    /// Sets a deadline for `peer`, `duration` from now.
    pub(super) fn set(&mut self, peer: PeerId, now: Monotonic) {
        let due = Monotonic((now + self.duration).0.div_ceil(GRANULARITY).saturating_mul(GRANULARITY));
        match self.buckets.back_mut() {
            // Not before the last one's: the clock is monotonic, and if it were not, order would still hold.
            Some(last) if last.due >= due => last.peers.push(peer),
            _ => self.buckets.push_back(Bucket { due, peers: vec![peer] }),
        }
    }

    /// The next peer whose deadline is past.
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
    fn deadlines_come_when_they_are_due_and_never_before() {
        let mut deadlines = Deadlines::new(Duration::from_secs(5));
        let peers: Vec<PeerId> = (0..1000).map(|index| PeerId::new(index, 1)).collect();
        for (&peer, set) in peers.iter().zip((0..).step_by(7)) {
            deadlines.set(peer, Monotonic(set));
        }
        let mut popped = Vec::new();
        for now in 0..20_000 {
            while let Some(peer) = deadlines.pop(Monotonic(now)) {
                let set = peer.index() as u64 * 7;
                assert!(
                    (set + 5000..=set + 5000 + GRANULARITY).contains(&now),
                    "set at {set}, came at {now}"
                );
                popped.push(peer);
            }
        }
        popped.sort_unstable();
        assert_eq!(popped, peers);
        assert_eq!(deadlines.next(), None);
    }
}
