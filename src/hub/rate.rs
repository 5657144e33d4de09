//! How often a peer may ask: so many times a second, and so many at once after a rest.

use crate::time::Monotonic;

/// The rate all peers are held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateLimit {
    /// Microseconds that one request takes up; 0: no limit.
    interval: u64,
    /// Microseconds that may be taken up ahead of the clock.
    burst: u64,
}

/// One peer's account: the moment, in microseconds, up to which its requests have taken up the time.
///
/// This is the generic cell rate algorithm (ITU-T I.371): a token bucket that fits into one number, since a bucket
/// that fills steadily is known by when it will be full.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account(u64);

impl RateLimit {
    /// `per_second` requests a second (0: any number) and `burst` at once.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = if per_second == 0 { 0 } else { 1_000_000 / u64::from(per_second) };
        Self { interval, burst: interval * u64::from(burst) }
    }

    /// Whether one more request is within the rate. One that is not costs nothing.
    pub(super) fn admit(self, account: &mut Account, now: Monotonic) -> bool {
        let now = now.0.saturating_mul(1000);
        let taken_up = account.0.max(now) + self.interval;
        let within = taken_up - now <= self.burst || self.interval == 0;
        if within {
            account.0 = taken_up;
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_at_once_and_then_the_rate() {
        let limit = RateLimit::new(20, 256);
        let mut account = Account::default();
        let start = Monotonic(1_000_000);
        assert_eq!((0..1000).filter(|_| limit.admit(&mut account, start)).count(), 256);
        let hour = (0..3_600_000).filter(|&ms| limit.admit(&mut account, Monotonic(start.0 + ms))).count();
        assert!((71_999..=72_001).contains(&hour), "{hour}");
        let rested = Monotonic(start.0 + 10_000_000);
        assert_eq!((0..1000).filter(|_| limit.admit(&mut account, rested)).count(), 256);
    }

    #[test]
    fn zero_is_no_limit() {
        let mut account = Account::default();
        assert!((0..100_000).all(|_| RateLimit::new(0, 0).admit(&mut account, Monotonic(5))));
    }
}
