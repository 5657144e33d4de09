//! Close codes, the payload of a Close frame, and the code that answers each violation (RFC 6455 §7.4).
//!
//! It must not know connections.

use std::fmt;

use super::frame::{FrameError, MAX_CONTROL_PAYLOAD};

/// A status code that a Close frame may carry (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

/// A violation that ends its peer's connection with the close code [`Violation::code`].
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
    /// A text message that is not UTF-8 (§8.1).
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// A message over `messageBytes`, by its declared or its inflated size.
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

impl Violation {
    /// The code of the Close frame that answers the violation (§7.4.1).
    #[must_use]
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Frame(_)
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::ClosePayload
            | Self::InvalidCloseCode => CloseCode::PROTOCOL_ERROR,
            Self::InvalidUtf8 | Self::BrokenDeflate | Self::InvalidCloseReason => CloseCode::INVALID_DATA,
            Self::TooManyFragments => CloseCode::POLICY_VIOLATION,
            Self::MessageTooBig => CloseCode::MESSAGE_TOO_BIG,
        }
    }
}

impl CloseCode {
    /// 1000: normal closure.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server shuts down, or the user leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: protocol error.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1007: the payload does not match the message type.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: policy violation.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: the message is too big.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1011: internal error.
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// The code with this number, if a Close frame may carry it: 1000 to 1003 and 1007 to 1014 (registered), 3000 to
    /// 4999 (for libraries and applications).
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match number {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(number)),
            _ => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Decodes the payload of a Close frame: the code, if any, and the reason (§5.5.1).
///
/// # Errors
///
/// [`Violation`] for a payload of one byte, a code that must not be sent, or a reason that is not UTF-8.
pub fn decode(payload: &[u8]) -> Result<(Option<CloseCode>, &str), Violation> {
    let Some((&code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok((None, "")) } else { Err(Violation::ClosePayload) };
    };
    let code = CloseCode::new(u16::from_be_bytes(code)).ok_or(Violation::InvalidCloseCode)?;
    let reason = str::from_utf8(reason).map_err(|_| Violation::InvalidCloseReason)?;
    Ok((Some(code), reason))
}

/// Encodes the payload of a Close frame. A reason over 123 bytes is truncated at a character boundary.
#[must_use]
pub fn encode(code: CloseCode, reason: &str) -> Vec<u8> {
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL_PAYLOAD - 2)];
    [&code.0.to_be_bytes()[..], reason.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s18_codes_that_must_not_be_sent_are_refused() {
        for number in 0..=u16::MAX {
            let allowed = matches!(number, 1000..=1003 | 1007..=1014 | 3000..=4999);
            let decoded = decode(&number.to_be_bytes()).map(|(code, _)| code.map(CloseCode::get));
            assert_eq!(decoded, if allowed { Ok(Some(number)) } else { Err(Violation::InvalidCloseCode) });
        }
    }

    #[test]
    fn s18_payloads() {
        assert_eq!(decode(b""), Ok((None, "")));
        assert_eq!(decode(b"\x03"), Err(Violation::ClosePayload));
        assert_eq!(decode(b"\x03\xe8"), Ok((Some(CloseCode::NORMAL), "")));
        assert_eq!(decode("\u{3}\u{68}".as_bytes()), Err(Violation::InvalidCloseCode));
        assert_eq!(decode(b"\x03\xe9bye \xd0\xbf"), Ok((Some(CloseCode::GOING_AWAY), "bye п")));
        assert_eq!(decode(b"\x03\xe8\xce\xba\xe1"), Err(Violation::InvalidCloseReason));
    }

    #[test]
    fn a_long_reason_is_truncated_at_a_character_boundary() {
        assert_eq!(encode(CloseCode::POLICY_VIOLATION, "slow consumer"), b"\x03\xf0slow consumer");
        let payload = encode(CloseCode::NORMAL, &"п".repeat(100));
        assert_eq!(payload.len(), 2 + 122);
        assert_eq!(decode(&payload), Ok((Some(CloseCode::NORMAL), &*"п".repeat(61))));
    }

    #[test]
    fn violations_are_answered_with_the_codes_of_the_rfc() {
        for (violation, code) in [
            (Violation::Frame(FrameError::NotMasked), 1002),
            (Violation::ExpectedContinuation, 1002),
            (Violation::InvalidCloseCode, 1002),
            (Violation::InvalidUtf8, 1007),
            (Violation::InvalidCloseReason, 1007),
            (Violation::TooManyFragments, 1008),
            (Violation::MessageTooBig, 1009),
        ] {
            assert_eq!(violation.code().get(), code);
            assert_eq!(CloseCode::new(code), Some(violation.code()));
        }
    }
}
