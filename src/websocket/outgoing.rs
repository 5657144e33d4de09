//! The queue of encoded frames for one peer, and how much of it is written.
//!
//! It must not know what the frames mean, beyond where they end, nor who else shares them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use super::frame::{self, Frames};

/// What a chunk costs in a queue besides its bytes: a place in the queue, the reference count and the vector's fields.
pub const CHUNK_OVERHEAD: usize = 16;

/// Longest chunk, in bytes, that further frames may extend: enough for a turn's replies to one peer, and cheap to copy
/// when the chunk grows.
const JOINED_BYTES: usize = 16 * 1024;

/// Most chunks in one `write_vectored`: their slices are on the stack.
const CHUNKS_PER_WRITE: usize = 32;

/// The bytes waiting to be written to one peer. Takes two words, and no heap of its own while it is empty or holds one
/// chunk of frames.
///
/// A chunk is one or more complete frames. A connection's first chunk starts with an HTTP message instead: the request
/// or response that opens the connection (or refuses to).
#[derive(Debug, Default)]
pub struct Outgoing(Queue);

#[derive(Debug, Default)]
enum Queue {
    #[default]
    Empty,
    /// One chunk of frames, of which nothing is written yet, for a writer that has not blocked: the usual queue that is
    /// not empty. Invariant: the chunk is not empty.
    One(Frames),
    Many(Box<Many>),
}

/// The general form of a queue that is not empty.
#[derive(Debug, Default)]
struct Many {
    /// The chunk being sent, then what follows it and the pong, in order. Invariant: there is a chunk, and none is
    /// empty.
    chunks: VecDeque<Frames>,
    /// Length of the HTTP message that the first chunk starts with, before its first frame; 0 if there is none.
    /// Invariant: at most the chunk's end; 0 once the chunk is written.
    http_length: usize,
    /// Bytes of the first chunk already written. Invariant: less than the chunk's end, which is `cut`, else its length.
    sent: usize,
    /// Where the first chunk ends, if what follows was dropped. Invariant: the end of a frame, or of the HTTP message;
    /// more than `sent`, at most the chunk's length.
    cut: Option<usize>,
    /// The pong to send right after the first chunk. Invariant: queued while the writer was blocked, and not since the
    /// first chunk was written.
    pong: Option<Frames>,
    /// Bytes not yet written. Invariant: the length of all chunks (the first up to `cut`) and of the pong, minus
    /// `sent`.
    queued: usize,
    /// Whether the last write blocked.
    blocked: bool,
}

/// The result of [`Outgoing::write_to`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flush {
    /// The queue is empty.
    Done,
    /// The writer blocked: wait until it is writable.
    Blocked,
    /// The budget is spent; the writer may accept more.
    Unfinished,
}

impl Outgoing {
    /// Bytes queued and not yet written.
    #[must_use]
    pub fn queued(&self) -> usize {
        match &self.0 {
            Queue::Empty => 0,
            Queue::One(chunk) => chunk.as_bytes().len(),
            Queue::Many(many) => many.queued,
        }
    }

