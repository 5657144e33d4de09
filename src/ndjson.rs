//! Splits a byte stream into lines of limited length.
//!
//! A line that lies wholly in the input is borrowed; only an incomplete line is buffered. It must not know what lines
//! contain.

use std::borrow::Cow;

/// Splits a stream that arrives in pieces into lines. Allocates only while a line is incomplete.
#[derive(Debug)]
pub struct LineReader {
    /// The number of the line being read, from 1.
    number: u64,
    /// The part of that line in earlier input. Invariant: never more than the limit.
    held: Vec<u8>,
    /// Whether the rest of the line is discarded. Invariant: `held` is then empty.
    skipping: bool,
}

/// A line of the stream.
#[derive(Debug, PartialEq, Eq)]
pub struct RawLine<'i> {
    /// Its number, from 1; empty lines count.
    pub number: u64,
    /// Its bytes without the line ending (`\n` or `\r\n`); never empty.
    pub bytes: Result<Cow<'i, [u8]>, TooLong>,
}

/// The line has more bytes before its `\n` than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Default for LineReader {
    fn default() -> Self {
        Self { number: 1, held: Vec::new(), skipping: false }
    }
}

impl LineReader {
    /// Consumes `input` up to the end of the next non-empty line and returns that line; `None` once `input` is
    /// exhausted.
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

    /// The last line, if it lacks a line ending. Call this only after an orderly end of the stream: after an error the
    /// line may be incomplete, so drop the reader instead.
    pub fn finish(&mut self) -> Option<RawLine<'static>> {
        let held = std::mem::take(&mut self.held);
        let bytes = without_return(Cow::Owned(held));
        (!bytes.is_empty()).then_some(RawLine { number: self.number, bytes: Ok(bytes) })
    }

    /// Whether the bytes read so far end inside a line.
    #[must_use]
    pub fn is_inside_line(&self) -> bool {
        self.skipping || !self.held.is_empty()
    }

    /// Discards the unfinished line, including its unread rest. Returns its number.
    pub(crate) fn skip(&mut self) -> u64 {
        self.held = Vec::new();
        self.skipping = true;
        self.number
    }

    /// Heap memory held, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.held.capacity()
    }

    /// The line that `piece` completes; `None` if it is empty.
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

/// Consumes the input up to the next `\n`, or all of it; the flag says whether there was one.
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

