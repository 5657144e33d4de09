//! Messages that are encoded before it is known who gets them: once for all, and compressed once for all that inflate with
//! the same window.

use crate::websocket::deflate::{Codec, WindowBits};
use crate::websocket::frame::{Frames, MAX_HEADER, OpCode, encode};
use crate::websocket::message::Message;

/// One message, encoded.
#[derive(Clone, Debug)]
pub struct Prepared(Frames);

/// Text messages under construction, to be shared.
#[derive(Debug, Default)]
pub struct Texts {
    frames: Vec<u8>,
    message: Vec<u8>,
}

/// Messages in each form that peers have negotiated. A form is made when the first peer wants it.
#[derive(Debug)]
pub struct Shared {
    plain: Frames,
    /// At most one for each of the seven window sizes; in practice one, for browsers leave the size to us.
    compressed: Vec<(WindowBits, Frames)>,
}

impl Prepared {
    /// A text message.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self(Frames::text(text))
    }

    /// A text message that `write` writes; UTF-8.
    #[must_use]
    pub fn written(write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut texts = Texts::default();
        texts.push(write);
        Self(Frames::new(texts.frames))
    }

    /// A message as it was received.
    #[must_use]
    pub fn message(message: &Message<'_>) -> Self {
        let mut frame = Vec::with_capacity(MAX_HEADER + message.payload().len());
        encode(message.opcode(), message.payload(), None, &mut frame);
        Self(Frames::new(frame))
    }

    #[cfg(test)]
    pub(super) const fn new(frames: Frames) -> Self {
        Self(frames)
    }

    pub(super) const fn frames(&self) -> &Frames {
        &self.0
    }
}

impl Texts {
    /// Appends the text message that `write` writes; UTF-8.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.message.clear();
        write(&mut self.message);
        encode(OpCode::Text, &self.message, None, &mut self.frames);
    }

    /// Bytes of the messages, encoded.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are no messages.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The messages, to be shared; what follows begins anew.
    #[must_use]
    pub fn take(&mut self) -> Shared {
        Shared::new(Frames::new(std::mem::take(&mut self.frames)))
    }
}

impl From<Prepared> for Shared {
    fn from(Prepared(frames): Prepared) -> Self {
        Self::new(frames)
    }
}

impl Shared {
    /// Shares these messages, each of which is one frame, unmasked and not compressed.
    pub(super) const fn new(plain: Frames) -> Self {
        Self { plain, compressed: Vec::new() }
    }

    /// The memory of all forms made so far, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.plain.memory() + self.compressed.iter().map(|(_, frames)| frames.memory()).sum::<usize>()
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
