//! Message compression (RFC 7692, permessage-deflate): one codec for all connections.
//!
//! Messages are compressed independently: the server always answers `server_no_context_takeover;
//! client_no_context_takeover`, so a connection stores only its negotiated window size. It must not know limits: the
//! caller decides when to stop inflating.

use std::num::NonZeroU8;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::close::Violation;
use super::frame::{Decoded, FrameHeader, FrameRules, Frames, MAX_HEADER, OpCode, encoded_length};

/// zlib's compression level, 1 to 9. Compared with the default of 6, JSON events become up to a tenth longer, but those
/// of many kilobytes, which delay other peers, take a third to two thirds of the time.
const LEVEL: u32 = 2;

/// The end of a flush (an empty stored block), which a message's payload omits (§7.2.2).
const FLUSH_END: &[u8] = &[0x00, 0x00, 0xff, 0xff];

/// An empty final block. It ends zlib's stream after a complete message, but not after a truncated one.
const FINAL_BLOCK: &[u8] = &[0x03, 0x00];

/// The largest window, in bytes.
const WINDOW: usize = 32 * 1024;

/// Most final blocks in one message: compressors emit at most one, and each costs a copy of the window.
const MAX_FINAL_BLOCKS: u32 = 64;

/// The size of the server's compression window, as its base-2 logarithm: 9 to 15 (RFC 7692 §7.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowBits(NonZeroU8);

/// The compressors and the inflater, which all connections of an event loop share. Each is created at its first use.
#[derive(Debug, Default)]
pub struct Codec {
    /// One for each window size.
    compressors: [Option<Compress>; WindowBits::COUNT],
    inflater: Option<Inflater>,
    /// Bytes inflated since the last [`Codec::take_inflated`].
    inflated: usize,
}

impl WindowBits {
    /// Number of window sizes.
    const COUNT: usize = 7;

    /// A window of 2^`bits` bytes; `None` unless `bits` is 9 to 15.
    #[must_use]
    pub const fn new(bits: u8) -> Option<Self> {
        match NonZeroU8::new(bits) {
            Some(nonzero) if matches!(bits, 9..=15) => Some(Self(nonzero)),
            _ => None,
        }
    }

    /// The base-2 logarithm of the size in bytes.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }
}

impl Default for WindowBits {
    /// 15, the size unless a smaller one was negotiated.
    fn default() -> Self {
        Self(const { NonZeroU8::new(15).expect("not zero") })
    }
}

impl Codec {
    /// A codec that has created nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses a message into one unmasked frame, which all connections that negotiated `bits` can share. `opcode`
    /// is `Text` or `Binary`.
    #[must_use]
    pub fn compress(&mut self, opcode: OpCode, payload: &[u8], bits: WindowBits) -> Frames {
        let mut compressed = Vec::new();
        self.deflate(payload, bits, &mut compressed);
        let mut frame = Vec::with_capacity(MAX_HEADER + compressed.len());
        encode(opcode, &compressed, &mut frame);
        Frames::new(frame)
    }

    /// Compresses a run of messages for the connections that negotiated `bits`. Each message in `plain` must be one
    /// unmasked frame. Messages shorter than `min_bytes` stay uncompressed; if all are, the result is a clone of
    /// `plain`.
    #[must_use]
    pub fn compress_run(&mut self, plain: &Frames, bits: WindowBits, min_bytes: usize) -> Frames {
        let rules = FrameRules { masked: false, compression: false };
        let mut run = Vec::new();
        let mut compressed = Vec::new();
        let mut is_plain = true;
        let mut rest = plain.as_bytes();
        while let Ok(Decoded::Header { header, start }) = FrameHeader::decode(rest, rules) {
            let length = encoded_length(rest).map_or(rest.len(), |length| length.min(rest.len()));
            let (frame, following) = rest.split_at(length);
            let payload = &frame[start..];
            if payload.len() < min_bytes {
                run.extend_from_slice(frame);
            } else {
                self.deflate(payload, bits, &mut compressed);
                encode(header.opcode, &compressed, &mut run);
                is_plain = false;
            }
            rest = following;
        }
        if is_plain { plain.clone() } else { Frames::new(run) }
    }

