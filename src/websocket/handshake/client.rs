//! The client side: the upgrade request that our command line sends, and the check of the response (RFC 6455 §4.1).

use std::mem::MaybeUninit;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::{Response, Status};

use super::{ACCEPT_LENGTH, HeadError, KEY_LENGTH, MAX_HEADERS, accept_value, fields};

/// A client's upgrade request.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'a> {
    /// Value of `Host`: the name, and the port unless it is the scheme's default. No line breaks.
    pub host: &'a str,
    /// Path and query, as in the request line. No white space.
    pub target: &'a str,
    /// The nonce of `Sec-WebSocket-Key`: fresh random bytes.
    pub nonce: [u8; 16],
}

/// Why a server's response does not open the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A status other than 101.
    #[error("the server answered {status} {reason}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The reason phrase.
        reason: String,
    },
    /// A 101 that does not answer our request, or not HTTP at all; the text says what is wrong.
    #[error("not a WebSocket server: {0}")]
    NoWebSocket(&'static str),
}

/// The value of `Sec-WebSocket-Accept` that the response must carry.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct ExpectedAccept([u8; ACCEPT_LENGTH]);

impl UpgradeRequest<'_> {
    /// The encoded request, and what its response must carry.
    pub(in super::super) fn encode(&self) -> (Vec<u8>, ExpectedAccept) {
        let Self { host, target, nonce } = self;
        let mut key = [0; KEY_LENGTH];
        STANDARD.encode_slice(nonce, &mut key).expect("16 bytes are 24 digits in base64");
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
            key.escape_ascii()
        );
        (request.into_bytes(), ExpectedAccept(accept_value(&key)))
    }
}

impl ExpectedAccept {
    /// Checks a complete response head.
    pub(in super::super) fn check(self, head: &[u8]) -> Result<(), Refusal> {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            head,
            &mut headers,
        );
        if !matches!(parsed, Ok(Status::Complete(_))) {
            return Err(Refusal::NoWebSocket("the answer is not HTTP"));
        }
        let status = response.code.unwrap_or_default();
        if status != 101 {
            return Err(Refusal::Status { status, reason: response.reason.unwrap_or_default().to_owned() });
        }
        if !fields::values(head, "upgrade").any(|value| fields::list_contains(value, "websocket")) {
            return Err(Refusal::NoWebSocket("the answer does not upgrade to websocket"));
        }
        if !fields::values(head, "connection").any(|value| fields::list_contains(value, "upgrade")) {
            return Err(Refusal::NoWebSocket("the answer's Connection header does not say Upgrade"));
        }
        if !fields::values(head, "sec-websocket-accept").eq([self.0]) {
            return Err(Refusal::NoWebSocket("Sec-WebSocket-Accept does not match the request's key"));
        }
        if ["sec-websocket-extensions", "sec-websocket-protocol"]
            .into_iter()
            .any(|name| fields::values(head, name).next().is_some())
        {
            return Err(Refusal::NoWebSocket(
                "the answer selects an extension or protocol that was not offered",
            ));
        }
        Ok(())
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        Self::NoWebSocket(match error {
            HeadError::TooLarge => "the answer's head is too large",
            HeadError::BareLineFeed => "a line of the answer's head ends without CR",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::{Asked, Upgrade};
    use super::*;

    const REQUEST: UpgradeRequest<'_> =
        UpgradeRequest { host: "example.com:8081", target: "/ws?a=b", nonce: *b"the sample nonce" };

    fn upgrade(request: Vec<u8>) -> Upgrade<'static> {
        match Asked::parse(Cow::Owned(request)) {
            Ok(Asked::Upgrade(upgrade)) => upgrade,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn our_server_takes_our_request_and_our_client_its_answer() {
        let (request, expected) = REQUEST.encode();
        let upgrade = upgrade(request);
        assert_eq!(upgrade.path(), "/ws");
        assert_eq!(expected.check(&upgrade.response(true)), Ok(()));
    }

    #[test]
    fn invalid_responses_are_refused() {
        let (request, expected) = REQUEST.encode();
        let response = upgrade(request).response(false);
        let response = str::from_utf8(&response).unwrap();
        for (part, replacement) in [
            ("HTTP/1.1", "ICY"),
            ("Upgrade: websocket", "Upgrade: h2c"),
            ("Connection: Upgrade", "Connection: close"),
            ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "x3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("Upgrade: websocket", "Upgrade: websocket\r\nSec-WebSocket-Protocol: chat"),
            ("Upgrade: websocket", "Upgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate"),
        ] {
            let answer = response.replacen(part, replacement, 1);
            assert!(matches!(expected.check(answer.as_bytes()), Err(Refusal::NoWebSocket(_))), "{answer}");
        }
        let refusal = expected.check(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n");
        assert_eq!(refusal, Err(Refusal::Status { status: 403, reason: "Forbidden".to_owned() }));
    }
}
