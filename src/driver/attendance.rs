//! The time that counts for peers: time in which the process was stopped does not.
//!
//! After SIGSTOP and SIGCONT, a suspended machine or a very long turn, everything that came meanwhile waits in the kernel:
//! pongs, heads, reads. Time-outs must not strike before that was read, so the clock of the turns stands still from the
//! last turn before the gap until all that was readable after it has been read, and what was queued has been offered.

use crate::time::{Monotonic, Now, millis};
use std::time::Duration;

/// A turn that begins this much later than the wait allows begins late.
const LATE: Duration = Duration::from_secs(1);

/// Catching up takes no longer than this, so that no flood keeps the clock from going on.
const LONGEST_CATCH_UP: Duration = Duration::from_secs(5);

/// When turns began, and the time that does not count.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    /// When the last turn began.
    last: Option<Monotonic>,
    /// The longest that the wait since then was to be; `None` for any length.
    wait: Option<Duration>,
    /// How far the clock of the turns is behind.
    lost: Duration,
    catch_up: Option<CatchUp>,
    /// The last turn began late.
    was_late: bool,
    /// Catching up took too long, and every turn since has been late: turns are slow, and their time counts.
    is_slow: bool,
}

#[derive(Debug)]
struct CatchUp {
    /// How long it has taken since the last stop. Of a late turn behind a late one, [`LATE`] counts: turns may be slow.
    took: Duration,
    /// The wait has reported all the readiness there was.
    is_all_reported: bool,
    /// Peers that were readable then and have not been read since; `None` before.
    unread: Option<usize>,
}

impl Attendance {
    /// A turn begins. Returns the time that counts.
    pub(super) fn begin(&mut self, real: Now, is_all_reported: bool) -> Now {
        let last = self.last.replace(real.monotonic).unwrap_or(real.monotonic);
        let passed = real.monotonic - last;
        let is_late = self.wait.is_some_and(|wait| passed > wait + LATE);
        if let Some(catch_up) = &mut self.catch_up {
            self.lost += passed;
            if is_late {
                (catch_up.is_all_reported, catch_up.unread) = (false, None);
            }
            // Late behind a prompt turn: stopped again, so there is as much time as after the first stop.
            catch_up.took =
                if is_late && !self.was_late { Duration::ZERO } else { catch_up.took + passed.min(LATE) };
            catch_up.is_all_reported |= is_all_reported;
            if catch_up.took >= LONGEST_CATCH_UP {
                self.catch_up = None;
                self.is_slow = true;
            }
        } else if is_late && !self.is_slow {
            log::warn!(milliseconds = passed.as_millis(); "the server was stopped: time-outs wait until it has caught up");
            self.lost += passed;
            self.catch_up = Some(CatchUp { took: Duration::ZERO, is_all_reported, unread: None });
        }
        self.is_slow &= is_late;
        self.was_late = is_late;
        Now { monotonic: Monotonic(real.monotonic.0.saturating_sub(millis(self.lost))), ..real }
    }

    /// This many peers are readable, as far as readiness was reported.
    pub(super) const fn reports(&mut self, readable: usize) {
        if let Some(catch_up) = &mut self.catch_up
            && catch_up.is_all_reported
            && catch_up.unread.is_none()
        {
            catch_up.unread = Some(readable);
        }
    }

    /// This many peers have been read, in the order in which they became readable.
    pub(super) fn has_read(&mut self, count: usize) {
        if let Some(CatchUp { unread: Some(unread), .. }) = &mut self.catch_up {
            *unread = unread.saturating_sub(count);
        }
    }

    /// Peers that were read have more: it comes after that of this many peers.
    pub(super) const fn has_more(&mut self, readable: usize) {
        if let Some(CatchUp { unread: Some(unread), .. }) = &mut self.catch_up {
            *unread = readable;
        }
    }

    /// Everything queued has been offered to its socket.
    pub(super) fn has_written(&mut self) {
        if self.catch_up.as_ref().is_some_and(|catch_up| catch_up.unread == Some(0)) {
            self.catch_up = None;
        }
    }

    /// The next turn begins after this time at the latest.
    pub(super) const fn waits(&mut self, longest: Option<Duration>) {
        self.wait = longest;
    }

