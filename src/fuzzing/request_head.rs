//! Target `request_head`: compares the upgrade request with a line-by-line reading of RFC 9112 and RFC 6455 §4.2.1.

use super::cuts;
use crate::websocket::connection::{Connection, Ended, Step};
use crate::websocket::deflate::{Codec, WindowBits};
use crate::websocket::handshake::{Rejection, UpgradeRequest};
use crate::websocket::message::Limits;
use crate::websocket::outgoing::{Flush, Outgoing};

/// Longest head, in bytes: small, so that inputs reach the limit.
const HEAD_BYTES: usize = 2048;

/// The input is what a client sends first.
///
/// It must give the upgrade, the page or the refusal of the reference, however it is split. The bytes after an
/// upgrade's head must stay in the input, and our own client must accept the response. The connection may hold at most
/// twice the longest head.
///
/// # Panics
///
/// If a check fails.
pub fn request_head(bytes: &[u8]) {
    let expected = by_definition(bytes);
    cuts::for_each(bytes, |pieces| {
        let seen = read(pieces);
        match (&expected, &seen) {
            (Head::Refused(statuses), Seen::Refused(status)) => {
                assert!(statuses.contains(status), "{status} of {statuses:?}")
            }
            (Head::Unfinished, Seen::Unfinished) => {}
            (Head::Page(path), Seen::Page(seen)) => assert_eq!(seen, path),
            (Head::Upgrade(expected), Seen::Upgrade(seen)) => assert_eq!(seen, expected),
            _ => panic!("{seen:?}, not {expected:?}"),
        }
    });
}

/// The result of a head, by the reference.
#[derive(Debug)]
enum Head {
    Unfinished,
    Upgrade(Upgraded),
    /// With its path.
    Page(String),
    /// With one of these statuses.
    Refused(Vec<u16>),
}

/// What a connection made of a head.
#[derive(Debug)]
enum Seen {
    Unfinished,
    Upgrade(Upgraded),
    Page(String),
    Refused(u16),
}

/// The facts of an upgrade.
#[derive(Debug, PartialEq, Eq)]
struct Upgraded {
    path: String,
    origin: Option<String>,
    forwarded: Vec<String>,
    forwarded_for: Vec<String>,
    window_bits: Option<u8>,
    /// Number of input bytes after the head.
    left: usize,
}

fn read(pieces: &[&[u8]]) -> Seen {
    let (mut connection, mut outgoing) = (Connection::server(), Outgoing::default());
    let limits = Limits { head_bytes: HEAD_BYTES, ..Limits::default() };
    for (number, piece) in pieces.iter().enumerate() {
        let mut bytes = piece.to_vec();
        let mut input = &mut bytes[..];
        let seen = match connection.receive(&mut input, &mut outgoing, &limits, &mut Codec::new()) {
            Step::Starved => {
                assert!(input.is_empty() && connection.held() <= 2 * HEAD_BYTES);
                continue;
            }
            Step::Upgrade(upgrade) => {
                let left = input.len() + pieces[number + 1..].iter().map(|piece| piece.len()).sum::<usize>();
                let owned = |values: &mut dyn Iterator<Item = &str>| values.map(str::to_owned).collect();
                let seen = Upgraded {
                    path: upgrade.path().to_owned(),
                    origin: upgrade.origin().map(str::to_owned),
                    forwarded: owned(&mut upgrade.forwarded()),
                    forwarded_for: owned(&mut upgrade.forwarded_for()),
                    window_bits: upgrade.deflate().map(WindowBits::get),
                    left,
                };
                connection.accept(&upgrade, false, &mut outgoing);
                assert!(connection.is_open());
                Seen::Upgrade(seen)
            }
            Step::Page(page) => Seen::Page(page.path().to_owned()),
            Step::Ended(Ended::Rejected(rejection)) => {
                assert!(connection.is_closed() && input.is_empty());
                assert_eq!(written(&mut outgoing), rejection.response());
                return Seen::Refused(rejection.status());
            }
            step => unreachable!("{step:?}"),
        };
        if matches!(seen, Seen::Upgrade(_)) {
            check_answer(&pieces.concat(), &written(&mut outgoing));
        } else {
            connection.reject(Rejection::NotFound, &mut outgoing);
            assert_eq!(written(&mut outgoing), Rejection::NotFound.response());
        }
        return seen;
    }
    assert!(outgoing.is_empty());
    Seen::Unfinished
}

fn written(outgoing: &mut Outgoing) -> Vec<u8> {
    let mut written = Vec::new();
    assert_eq!(outgoing.write_to(&mut written, usize::MAX).expect("memory takes every byte"), Flush::Done);
    written
}

/// Checks that a client that sent this request's key accepts the response.
fn check_answer(request: &[u8], answer: &[u8]) {
    let lines = lines(request).expect("the head is whole").0;
    let key = fields(&lines, "sec-websocket-key").next().expect("an upgrade has a key");
    let nonce = nonce(key).expect("an upgrade has a key of 16 bytes");
    let request = UpgradeRequest { host: "a", target: "/", nonce };
    let mut connection = Connection::client(&request, || [0; 4], &mut Outgoing::default());
    let mut answer = answer.to_vec();
    let mut input = &mut answer[..];
    let step =
        connection.receive(&mut input, &mut Outgoing::default(), &Limits::default(), &mut Codec::new());
    assert!(matches!(step, Step::Opened) && input.is_empty(), "{step:?}");
}

