//! Frames that bring no message: pings, pongs, fragments. A few are part of the protocol; a flood of them is not, and no rate
//! of requests is kept for it.

use super::{CloseReason, Marks, PeerId, Peers, Stage};
use crate::time::Monotonic;

/// How many have come from a peer in one second of the clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameCount {
    /// The last 16 bits of it: enough to tell it from those around it.
    second: u16,
    count: u16,
}

impl FrameCount {
    /// Counts one more. Returns how many there are in this second.
    fn add(&mut self, now: Monotonic) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "its last 16 bits")]
        let second = (now.0 / 1000) as u16;
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count.into()
    }
}

impl Peers {
    /// Counts a frame without a message, and closes whoever sends too many.
    pub(super) fn count_frame(&mut self, id: PeerId, now: Monotonic) {
        self.counters.other_frames += 1;
        let peer = &mut self.slab[id.index()];
        let (count, limit) = (peer.frames.add(now), self.limits.frames_per_second);
        if peer.marks.contains(Marks::OPEN) && limit > 0 && count > limit {
            log::info!(peer:% = self.addresses.get(peer.address); "too many frames without a message");
            self.close_now(id, CloseReason::TooManyFrames, now);
            // Its Close is not waited for: what still comes is not looked at any more.
            self.slab[id.index()].stage = Stage::Finishing;
        }
    }
}
