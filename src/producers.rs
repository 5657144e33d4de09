//! The backend's processes that write events: each one's stream cut into lines, and the answers it is owed.
//!
//! It does not know sockets, nor what a line means.

use crate::ndjson::{LineReader, RawLine, TooLong};
use crate::slots::{Generation, Occupant, SlotId, Slots};
use std::borrow::Cow;
use std::io::{self, Write};

/// One connected producer.
pub type ProducerId = SlotId<Producer>;

/// What producers may cost.
#[derive(Clone, Copy, Debug)]
pub struct ProducerLimits {
    /// Producers connected at once.
    pub producers: usize,
    /// The longest line in bytes, its end not counted.
    pub line: usize,
    /// Bytes of answers kept for a producer that does not read them; further ones are lost to it.
    pub answers: usize,
    /// Bytes held for all producers: unfinished lines, answers, and input that waits to be taken.
    pub total: usize,
}

/// Why a line cannot be given to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLine {
    /// It is longer than [`ProducerLimits::line`].
    TooLong,
    /// It is unfinished, and the unfinished lines of all producers exceed [`ProducerLimits::total`].
    NoRoom,
}

/// What was lost of one producer's stream, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// The stream broke off inside a line, which was dropped.
    pub cut_line: bool,
    /// Answers the producer left unread and will not get.
    pub answers: u64,
}

/// All producers.
#[derive(Debug)]
pub struct Producers {
    slots: Slots<Producer>,
    limits: ProducerLimits,
    /// Bytes held for all.
    held: usize,
    /// Producers with input that waits to be taken.
    leftovers: usize,
    /// Producers that were answered without having been read, since the last call of [`Producers::take_refused`].
    refused: Vec<ProducerId>,
    counters: ProducerCounters,
}

/// Counters of all producers since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProducerCounters {
    /// Producers that connected.
    pub connected: u64,
    /// Bytes read from them.
    pub bytes: u64,
    /// Lines dropped because the stream broke off inside.
    pub cut_lines: u64,
    /// Answers lost because they were left unread, of producers that are gone.
    pub lost_answers: u64,
}

/// One producer's stream and the answers it is owed.
#[derive(Debug)]
pub struct Producer {
    generation: Generation,
    lines: LineReader,
    /// Input that was read and waits to be taken: `leftover[taken..]`.
    leftover: Vec<u8>,
    taken: usize,
    answers: Answers,
    /// Bytes read since there was no backlog.
    backlog: usize,
    /// Batches queued for a subscriber since then, one for each subscriber.
    deliveries: u64,
    /// What it had in [`Producers::held`] last.
    held: usize,
}

/// Answers on their way: `bytes[sent..]` is still to be written.
#[derive(Debug, Default)]
struct Answers {
    bytes: Vec<u8>,
    sent: usize,
    lost: u64,
}

impl Producers {
    /// No producers.
    #[must_use]
    pub fn new(limits: ProducerLimits) -> Self {
        Self {
            slots: Slots::new(),
            limits,
            held: 0,
            leftovers: 0,
            refused: Vec::new(),
            counters: ProducerCounters::default(),
        }
    }

    /// A producer has connected. `None` when there are as many as there may be.
    pub fn connect(&mut self) -> Option<ProducerId> {
        if !self.has_room() {
            return None;
        }
        self.counters.connected += 1;
        Some(self.slots.insert(|generation| Producer {
            generation,
            lines: LineReader::default(),
            leftover: Vec::new(),
            taken: 0,
            answers: Answers::default(),
            backlog: 0,
            deliveries: 0,
            held: 0,
        }))
    }