fn by_definition(bytes: &[u8]) -> Head {
    let refused = |status| Head::Refused(vec![status]);
    let (lines, length) = match lines(bytes) {
        Ok(head) => head,
        Err(head) => return head,
    };
    // From here on the head is complete; of several faults, any may be reported.
    let mut statuses = Vec::new();
    let Some((request_line, header_lines)) = lines.split_first() else { return refused(400) };
    let mut parts = request_line.split(|&byte| byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let target = target.and_then(|target| str::from_utf8(target).ok()).unwrap_or_default();
    let is_target = |c: char| c > ' ' && c != '\x7f';
    if parts.next().is_some()
        || !method.is_some_and(is_token)
        || target.is_empty()
        || !target.chars().all(is_target)
    {
        statuses.push(400);
    }
    match version {
        Some(b"HTTP/1.1") => {}
        // Anything else is an unsupported version, or not a version.
        _ => statuses.extend([400, 505]),
    }
    if method != Some(b"GET") {
        statuses.push(405);
    }
    let path = path(target);
    if path.is_none() {
        statuses.push(400);
    }
    if header_lines.len() > 100 {
        statuses.push(431);
    }
    for line in header_lines {
        let name_ends = line.iter().position(|&byte| byte == b':');
        let (name, value) = line.split_at(name_ends.unwrap_or(line.len()));
        let is_value = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
        if name_ends.is_none() || !is_token(name) || !value.iter().all(is_value) {
            statuses.push(400);
        }
    }
    let field = |name| fields(header_lines, name);
    let count = |name| field(name).count();
    if count("host") != 1 || field("host").any(<[u8]>::is_empty) {
        statuses.push(400);
    }
    if count("content-length") + count("transfer-encoding") > 0 {
        statuses.push(400);
    }
    if !statuses.is_empty() {
        return Head::Refused(statuses);
    }
    let path = path.unwrap_or_default().to_owned();
    let lists = |name, member: &str| {
        let mut members = field(name).flat_map(|value| value.split(|&byte| byte == b','));
        members.any(|found| found.trim_ascii().eq_ignore_ascii_case(member.as_bytes()))
    };
    if !lists("upgrade", "websocket") {
        return Head::Page(path);
    }
    if !lists("connection", "upgrade") {
        statuses.push(400);
    }
    if !field("sec-websocket-version").eq([b"13"]) {
        statuses.push(426);
    }
    if count("sec-websocket-key") != 1 || field("sec-websocket-key").any(|key| nonce(key).is_none()) {
        statuses.push(400);
    }
    let texts = |name| field(name).map(|value| str::from_utf8(value).ok().filter(|text| text.is_ascii()));
    let (origins, forwarded, forwarded_for) = (texts("origin"), texts("forwarded"), texts("x-forwarded-for"));
    let [origins, forwarded, forwarded_for] =
        [origins.collect(), forwarded.collect(), forwarded_for.collect()]
            .map(|texts: Vec<Option<&str>>| texts.into_iter().map(|text| text.map(str::to_owned)).collect());
    let (origins, forwarded, forwarded_for): (Option<Vec<_>>, Option<Vec<_>>, Option<Vec<_>>) =
        (origins, forwarded, forwarded_for);
    let (Some(origins), Some(forwarded), Some(forwarded_for)) = (origins, forwarded, forwarded_for) else {
        return refused_too(statuses, 400);
    };
    if origins.len() > 1 {
        statuses.push(400);
    }
    if field("sec-websocket-protocol").any(|value| !is_list_of_tokens(value)) {
        statuses.push(400);
    }
    let Some(window_bits) = negotiated(field("sec-websocket-extensions")) else {
        return refused_too(statuses, 400);
    };
    if !statuses.is_empty() {
        return Head::Refused(statuses);
    }
    let origin = origins.into_iter().next();
    let left = bytes.len() - length;
    Head::Upgrade(Upgraded { path, origin, forwarded, forwarded_for, window_bits, left })
}

fn refused_too(mut statuses: Vec<u16>, status: u16) -> Head {
    statuses.push(status);
    Head::Refused(statuses)
}

/// The lines of the head that `bytes` start with, without line endings, and the head's length in bytes; the result of
/// the head if it is incomplete.
fn lines(bytes: &[u8]) -> Result<(Vec<&[u8]>, usize), Head> {
    let within = &bytes[..bytes.len().min(HEAD_BYTES)];
    let mut lines = Vec::new();
    let mut length = 0;
    for line in within.split_inclusive(|&byte| byte == b'\n') {
        length += line.len();
        match line {
            b"\r\n" => return Ok((lines, length)),
            [line @ .., b'\r', b'\n'] => lines.push(line),
            [.., b'\n'] => {
                // Whether the limit or the bare line feed is found first depends on how the bytes are split.
                return Err(Head::Refused(vec![400, 431]));
            }
            _ => {}
        }
    }
    Err(if bytes.len() >= HEAD_BYTES { Head::Refused(vec![431]) } else { Head::Unfinished })
}

/// The values of the header fields of this name.
fn fields<'l>(lines: &'l [&[u8]], name: &'static str) -> impl Iterator<Item = &'l [u8]> {
    lines.iter().filter_map(move |line| {
        let (field, value) = line.split_at(line.iter().position(|&byte| byte == b':')?);
        field.eq_ignore_ascii_case(name.as_bytes()).then(|| value[1..].trim_ascii())
    })
}

/// The path of a target in origin or absolute form (RFC 9112 §3.2).
fn path(target: &str) -> Option<&str> {
    let without_query = |text: &str| text.split('?').next().map_or(0, str::len);
    if target.starts_with('/') {
        return Some(&target[..without_query(target)]);
    }
    let (_, rest) = target.split_once("://")?;
    let rest = &rest[..without_query(rest)];
    Some(rest.find('/').map_or("", |slash| &rest[slash..]))
}

/// The 16 bytes of a key in canonical base64.
fn nonce(key: &[u8]) -> Option<[u8; 16]> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: &[u8; 22] = key.strip_suffix(b"==")?.try_into().ok()?;
    let mut number = 0_u128;
    let mut last = 0;
    for digit in digits {
        let value = ALPHABET.iter().position(|known| known == digit)?;
        last = value % 16;
        number = number << 6 | u128::try_from(value).ok()?;
    }
    // The digits hold 132 bits: the top four are shifted out of `number`, and the last four must be zero.
    let top = ALPHABET.iter().position(|known| *known == digits[0])?;
    let top = u128::try_from(top).ok()? >> 2 << 124;
    (last == 0).then(|| (number >> 4 | top).to_be_bytes())
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_list_of_tokens(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').all(|member| is_token(member.trim_ascii()))
}

/// The window size of the accepted offer, if any; `None` if an offer is malformed (RFC 6455 §9.1, RFC 7692 §7.1).
fn negotiated<'v>(values: impl Iterator<Item = &'v [u8]>) -> Option<Option<u8>> {
    let mut taken = None;
    for value in values {
        let words = words(value)?;
        for offer in words.split(|word| *word == Word::Sign(b',')) {
            let offer = read_offer(offer)?;
            taken = taken.or(offer);
        }
    }
    Some(taken)
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Token(Vec<u8>),
    /// `,`, `;` or `=`.
    Sign(u8),
    /// A token between quotes.
    Quoted(Vec<u8>),
}

