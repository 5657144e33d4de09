//! How often a client may ask, by the contract: a bucket that leaks.

/// The rate of requests, as a bucket that leaks: micro-seconds of requests in it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    level: u64,
    at: u64,
}

/// Requests a second, and at once.
pub(crate) const PER_SECOND: u32 = 20;
pub(crate) const BURST: u32 = 32;

impl Rate {
    /// Whether one more request at this moment of the monotonic clock is within the rate.
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
