//! The sockets, played: what comes in, what a write takes, and how they break.

use crate::clients::End;
use crate::faults::Fault;
use crate::random::Random;
use crate::tape::{Entry, Tape};
use std::io::{self, ErrorKind, IoSlice, Write};

/// The server's end of a connection of a client or a producer.
#[derive(Debug)]
pub(crate) struct Wire {
    /// The number of the client or producer at the other end.
    pub(crate) number: usize,
    is_producer: bool,
    tape: Tape,
    /// What has come and was not read, from `start` on.
    inbox: Vec<u8>,
    start: usize,
    /// How the stream ends behind that; `None` as long as it has not.
    pub(crate) end: Option<End>,
    /// Bytes that fit in before the other end reads.
    pub(crate) room: usize,
    /// The last write was refused.
    pub(crate) is_refused: bool,
    /// How often a write was refused.
    pub(crate) refusals: u64,
    /// Every write fails.
    pub(crate) is_broken: bool,
    /// The server has shut it for writing.
    pub(crate) is_shut: bool,
    /// The poll watches it for reading, and for writing.
    pub(crate) is_watched: bool,
    pub(crate) tells_writable: bool,
    /// What the poll has to report and has not.
    pub(crate) edges: Edges,
    /// The poll has reported room since the last write was refused.
    pub(crate) is_reported: bool,
    /// What comes while the server is amid a turn, before it reads.
    pub(crate) late: Vec<u8>,
    pub(crate) rates: Rates,
    random: Random,
}

/// Readiness to be reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edges {
    pub(crate) readable: bool,
    pub(crate) end: bool,
    pub(crate) writable: bool,
}

/// How often, of a thousand calls, one goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// A write is short.
    pub(crate) short_write: usize,
    /// A write is refused though there is room.
    pub(crate) refusal: usize,
    /// A call is interrupted by a signal.
    pub(crate) interrupted: usize,
    /// A read gives less than there is, or nothing: the rest comes right behind it.
    pub(crate) short_read: usize,
    pub(crate) empty_read: usize,
}

impl Wire {
    pub(crate) fn new(number: usize, is_producer: bool, room: usize, tape: Tape, random: Random) -> Self {
        Self {
            number,
            is_producer,
            tape,
            inbox: Vec::new(),
            start: 0,
            end: None,
            room,
            is_refused: false,
            refusals: 0,
            is_broken: false,
            is_shut: false,
            is_watched: false,
            tells_writable: false,
            edges: Edges::default(),
            is_reported: false,
            late: Vec::new(),
            rates: Rates::default(),
            random,
        }
    }

    /// Bytes that have come and were not read.
    pub(crate) const fn unread(&self) -> usize {
        self.inbox.len() - self.start
    }

    /// Whether a read would give something: bytes, the end or an error.
    pub(crate) const fn has_input(&self) -> bool {
        self.unread() > 0 || self.end.is_some()
    }

    /// Bytes come.
    pub(crate) fn arrive(&mut self, bytes: &[u8]) {
        if self.start == self.inbox.len() {
            self.inbox.clear();
            self.start = 0;
        }
        self.inbox.extend_from_slice(bytes);
        self.edges.readable = true;
    }

    /// The stream ends. A reset may take with it what was not read.
    pub(crate) fn arrive_end(&mut self, end: End) {
        if end == End::Reset {
            self.is_broken = true;
            if self.random.chance(500) {
                self.start = self.inbox.len();
            }
        }
        self.end = Some(end);
        self.edges.readable = true;
        self.edges.end = true;
    }

    /// As read(2). An end is given again and again.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.strikes(self.rates.interrupted) {
            self.tape.note(Entry::Fault(Fault::Interrupted));
            return Err(ErrorKind::Interrupted.into());
        }
        let mut count = self.unread().min(buffer.len());
        if count == 0 {
            return match self.end {
                None => Err(ErrorKind::WouldBlock.into()),
                Some(End::EndOfStream) => Ok(0),
                Some(End::Reset) => Err(ErrorKind::ConnectionReset.into()),
            };
        }
        if self.strikes(self.rates.empty_read) {
            self.tape.note(Entry::Fault(Fault::EmptyRead));
            self.edges.readable = true;
            self.edges.end = self.end.is_some();
            return Err(ErrorKind::WouldBlock.into());
        }
        if count > 1 && self.strikes(self.rates.short_read) {
            count = self.random.between(1, count - 1);
            self.tape.note(Entry::Fault(Fault::ShortRead));
            // What is left comes right behind it, and so does the end.
            self.edges.readable = true;
            self.edges.end = self.end.is_some();
        }
        buffer[..count].copy_from_slice(&self.inbox[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }

    const fn strikes(&mut self, rate: usize) -> bool {
        rate > 0 && self.random.chance(rate)
    }

    /// How many of `bytes` bytes a write takes.
    fn admit(&mut self, bytes: usize) -> io::Result<usize> {
        if self.is_broken {
            if !self.is_producer {
                self.tape.note(Entry::WriteFailed(self.number));
            }
            return Err(ErrorKind::BrokenPipe.into());
        }
        if self.strikes(self.rates.interrupted) {
            self.tape.note(Entry::Fault(Fault::Interrupted));
            return Err(ErrorKind::Interrupted.into());
        }
        let is_spurious = self.room > 0 && self.strikes(self.rates.refusal);
        if self.room == 0 || is_spurious {
            let fault = if is_spurious { Fault::SpuriousBlock } else { Fault::BlockedWriter };
            self.tape.note(Entry::Fault(fault));
            self.is_refused = true;
            self.is_reported = false;
            self.refusals += 1;
            // Room is reported behind every refused write, also if there was some.
            self.edges.writable |= is_spurious;
            if !self.is_producer {
                self.tape.note(Entry::WriteRefused(self.number));
            }
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut taken = bytes.min(self.room);
        if taken > 1 && self.strikes(self.rates.short_write) {
            taken = self.random.between(1, taken - 1);
            self.tape.note(Entry::Fault(Fault::ShortWrite));
        }
        self.room -= taken;
        self.is_refused = false;
        Ok(taken)
    }

    fn note(&self, bytes: Vec<u8>) {
        assert!(!self.is_shut, "a write behind the end of the stream");
        self.tape.note(if self.is_producer {
            Entry::Answered(self.number, bytes)
        } else {
            Entry::Wrote(self.number, bytes)
        });
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.admit(bytes.len())?;
        self.note(bytes[..taken].to_vec());
        Ok(taken)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let taken = self.admit(slices.iter().map(|slice| slice.len()).sum())?;
        let mut written = Vec::with_capacity(taken);
        for slice in slices {
            written.extend_from_slice(&slice[..slice.len().min(taken - written.len())]);
        }
        self.note(written);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
