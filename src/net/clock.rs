//! The system's clocks.

use crate::time::{Monotonic, Now, Wall, millis};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The system's clocks. The monotonic one counts from the creation of this value.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now() }
    }

    pub(super) fn now(&self) -> Now {
        self.at(Instant::now())
    }

    /// The time on both clocks; `moment` must be now.
    pub(super) fn at(&self, moment: Instant) -> Now {
        Now { monotonic: Monotonic(millis(moment - self.start)), wall: Self::wall() }
    }

    /// The time on the wall clock.
    pub(super) fn wall() -> Wall {
        // A clock before 1970 is read as 1970: no token has expired by then either.
        Wall(millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}
