//! The server side: checks a request's head against RFC 6455 §4.2.1, and writes the response that accepts it.
//!
//! Ambiguous requests are rejected, so that no proxy on the way can have read them differently.

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::{Header, Request, Status};

use super::extensions::{self, Offer};
use super::{KEY_LENGTH, MAX_HEADERS, Rejection, accept_value, fields};
use crate::websocket::deflate::WindowBits;

/// What a request asks for.
#[derive(Clone, Debug)]
pub(in super::super) enum Asked<'i> {
    /// An upgrade to WebSocket.
    Upgrade(Upgrade<'i>),
    /// The page at its path.
    Page(PageRequest<'i>),
}

/// A GET without an upgrade, as browsers send it for a page.
#[derive(Clone, Debug)]
pub struct PageRequest<'i> {
    head: Cow<'i, [u8]>,
    /// The range of the path in `head`.
    path: Range<usize>,
}

/// An upgrade request that meets every requirement of RFC 6455 §4.2.1.
#[derive(Clone, Debug)]
pub struct Upgrade<'i> {
    head: Cow<'i, [u8]>,
    /// The range of the path in `head`.
    path: Range<usize>,
    /// The range of the `Origin` header's value in `head`.
    origin: Option<Range<usize>>,
    key: [u8; KEY_LENGTH],
    offer: Option<Offer>,
}

impl<'i> Asked<'i> {
    /// Checks a complete head, from the request line to the empty line.
    ///
    /// # Errors
    ///
    /// The [`Rejection`] to answer with, for the first fault found.
    pub(in super::super) fn parse(head: Cow<'i, [u8]>) -> Result<Self, Rejection> {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut request = Request::new(&mut []);
        match request.parse_with_uninit_headers(&head, &mut headers) {
            Ok(Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return Err(Rejection::BadRequest("the head is not HTTP")),
            Err(httparse::Error::TooManyHeaders) => return Err(Rejection::HeadTooLarge),
            Err(httparse::Error::Version) => return Err(Rejection::VersionNotSupported),
            Err(_) => return Err(Rejection::BadRequest("the head is not HTTP")),
        }
        if request.version != Some(1) {
            return Err(Rejection::VersionNotSupported);
        }
        if request.method != Some("GET") {
            return Err(Rejection::MethodNotAllowed);
        }
        let path = path_in(request.path.unwrap_or_default())?;
        let path = "GET ".len() + path.start.."GET ".len() + path.end;

        let headers = Headers::new(request.headers);
        let host =
            headers.only(Name::Host).ok_or(Rejection::BadRequest("there is not exactly one Host header"))?;
        if host.is_empty() {
            return Err(Rejection::BadRequest("the Host header is empty"));
        }
        if headers.has(Name::ContentLength) || headers.has(Name::TransferEncoding) {
            return Err(Rejection::BadRequest("a request here has no body"));
        }
        if !headers.values(Name::Upgrade).any(|value| fields::list_contains(value, "websocket")) {
            return Ok(Self::Page(PageRequest { head, path }));
        }
        if !headers.values(Name::Connection).any(|value| fields::list_contains(value, "upgrade")) {
            return Err(Rejection::BadRequest("the Connection header does not say Upgrade"));
        }
        if headers.only(Name::SecWebSocketVersion) != Some(b"13") {
            return Err(Rejection::UpgradeRequired);
        }
        let key = headers.only(Name::SecWebSocketKey).and_then(key).ok_or(Rejection::BadRequest(
            "there is not exactly one Sec-WebSocket-Key of 16 bytes in base64",
        ))?;
        let origin = headers.values(Name::Origin).next().map(|value| place_in(&head, value));
        if headers.values(Name::Origin).count() > 1 {
            return Err(Rejection::BadRequest("there is more than one Origin header"));
        }
        // The caller decides by these headers, as text.
        if [Name::Origin, Name::Forwarded, Name::XForwardedFor]
            .into_iter()
            .any(|name| headers.values(name).any(|value| !value.is_ascii()))
        {
            return Err(Rejection::BadRequest("an Origin or Forwarded header is not ASCII"));
        }
        if headers.values(Name::SecWebSocketProtocol).any(|value| fields::check_list(value).is_err()) {
            return Err(Rejection::BadRequest("the Sec-WebSocket-Protocol header is malformed"));
        }
        let offer = extensions::negotiate(headers.values(Name::SecWebSocketExtensions))
            .map_err(|_| Rejection::BadRequest("the Sec-WebSocket-Extensions header is malformed"))?;
        Ok(Self::Upgrade(Upgrade { head, path, origin, key, offer }))
    }
}

impl PageRequest<'_> {
    /// The path of the request's target, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        text(&self.head, &self.path)
    }
}

