//! Messages that many peers get: encoded once, and compressed once for all who inflate with the same window.

use crate::websocket::deflate::{Codec, WindowBits};
use crate::websocket::frame::Frames;

/// A run of messages in each form that peers have negotiated. A form is made when the first peer wants it.
#[derive(Debug)]
pub struct Shared {
    plain: Frames,
    /// At most one for each of the seven window sizes; in practice one, for browsers leave the size to us.
    compressed: Vec<(WindowBits, Frames)>,
}

impl Shared {
    /// Shares these messages, each of which is one frame, unmasked and not compressed.
    #[must_use]
    pub const fn new(plain: Frames) -> Self {
        Self { plain, compressed: Vec::new() }
    }

    /// The messages as they are.
    pub(super) const fn plain(&self) -> &Frames {
        &self.plain
    }

    /// The messages for peers that have negotiated these `bits`, those of `min_bytes` or more compressed.
    pub(super) fn compressed(&mut self, bits: WindowBits, min_bytes: usize, codec: &mut Codec) -> &Frames {
        let at = self.compressed.iter().position(|&(of, _)| of == bits).unwrap_or_else(|| {
            self.compressed.push((bits, codec.compress_run(&self.plain, bits, min_bytes)));
            self.compressed.len() - 1
        });
        &self.compressed[at].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::frame::{OpCode, encode};

    #[test]
    fn messages_are_compressed_once_for_each_window() {
        let mut frame = Vec::new();
        encode(OpCode::Text, "0123456789".repeat(100).as_bytes(), None, &mut frame);
        let mut shared = Shared::new(Frames::new(frame));
        let mut codec = Codec::new();
        let mut compressed = |bits| {
            let bits = WindowBits::new(bits).unwrap();
            shared.compressed(bits, 100, &mut codec).as_bytes().as_ptr()
        };
        let (usual, small) = (compressed(15), compressed(9));
        assert_eq!((compressed(15), compressed(9)), (usual, small));
        assert_ne!(usual, small);
        assert_eq!(shared.compressed.len(), 2);
    }
}
