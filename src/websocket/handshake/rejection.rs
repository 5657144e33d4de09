//! Rejected requests, and their HTTP responses.

use std::borrow::Cow;
use std::fmt;

use super::HeadError;

/// Why a request is rejected; each reason has an HTTP status. Every rejection closes the connection.
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
    /// 408: the head did not arrive in time.
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

impl Rejection {
    /// Every status, for counting by status.
    pub const STATUSES: [u16; 9] = [400, 403, 404, 405, 408, 426, 431, 503, 505];

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

    /// The complete response: HTTP/1.1, `Connection: close`, the explanation as its body.
    #[must_use]
    pub fn response(self) -> Vec<u8> {
        let (status, reason, explanation) = (self.status(), self.reason(), self.explanation());
        let length = explanation.len() + 1;
        let connection = if self == Self::UpgradeRequired { "close, Upgrade" } else { "close" };
        let headers = self.headers();
        format!(
            "HTTP/1.1 {status} {reason}\r\nConnection: {connection}\r\n{headers}Content-Type: text/plain; \
             charset=utf-8\r\nContent-Length: {length}\r\n\r\n{explanation}\n"
        )
        .into_bytes()
    }

    /// A human-readable explanation.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::BadRequest(explanation) => explanation,
            Self::Forbidden => "this origin may not connect",
            Self::NotFound => "there is nothing at this path",
            Self::MethodNotAllowed => "the method is not GET",
            Self::RequestTimeout => "the request did not come in time",
            Self::UpgradeRequired => "this is a WebSocket endpoint, version 13",
            Self::HeadTooLarge => "the request's head is too large",
            Self::Unavailable { .. } => "too many connections, try again later",
            Self::VersionNotSupported => "the request is not HTTP/1.1",
        }
    }

    /// The reason phrase (RFC 9110 §15).
    const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::UpgradeRequired => "Upgrade Required",
            Self::HeadTooLarge => "Request Header Fields Too Large",
            Self::Unavailable { .. } => "Service Unavailable",
            Self::VersionNotSupported => "HTTP Version Not Supported",
        }
    }

    /// The headers that the status requires, each with its line ending.
    fn headers(self) -> Cow<'static, str> {
        match self {
            Self::MethodNotAllowed => "Allow: GET\r\n".into(),
            Self::UpgradeRequired => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".into(),
            Self::Unavailable { retry_after } => format!("Retry-After: {retry_after}\r\n").into(),
            Self::BadRequest(_)
            | Self::Forbidden
            | Self::NotFound
            | Self::RequestTimeout
            | Self::HeadTooLarge
            | Self::VersionNotSupported => "".into(),
        }
    }
}

impl From<HeadError> for Rejection {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::TooLarge => Self::HeadTooLarge,
            HeadError::BareLineFeed => Self::BadRequest("a line of the head ends without CR"),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status(), self.reason(), self.explanation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_response_is_complete_and_has_the_headers_its_status_requires() {
        for (rejection, status, header) in [
            (Rejection::BadRequest("no good"), "400 Bad Request", "Connection: close\r\n"),
            (Rejection::Forbidden, "403 Forbidden", "Connection: close\r\n"),
            (Rejection::NotFound, "404 Not Found", "Connection: close\r\n"),
            (Rejection::MethodNotAllowed, "405 Method Not Allowed", "Allow: GET\r\n"),
            (Rejection::RequestTimeout, "408 Request Timeout", "Connection: close\r\n"),
            (Rejection::UpgradeRequired, "426 Upgrade Required", "Sec-WebSocket-Version: 13\r\n"),
            (Rejection::HeadTooLarge, "431 Request Header Fields Too Large", "Connection: close\r\n"),
            (Rejection::Unavailable { retry_after: 7 }, "503 Service Unavailable", "Retry-After: 7\r\n"),
            (Rejection::VersionNotSupported, "505 HTTP Version Not Supported", "Connection: close\r\n"),
        ] {
            let response = rejection.response();
            assert!(Rejection::STATUSES.contains(&rejection.status()));
            let mut headers = [httparse::EMPTY_HEADER; 8];
            let mut parsed = httparse::Response::new(&mut headers);
            let head = parsed.parse(&response).unwrap().unwrap();
            assert_eq!(parsed.code, Some(rejection.status()));
            let text = str::from_utf8(&response).unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status}\r\nConnection: close")), "{text}");
            assert!(text.contains(header), "{text}");
            let length = format!("Content-Length: {}\r\n", response.len() - head);
            assert!(text.contains(&length), "{text}");
            assert_eq!(text[head..].trim_end(), rejection.explanation());
        }
    }
}
