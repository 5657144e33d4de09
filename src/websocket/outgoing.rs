//! The queue of encoded bytes for one peer: the HTTP head that opens its connection, then frames.
//!
//! Owns the chunks not yet written and how far the first of them has got. Does not know what frames mean, only where
//! they end, nor who shares them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use super::frame::{self, Frames};

/// Memory of a queued chunk besides its bytes: its place in the queue, reference counts and the vector's fields.
pub const CHUNK_OVERHEAD: usize = 16;

/// Bytes up to which a chunk is appended to: enough for a turn's replies to one peer, and cheap to copy when the chunk
/// grows.
const JOINED_BYTES: usize = 16 * 1024;

/// Chunks per `write_vectored`; their slices live on the stack.
const CHUNKS_PER_WRITE: usize = 32;

/// The bytes waiting to be written to one peer: two words, no heap of its own when empty or holding one shared chunk.
///
/// A chunk is one or more whole frames, or an HTTP head. Only the first chunk of a connection's life is a head: the
/// response that opens the connection or refuses to, or a client's request.
#[derive(Debug, Default)]
pub struct Outgoing(Queue);

#[derive(Debug, Default)]
enum Queue {
    #[default]
    Empty,
    /// One chunk of frames: the usual queue that is not empty.
    ///
    /// Invariant: the chunk is not empty, none of it is written, and the writer is not blocked.
    One(Frames),
    /// One chunk, an HTTP head; the invariant is that of `One`.
    Head(Frames),
    Many(Box<Many>),
}

/// The general form of a queue.
///
/// Invariants: `chunks` is not empty, and no chunk in it is. The first chunk ends at `cut`, which is the end of a frame
/// or of an HTTP head, or else at its length; `sent` is less than that. `queued` is the length of all chunks up to
/// their ends and of the pong, less `sent`. There is a `pong` only if the writer has blocked.
#[derive(Debug, Default)]
struct Many {
    /// The chunk being written, then those that follow it and the pong, in order.
    chunks: VecDeque<Frames>,
    /// Bytes of the first chunk already written.
    sent: usize,
    /// Where the first chunk ends if it is an HTTP head or was cut; nothing is joined to it then.
    cut: Option<usize>,
    /// The pong to write after the first chunk.
    pong: Option<Frames>,
    /// Bytes not yet written.
    queued: usize,
    /// Whether the last write found the writer blocked.
    blocked: bool,
}

/// How a call of [`Outgoing::write_to`] ended, when not by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flush {
    /// The queue is empty.
    Done,
    /// The writer would block: wait until it is writable.
    Blocked,
    /// The budget is spent; the writer may take more.
    Unfinished,
}

impl Outgoing {
    /// Bytes queued and not yet written.
    #[must_use]
    pub fn queued(&self) -> usize {
        match &self.0 {
            Queue::Empty => 0,
            Queue::One(chunk) | Queue::Head(chunk) => chunk.as_bytes().len(),
            Queue::Many(many) => many.queued,
        }
    }

