//! Why a connection ends: close codes, the payload of a Close frame, and which code answers which violation.
//!
//! It must not know where the bytes come from, nor what is done with the connection afterwards.

use super::frame::FrameError;

/// A status code as a Close frame may carry it (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

/// What a peer did that ends its connection; [`Violation::code`] is the answer it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame header that RFC 6455 §5.2 forbids.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A continuation frame with nothing to continue (§5.4).
    #[error("nothing to continue")]
    UnexpectedContinuation,
    /// A new message while another is unfinished (§5.4).
    #[error("the previous message is unfinished")]
    ExpectedContinuation,
    /// A text that is not UTF-8 (§8.1).
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// A message over `messageBytes`, declared or inflated.
    #[error("message too big")]
    MessageTooBig,
    /// A message in more than `fragments` frames.
    #[error("too many fragments")]
    TooManyFragments,
    /// A compressed payload that is not DEFLATE data (RFC 7692 §7.2.2).
    #[error("compressed data is broken")]
    BrokenDeflate,
    /// A Close payload of one byte (§5.5.1).
    #[error("close payload of one byte")]
    ClosePayload,
    /// A close code that must not be sent (§7.4).
    #[error("close code not allowed")]
    InvalidCloseCode,
    /// A close reason that is not UTF-8 (§5.5.1).
    #[error("close reason is not UTF-8")]
    InvalidCloseReason,
}

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server goes down, or the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1007: the data do not fit the type of the message.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: the peer broke a rule of ours.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: the message is too big.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1011: the server failed.
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}
