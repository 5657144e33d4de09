//! What the oracle knows of the server's side of one connection: when what happened, by the time that counts.
//!
//! Written from the tape; from these books follows what the server may do to the connection, and by when it must.

use crate::listener::Listener;
use crate::world::{
    CLOSE, FRAMES, HANDSHAKE, MESSAGE, PING, PONG, QUEUE, QUEUE_SOFT, QUEUE_UNAUTHENTICATED, SOFT_TIME,
};

/// Deadlines are met this much later, in milliseconds: those of one kind share a bucket.
const GRANULARITY: u64 = 128;
/// Unfinished messages and full sockets are walked through this often.
const SWEEP: u64 = 1000;
/// Milliseconds that a turn and the wait's rounding may take.
pub(crate) const SLACK: u64 = 20;

/// Moments are in milliseconds of the time that counts.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) accepted_at: Option<u64>,
    /// Its request is none that can be granted.
    pub(crate) is_bad_head: bool,
    /// The server has opened the connection.
    pub(crate) opened_at: Option<u64>,
    /// The service was told of the end of the open connection; and why it may have been.
    pub(crate) gone: Option<Gone>,
    /// A read gave the end or an error, a write failed, or the socket could not be watched.
    pub(crate) is_lost: bool,
    /// Since when the connection is being closed.
    pub(crate) closing_since: Option<u64>,
    /// When something was read last.
    pub(crate) read_at: u64,
    /// Since when something to read has waited; and since when the server has had a reason not to read.
    pub(crate) unread_since: Option<u64>,
    pub(crate) paused_at: u64,
    /// Since when something has begun and not ended.
    pub(crate) unfinished_since: Option<u64>,
    /// Since when what has begun could not go on, because the server did not read.
    pub(crate) hindered_since: Option<u64>,
    /// Since when its socket takes nothing; when it took something last.
    pub(crate) refused_since: Option<u64>,
    pub(crate) taken_at: u64,
    /// How often it was refused a write.
    pub(crate) refusals: u64,
    /// Since when more than the soft limit was queued: possibly, certainly.
    soft_possibly: Option<u64>,
    soft_certainly: Option<u64>,
    /// When the server's last ping was written.
    pub(crate) pinged_at: Option<u64>,
    /// Frames without a message that were read in this second and the one before.
    frames: (u64, u32, u32),
    /// A flood of frames was read at once.
    pub(crate) is_flood: bool,
}

/// Reasons for which the server may end a connection by itself, as of the moment when it did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub(crate) is_slow: Option<Slow>,
    pub(crate) is_silent: bool,
}

/// In which way a client is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slow {
    QueueFull,
    OverSoftLimit,
    NothingRead,
    AllQueuesFull,
}

impl Books {
    pub(crate) const fn is_open(&self) -> bool {
        self.opened_at.is_some() && self.gone.is_none()
    }

    /// Frames without a message were read. Returns whether they may be a flood: what was read in one second may be taken in
    /// the next one.
    pub(crate) fn note_frames(&mut self, count: u32, now: u64) -> bool {
        let second = now / 1000;
        let (last, former, current) = self.frames;
        self.frames = match second - last {
            0 => (second, former, current + count),
            1 => (second, current, count),
            _ => (second, 0, count),
        };
        let (_, former, current) = self.frames;
        self.is_flood |= count > 3 * FRAMES;
        former + current > FRAMES
    }

    /// At the end of a turn: notes what limits of the queue are exceeded, given what is queued at least and at most.
    pub(crate) fn note_queue(&mut self, least: usize, most: usize, now: u64) {
        let since = |is_over: bool, since: Option<u64>| is_over.then(|| since.unwrap_or(now));
        self.soft_possibly = since(most > QUEUE_SOFT, self.soft_possibly);
        self.soft_certainly = since(least > QUEUE_SOFT, self.soft_certainly);
    }

