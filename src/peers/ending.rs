//! How peers end: by a Close of either side, an HTTP answer, or the loss of the transport; and the names of the reasons.

use super::{Application, Lane, Marks, PeerId, Peers, Stage};
use crate::cost::{self, Budget};
use crate::time::Monotonic;
use crate::websocket::close::{CloseCode, Violation};
use crate::websocket::connection::{Connection, Ended};
use crate::websocket::handshake::Rejection;
use crate::websocket::outgoing::Outgoing;

/// Why we close an open connection: what its client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// A message took longer than `messageSeconds`.
    MessageNotFinished,
    /// Too much is queued, or nothing was read for too long.
    SlowConsumer,
    /// More frames without a message than `framesPerSecond`.
    TooManyFrames,
    /// Too many bad tokens.
    TooManyBadTokens,
    /// Kept sending after rate-limit refusals, or has too many requests pending.
    TooManyRequests,
    /// The server is stopping.
    Stopping,
}

/// How an open connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client closed it.
    Client,
    /// The transport ended or failed without a closing handshake.
    Lost,
    /// Nothing came after a ping.
    NoPong,
    /// The client broke the protocol (1002).
    ProtocolError,
    /// The client's data did not fit their type (1007).
    InvalidData,
    /// The client's message was larger than `messageBytes` (1009).
    MessageTooBig,
    /// The client's message had more than `fragments` (1008).
    TooManyFragments,
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
    /// Nothing read for `queueSoftSeconds`.
    NothingRead,
    /// `queueTotalBytes`, and it held more than others.
    AllQueuesFull,
}

impl Peers {
    /// The peer's stream has ended, or its socket failed: no more is read or written.
    pub fn disconnect(&mut self, id: PeerId) {
        self.drop_peer(id, Ending::Lost);
    }

    /// No more is read from this peer or written to it.
    pub(super) fn drop_peer(&mut self, id: PeerId, ending: Ending) {
        if let Some(peer) = self.slots.get_mut(id)
            && peer.stage != Stage::Gone
        {
            let was_connecting = peer.is_connecting();
            peer.stage = Stage::Gone;
            peer.outgoing.clear();
            // With what it held of a head or a message.
            peer.connection = Connection::server();
            self.owed -= usize::from(peer.marks.take(Marks::OWED));
            self.counters.abandoned += u64::from(was_connecting);
            self.addresses.leave(peer.address);
            self.gone.push(id);
            self.message_finished(id);
            self.take_leftover(id);
            self.end(id, ending);
        }
    }

    /// Begins to close an open connection, after all that is queued for it.
    pub fn close(&mut self, id: PeerId, reason: CloseReason, now: Monotonic) {
        if let Some(peer) = self.slots.get_mut(id)
            && peer.marks.contains(Marks::OPEN)
        {
            peer.connection.close(reason.code(), reason.text(), &mut peer.outgoing);
            self.closing(id, Ending::Told(reason), now);
        }
    }

    /// Begins to close an open connection, in place of what is queued for it.
    pub(super) fn close_now(&mut self, id: PeerId, reason: CloseReason, now: Monotonic) {
        if let Some(peer) = self.slots.get_mut(id)
            && peer.marks.contains(Marks::OPEN)
        {
            peer.connection.close_now(reason.code(), reason.text(), &mut peer.outgoing);
            self.closing(id, Ending::Told(reason), now);
        }
    }

    /// The last thing has been queued for a peer whose connection is over for the application.
    fn closing(&mut self, id: PeerId, ending: Ending, now: Monotonic) {
        self.timers.close.set(id, now);
        self.mark_dirty(id.index(), Lane::Reply);
        // Its own Close and the end of its stream are still read, even if it was paused.
        self.resume(id);
        self.end(id, ending);
    }

    /// Refuses a peer that is still connecting.
    pub fn reject(&mut self, id: PeerId, rejection: Rejection, now: Monotonic) {
        if self.answer(id, now, |connection, outgoing| connection.reject(rejection, outgoing)) {
            self.counters.count_refusal(rejection);
        }
    }

    /// Gives a peer that is still connecting its only HTTP answer. Returns whether it was connecting.
    pub(super) fn answer(
        &mut self,
        id: PeerId,
        now: Monotonic,
        answer: impl FnOnce(&mut Connection, &mut Outgoing),
    ) -> bool {
        let Some(peer) = self.slots.get_mut(id).filter(|peer| peer.is_connecting()) else { return false };
        answer(&mut peer.connection, &mut peer.outgoing);
        peer.stage = Stage::Finishing;
        self.timers.close.set(id, now);
        self.message_finished(id);
        self.mark_dirty(id.index(), Lane::Reply);
        true
    }

    /// The connection is closed for both sides: only the end of the stream is still expected.
    pub(super) fn finish(&mut self, id: PeerId, ended: &Ended, now: Monotonic) {
        let Some(peer) = self.slots.get_mut(id) else { return };
        // The client's reason is not logged: it may hold anything, even a token.
        let why: &dyn std::fmt::Debug = match ended {
            Ended::Closed { code, .. } => code,
            other => other,
        };
        log::debug!(peer:% = self.addresses.get(peer.address), why:?; "connection ended");
        peer.stage = Stage::Finishing;
        let ending = match *ended {
            Ended::Rejected(rejection) => {
                self.counters.count_refusal(rejection);
                Ending::Lost
            }
            Ended::Failed(violation) => violation.into(),
            Ended::Closed { .. } | Ended::Refused(_) => Ending::Client,
        };
        self.closing(id, ending, now);
    }

