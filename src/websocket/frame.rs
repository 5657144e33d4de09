//! One frame (RFC 6455 §5.2): opcodes, the header, masking, and shared runs of encoded frames.
//!
//! It must not know messages, connections or limits: its checks are the same for every connection.

use std::rc::Rc;

/// The longest payload of a control frame (§5.5), in bytes.
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The longest header, in bytes: 2, an extended length of 8, a masking key of 4.
pub const MAX_HEADER: usize = 14;

/// Bytes per allocation besides the payload: two reference counts and the vector's fields.
const FRAMES_OVERHEAD: usize = 2 * size_of::<usize>() + size_of::<Vec<u8>>();

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2: u8 = 0x20;
const RSV3: u8 = 0x10;
const MASKED: u8 = 0x80;
const LENGTH_IN_16_BITS: u8 = 126;
const LENGTH_IN_64_BITS: u8 = 127;

/// The kind of a frame (§5.2, §11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpCode {
    /// Continues a fragmented message.
    Continuation = 0x0,
    /// Begins a text message.
    Text = 0x1,
    /// Begins a binary message.
    Binary = 0x2,
    /// Starts or answers the closing handshake.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping, or is unsolicited (§5.5.3).
    Pong = 0xA,
}

/// A frame's header: everything before the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether this is the last frame of its message.
    pub fin: bool,
    /// Whether the message that begins here is compressed (RFC 7692 §6).
    pub rsv1: bool,
    /// The kind of the frame.
    pub opcode: OpCode,
    /// The masking key: clients always send one, servers never (§5.1).
    pub mask: Option<[u8; 4]>,
    /// Length of the payload in bytes, at most 63 bits.
    pub length: u64,
}

/// What [`FrameHeader::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A complete header.
    Header {
        /// The header.
        header: FrameHeader,
        /// Its own length in bytes: where the payload starts.
        start: usize,
    },
    /// No violation so far, but bytes are missing.
    Incomplete,
}

/// Which frame headers are valid on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRules {
    /// Whether the sender is a client, which must mask its frames. A server must not.
    pub masked: bool,
    /// Whether compression was negotiated: then RSV1 may be set on the first frame of a message.
    pub compression: bool,
}

/// A violation of §5.2 or §5.5 in a frame header; always answered with 1002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A reserved bit that no negotiated extension defines.
    #[error("reserved bit set")]
    ReservedBit,
    /// A reserved opcode.
    #[error("unknown opcode")]
    UnknownOpCode,
    /// A control frame with more than 125 bytes of payload (§5.5).
    #[error("control frame too long")]
    LongControl,
    /// A fragmented control frame (§5.5).
    #[error("control frame fragmented")]
    FragmentedControl,
    /// A client's frame without a mask (§5.1).
    #[error("frame not masked")]
    NotMasked,
    /// A server's frame with a mask (§5.1).
    #[error("frame masked")]
    Masked,
    /// A length encoded in more bytes than necessary.
    #[error("length not minimal")]
    LengthNotMinimal,
    /// A length with its top bit set.
    #[error("length over 63 bits")]
    LengthTopBit,
}

/// One or more complete encoded frames, immutable while shared. A value is one pointer, and cloning copies only that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frames(Rc<Vec<u8>>);

impl Frames {
    /// Wraps `bytes`, which must be complete encoded frames.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Rc::new(bytes))
    }

    /// Encodes a server's text message: one unmasked, unfragmented frame.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(MAX_HEADER + text.len());
        encode(OpCode::Text, text.as_bytes(), None, &mut bytes);
        Self::new(bytes)
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Heap memory held, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.0.capacity() + FRAMES_OVERHEAD
    }

    /// Number of values that share the bytes, this one included.
    pub(super) fn holders(&self) -> usize {
        Rc::strong_count(&self.0)
    }

    /// The bytes, for appending; `None` if they are shared.
    pub(super) fn get_mut(&mut self) -> Option<&mut Vec<u8>> {
        Rc::get_mut(&mut self.0)
    }
}

/// Appends one unfragmented frame to `out`; `mask` is `None` for a server, a fresh random key for a client (§5.3).
pub fn encode(opcode: OpCode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let header = FrameHeader { fin: true, rsv1: false, opcode, mask, length: payload.len() as u64 };
    header.encode(out);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        unmask(&mut out[start..], mask);
    }
}