impl Upgrade<'_> {
    /// Upper bound on the length of a response, in bytes.
    pub(in super::super) const RESPONSE: usize = 320;

    /// Appends the complete response that accepts the request, at most [`Upgrade::RESPONSE`] bytes. With `compression`,
    /// it accepts permessage-deflate if that was offered.
    pub(in super::super) fn respond(&self, compression: bool, response: &mut Vec<u8>) {
        response.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        response.extend_from_slice(&accept_value(&self.key));
        if let Some(offer) = self.offer.filter(|_| compression) {
            response.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
            response.extend_from_slice(offer.answer().as_bytes());
        }
        response.extend_from_slice(b"\r\n\r\n");
    }

    #[cfg(test)]
    pub(super) fn response(&self, compression: bool) -> Vec<u8> {
        let mut response = Vec::new();
        self.respond(compression, &mut response);
        assert!(response.len() <= Self::RESPONSE);
        response
    }

    /// The path of the request's target, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        text(&self.head, &self.path)
    }

    /// The `Origin` header: browsers always send one.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| text(&self.head, origin))
    }

    /// The values of all `X-Forwarded-For` headers, in order, unverified.
    pub fn forwarded_for(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.texts("x-forwarded-for")
    }

    /// The values of all `Forwarded` headers (RFC 7239), in order, unverified.
    pub fn forwarded(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.texts("forwarded")
    }

    /// The window size of the first acceptable permessage-deflate offer, if any.
    #[must_use]
    pub fn deflate(&self) -> Option<WindowBits> {
        self.offer.map(|offer| offer.server_max_window_bits.unwrap_or_default())
    }

    /// The values of a header, which were checked to be ASCII.
    fn texts(&self, name: &'static str) -> impl DoubleEndedIterator<Item = &str> {
        fields::values(&self.head, name).filter_map(|value| str::from_utf8(value).ok())
    }
}

/// The headers that decide about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Connection,
    ContentLength,
    Forwarded,
    Host,
    Origin,
    SecWebSocketExtensions,
    SecWebSocketKey,
    SecWebSocketProtocol,
    SecWebSocketVersion,
    TransferEncoding,
    Upgrade,
    XForwardedFor,
}

impl Name {
    const ALL: [(&str, Self); 12] = [
        ("connection", Self::Connection),
        ("content-length", Self::ContentLength),
        ("forwarded", Self::Forwarded),
        ("host", Self::Host),
        ("origin", Self::Origin),
        ("sec-websocket-extensions", Self::SecWebSocketExtensions),
        ("sec-websocket-key", Self::SecWebSocketKey),
        ("sec-websocket-protocol", Self::SecWebSocketProtocol),
        ("sec-websocket-version", Self::SecWebSocketVersion),
        ("transfer-encoding", Self::TransferEncoding),
        ("upgrade", Self::Upgrade),
        ("x-forwarded-for", Self::XForwardedFor),
    ];

    fn of(header: &Header<'_>) -> Option<Self> {
        Self::ALL.iter().find(|(text, _)| header.name.eq_ignore_ascii_case(text)).map(|&(_, name)| name)
    }
}

/// The headers of one request, with their names resolved once.
struct Headers<'h> {
    headers: &'h [Header<'h>],
    names: [Option<Name>; MAX_HEADERS],
}

impl<'h> Headers<'h> {
    fn new(headers: &'h [Header<'h>]) -> Self {
        let mut names = [None; MAX_HEADERS];
        names.iter_mut().zip(headers).for_each(|(name, header)| *name = Name::of(header));
        Self { headers, names }
    }

    fn values(&self, name: Name) -> impl Iterator<Item = &'h [u8]> {
        let named = self.headers.iter().zip(&self.names).filter(move |&(_, &it)| it == Some(name));
        named.map(|(header, _)| header.value)
    }

    fn has(&self, name: Name) -> bool {
        self.values(name).next().is_some()
    }

    /// The value of a header that occurs exactly once.
    fn only(&self, name: Name) -> Option<&'h [u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }
}