    /// Notes that the application has to be told of an end, once.
    fn end(&mut self, id: PeerId, ending: Ending) {
        if let Some(peer) = self.slots.get_mut(id)
            && peer.marks.take(Marks::OPEN)
        {
            self.open -= 1;
            self.counters.count_ending(ending);
            self.ended.push(id);
        }
        self.check(id);
    }

    /// Tells the application of the peers whose connections have ended.
    pub fn settle<A: Application>(&mut self, application: &mut A) {
        if self.ended.is_empty() {
            return;
        }
        self.log_slow(application);
        while let Some(id) = self.ended.pop() {
            application.closed(id);
        }
    }

    /// Frees the slots of peers that are gone, telling `close` of each so that it closes the socket, until `budget` is
    /// spent.
    pub fn reap(&mut self, budget: &mut Budget, mut close: impl FnMut(PeerId)) {
        debug_assert!(self.ended.is_empty(), "the application is told of an end before the slot is free");
        while !budget.is_spent()
            && let Some(id) = self.gone.pop()
        {
            budget.charge(cost::CLOSE);
            if let Some(peer) = self.slots.remove(id) {
                self.addresses.remove(peer.address);
                self.delivery.forget(id.index());
                close(id);
            }
        }
    }

    /// Whether peers that are gone wait for [`reap`](Self::reap).
    #[must_use]
    pub const fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }
}

impl CloseReason {
    /// The code of the Close frame (RFC 6455 §7.4.1).
    #[must_use]
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Stopping => CloseCode::GOING_AWAY,
            Self::MessageNotFinished
            | Self::SlowConsumer
            | Self::TooManyFrames
            | Self::TooManyBadTokens
            | Self::TooManyRequests => CloseCode::POLICY_VIOLATION,
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
    /// Every ending, in the order of its counter.
    pub const ALL: [Self; 13] = [
        Self::Client,
        Self::Lost,
        Self::NoPong,
        Self::ProtocolError,
        Self::InvalidData,
        Self::MessageTooBig,
        Self::TooManyFragments,
        Self::Told(CloseReason::MessageNotFinished),
        Self::Told(CloseReason::SlowConsumer),
        Self::Told(CloseReason::TooManyFrames),
        Self::Told(CloseReason::TooManyBadTokens),
        Self::Told(CloseReason::TooManyRequests),
        Self::Told(CloseReason::Stopping),
    ];

    /// The value of the metrics' label `reason`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lost => "connection_lost",
            Self::NoPong => "no_pong",
            Self::ProtocolError => "protocol_error",
            Self::InvalidData => "invalid_data",
            Self::MessageTooBig => "message_too_big",
            Self::TooManyFragments => "too_many_fragments",
            Self::Told(CloseReason::MessageNotFinished) => "message_not_finished",
            Self::Told(CloseReason::SlowConsumer) => "slow_consumer",
            Self::Told(CloseReason::TooManyFrames) => "too_many_frames",
            Self::Told(CloseReason::TooManyBadTokens) => "too_many_bad_tokens",
            Self::Told(CloseReason::TooManyRequests) => "too_many_requests",
            Self::Told(CloseReason::Stopping) => "stopping",
        }
    }

    /// The place in [`Ending::ALL`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Lost => 1,
            Self::NoPong => 2,
            Self::ProtocolError => 3,
            Self::InvalidData => 4,
            Self::MessageTooBig => 5,
            Self::TooManyFragments => 6,
            Self::Told(reason) => 7 + reason as usize,
        }
    }
}

impl From<Violation> for Ending {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Frame(_)
            | Violation::UnexpectedContinuation
            | Violation::ExpectedContinuation
            | Violation::ClosePayload
            | Violation::InvalidCloseCode => Self::ProtocolError,
            Violation::InvalidUtf8 | Violation::BrokenDeflate | Violation::InvalidCloseReason => {
                Self::InvalidData
            }
            Violation::MessageTooBig => Self::MessageTooBig,
            Violation::TooManyFragments => Self::TooManyFragments,
        }
    }
}

impl Slowness {
    /// Every limit, in the order of its counter.
    pub const ALL: [Self; 4] = [Self::QueueFull, Self::OverSoftLimit, Self::NothingRead, Self::AllQueuesFull];

    /// What the log says.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::QueueFull => "queue full",
            Self::OverSoftLimit => "queue over the soft limit for too long",
            Self::NothingRead => "nothing read for too long",
            Self::AllQueuesFull => "all queues together full",
        }
    }

    /// The value of the metrics' label `limit`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_a_counter_of_its_own() {
        let places: Vec<usize> = Ending::ALL.iter().map(|ending| ending.index()).collect();
        assert_eq!(places, (0..Ending::ALL.len()).collect::<Vec<_>>());
    }

    #[test]
    fn a_violation_ends_under_the_code_it_is_answered_with() {
        for (violation, code, name) in [
            (Violation::UnexpectedContinuation, 1002, "protocol_error"),
            (Violation::InvalidUtf8, 1007, "invalid_data"),
            (Violation::TooManyFragments, 1008, "too_many_fragments"),
            (Violation::MessageTooBig, 1009, "message_too_big"),
        ] {
            assert_eq!((violation.code().get(), Ending::from(violation).name()), (code, name));
        }
    }
}
