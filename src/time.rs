//! Moments on the two clocks: the monotonic clock for timeouts, the wall clock for tokens.
//!
//! The core never reads a clock; its driver passes [`Now`] with each call. So a test can step either clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the monotonic clock: milliseconds since an origin of the driver's choice.
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
    /// Later than every other moment.
    pub const NEVER: Self = Self(u64::MAX);
}

impl Add<Duration> for Wall {
    type Output = Self;

    /// Saturates at [`Wall::NEVER`].
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// The duration in whole milliseconds, the unit of both clocks; saturates.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The readings of both clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timeouts: never steps back.
    pub monotonic: Monotonic,
    /// For `exp` and `nbf` of tokens only: may step either way.
    pub wall: Wall,
}

impl Add<Duration> for Now {
    type Output = Self;

    /// The readings after `duration`, unless the wall clock is set meanwhile.
    fn add(self, duration: Duration) -> Self {
        Self { monotonic: self.monotonic + duration, wall: self.wall + duration }
    }
}
