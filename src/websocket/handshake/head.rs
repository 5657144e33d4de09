//! Finds the end of an HTTP head that arrives in pieces, in one pass.
//!
//! It must not know what the head contains.

use std::borrow::Cow;

/// The head so far.
#[derive(Debug, Default)]
pub(in super::super) struct HeadReader {
    /// The bytes of earlier pieces. Invariant: none of them is beyond the head's end.
    held: Vec<u8>,
    /// Length of the unfinished line at the end of `held`, in bytes.
    line: usize,
}

/// Why a head is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum HeadError {
    /// The head does not end within the limit.
    TooLarge,
    /// A line ends with LF alone, which not every proxy on the way treats as a line ending.
    BareLineFeed,
}

impl HeadReader {
    /// Consumes `input` up to the end of the head. Returns the head with its empty line, borrowed if it arrived in one
    /// piece; `None` if bytes are missing. `limit` is the longest head allowed, in bytes.
    pub(in super::super) fn take<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        limit: usize,
    ) -> Result<Option<Cow<'i, [u8]>>, HeadError> {
        let room = limit.saturating_sub(self.held.len());
        let window = &input[..input.len().min(room)];
        let Some(length) = self.find_end(window)? else {
            if window.len() == room {
                return Err(HeadError::TooLarge);
            }
            self.held.extend_from_slice(window);
            *input = &mut [];
            return Ok(None);
        };
        let last: &'i [u8] = input.split_off_mut(..length).unwrap_or_default();
        if self.held.is_empty() {
            return Ok(Some(Cow::Borrowed(last)));
        }
        self.held.extend_from_slice(last);
        Ok(Some(Cow::Owned(std::mem::take(&mut self.held))))
    }

    /// Heap memory held, in bytes.
    pub(in super::super) fn held(&self) -> usize {
        self.held.capacity()
    }

    /// Number of bytes of `piece` that belong to the head, if the head ends in it.
    fn find_end(&mut self, piece: &[u8]) -> Result<Option<usize>, HeadError> {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            let before = match end.checked_sub(1) {
                Some(before) => piece.get(before),
                None => self.held.last(),
            };
            if before != Some(&b'\r') {
                return Err(HeadError::BareLineFeed);
            }
            if self.line + (end - start) == 1 {
                return Ok(Some(end + 1));
            }
            start = end + 1;
            self.line = 0;
        }
        self.line += piece.len() - start;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64;

    /// Reads a head in pieces of these lengths, then the rest. Returns the head and how many bytes follow it.
    fn read(bytes: &[u8], lengths: impl IntoIterator<Item = usize>) -> (Result<Vec<u8>, HeadError>, usize) {
        let mut reader = HeadReader::default();
        let mut bytes = bytes.to_vec();
        let mut rest = &mut bytes[..];
        for length in lengths.into_iter().chain([usize::MAX]) {
            let mut piece = rest.split_off_mut(..length.min(rest.len())).unwrap();
            match reader.take(&mut piece, LIMIT) {
                Ok(None) => assert!(piece.is_empty()),
                Ok(Some(head)) => return (Ok(head.into_owned()), piece.len() + rest.len()),
                Err(error) => return (Err(error), 0),
            }
        }
        (Ok(Vec::new()), 0)
    }

    #[test]
    fn s05_the_end_is_found_whole_byte_by_byte_and_at_every_split() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
        let with_frames = [&head[..], b"\x81\x80\r\n\r\nframe"].concat();
        for (bytes, expected, left) in [
            (&head[..], Ok(head.to_vec()), 0),
            (&with_frames, Ok(head.to_vec()), 11),
            (b"\r\nrest", Ok(b"\r\n".to_vec()), 4),
            (b"GET / HTTP/1.1\r\nA: b\n\r\n", Err(HeadError::BareLineFeed), 0),
            (b"GET / HTTP/1.1\r\nA: b\r\n\n", Err(HeadError::BareLineFeed), 0),
            (b"\n", Err(HeadError::BareLineFeed), 0),
            (b"GET / HTTP/1.1\r\n\r", Ok(Vec::new()), 0),
            (&[b'a'; LIMIT], Err(HeadError::TooLarge), 0),
            (
                &[&[b'a'; LIMIT - 4][..], b"\r\n\r\n"].concat(),
                Ok([&[b'a'; LIMIT - 4][..], b"\r\n\r\n"].concat()),
                0,
            ),
            (&[&[b'a'; LIMIT - 3][..], b"\r\n\r\n"].concat(), Err(HeadError::TooLarge), 0),
        ] {
            assert_eq!(read(bytes, []), (expected.clone(), left), "{bytes:?}");
            assert_eq!(read(bytes, (0..bytes.len()).map(|_| 1)), (expected.clone(), left), "{bytes:?}");
            for split in 0..=bytes.len() {
                assert_eq!(read(bytes, [split]), (expected.clone(), left), "{bytes:?} at {split}");
            }
        }
    }

    #[test]
    fn a_head_in_one_piece_is_not_copied() {
        let mut bytes = *b"GET / HTTP/1.1\r\n\r\n";
        let head = HeadReader::default().take(&mut &mut bytes[..], LIMIT);
        assert!(matches!(head, Ok(Some(Cow::Borrowed(_)))));
    }
}