    /// Replaces `compressed` with the compressed `payload`.
    fn deflate(&mut self, payload: &[u8], bits: WindowBits, compressed: &mut Vec<u8>) {
        let compressor = self.compressors[usize::from(bits.get() - 9)].get_or_insert_with(|| {
            Compress::new_with_window_bits(Compression::new(LEVEL), false, bits.get())
        });
        compressor.reset();
        compressed.clear();
        compressed.reserve(payload.len() + payload.len() / 8 + 64);
        let mut rest = payload;
        loop {
            let before = compressor.total_in();
            let status = compressor.compress_vec(rest, compressed, FlushCompress::Sync);
            debug_assert!(status.is_ok(), "a compressor accepts any input after a reset");
            let taken = usize::try_from(compressor.total_in() - before).unwrap_or(rest.len());
            rest = &rest[taken..];
            if compressed.len() < compressed.capacity() {
                break;
            }
            compressed.reserve(compressed.len());
        }
        // The end of the flush is not sent (§7.2.1).
        let length = compressed.strip_suffix(FLUSH_END).map_or(compressed.len(), <[u8]>::len);
        compressed.truncate(length);
    }

    /// Inflates a message's complete payload and passes the output to `take` in pieces; stops at the first error of
    /// `take`.
    ///
    /// # Errors
    ///
    /// [`Violation::BrokenDeflate`], or the error of `take`.
    pub(super) fn inflate(
        &mut self,
        payload: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let Self { inflater, inflated, .. } = self;
        inflater.get_or_insert_with(Inflater::new).inflate(payload, |bytes| {
            *inflated += bytes.len();
            take(bytes)
        })
    }

    /// Bytes inflated since the last call, as a measure of the work done.
    pub(crate) const fn take_inflated(&mut self) -> usize {
        std::mem::replace(&mut self.inflated, 0)
    }
}

/// Inflates messages, each independently.
#[derive(Debug)]
struct Inflater {
    state: Decompress,
    /// The latest output, up to `filled`; at least a window of it.
    output: Box<[u8]>,
    filled: usize,
}

impl Inflater {
    fn new() -> Self {
        Self { state: Decompress::new(false), output: vec![0; 2 * WINDOW].into_boxed_slice(), filled: 0 }
    }

    fn inflate(
        &mut self,
        payload: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        self.state.reset(false);
        self.filled = 0;
        let mut ends = 0;
        for (mut input, is_tail) in [(payload, false), (FLUSH_END, false), (FINAL_BLOCK, true)] {
            while !input.is_empty() {
                let status = self.step(&mut input, &mut |bytes: &[u8]| {
                    // After a truncated block the tail would decode as data the peer never sent.
                    if is_tail && !bytes.is_empty() { Err(Violation::BrokenDeflate) } else { take(bytes) }
                })?;
                if status == Status::StreamEnd {
                    if is_tail && input.is_empty() {
                        return Ok(());
                    }
                    ends += 1;
                    if ends > MAX_FINAL_BLOCKS {
                        return Err(Violation::BrokenDeflate);
                    }
                    self.resume()?;
                }
            }
        }
        // The final block was consumed as the contents of a truncated block.
        Err(Violation::BrokenDeflate)
    }

