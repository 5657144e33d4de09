//! The two clocks: a monotonic one for timeouts, the wall clock for tokens.
//!
//! The core never reads a system clock: the caller passes [`Now`] with each call, so tests can step either clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the monotonic clock: milliseconds since an origin chosen by the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

impl Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl Sub for Monotonic {
    type Output = Duration;

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A point on the wall clock: milliseconds since 1970-01-01T00:00:00Z (RFC 7519's `NumericDate` counts seconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

impl Wall {
    /// The latest representable time: no clock reaches it.
    pub const NEVER: Self = Self(u64::MAX);
}

impl Add<Duration> for Wall {
    type Output = Self;

    /// Saturates at [`Wall::NEVER`].
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// `duration` in whole milliseconds, rounded down; saturates at `u64::MAX`.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timeouts: never goes back.
    pub monotonic: Monotonic,
    /// For the tokens' `exp` and `nbf` only: may jump either way.
    pub wall: Wall,
}

impl Add<Duration> for Now {
    type Output = Self;

    /// Both clocks after `duration`, assuming that the wall clock is not set meanwhile.
    fn add(self, duration: Duration) -> Self {
        Self { monotonic: self.monotonic + duration, wall: self.wall + duration }
    }
}