/// The words of a header's value; `None` if it contains anything else.
fn words(value: &[u8]) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut bytes = value.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        words.push(match byte {
            b',' | b';' | b'=' => Word::Sign(byte),
            b'"' => {
                let mut token = Vec::new();
                loop {
                    match bytes.next()? {
                        b'"' => break,
                        b'\\' => token.push(bytes.next()?),
                        byte => token.push(byte),
                    }
                }
                is_token(&token).then_some(Word::Quoted(token))?
            }
            byte if byte.is_ascii_whitespace() => continue,
            byte if is_token_byte(byte) => {
                let mut token = vec![byte];
                while let Some(byte) = bytes.next_if(|byte| is_token_byte(*byte)) {
                    token.push(byte);
                }
                Word::Token(token)
            }
            _ => return None,
        });
    }
    Some(words)
}

/// The window size of an acceptable offer; `Some(None)` for an offer to decline, `None` for a malformed one.
fn read_offer(words: &[Word]) -> Option<Option<u8>> {
    let mut parts = words.split(|word| *word == Word::Sign(b';'));
    let [Word::Token(name)] = parts.next()? else { return None };
    let mut is_acceptable = name == b"permessage-deflate";
    let mut window_bits = 15;
    let mut seen = Vec::new();
    for part in parts {
        let (name, value) = match part {
            [Word::Token(name)] => (name, None),
            [Word::Token(name), Word::Sign(b'='), Word::Token(value) | Word::Quoted(value)] => {
                (name, Some(value))
            }
            _ => return None,
        };
        is_acceptable &= !seen.contains(name);
        seen.push(name.clone());
        let bits = value.and_then(|value| {
            let text = str::from_utf8(value).ok()?;
            text.parse::<u8>().ok().filter(|bits| (8..=15).contains(bits) && bits.to_string() == text)
        });
        match (name.as_slice(), value, bits) {
            (b"server_no_context_takeover" | b"client_no_context_takeover", None, _)
            | (b"client_max_window_bits", None, _)
            | (b"client_max_window_bits", Some(_), Some(_)) => {}
            // The compressor does not support a window of 256 bytes.
            (b"server_max_window_bits", Some(_), Some(bits @ 9..)) => window_bits = bits,
            _ => is_acceptable = false,
        }
    }
    Some(is_acceptable.then_some(window_bits))
}