impl FrameHeader {
    /// Decodes the header that `bytes` start with.
    ///
    /// # Errors
    ///
    /// [`FrameError`] as soon as `bytes` violate §5.2 or §5.5, even if the header is incomplete.
    pub fn decode(bytes: &[u8], rules: FrameRules) -> Result<Decoded, FrameError> {
        let Some(&first) = bytes.first() else { return Ok(Decoded::Incomplete) };
        let fin = first & FIN != 0;
        let rsv1 = first & RSV1 != 0;
        let opcode = OpCode::from_bits(first & 0x0F).ok_or(FrameError::UnknownOpCode)?;
        let may_have_rsv1 = rules.compression && matches!(opcode, OpCode::Text | OpCode::Binary);
        if first & (RSV2 | RSV3) != 0 || rsv1 && !may_have_rsv1 {
            return Err(FrameError::ReservedBit);
        }
        if opcode.is_control() && !fin {
            return Err(FrameError::FragmentedControl);
        }

        let Some(&second) = bytes.get(1) else { return Ok(Decoded::Incomplete) };
        let masked = second & MASKED != 0;
        match (masked, rules.masked) {
            (false, true) => return Err(FrameError::NotMasked),
            (true, false) => return Err(FrameError::Masked),
            (true, true) | (false, false) => {}
        }
        let short = second & 0x7F;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL_PAYLOAD {
            return Err(FrameError::LongControl);
        }

        let Some((length, rest)) = full_length(short, &bytes[2..]) else { return Ok(Decoded::Incomplete) };
        if length >> 63 != 0 {
            return Err(FrameError::LengthTopBit);
        }
        if short != short_length(length) {
            return Err(FrameError::LengthNotMinimal);
        }

        let (mask, rest) = if masked {
            let Some((&mask, rest)) = rest.split_first_chunk() else { return Ok(Decoded::Incomplete) };
            (Some(mask), rest)
        } else {
            (None, rest)
        };
        let header = Self { fin, rsv1, opcode, mask, length };
        Ok(Decoded::Header { header, start: bytes.len() - rest.len() })
    }

    /// Appends the encoded header to `out`, with the length in its shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let short = short_length(self.length);
        let fin = if self.fin { FIN } else { 0 };
        let rsv1 = if self.rsv1 { RSV1 } else { 0 };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        out.extend_from_slice(&[fin | rsv1 | self.opcode as u8, masked | short]);
        let length = self.length.to_be_bytes();
        match short {
            LENGTH_IN_16_BITS => out.extend_from_slice(&length[6..]),
            LENGTH_IN_64_BITS => out.extend_from_slice(&length),
            _ => {}
        }
        out.extend_from_slice(self.mask.as_ref().map_or(&[], |mask| mask.as_slice()));
    }
}

impl OpCode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Whether this is a control frame (§5.5): short, unfragmented, and allowed between the fragments of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Decodes a payload length from its 7-bit field and the extended length that `bytes` start with. Also returns the
/// bytes after the latter; `None` if bytes are missing.
fn full_length(short: u8, bytes: &[u8]) -> Option<(u64, &[u8])> {
    Some(match short {
        LENGTH_IN_16_BITS => {
            let (&length, rest) = bytes.split_first_chunk()?;
            (u64::from(u16::from_be_bytes(length)), rest)
        }
        LENGTH_IN_64_BITS => {
            let (&length, rest) = bytes.split_first_chunk()?;
            (u64::from_be_bytes(length), rest)
        }
        short => (u64::from(short), bytes),
    })
}

/// Size in bytes of the encoded frame that `bytes` start with; `None` if its length field is incomplete.
pub(super) fn encoded_length(bytes: &[u8]) -> Option<usize> {
    let second = *bytes.get(1)?;
    let (payload, rest) = full_length(second & 0x7F, &bytes[2..])?;
    let mask = if second & MASKED != 0 { 4 } else { 0 };
    usize::try_from(payload).ok()?.checked_add(bytes.len() - rest.len() + mask)
}

/// The 7-bit length field: the length itself, or the marker of a 16-bit or 64-bit extended length.
fn short_length(length: u64) -> u8 {
    match length {
        // At most 125.
        #[expect(clippy::cast_possible_truncation)]
        0..=125 => length as u8,
        126..=0xFFFF => LENGTH_IN_16_BITS,
        _ => LENGTH_IN_64_BITS,
    }
}

