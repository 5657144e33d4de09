//! The backend's processes that write events: each one's stream cut into lines, and the answers it is owed.
//!
//! Who reads a socket and who writes to it is not known here, and neither is what a line means.

use crate::ndjson::{LineReader, RawLine, TooLong};
use slab::Slab;
use std::io::{self, Write};

/// One connected producer: a slot, and the generation that tells it from those who had the slot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProducerId {
    index: u32,
    generation: u32,
}

/// What a producer may cost.
#[derive(Clone, Copy, Debug)]
pub struct ProducerLimits {
    /// The longest line in bytes, its end not counted.
    pub line: usize,
    /// The answers, in bytes, that wait for a producer that does not read them; further ones are lost to it.
    pub answers: usize,
}

/// What has been lost of one producer's stream, for the log.
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
    slab: Slab<Producer>,
    generations: u32,
    limits: ProducerLimits,
    counters: ProducerCounters,
}

/// What has become of the producers since the start, in numbers that only grow.
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

#[derive(Debug)]
struct Producer {
    generation: u32,
    lines: LineReader,
    answers: Answers,
    /// Bytes read since the peers were last sent all there was; see [`Producers::taken`].
    taken: usize,
}

/// Answers on their way: `bytes[sent..]` is still to be written.
#[derive(Debug, Default)]
struct Answers {
    bytes: Vec<u8>,
    sent: usize,
    lost: u64,
}

impl ProducerId {
    /// The producer that has been given this slot and generation.
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// The slot; reused when the producer is gone.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// Counts all producers ever; wraps.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl Producers {
    /// None yet.
    #[must_use]
    pub fn new(limits: ProducerLimits) -> Self {
        Self { slab: Slab::new(), generations: 0, limits, counters: ProducerCounters::default() }
    }

    /// A producer has connected.
    pub fn connect(&mut self) -> ProducerId {
        self.generations = self.generations.wrapping_add(1);
        self.counters.connected += 1;
        let producer = Producer {
            generation: self.generations,
            lines: LineReader::default(),
            answers: Answers::default(),
            taken: 0,
        };
        let index = u32::try_from(self.slab.insert(producer)).expect("fewer than 2^32 producers");
        ProducerId { index, generation: self.generations }
    }

    /// Cuts `input` into lines and gives each to `take`, with the buffer for its answer.
    pub fn receive(
        &mut self,
        id: ProducerId,
        mut input: &[u8],
        mut take: impl FnMut(u64, Result<&[u8], TooLong>, &mut Vec<u8>),
    ) {
        let ProducerLimits { line: limit, answers } = self.limits;
        self.counters.bytes += input.len() as u64;
        let Some(producer) = self.get_mut(id) else { return };
        producer.taken += input.len();
        while let Some(RawLine { number, bytes }) = producer.lines.read(&mut input, limit) {
            producer
                .answers
                .collect(answers, |answer| take(number, bytes.as_deref().map_err(|&it| it), answer));
        }
    }

    /// The stream has ended in order: gives a last line that lacks only its end to `take`. The producer may still read its
    /// answers.
    pub fn finish(
        &mut self,
        id: ProducerId,
        mut take: impl FnMut(u64, Result<&[u8], TooLong>, &mut Vec<u8>),
    ) {
        let limit = self.limits.answers;
        if let Some(producer) = self.get_mut(id)
            && let Some(RawLine { number, bytes }) = producer.lines.finish()
        {
            producer
                .answers
                .collect(limit, |answer| take(number, bytes.as_deref().map_err(|&it| it), answer));
        }
    }

    /// Forgets a producer, and a line of it that broke off. Says what has been lost.
    pub fn disconnect(&mut self, id: ProducerId) -> Loss {
        if self.get(id).is_none() {
            return Loss::default();
        }
        let Producer { lines, answers, .. } = self.slab.remove(id.index());
        let loss = Loss { cut_line: lines.is_inside_line(), answers: answers.lost };
        self.counters.cut_lines += u64::from(loss.cut_line);
        self.counters.lost_answers += loss.answers;
        loss
    }

    /// Writes as much of the answers as `writer` takes. Returns whether that is all of them.
    ///
    /// # Errors
    /// Those of the writer, but not that it would block.
    pub fn write_answers(&mut self, id: ProducerId, writer: &mut impl Write) -> io::Result<bool> {
        self.get_mut(id).map_or(Ok(true), |producer| producer.answers.write_to(writer))
    }

    /// Bytes read from this producer since [`Producers::forget_taken`].
    #[must_use]
    pub fn taken(&self, id: ProducerId) -> usize {
        self.get(id).map_or(0, |producer| producer.taken)
    }

    /// Everything that was read has been sent on as far as it could be: all may be read again.
    pub fn forget_taken(&mut self) {
        self.slab.iter_mut().for_each(|(_, producer)| producer.taken = 0);
    }

    /// What has become of them since the start.
    #[must_use]
    pub const fn counters(&self) -> ProducerCounters {
        self.counters
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    fn get(&self, id: ProducerId) -> Option<&Producer> {
        self.slab.get(id.index()).filter(|producer| producer.generation == id.generation)
    }

    fn get_mut(&mut self, id: ProducerId) -> Option<&mut Producer> {
        self.slab.get_mut(id.index()).filter(|producer| producer.generation == id.generation)
    }
}

impl Answers {
    /// Lets `answer` append to the answers; what it appends is taken back if more than `limit` wait already, so that a
    /// producer that never reads costs no more, and is not stopped from writing either.
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
