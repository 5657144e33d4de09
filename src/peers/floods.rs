//! Floods that are no requests: frames that complete no message, and input that is ignored.
//!
//! Pings, pongs and fragments are part of the protocol, a flood of them is not, and the rate of requests does not count
//! them. The same count bounds what is read from a peer whose connection is over.

use super::{CloseReason, Marks, PeerId, Peers, Stage};
use crate::time::Monotonic;

/// Frames of a peer in one second of the clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameCount {
    /// The lower 16 bits of the second: enough to tell it from those around it.
    second: u16,
    count: u16,
}

/// A read of ignored input counts as a frame, and again for each of these many bytes.
const IGNORED_BYTES: usize = 256;

impl FrameCount {
    /// Adds `more`. Returns the count of this second.
    fn add(&mut self, more: usize, now: Monotonic) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the lower 16 bits")]
        let second = (now.0 / 1000) as u16;
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count = self.count.saturating_add(u16::try_from(more).unwrap_or(u16::MAX));
        self.count.into()
    }
}

impl Peers {
    /// Counts a frame that completed no message, and ends a flood of them. A connection that is closing already is read
    /// no further.
    pub(super) fn count_frame(&mut self, id: PeerId, now: Monotonic) {
        self.counters.other_frames += 1;
        let limit = self.limits.frames_per_second;
        let Some(peer) = self.slots.get_mut(id) else { return };
        // The clock stands still while catching up, so what came then would count with what comes after it.
        if limit == 0 || self.catching_up || peer.frames.add(1, now) <= limit {
            return;
        }
        if peer.marks.contains(Marks::OPEN) {
            log::info!(peer:% = self.addresses.get(peer.address); "too many frames without a message");
            self.close_now(id, CloseReason::TooManyFrames, now);
        } else {
            peer.marks.insert(Marks::PAUSED);
        }
        // Its Close is not waited for: further input is ignored.
        if let Some(peer) = self.slots.get_mut(id) {
            peer.stage = Stage::Finishing;
        }
    }

    /// Counts input that is ignored, because the connection is over. When it goes on coming, the socket is read no
    /// further: the end of the stream is not seen then, and the time for closing ends the connection.
    pub(super) fn count_ignored(&mut self, id: PeerId, bytes: usize, now: Monotonic) {
        let limit = self.limits.frames_per_second;
        if let Some(peer) = self.slots.get_mut(id)
            && peer.frames.add(1 + bytes / IGNORED_BYTES, now) > limit
            && limit > 0
        {
            peer.marks.insert(Marks::PAUSED);
        }
    }
}
