//! Where the time comes from.

use crate::time::{Monotonic, Now, Wall};
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
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        // Before 1970 every token is good and none has expired: 1970 serves as well.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: Monotonic(millis(self.start.elapsed())), wall: Wall(millis(wall)) }
    }
}
