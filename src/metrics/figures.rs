//! Measurements that only the event loop can make: durations, reloads, accept pauses.

use std::time::Duration;

use crate::time::Wall;

/// Measurements of the event loop since its start.
#[derive(Clone, Debug, Default)]
pub struct LoopFigures {
    /// When the server started.
    pub started: Wall,
    /// How long turns took, without the wait for readiness.
    pub turns: Histogram,
    /// From reading producers' lines to offering the events to every subscriber's socket.
    pub fan_outs: Histogram,
    /// Time spent on checking signatures.
    pub verification: Duration,
    /// How often accepting paused because descriptors or memory had run out.
    pub accept_pauses: u64,
    /// Reloads of the key files and the access file.
    pub reloads: Reloads,
    /// Whether the server is stopping.
    pub draining: bool,
}

/// Reloads of the key files and the access file, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    /// Reloads of the key files that succeeded.
    pub keys_taken: u64,
    /// Reloads of the key files that failed; the old keys stayed in force.
    pub keys_refused: u64,
    /// Reloads of the access file that succeeded.
    pub access_taken: u64,
    /// Reloads of the access file that failed; the old one stayed in force.
    pub access_refused: u64,
}

/// A histogram of durations.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// By bucket of [`Histogram::BOUNDS`]; the last counts durations above all bounds.
    counts: [u64; Self::BOUNDS.len() + 1],
    sum: Duration,
    longest: Duration,
}

impl Histogram {
    /// The upper bound of each bucket, inclusive, in seconds.
    pub const BOUNDS: [f64; 12] =
        [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

    /// Adds one duration.
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = Self::BOUNDS.iter().position(|&bound| seconds <= bound).unwrap_or(Self::BOUNDS.len());
        self.counts[bucket] += 1;
        self.sum += duration;
        self.longest = self.longest.max(duration);
    }

    /// Each bound, in seconds, with the number of durations up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut total = 0;
        Self::BOUNDS.iter().zip(self.counts).map(move |(&bound, count)| {
            total += count;
            (bound, total)
        })
    }

    /// The number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The longest duration.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    /// The sum of all durations.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_every_bucket_that_is_long_enough() {
        let mut histogram = Histogram::default();
        for micros in [0, 50, 51, 1000, 2_500_000, 2_500_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5]);
        assert_eq!(histogram.count(), 6);
        assert_eq!(histogram.sum(), Duration::from_micros(5_001_102));
    }
}