    /// Whether nothing is queued.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.0, Queue::Empty)
    }

    /// Memory held by this queue, in bytes: its own, and its share of each chunk, divided equally among the holders.
    #[must_use]
    pub fn share(&self) -> usize {
        let share = |chunk: &Frames| chunk.memory().div_ceil(chunk.holders());
        match &self.0 {
            Queue::Empty => 0,
            Queue::One(chunk) => share(chunk),
            Queue::Many(many) => {
                let own = size_of::<Many>() + many.chunks.capacity() * size_of::<Frames>();
                own + many.chunks.iter().chain(&many.pong).map(share).sum::<usize>()
            }
        }
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

    /// Queues short shared frames: without copying if nothing else is queued, else like
    /// [`push_bytes`](Self::push_bytes).
    pub fn push_short(&mut self, frames: &Frames) {
        if self.is_empty() {
            self.push(frames.clone());
        } else {
            self.push_bytes(frames.as_bytes());
        }
    }

    /// Queues complete frames for this peer alone. They extend the last chunk if it is small and not shared.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.push_with(bytes.len(), |out| out.extend_from_slice(bytes));
    }

    /// Queues the complete frames that `encode` appends, at most `length` bytes, like [`push_bytes`](Self::push_bytes).
    pub(super) fn push_with(&mut self, length: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let (last, queued) = match &mut self.0 {
            Queue::Empty => (None, None),
            Queue::One(chunk) => (Some(chunk), None),
            // A Close must be the last frame, so nothing extends a chunk that precedes a pong. Nor does anything extend
            // a chunk that was cut: bytes beyond the cut are not sent.
            Queue::Many(many) if (many.pong.is_some() || many.cut.is_some()) && many.chunks.len() == 1 => {
                (None, None)
            }
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

    /// Queues the HTTP message that `encode` appends, at most `length` bytes. It must be the first thing queued on a
    /// connection.
    pub(super) fn push_http(&mut self, length: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(self.is_empty(), "an HTTP message opens the connection");
        self.push_with(length, encode);
        if !self.is_empty() {
            let many = self.many();
            many.http_length = many.queued;
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

    /// Queues a pong. While the writer is blocked, the pong is sent right after the current chunk, and only the latest
    /// unsent one is kept (§5.5.3); otherwise it is queued like any frame.
    pub fn push_pong(&mut self, frame: &[u8]) {
        let Queue::Many(many) = &mut self.0 else { return self.push_bytes(frame) };
        if !many.blocked {
            return self.push_bytes(frame);
        }
        let former = many.pong.replace(Frames::new(frame.to_vec()));
        many.queued -= former.map_or(0, |pong| pong.as_bytes().len());
        many.queued += frame.len();
    }

    /// Drops everything but the rest of the frame being sent, then queues `close_frame`.
    pub fn fail_with(&mut self, close_frame: &[u8]) {
        let (head, Many { http_length, sent, cut, blocked, .. }) = match std::mem::take(&mut self.0) {
            Queue::Empty => (None, Many::default()),
            Queue::One(chunk) => (Some(chunk), Many::default()),
            Queue::Many(mut many) => (many.chunks.pop_front(), *many),
        };
        let close = Frames::new(close_frame.to_vec());
        let end = head
            .as_ref()
            .map_or(0, |head| cut.unwrap_or_else(|| boundary(head.as_bytes(), http_length, sent)));
        match head.filter(|_| end > sent) {
            // The chunk may be large and shared by many peers: it is cut, not copied.
            Some(head) => {
                let queued = end - sent + close.as_bytes().len();
                let chunks = VecDeque::from([head, close]);
                let many = Many { chunks, http_length, sent, cut: Some(end), pong: None, queued, blocked };
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

    /// Writes up to `max_bytes`, until the queue is empty or the writer blocks: one `write` when there is one chunk,
    /// else `write_vectored`.
    ///
    /// # Errors
    ///
    /// Any error of the writer except `WouldBlock` (see [`Flush::Blocked`]) and `Interrupted` (retried); `WriteZero` if
    /// it accepts no bytes. Bytes written before the error are no longer queued.
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
                Queue::One(chunk) => {
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

    /// The queue in its general form, converted if necessary; it must not be empty.
    fn many(&mut self) -> &mut Many {
        if let Queue::One(_) | Queue::Empty = self.0 {
            let mut many = Box::<Many>::default();
            if let Queue::One(chunk) = std::mem::take(&mut self.0) {
                many.queued = chunk.as_bytes().len();
                many.chunks.push_back(chunk);
            }
            self.0 = Queue::Many(many);
        }
        match &mut self.0 {
            Queue::Many(many) => many,
            Queue::Empty | Queue::One(_) => unreachable!("converted above"),
        }
    }
}

impl Many {
    /// Removes the first `written` bytes, which must be fewer than are queued.
    fn advance(&mut self, mut written: usize) {
        self.queued -= written;
        while let Some(first) = self.chunks.front() {
            let unsent = self.cut.unwrap_or(first.as_bytes().len()) - self.sent;
            if written < unsent {
                self.sent += written;
                return;
            }
            written -= unsent;
            self.http_length = 0;
            self.sent = 0;
            self.cut = None;
            match self.pong.take() {
                Some(pong) => self.chunks[0] = pong,
                None => drop(self.chunks.pop_front()),
            }
        }
    }

    /// Writes up to `budget` bytes from the front, in one call.
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

/// Where the partly sent frame ends; `sent` itself between two frames. The HTTP message of `http_length` bytes at the
/// start counts as partly sent from the beginning.
fn boundary(chunk: &[u8], http_length: usize, sent: usize) -> usize {
    let mut end = http_length;
    while end < sent {
        // Every chunk holds complete frames. If one did not, all of its rest would count as the frame being sent.
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

    /// A scripted writer: each call accepts some bytes, blocks or is interrupted. After the script it accepts
    /// everything.
    #[derive(Default)]
    struct Scripted {
        script: VecDeque<Result<usize, ErrorKind>>,
        written: Vec<u8>,
    }

    impl Scripted {
        /// Alternately accepts `size` bytes and blocks.
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

    /// A frame with `length` bytes of payload.
    fn frame(opcode: OpCode, length: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(opcode, &(0..length).collect::<Vec<_>>(), None, &mut bytes);
        bytes
    }

    fn chunk(bytes: &[u8]) -> Frames {
        Frames::new(bytes.to_vec())
    }

    /// The chunks, and how many bytes of the first are sent.
    fn chunks(queue: &Outgoing) -> (Vec<&Frames>, usize) {
        match &queue.0 {
            Queue::Empty => (Vec::new(), 0),
            Queue::One(chunk) => (vec![chunk], 0),
            Queue::Many(many) => (many.chunks.iter().chain(&many.pong).collect(), many.sent),
        }
    }

    /// Checks the invariants documented on the fields.
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
            assert!(many.http_length <= many.cut.unwrap_or(lengths[0]));
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
        let response = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        let frames: Vec<Vec<u8>> = [0, 60, 125, 200].map(|length| frame(OpCode::Text, length)).into();
        let close = frame(OpCode::Close, 2);
        for parts in [&frames[..], &[&[response.to_vec()][..], &frames[..3]].concat()] {
            let whole = parts.concat();
            let is_opening = parts[0] == response;
            let ends: Vec<usize> = parts
                .iter()
                .scan(0, |end, part| {
                    *end += part.len();
                    Some(*end)
                })
                .collect();
            for sent in 0..whole.len() {
                let mut queue = Outgoing::default();
                if is_opening {
                    queue.push_http(response.len(), |out| out.extend_from_slice(response));
                    queue.push_bytes(&parts[1..].concat());
                } else {
                    queue.push(chunk(&whole));
                }
                check(&queue);
                assert_eq!(chunks(&queue).0.len(), 1);
                queue.push(chunk(&whole));
                let mut writer = Scripted::default();
                assert_eq!(queue.write_to(&mut writer, sent).unwrap(), Flush::Unfinished);
                queue.fail_with(&close);
                check(&queue);
                drain(&mut queue, &mut writer, usize::MAX);
                // The response that opens the connection is always sent.
                let sent = if is_opening { sent.max(1) } else { sent };
                let end = ends.iter().copied().find(|&end| end >= sent).unwrap();
                let end = if sent == 0 { 0 } else { end };
                assert_eq!(writer.written, [&whole[..end], &close].concat(), "{sent}");
            }
        }
    }

    #[test]
    fn the_http_message_is_forgotten_once_its_chunk_is_written() {
        let (response, text, close) =
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", frame(OpCode::Text, 100), frame(OpCode::Close, 2));
        let mut queue = Outgoing::default();
        queue.push_http(response.len(), |out| out.extend_from_slice(response));
        let texts = chunk(&text.repeat(2));
        queue.push(texts.clone());
        let mut writer = Scripted::default();
        // The texts' chunk is shared, so it is another one; none of it is written.
        assert_eq!(queue.write_to(&mut writer, response.len()).unwrap(), Flush::Unfinished);
        queue.fail_with(&close);
        check(&queue);
        drain(&mut queue, &mut writer, usize::MAX);
        assert_eq!(writer.written, [&response[..], &close].concat());
        assert_eq!(texts.holders(), 1);
    }

    proptest! {
        /// Frames are written complete and, except for control frames, in order, however they are queued and written.
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
