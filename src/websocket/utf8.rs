//! Incremental UTF-8 validation: a text arrives in pieces, and each piece is checked once.
//!
//! It must not know frames or limits.

/// The text so far. Invariant: `cut[..cut_length]` is a proper prefix of a valid character.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// The complete characters.
    whole: String,
    /// The bytes of an incomplete last character, `cut_length` of them.
    cut: [u8; 4],
    cut_length: u8,
}

/// The bytes cannot become valid UTF-8, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidUtf8;

impl Text {
    /// Length of the text so far, in bytes.
    pub(super) fn len(&self) -> usize {
        self.whole.len() + usize::from(self.cut_length)
    }

    /// Heap memory held, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.whole.capacity()
    }

    /// Appends the next piece. Fails at the first invalid byte, however the text is split.
    pub(super) fn append(&mut self, mut piece: &[u8]) -> Result<(), InvalidUtf8> {
        while self.cut_length > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            self.cut[usize::from(self.cut_length)] = byte;
            self.cut_length += 1;
            match str::from_utf8(&self.cut[..usize::from(self.cut_length)]) {
                Ok(character) => {
                    self.whole.push_str(character);
                    self.cut_length = 0;
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(InvalidUtf8),
            }
        }

        let (whole, cut) = piece.split_at(piece.len() - cut_length(piece));
        self.whole.push_str(simdutf8::basic::from_utf8(whole).map_err(|_| InvalidUtf8)?);
        match str::from_utf8(cut) {
            Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
            _ => {}
        }
        self.cut[..cut.len()].copy_from_slice(cut);
        // At most 3.
        #[expect(clippy::cast_possible_truncation)]
        let cut_length = cut.len() as u8;
        self.cut_length = cut_length;
        Ok(())
    }

    /// Returns the complete text. Fails if its last character is incomplete.
    pub(super) fn finish(self) -> Result<String, InvalidUtf8> {
        if self.cut_length == 0 { Ok(self.whole) } else { Err(InvalidUtf8) }
    }
}

/// Length of the incomplete character at the end of `bytes`: 0 to 3.
fn cut_length(bytes: &[u8]) -> usize {
    let is_first = |byte: &&u8| **byte & 0xC0 != 0x80;
    let Some((after, first)) = bytes.iter().rev().take(3).enumerate().find(|(_, byte)| is_first(byte)) else {
        return 0;
    };
    let character = match first {
        0x00..=0xBF => 1,
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xFF => 4,
    };
    if character > after + 1 { after + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CASES: &[&[u8]] = &[
        b"",
        b"plain ASCII, longer than one block of the vector instructions: 0123456789012345678901234567890",
        "κόσμε — \u{10FFFF}\u{800}\u{7F}\u{80}\u{7FF}\u{FFFF}\u{10000}\u{D7FF}\u{E000}".as_bytes(),
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64\x69\x74\x65\x64",
        b"\x80",
        b"\xbf",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xe0\x9f\xbf",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"ok \xf0\x9f\x98",
        b"ok \xe2\x82",
        b"ok \xc3",
        b"ok \xc3(",
        b"ok \xe2\x82(",
        b"ok \xf0\x9f\x98(",
        b"\x80\x80\x80\x80\x80",
    ];

    /// The text that these pieces form.
    fn assemble(pieces: &[&[u8]]) -> Result<String, InvalidUtf8> {
        let mut text = Text::default();
        for piece in pieces {
            text.append(piece)?;
        }
        text.finish()
    }

    #[test]
    fn s19_utf8_equals_std_whole_byte_by_byte_and_at_every_split() {
        for &bytes in CASES {
            let expected = str::from_utf8(bytes).map(str::to_owned).map_err(|_| InvalidUtf8);
            assert_eq!(assemble(&[bytes]), expected, "{bytes:x?}");
            assert_eq!(assemble(&bytes.chunks(1).collect::<Vec<_>>()), expected, "{bytes:x?}");
            for split in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(split);
                assert_eq!(assemble(&[head, tail]), expected, "{bytes:x?} at {split}");
            }
        }
    }

    #[test]
    fn s19_utf8_fails_at_the_first_bad_byte() {
        for &bytes in CASES {
            let Err(error) = str::from_utf8(bytes) else { continue };
            // The first byte after which no continuation is valid.
            let bad = (0..bytes.len())
                .find(|&end| str::from_utf8(&bytes[..=end]).is_err_and(|error| error.error_len().is_some()));
            let mut text = Text::default();
            let refused = bytes.chunks(1).position(|byte| text.append(byte).is_err());
            assert_eq!(refused, bad, "{bytes:x?} {error}");
        }
    }

    /// Every first byte, followed by the boundary values of the next bytes, split at every position.
    #[test]
    fn s19_utf8_equals_std_behind_every_first_byte() {
        const EDGES: [u8; 10] = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff];
        for first in 0..=u8::MAX {
            for number in 0..1000 {
                let bytes = [first, EDGES[number % 10], EDGES[number / 10 % 10], EDGES[number / 100]];
                let expected = str::from_utf8(&bytes).map(str::to_owned).map_err(|_| InvalidUtf8);
                for split in 0..bytes.len() {
                    let (head, tail) = bytes.split_at(split);
                    assert_eq!(assemble(&[head, tail]), expected, "{bytes:x?} at {split}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn s19_utf8_equals_std_at_every_split_of_any_text(
            text: String, noise in prop::collection::vec(any::<u8>(), 0..3), at: prop::sample::Index,
        ) {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, noise);
            let expected = str::from_utf8(&bytes).map(str::to_owned).map_err(|_| InvalidUtf8);
            for split in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(split);
                prop_assert_eq!(assemble(&[head, tail]), expected.clone());
            }
        }

        #[test]
        fn s19_utf8_equals_std_in_any_pieces(
            text: String, noise in prop::collection::vec(any::<u8>(), 0..3), at: prop::sample::Index, size in 1..9_usize,
        ) {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, noise);
            let expected = str::from_utf8(&bytes).map(str::to_owned).map_err(|_| InvalidUtf8);
            prop_assert_eq!(assemble(&bytes.chunks(size).collect::<Vec<_>>()), expected);
        }
    }
}
