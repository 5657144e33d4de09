//! Compression of messages (RFC 7692, permessage-deflate): negotiation, and one codec for all connections.
//!
//! Every message stands alone: the server always answers `server_no_context_takeover; client_no_context_takeover`,
//! so a connection keeps nothing but the window size it negotiated.

use super::frame::{Frames, OpCode};

/// The size of the window the server compresses with, as its base-2 logarithm: 9 to 15 (RFC 7692 §7.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowBits(std::num::NonZeroU8);

/// The compressor and the inflater, owned by the loop and lent to whichever connection needs them. Built at first use.
#[derive(Debug, Default)]
pub struct Codec {}

impl Codec {
    /// A codec that has built nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One compressed, unmasked frame, to be shared by all connections that negotiated these `bits`. `opcode` is `Text` or `Binary`.
    #[must_use]
    pub fn compress(&mut self, opcode: OpCode, payload: &[u8], bits: WindowBits) -> Frames {
        let _ = (opcode, payload, bits);
        todo!()
    }
}
