//! The limit of requests in the contract: a leaky bucket.

/// A leaky bucket. Its level is the time that its requests take to leak, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    level: u64,
    at: u64,
}

/// Requests per second, and at once.
pub(crate) const PER_SECOND: u32 = 20;
pub(crate) const BURST: u32 = 32;

impl Rate {
    /// Fills the bucket to the brim.
    pub(crate) const fn fill(&mut self) {
        self.level = 1_000_000 / PER_SECOND as u64 * BURST as u64;
    }

    /// Whether one more request at this time of the monotonic clock is within the limit.
    pub(crate) fn admit(&mut self, monotonic: u64) -> bool {
        let interval = 1_000_000 / u64::from(PER_SECOND);
        self.level = self.level.saturating_sub((monotonic - self.at) * 1000);
        self.at = monotonic;
        let fits = self.level + interval <= interval * u64::from(BURST);
        if fits {
            self.level += interval;
        }
        fits
    }
}
