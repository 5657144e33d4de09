//! One frame (RFC 6455 §5.2): opcodes, the header's bytes, masking, and the shared run of encoded frames.
//!
//! It must not know messages, connections or limits: what is wrong here is wrong for everybody.

use std::rc::Rc;

/// What a frame is (§5.2, §11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpCode {
    /// Goes on with a fragmented message.
    Continuation = 0x0,
    /// Begins a text message.
    Text = 0x1,
    /// Begins a binary message.
    Binary = 0x2,
    /// Begins or answers the closing handshake.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping, or comes unasked.
    Pong = 0xA,
}

/// A frame header that breaks §5.2 or §5.5; always answered with 1002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A reserved bit that no negotiated extension gave a meaning.
    #[error("reserved bit set")]
    ReservedBit,
    /// An opcode without a meaning.
    #[error("unknown opcode")]
    UnknownOpCode,
    /// A control frame of more than 125 bytes (§5.5).
    #[error("control frame too long")]
    LongControl,
    /// A control frame in fragments (§5.5).
    #[error("control frame fragmented")]
    FragmentedControl,
    /// A client's frame without a mask (§5.1).
    #[error("frame not masked")]
    NotMasked,
    /// A server's frame with a mask (§5.1).
    #[error("frame masked")]
    Masked,
    /// A length in more bytes than it needs.
    #[error("length not minimal")]
    LengthNotMinimal,
    /// A length with its top bit set.
    #[error("length over 63 bits")]
    LengthTopBit,
}

/// One or more whole encoded frames, immutable and shared: a clone is a pointer, and the pointer is one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frames(Rc<Vec<u8>>);

impl Frames {
    /// Shares `bytes`, which are whole encoded frames.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Rc::new(bytes))
    }

    /// One unmasked, unfragmented text frame: a server's message.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(10 + text.len());
        encode(OpCode::Text, text.as_bytes(), None, &mut bytes);
        Self::new(bytes)
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Appends one whole frame (FIN set) to `out`; `mask` is `None` for a server, a fresh random key for a client (§5.3).
pub fn encode(opcode: OpCode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let _ = (opcode, payload, mask, out);
    todo!()
}
