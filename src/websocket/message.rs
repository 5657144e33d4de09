//! Messages: complete ones are borrowed from the input, others are assembled as their bytes arrive.
//!
//! It enforces the limits on size and number of fragments. A declared length reserves no memory. It must not know
//! control frames or connections.

use std::borrow::Cow;

use super::close::Violation;
use super::deflate::Codec;
use super::frame::{FrameHeader, OpCode};
use super::utf8::{InvalidUtf8, Text};

/// A complete message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'i> {
    /// A text message, validated as UTF-8.
    Text(Cow<'i, str>),
    /// A binary message.
    Binary(Cow<'i, [u8]>),
}

/// Limits on what a peer may send; exceeding one ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest head of an upgrade request, in bytes; a longer one is answered with 431.
    pub head_bytes: usize,
    /// Longest message after inflation, in bytes; a longer one is closed with 1009.
    pub message_bytes: usize,
    /// Most frames in a message; more are closed with 1008.
    pub fragments: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 16 * 1024, message_bytes: 16 * 1024, fragments: 64 }
    }
}

impl Message<'_> {
    /// The opcode of the message's first frame: `Text` or `Binary`.
    #[must_use]
    pub const fn opcode(&self) -> OpCode {
        match self {
            Self::Text(_) => OpCode::Text,
            Self::Binary(_) => OpCode::Binary,
        }
    }

    /// The message's bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl<'i> Message<'i> {
    /// The message of a single frame with its complete payload: borrowed, unless it is compressed.
    pub(super) fn whole(
        header: &FrameHeader,
        payload: &'i [u8],
        limits: &Limits,
        codec: &mut Codec,
    ) -> Result<Self, Violation> {
        if header.rsv1 {
            if payload.len() > compressed_limit(limits) {
                return Err(Violation::MessageTooBig);
            }
            return inflate(header.opcode, payload, limits, codec);
        }
        if payload.len() > limits.message_bytes {
            return Err(Violation::MessageTooBig);
        }
        if header.opcode == OpCode::Text {
            let text = simdutf8::basic::from_utf8(payload).map_err(|_| Violation::InvalidUtf8)?;
            return Ok(Self::Text(Cow::Borrowed(text)));
        }
        Ok(Self::Binary(Cow::Borrowed(payload)))
    }
}

/// An incomplete message. It holds only what has arrived.
#[derive(Debug)]
pub(super) struct Assembly {
    content: Content,
    fragments: u32,
}

#[derive(Debug)]
enum Content {
    Text(Text),
    Binary(Vec<u8>),
    /// A compressed payload, inflated when it is complete.
    Compressed {
        opcode: OpCode,
        payload: Vec<u8>,
    },
}

impl Assembly {
    /// The message that the frame of `header` begins, still without payload.
    pub(super) fn new(header: &FrameHeader) -> Self {
        let content = match header.opcode {
            opcode if header.rsv1 => Content::Compressed { opcode, payload: Vec::new() },
            OpCode::Text => Content::Text(Text::default()),
            OpCode::Binary | OpCode::Continuation | OpCode::Close | OpCode::Ping | OpCode::Pong => {
                Content::Binary(Vec::new())
            }
        };
        Self { content, fragments: 0 }
    }

    /// Counts a fragment, including the first, and checks its declared `length` in bytes.
    pub(super) fn begin_fragment(&mut self, length: u64, limits: &Limits) -> Result<(), Violation> {
        let (held, limit) = match &self.content {
            Content::Text(text) => (text.len(), limits.message_bytes),
            Content::Binary(bytes) => (bytes.len(), limits.message_bytes),
            Content::Compressed { payload, .. } => (payload.len(), compressed_limit(limits)),
        };
        if length > limit.saturating_sub(held) as u64 {
            return Err(Violation::MessageTooBig);
        }
        self.fragments += 1;
        if self.fragments > limits.fragments { Err(Violation::TooManyFragments) } else { Ok(()) }
    }

