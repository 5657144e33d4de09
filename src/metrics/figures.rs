//! What only the event loop can know: how long things take, and what it does beside the traffic.

use crate::time::Wall;
use std::time::Duration;

/// Measured by the event loop since its start.
#[derive(Clone, Debug, Default)]
pub struct LoopFigures {
    /// When the server started.
    pub started: Wall,
    /// How long a turn takes, the wait for readiness not counted.
    pub turns: Histogram,
    /// From reading producers' lines to having offered each subscriber's socket what it gets of them.
    pub fan_outs: Histogram,
    /// Time spent on checking signatures.
    pub verification: Duration,
    /// How often accepting paused for want of descriptors or memory.
    pub accept_pauses: u64,
    /// Files read again.
    pub reloads: Reloads,
    /// Whether the server is stopping.
    pub draining: bool,
}

/// How often keys and access file were read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    /// Keys that were taken.
    pub keys_taken: u64,
    /// Keys that could not be used.
    pub keys_refused: u64,
    /// Access files that were taken.
    pub access_taken: u64,
    /// Access files that could not be used.
    pub access_refused: u64,
}

/// Durations, counted by their length.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// By [`Histogram::BOUNDS`]; the last one counts what is longer than all of them.
    counts: [u64; Self::BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// The longest duration of each bucket, in seconds.
    pub const BOUNDS: [f64; 12] =
        [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

    /// Counts one duration.
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = Self::BOUNDS.iter().position(|&bound| seconds <= bound).unwrap_or(Self::BOUNDS.len());
        self.counts[bucket] += 1;
        self.sum += duration;
    }

    /// For each bound, how many durations were no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut total = 0;
        Self::BOUNDS.iter().zip(self.counts).map(move |(&bound, count)| {
            total += count;
            (bound, total)
        })
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All durations together.
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