/// Strips the `\r` of a `\r\n`.
fn without_return(mut line: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if line.last() == Some(&b'\r') {
        match &mut line {
            Cow::Borrowed(bytes) => *bytes = &bytes[..bytes.len() - 1],
            Cow::Owned(bytes) => drop(bytes.pop()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = (u64, Result<Vec<u8>, TooLong>);

    /// All lines of a stream that arrives in these pieces and ends in order.
    fn read_all<'i>(pieces: impl IntoIterator<Item = &'i [u8]>, limit: usize) -> Vec<Read> {
        let mut reader = LineReader::default();
        let mut lines = Vec::new();
        for mut piece in pieces {
            while let Some(line) = reader.read(&mut piece, limit) {
                lines.push((line.number, line.bytes.map(Cow::into_owned)));
                assert!(reader.held() == 0, "nothing is held between lines");
            }
            assert!(piece.is_empty());
            assert!(reader.held.len() <= limit);
        }
        lines.extend(reader.finish().map(|line| (line.number, line.bytes.map(Cow::into_owned))));
        assert_eq!(reader.finish(), None, "the last line is returned once");
        lines
    }

    /// The same lines by definition: the whole stream, split at each `\n`.
    fn by_definition(stream: &[u8], limit: usize) -> Vec<Read> {
        let lines = (1..).zip(stream.split(|&byte| byte == b'\n'));
        let lines =
            lines.map(|(number, line)| (number, (line.len() <= limit).then_some(line).ok_or(TooLong)));
        let lines =
            lines.map(|(number, line)| (number, line.map(|line| line.strip_suffix(b"\r").unwrap_or(line))));
        let lines = lines.filter(|(_, line)| *line != Ok(b""));
        lines.map(|(number, line)| (number, line.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn lines_are_counted_from_1_empty_ones_too() {
        let ok = |number, line: &[u8]| (number, Ok(line.to_vec()));
        for (stream, expected) in [
            (&b""[..], vec![]),
            (b"\n", vec![]),
            (b"a\nb\r\n", vec![ok(1, b"a"), ok(2, b"b")]),
            (b"\n\r\na\n", vec![ok(3, b"a")]),
            (b"a\n\nb", vec![ok(1, b"a"), ok(3, b"b")]),
            (b"a\r", vec![ok(1, b"a")]),
            (b"\r", vec![]),
            (b"a\rb\r\r\n", vec![ok(1, b"a\rb\r")]),
            (b" \n\0\n", vec![ok(1, b" "), ok(2, b"\0")]),
        ] {
            assert_eq!(read_all([stream], 100), expected, "{stream:?}");
        }
    }

    #[test]
    fn a_whole_line_is_borrowed_and_a_cut_one_is_moved_out() {
        let mut reader = LineReader::default();
        let mut input = &b"whole\nc"[..];
        assert!(matches!(
            reader.read(&mut input, 9),
            Some(RawLine { bytes: Ok(Cow::Borrowed(b"whole")), .. })
        ));
        assert!(!reader.is_inside_line());
        assert_eq!(input, b"c");
        assert_eq!(reader.read(&mut input, 9), None);
        assert!(reader.is_inside_line());
        let mut input = &b"ut\n"[..];
        let line = reader.read(&mut input, 9).unwrap();
        assert!(matches!(line.bytes, Ok(Cow::Owned(bytes)) if bytes == b"cut"));
        assert!(!reader.is_inside_line());
    }

    #[test]
    fn s44_a_last_line_without_a_line_feed_is_a_line_after_an_orderly_end_only() {
        let mut reader = LineReader::default();
        assert_eq!(reader.read(&mut &b"one\n{\"two\":2}"[..], 20).map(|line| line.number), Some(1));
        assert_eq!(reader.read(&mut &b"{\"two\":2}"[..], 20), None);
        assert!(reader.is_inside_line(), "after an error, dropping the reader discards this line");
        assert_eq!(reader.finish(), Some(RawLine { number: 2, bytes: Ok(b"{\"two\":2}".into()) }));
        assert!(!reader.is_inside_line());
    }

    #[test]
    fn s45_a_line_over_the_limit_is_told_once_and_skipped() {
        let ok = |number, line: &[u8]| (number, Ok(line.to_vec()));
        for (stream, expected) in [
            (&b"1234\n5\n"[..], vec![ok(1, b"1234"), ok(2, b"5")]),
            (b"12345\n6\n", vec![(1, Err(TooLong)), ok(2, b"6")]),
            (b"123\r\n5\n", vec![ok(1, b"123"), ok(2, b"5")]),
            (b"1234\r\n5\n", vec![(1, Err(TooLong)), ok(2, b"5")]),
            (b"12345678901234567890", vec![(1, Err(TooLong))]),
            (b"12345\n67890\n\n1", vec![(1, Err(TooLong)), (2, Err(TooLong)), ok(4, b"1")]),
        ] {
            assert_eq!(read_all([stream], 4), expected, "{stream:?}");
            assert_eq!(read_all(stream.chunks(1), 4), expected, "{stream:?}");
        }
    }

    #[test]
    fn s45_an_endless_line_holds_no_memory() {
        let mut reader = LineReader::default();
        let piece = [b'x'; 1000];
        let told = (0..10_000).filter(|_| reader.read(&mut &piece[..], 1 << 20).is_some()).count();
        assert_eq!((told, reader.held()), (1, 0));
        assert_eq!(reader.finish(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_way_a_stream_is_cut_changes_nothing(stream in "[ab\r\n]{0,40}", limit in 0usize..6) {
            let stream = stream.as_bytes();
            let whole = read_all([stream], limit);
            prop_assert_eq!(&whole, &by_definition(stream, limit));
            prop_assert_eq!(&whole, &read_all(stream.chunks(1), limit));
            for first in 0..=stream.len() {
                for second in first..=stream.len() {
                    let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                    prop_assert_eq!(&whole, &read_all(pieces, limit));
                }
            }
        }
    }
}