    /// At the end of a turn: a message is not late while the server does not read.
    pub(crate) fn note_hindrance(&mut self, is_hindered: bool, now: u64) {
        self.hindered_since = is_hindered.then(|| self.hindered_since.unwrap_or(now));
        if is_hindered {
            self.paused_at = now;
        }
        if self.hindered_since.is_some_and(|since| now - since > SWEEP + SLACK) {
            self.unfinished_since = self.unfinished_since.map(|_| now);
        }
    }

    /// How the client is slow, if it is, when this much is queued at most.
    pub(crate) fn slowness(&self, most: usize, is_trusted: bool, now: u64) -> Option<Slow> {
        let refused_since = self.refused_since?;
        let limit = if is_trusted { QUEUE } else { QUEUE_UNAUTHENTICATED };
        if now - self.taken_at.max(refused_since) >= SOFT_TIME {
            Some(Slow::NothingRead)
        } else if most > limit {
            Some(Slow::QueueFull)
        } else if self.soft_possibly.is_some_and(|since| now - since >= SOFT_TIME) {
            Some(Slow::OverSoftLimit)
        } else {
            None
        }
    }

    /// Whether nothing has come for so long that the connection may be dropped.
    pub(crate) fn is_silent(&self, now: u64) -> bool {
        let Some(opened) = self.opened_at else { return false };
        // A pong that has come and was not read is the server's fault.
        let is_unread = self.unread_since.is_some_and(|since| now - since > SWEEP / 2);
        let last = self.read_at.max(opened);
        let is_pinged = self.pinged_at.is_some_and(|at| at >= last) || self.refused_since.is_some();
        !is_unread && is_pinged && now - last >= PONG
    }

    /// Whether a message has been unfinished for so long that the connection may be closed.
    pub(crate) fn is_unfinished(&self, now: u64) -> bool {
        self.unfinished_since.is_some_and(|since| now - since >= MESSAGE)
    }

    /// By when the server must have done something to this connection, and what, if nothing else happens.
    pub(crate) fn due(&self, listener: &Listener, now: u64) -> Option<(u64, &'static str)> {
        let accepted = self.accepted_at?;
        if self.is_lost {
            return Some((now, "it is lost, and its socket is not closed"));
        }
        if let Some(closing) = self.closing_since {
            return Some((closing + 2 * (CLOSE + GRANULARITY) + SWEEP, "it is closing, and is not dropped"));
        }
        let Some(opened) = self.opened_at else {
            if self.refused_since.is_some() {
                return None;
            }
            return Some((accepted + HANDSHAKE + GRANULARITY, "its request has not come"));
        };
        if self.is_flood && !listener.is_waiting() {
            return Some((now, "a flood of frames, and is not closed"));
        }
        let is_waiting = listener.is_waiting();
        let last = self.read_at.max(self.pinged_at.unwrap_or(0)).max(self.paused_at).max(opened);
        let mut due =
            vec![(last + PING + PONG + 2 * GRANULARITY + SWEEP, "it is silent, and is not dropped")];
        match self.refused_since {
            None => {
                let pinged = self.pinged_at.unwrap_or(opened);
                due.push((pinged + PING + GRANULARITY, "it is not pinged"));
            }
            Some(since) => {
                let taken = since.max(self.taken_at);
                due.push((taken + SOFT_TIME + SWEEP, "it reads nothing, and is not closed"));
            }
        }
        if let Some(since) = self.soft_certainly {
            due.push((
                since + SOFT_TIME + 2 * SWEEP,
                "its queue is over the soft limit, and it is not closed",
            ));
        }
        if let Some(since) = self.unfinished_since.filter(|_| !is_waiting) {
            due.push((
                since.max(self.paused_at) + MESSAGE + 2 * SWEEP,
                "its message does not end, and it is not closed",
            ));
        }
        due.into_iter().min_by_key(|(at, _)| *at)
    }
}
