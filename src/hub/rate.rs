//! Rate limit of requests, and the offences that close a connection.

use crate::time::Monotonic;

/// Requests over the rate, minus one a second, that close the connection.
const OVER_RATE: u16 = 1000;

/// The most consecutive requests over the rate; one more closes the connection.
const OVER_RATE_IN_A_ROW: u8 = 255;

/// Bad tokens, minus good ones, that close the connection.
const BAD_TOKENS: u8 = 20;

/// Consecutive bad tokens that close the connection.
const BAD_TOKENS_IN_A_ROW: u8 = 5;

/// The rate limit of every client.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateLimit {
    /// Microseconds between requests at the limit; 0: no limit.
    interval: u64,
    /// Microseconds by which an account may run ahead of the clock.
    burst: u64,
}

/// One client's account under the generic cell rate algorithm (ITU-T I.371): the time, in microseconds, at which its
/// token bucket will be full again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account(u64);

/// A client's refused requests: consecutive ones, and a running total. In the totals, each good token cancels one bad
/// one, and each second cancels one request over the rate. Eight bytes, for there may be a million of these.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offences {
    /// The lower 16 bits of the second of the last request over the rate.
    second: u16,
    over_rate: u16,
    bad_tokens: u8,
    over_rate_in_a_row: u8,
    bad_tokens_in_a_row: u8,
}

impl RateLimit {
    /// Allows `per_second` requests a second (0: any number) and `burst` at once.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = if per_second == 0 { 0 } else { 1_000_000 / u64::from(per_second) };
        Self { interval, burst: interval * u64::from(burst) }
    }

    /// Whether one more request is within the rate. A refused one is not charged to the account.
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

impl Offences {
    /// Counts a request over the rate. Returns whether to close the connection.
    pub(super) fn over_rate(&mut self, now: Monotonic) -> bool {
        self.forgive(now);
        let is_last_in_a_row = self.over_rate_in_a_row == OVER_RATE_IN_A_ROW;
        self.over_rate_in_a_row = self.over_rate_in_a_row.saturating_add(1);
        self.over_rate += 1;
        is_last_in_a_row || self.over_rate >= OVER_RATE
    }

    /// Ends the run of consecutive requests over the rate.
    pub(super) const fn within_rate(&mut self) {
        self.over_rate_in_a_row = 0;
    }

    /// Counts a bad token. Returns whether to close the connection.
    pub(super) const fn bad_token(&mut self) -> bool {
        self.bad_tokens_in_a_row += 1;
        self.bad_tokens += 1;
        self.bad_tokens_in_a_row >= BAD_TOKENS_IN_A_ROW || self.bad_tokens >= BAD_TOKENS
    }

    /// Counts a good token.
    pub(super) const fn good_token(&mut self) {
        self.bad_tokens_in_a_row = 0;
        self.bad_tokens = self.bad_tokens.saturating_sub(1);
    }

    fn forgive(&mut self, now: Monotonic) {
        #[expect(clippy::cast_possible_truncation, reason = "the lower 16 bits")]
        let second = (now.0 / 1000) as u16;
        let passed = second.wrapping_sub(self.second);
        self.second = second;
        self.over_rate = self.over_rate.saturating_sub(passed);
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

    #[test]
    fn s58_requests_over_the_rate_end_a_connection_whatever_comes_between() {
        let now = Monotonic(1_000_000);
        let mut in_a_row = Offences::default();
        assert_eq!((1..).find(|_| in_a_row.over_rate(now)), Some(256));
        let mut with_good_ones = Offences::default();
        let ends = (1..).find(|_| {
            with_good_ones.within_rate();
            with_good_ones.over_rate(now)
        });
        assert_eq!(ends, Some(1000));
    }

    #[test]
    fn s58_bad_tokens_end_a_connection_whatever_comes_between() {
        let mut in_a_row = Offences::default();
        assert_eq!((1..).find(|_| in_a_row.bad_token()), Some(5));
        let mut with_good_ones = Offences::default();
        let ends = (1..).find(|count| {
            if count % 4 == 0 {
                with_good_ones.good_token();
            }
            with_good_ones.bad_token()
        });
        assert_eq!(ends, Some(26), "20 more bad ones than good ones");
        let mut alternating = Offences::default();
        for _ in 0..1000 {
            assert!(!alternating.bad_token());
            alternating.good_token();
        }
    }

    #[test]
    fn requests_over_the_rate_are_forgiven_one_a_second() {
        let mut offences = Offences::default();
        for second in 0..100_000 {
            offences.within_rate();
            assert!(!offences.over_rate(Monotonic(second * 1000)), "second {second}");
        }
        assert_eq!(size_of::<Offences>(), 8);
    }
}