    /// Whether nothing is queued.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.0, Queue::Empty)
    }

    /// The memory of this queue in bytes: its own, and each chunk's divided among the queues that share it.
    #[must_use]
    pub fn share(&self) -> usize {
        let share = |chunk: &Frames| chunk.memory().div_ceil(chunk.holders());
        match &self.0 {
            Queue::Empty => 0,
            Queue::One(chunk) | Queue::Head(chunk) => share(chunk),
            Queue::Many(many) => {
                let own = size_of::<Many>() + many.chunks.capacity() * size_of::<Frames>();
                own + many.chunks.iter().chain(&many.pong).map(share).sum::<usize>()
            }
        }
    }

    /// Queues an HTTP head: the first bytes of a connection's life, before any frame. `encode` appends it, about
    /// `length` bytes. Nothing is joined to its chunk, and [`fail_with`](Self::fail_with) keeps it whole.
    pub(super) fn push_head(&mut self, length: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(self.is_empty(), "a head precedes everything");
        let mut bytes = Vec::with_capacity(length);
        encode(&mut bytes);
        self.0 = Queue::Head(Frames::new(bytes));
    }

    /// Queues shared frames without copying them.
    pub fn push(&mut self, frames: Frames) {
        if frames.as_bytes().is_empty() {
            return;
        }
        if self.is_empty() {
            self.0 = Queue::One(frames);
        } else {
            let many = self.many();
            many.queued += frames.as_bytes().len();
            many.chunks.push_back(frames);
        }
    }

    /// Queues short shared frames: uncopied if the queue is empty, else joined as by [`push_bytes`](Self::push_bytes).
    pub fn push_short(&mut self, frames: &Frames) {
        if self.is_empty() {
            self.push(frames.clone());
        } else {
            self.push_bytes(frames.as_bytes());
        }
    }

    /// Queues whole frames for this peer alone, joined to the last chunk if that is small and not shared.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.push_with(bytes.len(), |out| out.extend_from_slice(bytes));
    }

    /// Queues the whole frames that `encode` appends, at most `length` bytes, joined as by
    /// [`push_bytes`](Self::push_bytes).
    pub(super) fn push_with(&mut self, length: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let (last, queued) = match &mut self.0 {
            Queue::Empty | Queue::Head(_) => (None, None),
            Queue::One(chunk) => (Some(chunk), None),
            // Bytes joined to a chunk beyond its cut would be lost.
            Queue::Many(many) if many.cut.is_some() && many.chunks.len() == 1 => (None, None),
            // A Close must be the last frame, so nothing is joined to a chunk written before the pong.
            Queue::Many(many) if many.pong.is_some() && many.chunks.len() == 1 => (None, None),
            Queue::Many(many) => (many.chunks.back_mut(), Some(&mut many.queued)),
        };
        if let Some(last) = last.and_then(Frames::get_mut)
            && last.len() + length <= JOINED_BYTES
        {
            let before = last.len();
            encode(last);
            if let Some(queued) = queued {
                *queued += last.len() - before;
            }
        } else {
            let mut bytes = Vec::with_capacity(length);
            encode(&mut bytes);
            self.push(Frames::new(bytes));
        }
    }

    /// Queues a control frame ahead of all chunks but the first, which may be partly written.
    pub fn push_control(&mut self, frame: &[u8]) {
        let frame = Frames::new(frame.to_vec());
        if self.is_empty() {
            return self.push(frame);
        }
        let many = self.many();
        many.queued += frame.as_bytes().len();
        many.chunks.insert(1, frame);
    }

    /// Queues a pong like any other frame; but while the writer is blocked, only the latest pong is kept (RFC 6455
    /// §5.5.3), to be written right after the current chunk.
    pub fn push_pong(&mut self, frame: &[u8]) {
        let Queue::Many(many) = &mut self.0 else { return self.push_bytes(frame) };
        if !many.blocked {
            return self.push_bytes(frame);
        }
        let replaced = many.pong.replace(Frames::new(frame.to_vec()));
        many.queued -= replaced.map_or(0, |pong| pong.as_bytes().len());
        many.queued += frame.len();
    }

    /// Drops everything but the rest of the frame or HTTP head being written, then queues `close_frame`.
    pub fn fail_with(&mut self, close_frame: &[u8]) {
        let (first, sent, cut, blocked) = match std::mem::take(&mut self.0) {
            Queue::Empty => (None, 0, None, false),
            Queue::One(chunk) => (Some(chunk), 0, None, false),
            Queue::Head(head) => {
                let end = head.as_bytes().len();
                (Some(head), 0, Some(end), false)
            }
            Queue::Many(mut many) => (many.chunks.pop_front(), many.sent, many.cut, many.blocked),
        };
        let close = Frames::new(close_frame.to_vec());
        let end = first.as_ref().map_or(0, |first| cut.unwrap_or_else(|| frame_end(first.as_bytes(), sent)));
        match first.filter(|_| end > sent) {
            // Not copied: the frame may be large and shared by many.
            Some(first) => {
                let queued = end - sent + close.as_bytes().len();
                let chunks = VecDeque::from([first, close]);
                let many = Many { chunks, sent, cut: Some(end), pong: None, queued, blocked };
                self.0 = Queue::Many(Box::new(many));
            }
            None => {
                self.push(close);
                if blocked && !self.is_empty() {
                    self.many().blocked = true;
                }
            }
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.0 = Queue::Empty;
    }

    /// Writes up to `max_bytes`, until the queue is empty or the writer blocks: by `write` if there is one chunk, else
    /// by `write_vectored`.
    ///
    /// # Errors
    ///
    /// Any error of the writer except `WouldBlock` (see [`Flush::Blocked`]) and `Interrupted` (retried); `WriteZero` if
    /// it takes no bytes. Bytes written before the error are no longer queued.
    pub fn write_to(&mut self, writer: &mut impl Write, max_bytes: usize) -> io::Result<Flush> {
        if let Queue::Many(many) = &mut self.0 {
            many.blocked = false;
        }
        let mut budget = max_bytes;
        while !self.is_empty() {
            if budget == 0 {
                return Ok(Flush::Unfinished);
            }
            let written = match &self.0 {
                Queue::Empty => Ok(0),
                Queue::One(chunk) | Queue::Head(chunk) => {
                    let bytes = chunk.as_bytes();
                    writer.write(&bytes[..bytes.len().min(budget)])
                }
                Queue::Many(many) => many.write_to(writer, budget),
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    budget = budget.saturating_sub(written);
                    self.advance(written);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.many().blocked = true;
                    return Ok(Flush::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Flush::Done)
    }

    /// Removes the first `written` bytes.
    fn advance(&mut self, written: usize) {
        if self.queued() == written {
            self.clear();
        } else {
            self.many().advance(written);
        }
    }

    /// Converts the queue, which is not empty, to its general form.
    fn many(&mut self) -> &mut Many {
        self.0 = match std::mem::take(&mut self.0) {
            Queue::Empty => Queue::Many(Box::default()),
            Queue::One(chunk) => Queue::Many(Box::new(Many::of(chunk))),
            Queue::Head(chunk) => {
                let cut = Some(chunk.as_bytes().len());
                Queue::Many(Box::new(Many { cut, ..Many::of(chunk) }))
            }
            Queue::Many(many) => Queue::Many(many),
        };
        match &mut self.0 {
            Queue::Many(many) => many,
            Queue::Empty | Queue::One(_) | Queue::Head(_) => unreachable!("just converted"),
        }
    }
}

impl Many {
    /// The queue of one chunk.
    fn of(chunk: Frames) -> Self {
        let queued = chunk.as_bytes().len();
        Self { chunks: VecDeque::from([chunk]), queued, ..Self::default() }
    }

    /// Removes the first `written` bytes, which are not all.
    fn advance(&mut self, mut written: usize) {
        self.queued -= written;
        while let Some(first) = self.chunks.front() {
            let unsent = self.cut.unwrap_or(first.as_bytes().len()) - self.sent;
            if written < unsent {
                self.sent += written;
                return;
            }
            written -= unsent;
            self.sent = 0;
            self.cut = None;
            match self.pong.take() {
                Some(pong) => self.chunks[0] = pong,
                None => drop(self.chunks.pop_front()),
            }
        }
    }

    /// Writes up to `budget` bytes from the front in one call.
    fn write_to(&self, writer: &mut impl Write, mut budget: usize) -> io::Result<usize> {
        let mut chunks = self.chunks.iter().map(Frames::as_bytes);
        let first = chunks.next().map(|chunk| &chunk[self.sent..self.cut.unwrap_or(chunk.len())]);
        let pong = self.pong.as_ref().map(Frames::as_bytes);
        let mut slices = [IoSlice::new(&[]); CHUNKS_PER_WRITE];
        let mut filled = 0;
        for (slice, bytes) in slices.iter_mut().zip(first.into_iter().chain(pong).chain(chunks)) {
            let bytes = &bytes[..bytes.len().min(budget)];
            if bytes.is_empty() {
                break;
            }
            *slice = IoSlice::new(bytes);
            budget -= bytes.len();
            filled += 1;
        }
        match filled {
            1 => writer.write(&slices[0]),
            filled => writer.write_vectored(&slices[..filled]),
        }
    }
}

/// The offset in `chunk` at which the frame being written ends; `sent` itself if that is between two frames.
fn frame_end(chunk: &[u8], sent: usize) -> usize {
    let mut end = 0;
    while end < sent {
        // A chunk never ends inside a frame. If one did, all of it would count as the frame being written.
        end =
            frame::encoded_length(&chunk[end..]).map_or(chunk.len(), |length| end + length).min(chunk.len());
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::{OpCode, encode};
    use super::*;

    /// A writer that follows a script, call by call: take some bytes, block, be interrupted. After the script it takes
    /// everything.
    #[derive(Default)]
    struct Scripted {
        script: VecDeque<Result<usize, ErrorKind>>,
        written: Vec<u8>,
    }

    impl Scripted {
        /// Alternately takes `size` bytes and blocks.
        fn stuttering(size: usize) -> Self {
            let script = (0..400).map(|i| if i % 2 == 0 { Ok(size) } else { Err(ErrorKind::WouldBlock) });
            Self { script: script.collect(), written: Vec::new() }
        }
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let takes = self.script.pop_front().unwrap_or(Ok(usize::MAX))?;
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(takes).collect();
            self.written.extend_from_slice(&bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A frame of `length` bytes of payload.
    fn frame(opcode: OpCode, length: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(opcode, &(0..length).collect::<Vec<_>>(), None, &mut bytes);
        bytes
    }

    fn chunk(bytes: &[u8]) -> Frames {
        Frames::new(bytes.to_vec())
    }

    /// The chunks, and how much of the first is written.
    fn chunks(queue: &Outgoing) -> (Vec<&Frames>, usize) {
        match &queue.0 {
            Queue::Empty => (Vec::new(), 0),
            Queue::One(chunk) | Queue::Head(chunk) => (vec![chunk], 0),
            Queue::Many(many) => (many.chunks.iter().chain(&many.pong).collect(), many.sent),
        }
    }

    /// Asserts the invariants stated on the types.
    fn check(queue: &Outgoing) {
        let (chunks, sent) = chunks(queue);
        let lengths: Vec<usize> = chunks.iter().map(|chunk| chunk.as_bytes().len()).collect();
        assert!(lengths.iter().all(|&length| length > 0));
        let beyond_cut = match &queue.0 {
            Queue::Many(many) if many.cut.is_some() => lengths[0] - many.cut.unwrap(),
            _ => 0,
        };
        assert_eq!(lengths.iter().sum::<usize>(), queue.queued() + sent + beyond_cut);
        assert_eq!(queue.is_empty(), lengths.is_empty());
        assert!(lengths.is_empty() || sent < lengths[0]);
        if let Queue::Many(many) = &queue.0 {
            assert!(!many.chunks.is_empty());
        }
    }

    /// Writes until the queue is empty, checking the invariants after every write.
    fn drain(queue: &mut Outgoing, writer: &mut Scripted, max_bytes: usize) {
        while queue.write_to(writer, max_bytes).unwrap() != Flush::Done {
            check(queue);
        }
        check(queue);
    }

    #[test]
    fn the_queue_is_two_words() {
        assert!(size_of::<Outgoing>() <= 16);
    }

    #[test]
    fn every_chunking_and_every_short_write_gives_the_same_bytes() {
        let frames: Vec<Vec<u8>> = (0..5).map(|i| frame(OpCode::Text, i * 3)).collect();
        let whole = frames.concat();
        // Bit i of `joints` says whether frame i + 1 is in the same chunk as frame i.
        for joints in 0..16_u32 {
            for size in 1..=whole.len() + 1 {
                let mut queue = Outgoing::default();
                let mut pending = Vec::new();
                for (i, frame) in frames.iter().enumerate() {
                    pending.extend_from_slice(frame);
                    if joints >> i & 1 == 0 {
                        queue.push(chunk(&pending));
                        pending.clear();
                    }
                }
                check(&queue);
                assert_eq!(queue.queued(), whole.len());
                let mut writer = Scripted::stuttering(size);
                drain(&mut queue, &mut writer, usize::MAX);
                assert_eq!(writer.written, whole, "{joints:b} {size}");

                let mut queue = Outgoing::default();
                frames.iter().for_each(|frame| queue.push(chunk(frame)));
                let mut writer = Scripted::default();
                drain(&mut queue, &mut writer, size);
                assert_eq!(writer.written, whole, "budget {size}");
            }
        }
    }

    #[test]
    fn the_budget_is_kept_to_the_byte() {
        let mut queue = Outgoing::default();
        (0..100).for_each(|_| queue.push(chunk(&frame(OpCode::Text, 8))));
        let mut writer = Scripted::default();
        for budget in [0, 1, 9, 10, 11, 333] {
            let before = writer.written.len();
            assert_eq!(queue.write_to(&mut writer, budget).unwrap(), Flush::Unfinished);
            assert_eq!(writer.written.len() - before, budget);
        }
        let left = queue.queued();
        assert_eq!(queue.write_to(&mut writer, left).unwrap(), Flush::Done);
    }

    #[test]
    fn s48_interrupted_is_tried_again_and_zero_and_errors_are_errors() {
        let mut queue = Outgoing::default();
        queue.push_bytes(&frame(OpCode::Text, 8));
        let script = [Err(ErrorKind::Interrupted), Ok(3), Err(ErrorKind::Interrupted), Ok(0)];
        let mut writer = Scripted { script: script.into(), ..Scripted::default() };
        assert_eq!(queue.write_to(&mut writer, 99).unwrap_err().kind(), ErrorKind::WriteZero);
        assert_eq!(queue.queued(), 7);
        writer.script = [Err(ErrorKind::BrokenPipe)].into();
        assert_eq!(queue.write_to(&mut writer, 99).unwrap_err().kind(), ErrorKind::BrokenPipe);
        check(&queue);
        drain(&mut queue, &mut writer, 99);
        assert_eq!(writer.written, frame(OpCode::Text, 8));
    }

    #[test]
    fn own_bytes_are_joined_to_a_small_chunk_of_this_peer_alone() {
        let mut queue = Outgoing::default();
        queue.push_bytes(&frame(OpCode::Text, 1));
        queue.push_bytes(&frame(OpCode::Text, 2));
        assert_eq!(chunks(&queue).0.len(), 1);

        let shared = chunk(&frame(OpCode::Text, 3));
        queue.push(shared.clone());
        queue.push_bytes(&frame(OpCode::Text, 4));
        assert_eq!(shared.as_bytes(), frame(OpCode::Text, 3));
        assert_eq!(chunks(&queue).0.len(), 3);

        queue.push_bytes(&vec![0; JOINED_BYTES]);
        assert_eq!(chunks(&queue).0.len(), 4);
        check(&queue);
    }

    #[test]
    fn s16_while_the_writer_is_blocked_only_the_latest_pong_is_kept() {
        let message = frame(OpCode::Text, 20);
        let pongs: Vec<Vec<u8>> = (0..10).map(|i| frame(OpCode::Pong, i)).collect();
        let mut writer =
            Scripted { script: [Ok(5), Err(ErrorKind::WouldBlock)].into(), ..Scripted::default() };
        let mut queue = Outgoing::default();
        queue.push(chunk(&message));
        queue.push(chunk(&message));
        assert_eq!(queue.write_to(&mut writer, usize::MAX).unwrap(), Flush::Blocked);
        for pong in &pongs {
            queue.push_pong(pong);
            check(&queue);
        }
        drain(&mut queue, &mut writer, usize::MAX);
        assert_eq!(writer.written, [&message[..], &pongs[9], &message].concat());
    }

    #[test]
    fn s16_what_is_queued_after_a_pong_goes_out_after_it() {
        let (message, pong, close) =
            (frame(OpCode::Text, 20), frame(OpCode::Pong, 3), frame(OpCode::Close, 2));
        let mut queue = Outgoing::default();
        queue.push_bytes(&message);
        let mut writer = Scripted { script: [Ok(1), Err(ErrorKind::WouldBlock)].into(), written: Vec::new() };
        assert_eq!(queue.write_to(&mut writer, usize::MAX).unwrap(), Flush::Blocked);
        queue.push_pong(&pong);
        queue.push_bytes(&close);
        check(&queue);
        drain(&mut queue, &mut writer, usize::MAX);
        assert_eq!(writer.written, [message, pong, close].concat());
    }

    #[test]
    fn ten_pings_give_ten_pongs_while_the_writer_takes_them() {
        let pongs: Vec<Vec<u8>> = (0..10).map(|i| frame(OpCode::Pong, i)).collect();
        let mut queue = Outgoing::default();
        pongs.iter().for_each(|pong| queue.push_pong(pong));
        let mut writer = Scripted::default();
        drain(&mut queue, &mut writer, usize::MAX);
        assert_eq!(writer.written, pongs.concat());
    }

    #[test]
    fn a_control_frame_goes_out_at_the_next_end_of_a_chunk() {
        let (message, ping) = (frame(OpCode::Text, 20), frame(OpCode::Ping, 4));
        for sent in 0..message.len() {
            let mut queue = Outgoing::default();
            (0..3).for_each(|_| queue.push(chunk(&message)));
            let mut writer = Scripted::default();
            assert_eq!(queue.write_to(&mut writer, sent).unwrap(), Flush::Unfinished);
            queue.push_control(&ping);
            check(&queue);
            drain(&mut queue, &mut writer, usize::MAX);
            assert_eq!(writer.written, [&message[..], &ping, &message, &message].concat());
        }
        let mut queue = Outgoing::default();
        queue.push_control(&ping);
        assert_eq!(queue.queued(), ping.len());
    }

    #[test]
    fn s21_a_failing_peer_gets_the_rest_of_its_frame_and_the_close() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
        let frames: Vec<Vec<u8>> = [0, 60, 125, 200].map(|length| frame(OpCode::Text, length)).into();
        let close = frame(OpCode::Close, 2);
        for head in [None, Some(head)] {
            let whole = [head.clone().unwrap_or_default(), frames.concat()].concat();
            let ends: Vec<usize> = head
                .iter()
                .chain(&frames)
                .scan(0, |end, part| {
                    *end += part.len();
                    Some(*end)
                })
                .collect();
            for sent in 0..whole.len() {
                let mut queue = Outgoing::default();
                if let Some(head) = &head {
                    queue.push_head(head.len(), |out| out.extend_from_slice(head));
                }
                queue.push(chunk(&frames.concat()));
                queue.push(chunk(&whole));
                let mut writer = Scripted::default();
                assert_eq!(queue.write_to(&mut writer, sent).unwrap(), Flush::Unfinished);
                queue.fail_with(&close);
                check(&queue);
                drain(&mut queue, &mut writer, usize::MAX);
                // The head is never dropped.
                let sent = if head.is_some() { sent.max(1) } else { sent };
                let end = ends.iter().copied().find(|&end| end >= sent).unwrap();
                let end = if sent == 0 { 0 } else { end };
                assert_eq!(writer.written, [&whole[..end], &close].concat(), "{sent}");
            }
        }
    }

    #[test]
    fn a_head_stays_a_chunk_of_its_own_ahead_of_everything() {
        let (head, message, ping) =
            (b"HTTP/1.1 101 \r\n\r\n", frame(OpCode::Text, 20), frame(OpCode::Ping, 4));
        for sent in 0..=head.len() {
            let mut queue = Outgoing::default();
            queue.push_head(head.len(), |out| out.extend_from_slice(head));
            queue.push_bytes(&message);
            let mut writer = Scripted::default();
            assert_eq!(queue.write_to(&mut writer, sent).unwrap(), Flush::Unfinished);
            queue.push_bytes(&message);
            queue.push_control(&ping);
            check(&queue);
            drain(&mut queue, &mut writer, usize::MAX);
            let written = &writer.written;
            assert!(
                written.starts_with(head) && written.len() == head.len() + 2 * message.len() + ping.len()
            );
        }
        let mut queue = Outgoing::default();
        queue.push_head(head.len(), |out| out.extend_from_slice(head));
        queue.fail_with(&frame(OpCode::Close, 2));
        let mut writer = Scripted::default();
        drain(&mut queue, &mut writer, usize::MAX);
        assert_eq!(writer.written, [&head[..], &frame(OpCode::Close, 2)].concat());
    }

    proptest! {
        /// Whatever is queued and however it is written, frames stay whole, and all but control frames in order.
        #[test]
        fn frames_stay_whole_and_in_order(
            steps in prop::collection::vec((0..5_u8, 0..40_u8), 1..60),
            script in prop::collection::vec(prop_oneof![(1..40_usize).prop_map(Ok), Just(Err(ErrorKind::WouldBlock))], 0..60),
        ) {
            let mut queue = Outgoing::default();
            let mut writer = Scripted { script: script.into(), ..Scripted::default() };
            let mut messages = Vec::new();
            for (step, length) in steps {
                match step {
                    0 => queue.push(chunk(&frame(OpCode::Text, length))),
                    1 => queue.push_bytes(&frame(OpCode::Text, length)),
                    2 => queue.push_control(&frame(OpCode::Ping, length)),
                    3 => queue.push_pong(&frame(OpCode::Pong, length)),
                    _ => { let _ = queue.write_to(&mut writer, usize::from(length)).unwrap(); }
                }
                if step < 2 {
                    messages.push(length);
                }
                check(&queue);
            }
            drain(&mut queue, &mut writer, usize::MAX);
            let mut received = Vec::new();
            let mut bytes = &writer.written[..];
            while !bytes.is_empty() {
                let (frame, rest) = bytes.split_at(frame::encoded_length(bytes).unwrap());
                if frame[0] == 0x81 {
                    received.push(frame[1]);
                }
                bytes = rest;
            }
            prop_assert_eq!(received, messages);
        }
    }
}
