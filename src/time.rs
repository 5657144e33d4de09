//! The two clocks, passed in by whoever drives the core: a monotonic one for time-outs, the wall clock for tokens.
//!
//! The core never asks the system what time it is; [`Now`] comes with each call. So a test can step either clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the monotonic clock: milliseconds since an origin the driver chose.
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

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A moment on the wall clock: milliseconds since 1970-01-01T00:00:00Z (RFC 7519's `NumericDate`, in thousandths).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

impl Wall {
    /// Later than every moment that comes.
    pub const NEVER: Self = Self(u64::MAX);
}

impl Add<Duration> for Wall {
    type Output = Self;

    /// [`Wall::NEVER`] is the latest it comes to.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// Whole milliseconds, as both clocks count them.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What both clocks show at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For time-outs: never steps back.
    pub monotonic: Monotonic,
    /// For `exp` and `nbf` of tokens only: may step either way.
    pub wall: Wall,
}

impl Add<Duration> for Now {
    type Output = Self;

    /// What the clocks show after `duration`, if nobody sets the wall clock meanwhile.
    fn add(self, duration: Duration) -> Self {
        Self { monotonic: self.monotonic + duration, wall: self.wall + duration }
    }
}