/// Masks or unmasks `payload`, starting with the first byte of the masking key (§5.3).
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    // The compiler vectorizes loops over blocks of a fixed size.
    const BLOCK: usize = 64;
    let mut key = [0; BLOCK];
    key.as_chunks_mut().0.fill(mask);
    let (blocks, rest) = payload.as_chunks_mut::<BLOCK>();
    for block in blocks {
        for (byte, key) in block.iter_mut().zip(&key) {
            *byte ^= key;
        }
    }
    let (words, rest) = rest.as_chunks_mut::<8>();
    let (wide, _) = key.as_chunks::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(wide[0])).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(&key) {
        *byte ^= key;
    }
}

/// The masking key, rotated past `taken` bytes of payload.
#[must_use]
pub fn advance_mask(mut mask: [u8; 4], taken: usize) -> [u8; 4] {
    mask.rotate_left(taken % 4);
    mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FROM_CLIENT: FrameRules = FrameRules { masked: true, compression: false };
    const FROM_SERVER: FrameRules = FrameRules { masked: false, compression: false };
    const COMPRESSED: FrameRules = FrameRules { masked: true, compression: true };

    /// The examples of RFC 6455 §5.7, with the rules of their sender: header, its length, payload.
    #[test]
    fn the_examples_of_the_rfc_are_read_as_it_says() {
        let header = |fin, opcode, mask, length| FrameHeader { fin, rsv1: false, opcode, mask, length };
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let masked_hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        for (bytes, rules, expected, header_length) in [
            (&b"\x81\x05Hello"[..], FROM_SERVER, header(true, OpCode::Text, None, 5), 2),
            (masked_hello, FROM_CLIENT, header(true, OpCode::Text, Some(key), 5), 6),
            (b"\x01\x03Hel", FROM_SERVER, header(false, OpCode::Text, None, 3), 2),
            (b"\x80\x02lo", FROM_SERVER, header(true, OpCode::Continuation, None, 2), 2),
            (b"\x89\x05Hello", FROM_SERVER, header(true, OpCode::Ping, None, 5), 2),
            (
                b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
                FROM_CLIENT,
                header(true, OpCode::Pong, Some(key), 5),
                6,
            ),
            (b"\x82\x7E\x01\x00", FROM_SERVER, header(true, OpCode::Binary, None, 256), 4),
            (
                b"\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00",
                FROM_SERVER,
                header(true, OpCode::Binary, None, 65536),
                10,
            ),
        ] {
            assert_eq!(
                FrameHeader::decode(bytes, rules),
                Ok(Decoded::Header { header: expected, start: header_length }),
                "{bytes:x?}"
            );
            let mut encoded = Vec::new();
            expected.encode(&mut encoded);
            assert_eq!(encoded, bytes[..header_length]);
            for missing in 0..header_length {
                assert_eq!(
                    FrameHeader::decode(&bytes[..missing], rules),
                    Ok(Decoded::Incomplete),
                    "{bytes:x?} {missing}"
                );
            }
        }
        let mut payload = *b"\x7f\x9f\x4d\x51\x58";
        unmask(&mut payload, key);
        assert_eq!(&payload, b"Hello");
        let mut encoded = Vec::new();
        encode(OpCode::Text, b"Hello", Some(key), &mut encoded);
        assert_eq!(encoded, masked_hello);
        assert_eq!(Frames::text("Hello").as_bytes(), b"\x81\x05Hello");
    }

    #[test]
    fn s12_reserved_bits_opcodes_and_masks_are_judged_on_the_first_bytes() {
        use FrameError::{Masked, NotMasked, ReservedBit, UnknownOpCode};
        for (bytes, rules, error) in [
            (&b"\xc1"[..], FROM_CLIENT, ReservedBit),
            (b"\xa1", COMPRESSED, ReservedBit),
            (b"\x91", COMPRESSED, ReservedBit),
            (b"\xc0", COMPRESSED, ReservedBit),
            (b"\xc8", COMPRESSED, ReservedBit),
            (b"\xc9", COMPRESSED, ReservedBit),
            (b"\xca", COMPRESSED, ReservedBit),
            (b"\x81\x00", FROM_CLIENT, NotMasked),
            (b"\x81\x80", FROM_SERVER, Masked),
        ] {
            assert_eq!(FrameHeader::decode(bytes, rules), Err(error), "{bytes:x?}");
        }
        for opcode in (0x3..=0x7).chain(0xB..=0xF) {
            assert_eq!(FrameHeader::decode(&[0x80 | opcode], FROM_CLIENT), Err(UnknownOpCode), "{opcode:x}");
        }
        for opcode in [0x41, 0xc1, 0x42, 0xc2] {
            assert_eq!(FrameHeader::decode(&[opcode], COMPRESSED), Ok(Decoded::Incomplete), "{opcode:x}");
        }
    }

    #[test]
    fn s15_control_frames_are_short_and_whole() {
        for opcode in [0x8, 0x9, 0xA] {
            assert_eq!(FrameHeader::decode(&[opcode], FROM_CLIENT), Err(FrameError::FragmentedControl));
            for long in [126, 127] {
                let bytes = [0x80 | opcode, 0x80 | long];
                assert_eq!(FrameHeader::decode(&bytes, FROM_CLIENT), Err(FrameError::LongControl));
            }
            assert_eq!(
                FrameHeader::decode(&[0x80 | opcode, 0x80 | 125], FROM_CLIENT),
                Ok(Decoded::Incomplete)
            );
        }
    }

    #[test]
    fn s12_length_not_minimal() {
        for bytes in [
            &b"\x82\x7e\x00\x00"[..],
            b"\x82\x7e\x00\x7d",
            b"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x7d",
            b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff",
        ] {
            assert_eq!(FrameHeader::decode(bytes, FROM_SERVER), Err(FrameError::LengthNotMinimal));
        }
    }

    #[test]
    fn s10_length_with_the_top_bit() {
        for length in [1 << 63, u64::MAX] {
            let bytes = [&[0x82, 0x7f][..], &u64::to_be_bytes(length)].concat();
            assert_eq!(FrameHeader::decode(&bytes, FROM_SERVER), Err(FrameError::LengthTopBit));
        }
        let bytes = [&[0x82, 0x7f][..], &u64::to_be_bytes(u64::MAX >> 1)].concat();
        let Ok(Decoded::Header { header, .. }) = FrameHeader::decode(&bytes, FROM_SERVER) else {
            panic!("a length of 63 bits is valid")
        };
        assert_eq!(header.length, u64::MAX >> 1);
    }

    #[test]
    fn masks_apply_at_every_length_and_alignment() {
        let mask = [0x0f, 0x53, 0xa7, 0xe1];
        let plain: Vec<u8> = (0..300).map(|i: u32| i.to_le_bytes()[0].wrapping_mul(37)).collect();
        let masked: Vec<u8> = plain.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
        for length in 0..=plain.len() {
            let mut whole = masked[..length].to_vec();
            unmask(&mut whole, mask);
            assert_eq!(whole, plain[..length]);
        }
        for start in 0..8 {
            for split in start..plain.len() {
                let mut bytes = masked.clone();
                let (head, tail) = bytes[start..].split_at_mut(split - start);
                let mask = advance_mask(mask, start);
                unmask(head, mask);
                unmask(tail, advance_mask(mask, head.len()));
                assert_eq!(bytes[start..], plain[start..], "{start} {split}");
            }
        }
    }

    #[test]
    fn a_run_of_frames_is_one_word() {
        assert_eq!(size_of::<Option<Frames>>(), size_of::<usize>());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            fin: bool, rsv1: bool, length in prop_oneof![0..130_u64, 65_530..65_540_u64, 0..=u64::MAX >> 1],
            opcode in prop::sample::select(&[OpCode::Text, OpCode::Binary][..]), mask: [u8; 4],
        ) {
            let header = FrameHeader { fin, rsv1, opcode, mask: Some(mask), length };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            prop_assert!(bytes.len() <= MAX_HEADER);
            let expected = Decoded::Header { header, start: bytes.len() };
            prop_assert_eq!(FrameHeader::decode(&bytes, COMPRESSED), Ok(expected));
        }

        #[test]
        fn no_header_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            for rules in [FROM_CLIENT, FROM_SERVER, COMPRESSED] {
                if let Ok(Decoded::Header { header, start }) = FrameHeader::decode(&bytes, rules) {
                    let mut encoded = Vec::new();
                    header.encode(&mut encoded);
                    prop_assert_eq!(&encoded, &bytes[..start]);
                }
            }
        }
    }
}