    /// Appends payload of the current fragment.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        match &mut self.content {
            Content::Text(text) => text.append(bytes)?,
            Content::Binary(payload) | Content::Compressed { payload, .. } => {
                payload.extend_from_slice(bytes)
            }
        }
        Ok(())
    }

    /// Heap memory held, in bytes.
    pub(super) fn held(&self) -> usize {
        match &self.content {
            Content::Text(text) => text.capacity(),
            Content::Binary(payload) | Content::Compressed { payload, .. } => payload.capacity(),
        }
    }

    /// Returns the message after its last fragment.
    pub(super) fn finish(self, limits: &Limits, codec: &mut Codec) -> Result<Message<'static>, Violation> {
        Ok(match self.content {
            Content::Text(text) => Message::Text(Cow::Owned(text.finish()?)),
            Content::Binary(bytes) => Message::Binary(Cow::Owned(bytes)),
            Content::Compressed { opcode, payload } => inflate(opcode, &payload, limits, codec)?,
        })
    }
}

/// Inflates a compressed payload into a message, no further than the size limit.
fn inflate(
    opcode: OpCode,
    payload: &[u8],
    limits: &Limits,
    codec: &mut Codec,
) -> Result<Message<'static>, Violation> {
    let plain = FrameHeader { fin: true, rsv1: false, opcode, mask: None, length: 0 };
    let mut assembly = Assembly::new(&plain);
    let mut inflated = 0;
    codec.inflate(payload, |bytes| {
        inflated += bytes.len();
        if inflated > limits.message_bytes { Err(Violation::MessageTooBig) } else { assembly.append(bytes) }
    })?;
    assembly.finish(limits, codec)
}

/// Longest compressed payload, in bytes: an incompressible message of the allowed size, with ample room for the block
/// headers of a poor compressor.
const fn compressed_limit(limits: &Limits) -> usize {
    limits.message_bytes.saturating_add(limits.message_bytes / 8).saturating_add(64)
}

impl From<InvalidUtf8> for Violation {
    fn from(_: InvalidUtf8) -> Self {
        Self::InvalidUtf8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembly(opcode: OpCode, rsv1: bool) -> Assembly {
        Assembly::new(&FrameHeader { fin: true, rsv1, opcode, mask: None, length: 0 })
    }

    #[test]
    fn s11_a_declared_length_reserves_nothing() {
        for (opcode, rsv1) in [(OpCode::Text, false), (OpCode::Binary, false), (OpCode::Binary, true)] {
            let mut assembly = assembly(opcode, rsv1);
            assembly.begin_fragment(16 * 1024, &Limits::default()).unwrap();
            assert_eq!(assembly.held(), 0);
            assembly.append(b"x").unwrap();
            assert!(assembly.held() <= 16);
        }
    }

    #[test]
    fn s13_less_than_twice_the_payload_is_held() {
        for (opcode, rsv1) in [(OpCode::Text, false), (OpCode::Binary, false), (OpCode::Binary, true)] {
            let mut assembly = assembly(opcode, rsv1);
            for payload in 1..=16 * 1024 {
                assembly.append(b"x").unwrap();
                assert!(assembly.held() <= (2 * payload).max(16), "{payload}");
            }
        }
    }

    #[test]
    fn the_sum_of_the_fragments_is_limited_to_the_byte() {
        let limits = Limits { message_bytes: 10, fragments: 3, ..Limits::default() };
        let mut assembly = assembly(OpCode::Binary, false);
        assert_eq!(assembly.begin_fragment(4, &limits), Ok(()));
        assembly.append(b"abcd").unwrap();
        assert_eq!(assembly.begin_fragment(7, &limits), Err(Violation::MessageTooBig));
        assert_eq!(assembly.begin_fragment(u64::MAX, &limits), Err(Violation::MessageTooBig));
        assert_eq!(assembly.begin_fragment(6, &limits), Ok(()));
        assert_eq!(assembly.begin_fragment(0, &limits), Ok(()));
        assert_eq!(assembly.begin_fragment(0, &limits), Err(Violation::TooManyFragments));
    }

    #[test]
    fn a_limit_lowered_during_a_message_ends_it() {
        let mut assembly = assembly(OpCode::Binary, false);
        assembly.append(&[0; 100]).unwrap();
        let limits = Limits { message_bytes: 10, ..Limits::default() };
        assert_eq!(assembly.begin_fragment(1, &limits), Err(Violation::MessageTooBig));
    }

    #[test]
    fn what_does_not_compress_may_be_as_long_as_what_is_sent_plain() {
        let noise: Vec<u8> =
            (0..16 * 1024_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let mut codec = Codec::new();
        let frame = codec.compress(OpCode::Binary, &noise, super::super::deflate::WindowBits::default());
        assert!(frame.as_bytes().len() <= compressed_limit(&Limits::default()));
    }
}
