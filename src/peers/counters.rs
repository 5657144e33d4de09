//! Counters of peers and of how they ended, since the start.

use super::{Ending, Slowness};
use crate::websocket::handshake::Rejection;

/// Counters of all peers of one server. Each connection is in exactly one of the sums: accepted = connecting + opened +
/// pages + refused + abandoned, and opened = open + ended.
#[derive(Clone, Debug, Default)]
pub struct PeerCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once, unanswered: there were too many even for that.
    pub turned_away: u64,
    /// WebSockets opened.
    pub opened: u64,
    /// HTTP pages sent instead of an upgrade.
    pub pages: u64,
    /// Connections lost before they were answered.
    pub abandoned: u64,
    /// Messages received.
    pub messages: u64,
    /// Frames received that completed no message: fragments and control frames.
    pub other_frames: u64,
    /// Bytes received, HTTP heads included.
    pub bytes_received: u64,
    /// Bytes written to sockets.
    pub bytes_sent: u64,
    /// By [`Rejection::STATUSES`].
    refused: [u64; Rejection::STATUSES.len()],
    /// By [`Ending::ALL`].
    ended: [u64; Ending::ALL.len()],
    /// By [`Slowness::ALL`].
    slow: [u64; Slowness::ALL.len()],
}

impl PeerCounters {
    /// Upgrades refused with this HTTP status.
    #[must_use]
    pub fn refused(&self, status: u16) -> u64 {
        Rejection::STATUSES.iter().position(|&it| it == status).map_or(0, |at| self.refused[at])
    }

    /// Open connections that ended in this way.
    #[must_use]
    pub fn ended(&self, ending: Ending) -> u64 {
        self.ended[ending.index()]
    }

    /// Slow consumers closed for this limit.
    #[must_use]
    pub const fn slow(&self, slowness: Slowness) -> u64 {
        self.slow[slowness as usize]
    }

    /// Connections not answered yet.
    #[must_use]
    pub fn connecting(&self) -> u64 {
        self.accepted - self.opened - self.pages - self.abandoned - self.refused.iter().sum::<u64>()
    }

    pub(super) fn count_refusal(&mut self, rejection: Rejection) {
        if let Some(at) = Rejection::STATUSES.iter().position(|&it| it == rejection.status()) {
            self.refused[at] += 1;
        }
    }

    pub(super) fn count_ending(&mut self, ending: Ending) {
        self.ended[ending.index()] += 1;
    }

    pub(super) const fn count_slow(&mut self, slowness: Slowness) {
        self.slow[slowness as usize] += 1;
    }
}