    /// Inflates until the output is full, the input is exhausted, or a final block ends.
    fn step(
        &mut self,
        input: &mut &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<Status, Violation> {
        if self.filled == self.output.len() {
            self.output.copy_within(WINDOW.., 0);
            self.filled = WINDOW;
        }
        let (taken, given) = (self.state.total_in(), self.state.total_out());
        let status = self
            .state
            .decompress(input, &mut self.output[self.filled..], FlushDecompress::None)
            .map_err(|_| Violation::BrokenDeflate)?;
        let taken = usize::try_from(self.state.total_in() - taken).unwrap_or(input.len());
        let given = usize::try_from(self.state.total_out() - given).unwrap_or_default();
        if taken == 0 && given == 0 && status != Status::StreamEnd {
            return Err(Violation::BrokenDeflate);
        }
        *input = &input[taken..];
        let start = self.filled;
        self.filled += given;
        take(&self.output[start..self.filled])?;
        Ok(status)
    }

    /// Continues after a final block, which ends zlib's stream but not the message (§7.2.1).
    fn resume(&mut self) -> Result<(), Violation> {
        self.state.reset(false);
        let window = &self.output[self.filled.saturating_sub(WINDOW)..self.filled];
        if !window.is_empty() {
            self.state.set_dictionary(window).map_err(|_| Violation::BrokenDeflate)?;
        }
        Ok(())
    }
}

/// Appends one compressed message as a frame.
fn encode(opcode: OpCode, compressed: &[u8], out: &mut Vec<u8>) {
    let header = FrameHeader { fin: true, rsv1: true, opcode, mask: None, length: compressed.len() as u64 };
    header.encode(out);
    out.extend_from_slice(compressed);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame;
    use super::*;

    fn inflate(codec: &mut Codec, payload: &[u8]) -> Result<Vec<u8>, Violation> {
        let mut message = Vec::new();
        codec.inflate(payload, |bytes| {
            message.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(message)
    }

    /// The payload of one of our compressed frames.
    fn payload(frame: &Frames) -> &[u8] {
        let rules = FrameRules { masked: false, compression: true };
        let Ok(Decoded::Header { header, start }) = FrameHeader::decode(frame.as_bytes(), rules) else {
            panic!("a frame has a header")
        };
        assert!(header.fin && header.rsv1 && header.opcode == OpCode::Text);
        assert_eq!(header.length, (frame.as_bytes().len() - start) as u64);
        &frame.as_bytes()[start..]
    }

    /// The examples of RFC 7692 §7.2.3.
    #[test]
    fn the_examples_of_the_rfc_are_inflated() {
        let mut codec = Codec::new();
        for compressed in [
            // §7.2.3.1: one block.
            &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
            // §7.2.3.3: without compression.
            b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
            // §7.2.3.4: a final block.
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
            // §7.2.3.5: two blocks.
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        ] {
            assert_eq!(inflate(&mut codec, compressed).as_deref(), Ok(&b"Hello"[..]), "{compressed:x?}");
        }
        // §7.2.3.6: an empty message.
        assert_eq!(inflate(&mut codec, b"\x00").as_deref(), Ok(&b""[..]));
        // §7.2.3.2: needs the window of the previous message, which we never keep.
        assert_eq!(inflate(&mut codec, b"\xf2\x00\x11\x00\x00"), Err(Violation::BrokenDeflate));
    }

    #[test]
    fn the_examples_of_the_rfc_are_what_we_send() {
        let mut codec = Codec::new();
        let frame = codec.compress(OpCode::Text, b"Hello", WindowBits::default());
        assert_eq!(frame.as_bytes(), b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00");
        let frame = codec.compress(OpCode::Text, b"", WindowBits::default());
        assert_eq!(frame.as_bytes(), b"\xc1\x01\x00");
    }

    /// A run of messages, one frame each.
    fn run_of(texts: &[String]) -> Frames {
        let mut run = Vec::new();
        texts.iter().for_each(|text| frame::encode(OpCode::Text, text.as_bytes(), None, &mut run));
        Frames::new(run)
    }

    #[test]
    fn a_run_keeps_its_messages_their_order_and_what_is_short() {
        let repeated = |length: usize| "0123456789".repeat(length / 10 + 1)[..length].to_owned();
        let texts = [0, 1, 127, 128, 129, 5, 70_000, 100].map(repeated);
        let plain = run_of(&texts);
        let mut codec = Codec::new();
        let run = codec.compress_run(&plain, WindowBits::default(), 128);
        assert!(run.as_bytes().len() < 1_000);
        let mut rest = run.as_bytes();
        for text in &texts {
            let rules = FrameRules { masked: false, compression: true };
            let Ok(Decoded::Header { header, start }) = FrameHeader::decode(rest, rules) else {
                panic!("a frame has a header")
            };
            let (payload, following) = rest[start..].split_at(usize::try_from(header.length).unwrap());
            assert_eq!((header.fin, header.rsv1, header.opcode), (true, text.len() >= 128, OpCode::Text));
            match header.rsv1 {
                true => assert_eq!(inflate(&mut codec, payload).as_deref(), Ok(text.as_bytes())),
                false => assert_eq!(payload, text.as_bytes()),
            }
            rest = following;
        }
        assert_eq!(rest, b"");
    }

    #[test]
    fn a_run_of_short_messages_is_not_copied() {
        let plain = run_of(&["short".to_owned(), "x".repeat(127)]);
        let run = Codec::new().compress_run(&plain, WindowBits::default(), 128);
        assert_eq!((plain.holders(), run), (2, plain));
    }

    #[test]
    fn the_window_reaches_across_final_blocks() {
        let first: Vec<u8> = (0..300_u32).flat_map(|i| (i * 7919).to_le_bytes()).collect();
        let mut compressed = Vec::with_capacity(10_000);
        let mut compressor = Compress::new(Compression::best(), false);
        compressor.compress_vec(&first, &mut compressed, FlushCompress::Finish).unwrap();
        let before = compressed.len();
        let mut compressor = Compress::new(Compression::best(), false);
        compressor.set_dictionary(&first).unwrap();
        compressor.compress_vec(&first, &mut compressed, FlushCompress::Sync).unwrap();
        assert!(compressed.len() - before < 50, "the second half refers to the first");
        let compressed = compressed.strip_suffix(FLUSH_END).unwrap();
        assert_eq!(inflate(&mut Codec::new(), compressed), Ok([&first[..], &first].concat()));
    }

    #[test]
    fn cut_and_broken_data_are_refused() {
        let mut codec = Codec::new();
        let text = "All work and no play makes Jack a dull boy. ".repeat(20);
        let frame = codec.compress(OpCode::Text, text.as_bytes(), WindowBits::default());
        let whole = payload(&frame);
        for length in 0..whole.len() {
            assert_ne!(inflate(&mut codec, &whole[..length]).as_deref(), Ok(text.as_bytes()), "{length}");
        }
        for broken in [
            &b"\xff"[..],
            b"\x07",
            b"\x00\x05\x00\xfa\xfe\x48",
            b"\x03\x00\xff",
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\xff",
            // A final stored block of six bytes without its data: the appended tail would complete it.
            b"\x01\x06\x00\xf9\xff",
        ] {
            assert_eq!(inflate(&mut codec, broken), Err(Violation::BrokenDeflate), "{broken:x?}");
        }
        assert_eq!(inflate(&mut codec, &b"\x03\x00".repeat(10_000)), Err(Violation::BrokenDeflate));
        assert_eq!(inflate(&mut codec, whole).as_deref(), Ok(text.as_bytes()));
    }

    #[test]
    fn inflation_stops_at_the_first_error_of_the_caller() {
        let mut codec = Codec::new();
        let frame = codec.compress(OpCode::Text, &vec![0; 5_000_000], WindowBits::default());
        let mut inflated = 0;
        let result = codec.inflate(payload(&frame), |bytes| {
            inflated += bytes.len();
            if inflated > 100_000 { Err(Violation::MessageTooBig) } else { Ok(()) }
        });
        assert_eq!(result, Err(Violation::MessageTooBig));
        assert!(inflated <= 100_000 + 2 * WINDOW);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn what_is_compressed_is_inflated(
            pattern in prop::collection::vec(any::<u8>(), 0..2_000), times in 0..30_usize, bits in 9..=15_u8,
        ) {
            let message = pattern.repeat(times);
            let mut codec = Codec::new();
            let frame = codec.compress(OpCode::Text, &message, WindowBits::new(bits).unwrap());
            prop_assert_eq!(inflate(&mut codec, payload(&frame)), Ok(message));
        }
    }

    /// Bytes without any repetition.
    fn noise(seed: u32, length: usize) -> Vec<u8> {
        (seed..).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
    }

    /// That no reference is longer than the window is checked by an inflater of the tests' own, in `tests/differential.rs`.
    #[test]
    fn each_doubling_of_the_window_makes_a_message_shorter() {
        // Repetitions just within each window, as far back as zlib refers.
        let message: Vec<u8> =
            (9..=15).flat_map(|bits| noise(1 << bits, (1 << bits) - 262).repeat(2)).collect();
        let mut codec = Codec::new();
        let lengths = (9..=15).map(|bits| {
            let frame = codec.compress(OpCode::Text, &message, WindowBits::new(bits).unwrap());
            assert!(inflate(&mut Codec::new(), payload(&frame)).as_ref() == Ok(&message), "{bits} bits");
            payload(&frame).len()
        });
        let lengths: Vec<usize> = lengths.collect();
        assert!(lengths.is_sorted_by(|smaller, larger| larger < smaller), "{lengths:?}");
    }

    /// A block that repeats the three bytes 2^`bits` bytes back (RFC 1951 §3.2.6), without the end of its flush.
    fn reference(bits: u32) -> Vec<u8> {
        // From the lowest bit: not final, fixed codes; the length 3; the last distance of its code, all its extra bits ones;
        // the end of the block, and the head of an empty stored one.
        let code = (2 * bits - 1).reverse_bits() >> 27;
        let block = 0b010 | 1 << 9 | u64::from(code) << 10 | ((1 << (bits - 2)) - 1) << 15;
        let length = (15 + (bits - 2) + 7 + 3).div_ceil(8);
        block.to_le_bytes()[..length as usize].to_vec()
    }

    fn final_block(content: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(content.len() + 1024);
        Compress::new(Compression::best(), false)
            .compress_vec(content, &mut block, FlushCompress::Finish)
            .unwrap();
        block
    }

    #[test]
    fn behind_a_final_block_only_the_messages_own_bytes_are_the_window() {
        let mut codec = Codec::new();
        let others = noise(0, 100_000);
        for bits in 8..=15 {
            let other = codec.compress(OpCode::Text, &others, WindowBits::default());
            for length in [0, 1, (1 << bits) - 1] {
                assert!(inflate(&mut codec, payload(&other)).as_ref() == Ok(&others));
                let message = [final_block(&others[..length]), reference(bits)].concat();
                let result = inflate(&mut codec, &message);
                assert!(
                    result == Err(Violation::BrokenDeflate),
                    "{length} bytes, 2^{bits} back: {result:x?}"
                );
            }
            let own = noise(7, 1 << bits);
            let message = [final_block(&own), reference(bits)].concat();
            assert!(inflate(&mut codec, &message) == Ok([&own[..], &own[..3]].concat()), "2^{bits} back");
        }
    }
}
