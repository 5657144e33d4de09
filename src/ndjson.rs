//! Bytes → lines, with a cap on their length.
//!
//! A line that lies wholly in the input is borrowed from it; only one that is cut is held. It does not know what
//! is in a line.

use std::borrow::Cow;

/// Takes lines out of a stream that comes in pieces. Owns memory only while a line is cut.
#[derive(Debug)]
pub struct LineReader {
    /// The number of the line that is being read, counted from 1.
    number: u64,
    /// The beginning of that line, as far as earlier input held it; never more than the limit.
    held: Vec<u8>,
    /// The line has been reported as too long; what is left of it is thrown away. Then `held` is empty.
    skipping: bool,
}

/// A line of the stream.
#[derive(Debug, PartialEq, Eq)]
pub struct RawLine<'i> {
    /// Its number, counted from 1, empty lines too.
    pub number: u64,
    /// Its bytes without the line end (`\n` or `\r\n`); never empty.
    pub bytes: Result<Cow<'i, [u8]>, TooLong>,
}

/// A line has more bytes before its `\n` than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Default for LineReader {
    fn default() -> Self {
        Self { number: 1, held: Vec::new(), skipping: false }
    }
}

impl LineReader {
    /// The next line that is not empty, its bytes taken off the front of `input`; `None` when `input` is used up.
    ///
    /// A line of more than `limit` bytes is reported once, as soon as that is known, and skipped to its end.
    pub fn read<'i>(&mut self, input: &mut &'i [u8], limit: usize) -> Option<RawLine<'i>> {
        while !input.is_empty() {
            let (piece, ended) = take_piece(input);
            let too_long = !self.skipping && piece.len() > limit - self.held.len();
            let number = self.number;
            self.number += u64::from(ended);
            if too_long {
                self.held = Vec::new();
                self.skipping = !ended;
                return Some(RawLine { number, bytes: Err(TooLong) });
            }
            if self.skipping {
                self.skipping = !ended;
            } else if !ended {
                self.held.extend_from_slice(piece);
            } else if let Some(bytes) = self.complete(piece) {
                return Some(RawLine { number, bytes: Ok(bytes) });
            }
        }
        None
    }

    /// The last line, if it has no line end: to be asked for when the stream has ended in order. After an error, the
    /// reader is dropped instead, for the line may have been cut.
    pub fn finish(&mut self) -> Option<RawLine<'static>> {
        let held = std::mem::take(&mut self.held);
        let bytes = without_return(Cow::Owned(held));
        (!bytes.is_empty()).then_some(RawLine { number: self.number, bytes: Ok(bytes) })
    }

    /// Whether the stream stands inside a line.
    #[must_use]
    pub fn is_inside_line(&self) -> bool {
        self.skipping || !self.held.is_empty()
    }

    /// The line that `piece` ends; `None` if it is empty.
    fn complete<'i>(&mut self, piece: &'i [u8]) -> Option<Cow<'i, [u8]>> {
        let line = if self.held.is_empty() {
            Cow::Borrowed(piece)
        } else {
            self.held.extend_from_slice(piece);
            Cow::Owned(std::mem::take(&mut self.held))
        };
        let line = without_return(line);
        (!line.is_empty()).then_some(line)
    }
}

/// Takes the bytes up to the next `\n` off the input, and says whether there was one.
fn take_piece<'i>(input: &mut &'i [u8]) -> (&'i [u8], bool) {
    match memchr::memchr(b'\n', input) {
        Some(end) => {
            let piece = &input[..end];
            *input = &input[end + 1..];
            (piece, true)
        }
        None => (std::mem::take(input), false),
    }
}

/// The line without the `\r` before its end.
fn without_return(mut line: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if line.last() == Some(&b'\r') {
        match &mut line {
            Cow::Borrowed(bytes) => *bytes = &bytes[..bytes.len() - 1],
            Cow::Owned(bytes) => drop(bytes.pop()),
        }
    }
    line
}
