//! The queue of encoded frames for one peer: what is sent, what waits, and how far the first chunk has got.
//!
//! It must not know what the frames mean (but for their boundaries), nor who else shares them.

use std::collections::VecDeque;
use std::io;

use super::frame::Frames;

/// What waits to be written to one peer: three words, no heap when empty.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The chunk being sent.
    head: Option<Frames>,
    rest: Option<Box<Rest>>,
    /// Bytes of `head` already written.
    sent: u32,
    /// Bytes not yet written, in all.
    queued: u32,
}

#[derive(Debug, Default)]
struct Rest {
    chunks: VecDeque<Frames>,
}

/// How a call of [`Outgoing::write_to`] ended, when not by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flush {
    /// The queue is empty.
    Done,
    /// The writer takes no more now: wait until it is writable.
    Blocked,
    /// The budget is spent, the writer may take more.
    Unfinished,
}

impl Outgoing {
    /// Bytes queued and not yet written.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued as usize
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Queues shared frames; copies nothing.
    pub fn push(&mut self, frames: Frames) {
        let _ = (frames, &mut self.head, &mut self.rest, self.sent);
        todo!()
    }

    /// Queues bytes of whole frames of this peer's own, joined to the last chunk where that is small and not shared.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        let _ = bytes;
        todo!()
    }

    /// Queues a control frame ahead of all chunks that are not partly sent.
    pub fn push_control(&mut self, frame: &[u8]) {
        let _ = frame;
        todo!()
    }

    /// Queues a pong. While the writer is blocked only the latest unsent pong is kept (§5.5.3).
    pub fn push_pong(&mut self, frame: &[u8]) {
        let _ = frame;
        todo!()
    }

    /// Drops everything but the rest of the frame being sent, then queues `close_frame`.
    pub fn fail_with(&mut self, close_frame: &[u8]) {
        let _ = close_frame;
        todo!()
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes up to `max_bytes`, until the queue is empty or the writer blocks.
    ///
    /// # Errors
    ///
    /// Whatever the writer says but `WouldBlock` (a [`Flush`]) and `Interrupted` (tried again); `WriteZero` when it takes 0 bytes.
    pub fn write_to(&mut self, writer: &mut impl io::Write, max_bytes: usize) -> io::Result<Flush> {
        let _ = (writer, max_bytes, self.head.as_ref(), self.rest.as_ref().map(|rest| rest.chunks.len()));
        todo!()
    }
}