    /// Whether one more may connect.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.slots.len() < self.limits.producers
    }

    /// Cuts `input` into lines and gives each to `take`, with the buffer for its answer, until `take` returns false. What is
    /// left then is kept for [`receive_leftover`](Self::receive_leftover), which comes before further input.
    pub fn receive(
        &mut self,
        id: ProducerId,
        input: &[u8],
        mut take: impl FnMut(u64, Line<'_>, &mut Vec<u8>) -> bool,
    ) {
        self.counters.bytes += input.len() as u64;
        let Some(producer) = self.slots.get_mut(id) else { return };
        debug_assert!(producer.leftover.is_empty(), "earlier input comes first");
        producer.backlog += input.len();
        let mut rest = input;
        let room = self.limits.answers_room(self.held);
        producer.take_lines(&mut rest, self.limits, room, &mut take);
        if !rest.is_empty() {
            producer.leftover = rest.to_vec();
            self.leftovers += 1;
        }
        self.account(id, &mut take);
    }

    /// Goes on with input that was kept.
    pub fn receive_leftover(
        &mut self,
        id: ProducerId,
        mut take: impl FnMut(u64, Line<'_>, &mut Vec<u8>) -> bool,
    ) {
        let Some(producer) = self.slots.get_mut(id).filter(|producer| !producer.leftover.is_empty()) else {
            return;
        };
        let leftover = std::mem::take(&mut producer.leftover);
        let mut rest = &leftover[producer.taken..];
        let room = self.limits.answers_room(self.held);
        producer.take_lines(&mut rest, self.limits, room, &mut take);
        producer.taken = leftover.len() - rest.len();
        if rest.is_empty() {
            producer.taken = 0;
            self.leftovers -= 1;
        } else {
            producer.leftover = leftover;
        }
        self.account(id, &mut take);
    }

    /// Whether input of this producer was read and waits to be taken.
    #[must_use]
    pub fn has_leftover(&self, id: ProducerId) -> bool {
        self.slots.get(id).is_some_and(|producer| !producer.leftover.is_empty())
    }

    /// Whether input of any producer was read and waits to be taken.
    #[must_use]
    pub const fn has_leftovers(&self) -> bool {
        self.leftovers > 0
    }

    /// The stream has ended in order: gives a last line that lacks only its end to `take`. The producer may still read its
    /// answers.
    pub fn finish(&mut self, id: ProducerId, mut take: impl FnMut(u64, Line<'_>, &mut Vec<u8>)) {
        let limit = self.limits.answers_room(self.held);
        if let Some(producer) = self.slots.get_mut(id)
            && let Some(RawLine { number, bytes }) = producer.lines.finish()
        {
            producer.answers.collect(limit, |answer| take(number, as_line(&bytes), answer));
        }
        self.account(id, &mut |number, line, answer| {
            take(number, line, answer);
            true
        });
    }

    /// Removes a producer, discarding any partial line. Returns what was lost.
    pub fn disconnect(&mut self, id: ProducerId) -> Loss {
        let Some(producer) = self.slots.remove(id) else { return Loss::default() };
        self.held -= producer.held;
        self.leftovers -= usize::from(!producer.leftover.is_empty());
        let cut_line = producer.lines.is_inside_line() || !producer.leftover.is_empty();
        let loss = Loss { cut_line, answers: producer.answers.lost };
        self.counters.cut_lines += u64::from(loss.cut_line);
        self.counters.lost_answers += loss.answers;
        loss
    }

    /// Writes as many of the answers as `writer` takes. Returns whether that is all of them.
    ///
    /// # Errors
    /// Those of the writer, but not that it would block.
    pub fn write_answers(&mut self, id: ProducerId, writer: &mut impl Write) -> io::Result<bool> {
        let written = self.slots.get_mut(id).map_or(Ok(true), |producer| producer.answers.write_to(writer));
        self.account(id, &mut |_, _, _: &mut Vec<u8>| true);
        written
    }

    /// The producers whose unfinished lines were refused while another one was read: they have an answer to be written.
    pub fn take_refused(&mut self) -> impl Iterator<Item = ProducerId> {
        self.refused.drain(..)
    }

    /// Bytes read from this producer since [`Producers::clear_backlog`].
    #[must_use]
    pub fn backlog(&self, id: ProducerId) -> usize {
        self.slots.get(id).map_or(0, |producer| producer.backlog)
    }

    /// Batches queued for a subscriber by lines of this producer since [`Producers::clear_backlog`].
    #[must_use]
    pub fn deliveries(&self, id: ProducerId) -> u64 {
        self.slots.get(id).map_or(0, |producer| producer.deliveries)
    }

    /// Adds the deliveries that lines of this producer caused.
    pub fn add_deliveries(&mut self, id: ProducerId, deliveries: u64) {
        if let Some(producer) = self.slots.get_mut(id) {
            producer.deliveries += deliveries;
        }
    }

    /// Every line that was taken has been offered to whom it concerns: only input that was kept remains in the backlog.
    /// Returns how many bytes that is.
    pub fn clear_backlog(&mut self) -> usize {
        let mut bytes = 0;
        for producer in self.slots.values_mut() {
            producer.backlog = producer.leftover.len() - producer.taken;
            producer.deliveries = 0;
            bytes += producer.backlog;
        }
        bytes
    }

    /// The counters since the start.
    #[must_use]
    pub const fn counters(&self) -> ProducerCounters {
        self.counters
    }

    /// Bytes held for all producers.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Brings the account of memory up to date after a change to one producer. While too much is held, the longest
    /// unfinished line is refused, so that the others can be finished.
    fn account(&mut self, id: ProducerId, take: &mut impl FnMut(u64, Line<'_>, &mut Vec<u8>) -> bool) {
        self.account_one(id);
        while self.held > self.limits.total {
            let longest = self.slots.iter().max_by_key(|(_, producer)| producer.lines.held());
            let Some((longest, producer)) = longest.filter(|(_, producer)| producer.lines.held() > 0) else {
                return;
            };
            log::warn!(
                producer = longest.generation(), bytes = producer.lines.held();
                "producers' unfinished lines exceed producerBytes: the longest is refused"
            );
            let limit = self.limits.answers;
            if let Some(producer) = self.slots.get_mut(longest) {
                let number = producer.lines.skip();
                producer.answers.collect(limit, |answer| {
                    take(number, Err(BadLine::NoRoom), answer);
                });
                if longest != id {
                    self.refused.push(longest);
                }
            }
            self.account_one(longest);
        }
    }

    fn account_one(&mut self, id: ProducerId) {
        if let Some(producer) = self.slots.get_mut(id) {
            let held =
                producer.lines.held() + producer.leftover.capacity() + producer.answers.bytes.capacity();
            self.held = self.held - producer.held + held;
            producer.held = held;
        }
    }

    /// Counts generations on from here, for tests near their wrap.
    #[cfg(test)]
    pub(crate) const fn set_generation(&mut self, generation: u32) {
        self.slots.set_generation(generation);
    }
}

/// A line without its end, or why there is none.
pub type Line<'l> = Result<&'l [u8], BadLine>;

fn as_line<'l>(bytes: &'l Result<Cow<'_, [u8]>, TooLong>) -> Line<'l> {
    bytes.as_deref().map_err(|TooLong| BadLine::TooLong)
}

impl ProducerLimits {
    /// Bytes of answers that may be kept for one producer while `held` is held for all: none of the second half of what
    /// all may hold, which is for lines.
    fn answers_room(&self, held: usize) -> usize {
        self.answers.min((self.total / 2).saturating_sub(held))
    }
}

impl Occupant for Producer {
    type Kind = Self;

    fn generation(&self) -> Generation {
        self.generation
    }
}

impl Producer {
    /// Gives lines to `take` until there is none or `take` returns false.
    fn take_lines(
        &mut self,
        input: &mut &[u8],
        limits: ProducerLimits,
        room: usize,
        take: &mut impl FnMut(u64, Line<'_>, &mut Vec<u8>) -> bool,
    ) {
        let Self { lines, answers, .. } = self;
        while let Some(RawLine { number, bytes }) = lines.read(input, limits.line) {
            let mut goes_on = true;
            answers.collect(room, |answer| goes_on = take(number, as_line(&bytes), answer));
            if !goes_on {
                return;
            }
        }
    }
}

impl Answers {
    /// Lets `answer` append to the answers; what it appends is dropped if `limit` bytes wait already, so that a producer
    /// that never reads costs no more, and is not stopped from writing either.
    fn collect(&mut self, limit: usize, answer: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        answer(&mut self.bytes);
        if self.bytes.len() > before && before - self.sent >= limit {
            self.bytes.truncate(before);
            self.lost += 1;
        }
    }

    fn write_to(&mut self, writer: &mut impl Write) -> io::Result<bool> {
        while self.sent < self.bytes.len() {
            match writer.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.bytes.drain(..self.sent);
                    self.sent = 0;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        *self = Self { lost: self.lost, ..Self::default() };
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producers(total: usize) -> Producers {
        Producers::new(ProducerLimits { producers: 100, line: 1000, answers: 1000, total })
    }

    /// Gives input to a producer; returns the lines taken.
    fn receive(producers: &mut Producers, id: ProducerId, input: &[u8]) -> Vec<Result<Vec<u8>, BadLine>> {
        let mut lines = Vec::new();
        producers.receive(id, input, |_, line, _| {
            lines.push(line.map(<[u8]>::to_vec));
            true
        });
        lines
    }

    #[test]
    fn s54_producers_are_read_across_the_wrap_of_generations() {
        let mut producers = producers(10_000);
        producers.set_generation((1 << 30) - 2);
        for _ in 0..4 {
            // As the kernel gives it back: by its bits.
            let id = ProducerId::from_bits(producers.connect().unwrap().to_bits());
            assert_eq!(receive(&mut producers, id, b"line\n"), [Ok(b"line".to_vec())]);
            producers.disconnect(id);
            assert!(producers.is_empty());
        }
    }

    #[test]
    fn input_that_is_not_taken_is_kept_and_comes_first() {
        let mut producers = producers(10_000);
        let id = producers.connect().unwrap();
        let mut lines = Vec::new();
        producers.receive(id, b"a\nb\nc\npart", |number, line, _| {
            lines.push((number, line.unwrap().to_vec()));
            false
        });
        assert!(producers.has_leftover(id) && producers.has_leftovers());
        while producers.has_leftover(id) {
            producers.receive_leftover(id, |number, line, _| {
                lines.push((number, line.unwrap().to_vec()));
                false
            });
        }
        assert_eq!(lines, [(1, b"a".to_vec()), (2, b"b".to_vec()), (3, b"c".to_vec())]);
        assert_eq!(receive(&mut producers, id, b"ial\n"), [Ok(b"partial".to_vec())]);
        assert!(!producers.has_leftovers());
    }

    #[test]
    fn s63_the_longest_unfinished_line_is_refused_when_all_hold_too_much() {
        let mut producers = producers(1500);
        let [long, short] = [(); 2].map(|()| producers.connect().unwrap());
        assert_eq!(receive(&mut producers, long, &[b'l'; 900]), []);
        let refused = receive(&mut producers, short, &[b's'; 700]);
        assert_eq!(refused, [Err(BadLine::NoRoom)], "of the long one");
        assert!(producers.take_refused().eq([long]), "its answer is written though it was not read");
        assert!(producers.held() <= 1500);
        // The rest of that line is skipped, the next one is read, and so is the other's.
        assert_eq!(receive(&mut producers, long, b"rest\nnext\n"), [Ok(b"next".to_vec())]);
        assert_eq!(receive(&mut producers, short, b"\n"), [Ok(vec![b's'; 700])]);
    }

    #[test]
    fn as_many_as_the_limit_may_connect() {
        let mut producers = producers(1500);
        let ids: Vec<_> = (0..100).map(|_| producers.connect().unwrap()).collect();
        assert_eq!(producers.connect(), None);
        producers.disconnect(ids[50]);
        assert!(producers.connect().is_some());
    }
}
