//! What has become of the peers since the start, in numbers that only grow, and the reasons of which they are numbers.

use crate::websocket::close::{CloseCode, Violation};
use crate::websocket::handshake::Rejection;

/// Why we close an open connection: what its client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// A message took longer than it may.
    MessageNotFinished,
    /// More is queued than may be, or nothing was taken for too long.
    SlowConsumer,
    /// More frames without a message than may come in a second.
    TooManyFrames,
    /// Bad tokens, one after the other.
    TooManyBadTokens,
    /// Requests in spite of being refused for their rate, or more than may wait.
    TooManyRequests,
    /// The server is about to end.
    Stopping,
}

/// How an open connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client closed it.
    Client,
    /// The transport ended or failed without a closing handshake.
    Lost,
    /// Nothing came after a ping.
    NoPong,
    /// The client broke the protocol or the limits on a message; by the code of the answer.
    Violation(CloseCode),
    /// We closed it.
    Told(CloseReason),
}

/// Which limit a slow consumer met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slowness {
    /// `queueBytes`, or `queueUnauthenticatedBytes` before the first good token.
    QueueFull,
    /// `queueSoftBytes`, for `queueSoftSeconds`.
    OverSoftLimit,
    /// Nothing taken for `queueSoftSeconds`.
    NothingRead,
    /// `queueTotalBytes`, and its queue was among the fullest.
    AllQueuesFull,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct PeerCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed as they came, without an answer: there were too many even for that.
    pub turned_away: u64,
    /// WebSockets opened.
    pub opened: u64,
    /// Pages sent in place of a WebSocket.
    pub pages: u64,
    /// Connections lost before they were answered.
    pub abandoned: u64,
    /// Messages that came.
    pub messages: u64,
    /// Frames that came and brought no message: fragments and control frames.
    pub other_frames: u64,
    /// Bytes that came, those of the HTTP heads included.
    pub bytes_received: u64,
    /// Bytes that the sockets took.
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

    /// Connections that have not been answered yet.
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

impl CloseReason {
    /// The code of the Close frame.
    #[must_use]
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Stopping => CloseCode::GOING_AWAY,
            _ => CloseCode::POLICY_VIOLATION,
        }
    }

    /// The reason in the Close frame.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::MessageNotFinished => "message not finished in time",
            Self::SlowConsumer => "slow consumer",
            Self::TooManyFrames => "too many frames without a message",
            Self::TooManyBadTokens => "too many bad tokens",
            Self::TooManyRequests => "too many requests",
            Self::Stopping => "server is stopping",
        }
    }
}

impl Ending {
    /// Every ending that is counted by itself.
    pub const ALL: [Self; 13] = [
        Self::Client,
        Self::Lost,
        Self::NoPong,
        Self::Violation(CloseCode::PROTOCOL_ERROR),
        Self::Violation(CloseCode::INVALID_DATA),
        Self::Violation(CloseCode::MESSAGE_TOO_BIG),
        Self::Violation(CloseCode::POLICY_VIOLATION),
        Self::Told(CloseReason::MessageNotFinished),
        Self::Told(CloseReason::SlowConsumer),
        Self::Told(CloseReason::TooManyFrames),
        Self::Told(CloseReason::TooManyBadTokens),
        Self::Told(CloseReason::TooManyRequests),
        Self::Told(CloseReason::Stopping),
    ];

    /// A name of one word or some, for the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lost => "connection_lost",
            Self::NoPong => "no_pong",
            Self::Violation(CloseCode::INVALID_DATA) => "invalid_data",
            Self::Violation(CloseCode::MESSAGE_TOO_BIG) => "message_too_big",
            Self::Violation(CloseCode::POLICY_VIOLATION) => "too_many_fragments",
            Self::Violation(_) => "protocol_error",
            Self::Told(CloseReason::MessageNotFinished) => "message_not_finished",
            Self::Told(CloseReason::SlowConsumer) => "slow_consumer",
            Self::Told(CloseReason::TooManyFrames) => "too_many_frames",
            Self::Told(CloseReason::TooManyBadTokens) => "too_many_bad_tokens",
            Self::Told(CloseReason::TooManyRequests) => "too_many_requests",
            Self::Told(CloseReason::Stopping) => "stopping",
        }
    }

    fn index(self) -> usize {
        let found = Self::ALL.iter().position(|&it| it == self);
        debug_assert!(found.is_some(), "{self:?} is not in the list");
        found.unwrap_or(0)
    }
}

impl From<Violation> for Ending {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation.code())
    }
}

impl Slowness {
    /// Every limit, in the order of its number.
    pub const ALL: [Self; 4] = [Self::QueueFull, Self::OverSoftLimit, Self::NothingRead, Self::AllQueuesFull];

    /// What it is called in the log.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::QueueFull => "queue full",
            Self::OverSoftLimit => "queue over the soft limit for too long",
            Self::NothingRead => "nothing read for too long",
            Self::AllQueuesFull => "all queues together full",
        }
    }

    /// A name of some words, for the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::OverSoftLimit => "over_soft_limit",
            Self::NothingRead => "nothing_read",
            Self::AllQueuesFull => "all_queues_full",
        }
    }
}
