//! Messages: whole ones borrowed from the input, fragmented or cut ones assembled as their bytes come.
//!
//! It owns the limits on size and number of fragments and the streaming check of UTF-8. A declared length reserves
//! nothing. It must not know control frames or connections.

use std::borrow::Cow;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'i> {
    /// A text message, checked to be UTF-8.
    Text(Cow<'i, str>),
    /// A binary message.
    Binary(Cow<'i, [u8]>),
}

/// What a peer may send; anything above ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an upgrade request's head; more is answered with 431.
    pub head_bytes: usize,
    /// Bytes of a message, inflated; more is answered with 1009.
    pub message_bytes: usize,
    /// Frames a message may come in; more is answered with 1008.
    pub fragments: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 16 * 1024, message_bytes: 16 * 1024, fragments: 64 }
    }
}