/// The range in `head` of `value`, which must be a slice of it.
fn place_in(head: &[u8], value: &[u8]) -> Range<usize> {
    let start = value.as_ptr().addr() - head.as_ptr().addr();
    start..start + value.len()
}

/// A part of a head that was checked to be UTF-8.
fn text<'h>(head: &'h [u8], range: &Range<usize>) -> &'h str {
    str::from_utf8(&head[range.clone()]).unwrap_or_default()
}

/// The range of the path in a request's target, which is in origin or absolute form (RFC 9112 §3.2).
fn path_in(target: &str) -> Result<Range<usize>, Rejection> {
    let start = if target.starts_with('/') {
        0
    } else {
        let scheme = target.find("://").ok_or(Rejection::BadRequest("the target is no path"))? + "://".len();
        let authority = target[scheme..].find(['/', '?']).unwrap_or(target.len() - scheme);
        scheme + authority
    };
    let length = target[start..].find('?').unwrap_or(target.len() - start);
    Ok(start..start + length)
}

/// Parses a key: 16 bytes in base64.
fn key(value: &[u8]) -> Option<[u8; KEY_LENGTH]> {
    let mut nonce = [0; 18];
    let key = value.try_into().ok()?;
    (STANDARD.decode_slice(value, &mut nonce) == Ok(16)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET /ws?token=a HTTP/1.1\r\nHost: example.com\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    fn parse(head: &str) -> Result<Upgrade<'_>, Rejection> {
        match Asked::parse(Cow::Borrowed(head.as_bytes()))? {
            Asked::Upgrade(upgrade) => Ok(upgrade),
            Asked::Page(_) => Err(Rejection::UpgradeRequired),
        }
    }

    /// The status of the request with one part replaced; 101 if it is accepted.
    fn status(part: &str, replacement: &str) -> u16 {
        assert!(REQUEST.contains(part), "{part}");
        parse(&REQUEST.replacen(part, replacement, 1)).map_or_else(Rejection::status, |_| 101)
    }

    #[test]
    fn the_request_of_the_rfc_is_accepted() {
        let upgrade = parse(REQUEST).unwrap();
        assert_eq!(upgrade.path(), "/ws");
        assert_eq!(upgrade.origin(), None);
        assert_eq!(upgrade.deflate(), None);
        assert_eq!(
            str::from_utf8(&upgrade.response(true)).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
    }

    #[test]
    fn s03_the_key_is_16_bytes_in_base64_once() {
        let line = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        assert_eq!(status(line, ""), 400);
        assert_eq!(status(line, &line.repeat(2)), 400);
        for wrong in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZR==",
            "dGhlIHNhbXBsZSBub25jZQ==,",
            "dGhlIHNhbXBsZSBub25j",
            "dGhlIHNhbXBsZSBub25jZWU=",
            "dGhlIHNhbXBsZSBub25jZWVl",
            "dGhlIHNhbXBsZSBub25!ZQ==",
            "_-hlIHNhbXBsZSBub25jZQ==",
        ] {
            assert_eq!(status("dGhlIHNhbXBsZSBub25jZQ==", wrong), 400, "{wrong}");
        }
    }

    #[test]
    fn s04_what_could_be_smuggled_is_refused() {
        for (part, replacement, expected) in [
            ("GET", "POST", 405),
            ("GET", "get", 405),
            ("GET ", "GET  ", 400),
            ("HTTP/1.1", "HTTP/1.0", 505),
            ("HTTP/1.1", "HTTP/2.0", 505),
            ("HTTP/1.1", "HTTP/1.1 ", 400),
            ("/ws?token=a", "*", 400),
            ("/ws?token=a", "ws", 400),
            ("Host: example.com\r\n", "", 400),
            ("Host: example.com", "Host:", 400),
            ("Host: example.com", "Host: example.com\r\nHost: example.com", 400),
            ("Host: example.com", "Host : example.com", 400),
            ("Host: example.com", "Host: example.com\r\n folded", 400),
            ("Upgrade: WebSocket\r\n", "", 426),
            ("Upgrade: WebSocket", "Upgrade: h2c", 426),
            ("Upgrade: WebSocket", "Upgrade: h2c, websocket", 101),
            ("Connection: keep-alive, Upgrade\r\n", "", 400),
            ("keep-alive, Upgrade", "keep-alive", 400),
            ("keep-alive, Upgrade", "Upgraded", 400),
            ("keep-alive, Upgrade", "keep-alive\r\nConnection: UPGRADE", 101),
            ("Sec-WebSocket-Version: 13\r\n", "", 426),
            ("Version: 13", "Version: 8", 426),
            ("Version: 13", "Version: 013", 426),
            ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", 426),
            ("Version: 13", "Version: 13\r\nContent-Length: 5", 400),
            ("Version: 13", "Version: 13\r\nContent-Length: 0", 400),
            ("Version: 13", "Version: 13\r\nTransfer-Encoding: chunked", 400),
        ] {
            assert_eq!(status(part, replacement), expected, "{part} -> {replacement}");
        }
    }

    #[test]
    fn s01_more_than_100_headers() {
        let fill = |count: usize| "X: y\r\n".repeat(count) + "Upgrade: ";
        assert_eq!(status("Upgrade: ", &fill(95)), 101);
        assert_eq!(status("Upgrade: ", &fill(96)), 431);
    }

    #[test]
    fn s09_malformed_extensions_and_protocols() {
        for (header, expected) in [
            ("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", 101),
            ("Sec-WebSocket-Extensions: permessage-deflate;", 400),
            ("Sec-WebSocket-Extensions: foo\r\nSec-WebSocket-Extensions: \"", 400),
            ("Sec-WebSocket-Protocol: chat, superchat", 101),
            ("Sec-WebSocket-Protocol: chat,,", 400),
            ("Sec-WebSocket-Protocol: a b", 400),
        ] {
            assert_eq!(status("Host: ", &format!("{header}\r\nHost: ")), expected, "{header}");
        }
    }

    #[test]
    fn s06_s07_origin_and_forwarding_headers_are_handed_on() {
        let request = REQUEST.replace(
            "Host: ",
            "Origin: https://example.com\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nx-forwarded-for:3.3.3.3\r\n\
             Forwarded: for=4.4.4.4\r\nHost: ",
        );
        let upgrade = parse(&request).unwrap();
        assert_eq!(upgrade.origin(), Some("https://example.com"));
        assert_eq!(upgrade.forwarded_for().collect::<Vec<_>>(), ["1.1.1.1, 2.2.2.2", "3.3.3.3"]);
        assert_eq!(upgrade.forwarded().collect::<Vec<_>>(), ["for=4.4.4.4"]);
        assert_eq!(status("Host: ", "Origin: a\r\nOrigin: a\r\nHost: "), 400);
        assert_eq!(status("Host: ", "Origin: \u{e9}\r\nHost: "), 400);
        assert_eq!(status("Host: ", "X-Forwarded-For: \u{e9}\r\nHost: "), 400);
    }

    #[test]
    fn the_path_is_found_in_every_form_of_target() {
        for (target, path) in [
            ("/", "/"),
            ("/ws", "/ws"),
            ("/ws/?a=b?c=/d", "/ws/"),
            ("http://example.com/ws", "/ws"),
            ("http://example.com/ws?a=b", "/ws"),
            ("http://example.com?a=/b", ""),
            ("http://example.com", ""),
        ] {
            let request = REQUEST.replace("/ws?token=a", target);
            assert_eq!(parse(&request).unwrap().path(), path, "{target}");
        }
    }

    #[test]
    fn a_request_without_an_upgrade_is_for_a_page() {
        for (request, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("/")),
            ("GET /a?b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", Ok("/a")),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", Ok("/")),
            ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", Err(405)),
            ("GET / HTTP/1.1\r\n\r\n", Err(400)),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", Err(400)),
        ] {
            match (Asked::parse(Cow::Borrowed(request.as_bytes())), expected) {
                (Ok(Asked::Page(page)), Ok(path)) => assert_eq!(page.path(), path, "{request}"),
                (asked, expected) => {
                    assert_eq!(asked.err().map(Rejection::status), expected.err(), "{request}");
                }
            }
        }
    }

    #[test]
    fn compression_is_negotiated_only_if_enabled() {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\nHost: ";
        let request = REQUEST.replace("Host: ", offer);
        let upgrade = parse(&request).unwrap();
        assert_eq!(upgrade.deflate().map(WindowBits::get), Some(10));
        let extension = "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                         client_no_context_takeover; server_max_window_bits=10\r\n\r\n";
        assert!(upgrade.response(true).ends_with(extension.as_bytes()));
        assert!(!str::from_utf8(&upgrade.response(false)).unwrap().contains("Extensions"));
    }
}
