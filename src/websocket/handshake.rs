//! The opening handshake (RFC 6455 §4): request head → [`Upgrade`] or [`Rejection`] with its HTTP status; and the
//! client's half for our own command line.
//!
//! It must not know which paths, origins or addresses are welcome: that is the caller's decision.

use std::borrow::Cow;

use super::deflate::WindowBits;

/// A request that may be accepted: all that RFC 6455 §4.2.1 asks of it is checked.
#[derive(Clone, Debug)]
pub struct Upgrade<'i> {
    head: Cow<'i, [u8]>,
    key: [u8; 24],
    deflate: Option<WindowBits>,
}

/// Why a request is not accepted, each with its HTTP status. Every rejection closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// 400; the text says what is wrong.
    BadRequest(&'static str),
    /// 403: the origin is not on the list.
    Forbidden,
    /// 404: no such path.
    NotFound,
    /// 405: not `GET`.
    MethodNotAllowed,
    /// 408: the head did not come in time.
    RequestTimeout,
    /// 426: not an upgrade to WebSocket version 13; carries `Sec-WebSocket-Version: 13` (RFC 6455 §4.4).
    UpgradeRequired,
    /// 431: over `headBytes` or 100 headers.
    HeadTooLarge,
    /// 503: too many connections; carries `Retry-After`.
    Unavailable {
        /// Seconds after which to try again.
        retry_after: u32,
    },
    /// 505: not HTTP/1.1.
    VersionNotSupported,
}

impl Upgrade<'_> {
    /// The path of the request's target, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        todo!()
    }

    /// The `Origin` header: browsers always send one.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        todo!()
    }

    /// The values of all `X-Forwarded-For` headers, in their order, untrusted.
    pub fn forwarded_for(&self) -> impl DoubleEndedIterator<Item = &str> {
        std::iter::empty()
    }

    /// The values of all `Forwarded` headers (RFC 7239), in their order, untrusted.
    pub fn forwarded(&self) -> impl DoubleEndedIterator<Item = &str> {
        std::iter::empty()
    }

    /// What the first acceptable offer of permessage-deflate asks of the server, if there is one.
    #[must_use]
    pub fn deflate(&self) -> Option<WindowBits> {
        let _ = (&self.head, self.key);
        self.deflate
    }
}

impl Rejection {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::UpgradeRequired => 426,
            Self::HeadTooLarge => 431,
            Self::Unavailable { .. } => 503,
            Self::VersionNotSupported => 505,
        }
    }
}

/// What a client asks a server for.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'a> {
    /// `Host`: name and port.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The nonce of `Sec-WebSocket-Key`, freshly random (§4.1).
    pub nonce: [u8; 16],
}

/// Why a server's answer does not open the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another status than 101.
    #[error("the server answered {status} {reason}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The reason phrase.
        reason: String,
    },
    /// A 101 that is no answer to our request, or no HTTP at all; the text says what is wrong.
    #[error("not a WebSocket server: {0}")]
    NoWebSocket(&'static str),
}
