//! Where the time comes from.

use crate::time::{Monotonic, Now, Wall, millis};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The system's clocks; the monotonic one counts from the moment this was made.
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

    /// What both clocks show at `moment`, which is this one.
    pub(super) fn at(&self, moment: Instant) -> Now {
        Now { monotonic: Monotonic(millis(moment - self.start)), wall: Self::wall() }
    }

    /// What the wall clock shows.
    pub(super) fn wall() -> Wall {
        // Before 1970 every token is good and none has expired: 1970 serves as well.
        Wall(millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}