    /// Whether what came while the process was stopped has not all been read.
    pub(super) const fn is_catching_up(&self) -> bool {
        self.catch_up.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    fn at(millis: u64) -> Now {
        Now { monotonic: Monotonic(millis), wall: Wall(millis) }
    }

    #[test]
    fn time_that_turns_took_and_waited_counts() {
        let mut attendance = Attendance::default();
        for (real, wait) in [(100, 500), (600, 1000), (2_500, 10), (3_400, 0)] {
            assert_eq!(attendance.begin(at(real), true), at(real));
            attendance.waits(Some(Duration::from_millis(wait)));
        }
        assert!(!attendance.is_catching_up());
    }

    #[test]
    fn s57_a_stop_does_not_count_until_everything_was_read_and_offered() {
        let mut attendance = Attendance::default();
        attendance.begin(at(1_000), true);
        attendance.waits(Some(Duration::from_millis(100)));
        // Stopped for a minute; the first wait after it does not report all.
        assert_eq!(attendance.begin(at(61_000), false).monotonic, Monotonic(1_000));
        attendance.reports(1_024);
        attendance.has_read(300);
        attendance.has_written();
        attendance.waits(Some(Duration::ZERO));
        assert_eq!(attendance.begin(at(61_005), true).monotonic, Monotonic(1_000));
        attendance.reports(700);
        attendance.has_read(300);
        attendance.waits(Some(Duration::ZERO));
        assert_eq!(attendance.begin(at(61_010), true).monotonic, Monotonic(1_000));
        // More has become readable since: that is not waited for.
        attendance.reports(2_000);
        attendance.has_read(400);
        assert!(attendance.is_catching_up(), "what is queued was not offered");
        attendance.has_written();
        assert!(!attendance.is_catching_up());
        attendance.waits(Some(Duration::from_millis(500)));
        let now = attendance.begin(at(61_510), true);
        assert_eq!(
            (now.monotonic, now.wall),
            (Monotonic(1_500), Wall(61_510)),
            "the wall clock is what it is"
        );
    }

    #[test]
    fn s57_a_flood_does_not_keep_the_clock_from_going_on() {
        let mut attendance = Attendance::default();
        attendance.begin(at(0), true);
        attendance.waits(Some(Duration::ZERO));
        let mut last = 0;
        for real in (10_000..20_000).step_by(10) {
            last = attendance.begin(at(real), false).monotonic.0;
            attendance.waits(Some(Duration::ZERO));
        }
        assert!((4_900..5_100).contains(&last), "{last}");
    }

    #[test]
    fn s57_what_one_read_did_not_take_is_waited_for() {
        let mut attendance = Attendance::default();
        attendance.begin(at(0), true);
        attendance.waits(Some(Duration::ZERO));
        attendance.begin(at(11_000), true);
        attendance.reports(1);
        attendance.has_read(1);
        attendance.has_more(1);
        attendance.has_written();
        assert!(attendance.is_catching_up());
        attendance.has_read(1);
        attendance.has_written();
        assert!(!attendance.is_catching_up());
    }

    #[test]
    fn s57_slow_turns_do_not_keep_the_clock_from_going_on() {
        let mut attendance = Attendance::default();
        attendance.begin(at(0), true);
        attendance.waits(Some(Duration::ZERO));
        let mut last = 0;
        for real in (1_500..=60_000).step_by(1_500) {
            last = attendance.begin(at(real), true).monotonic.0;
            attendance.reports(1_000);
            attendance.has_read(10);
            attendance.waits(Some(Duration::ZERO));
        }
        assert!((45_000..60_000).contains(&last), "{last}");
        // They are fast again, and then there is a stop.
        attendance.begin(at(60_010), true);
        attendance.waits(Some(Duration::ZERO));
        let before = attendance.begin(at(60_020), true).monotonic;
        attendance.waits(Some(Duration::ZERO));
        assert_eq!(attendance.begin(at(120_000), true).monotonic, before);
    }

    #[test]
    fn s57_a_second_stop_does_not_count_either() {
        let mut attendance = Attendance::default();
        attendance.begin(at(0), true);
        for real in [11_000, 22_000, 82_000] {
            attendance.waits(Some(Duration::ZERO));
            assert_eq!(attendance.begin(at(real), true).monotonic, Monotonic(0), "{real}");
            assert!(attendance.is_catching_up());
        }
    }

    #[test]
    fn s57_a_stop_while_catching_up_leaves_as_much_time_as_the_first() {
        let mut attendance = Attendance::default();
        attendance.begin(at(0), true);
        let mut last = 0;
        for stopped_until in [10_000, 30_000] {
            for real in (stopped_until..stopped_until + 4_900).step_by(100) {
                attendance.waits(Some(Duration::ZERO));
                last = attendance.begin(at(real), false).monotonic.0;
                assert_eq!(last, 0, "at {real}");
            }
        }
        // But no more than that.
        for real in (34_900..40_000).step_by(100) {
            attendance.waits(Some(Duration::ZERO));
            last = attendance.begin(at(real), false).monotonic.0;
        }
        assert!((4_800..5_100).contains(&last), "{last}");
    }

    #[test]
    fn who_waits_for_nothing_is_never_late() {
        let mut attendance = Attendance::default();
        attendance.begin(at(0), true);
        attendance.waits(None);
        assert_eq!(attendance.begin(at(3_600_000), true), at(3_600_000));
    }
}
