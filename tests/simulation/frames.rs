//! A WebSocket client's frames (RFC 6455 §5), without any of the server's code.

use crate::random::Random;

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;
/// The bit of a message's last frame.
pub(crate) const FIN: u8 = 0x80;

/// An upgrade request. Its key, and the answer to it, are the example of RFC 6455 §1.3.
pub(crate) const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: airlay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Appends a masked frame whose first byte is `first`.
pub(crate) fn frame(first: u8, payload: &[u8], random: &mut Random, out: &mut Vec<u8>) {
    out.push(first);
    let length = payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..126), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = random.mask();
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    out[start..].iter_mut().enumerate().for_each(|(at, byte)| *byte ^= mask[at % 4]);
}

/// The payload of a Close frame.
pub(crate) fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// Decodes what the server writes.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    held: Vec<u8>,
    /// Where the part of `held` that is not decoded yet begins.
    start: usize,
    head_is_read: bool,
}

/// A decoded part of the server's output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'h> {
    /// The status and the head of the answer to the request.
    Head(u16, &'h str),
    /// A frame's opcode and payload.
    Frame(u8, &'h [u8]),
}

impl Decoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.held.drain(..std::mem::take(&mut self.start));
        self.held.extend_from_slice(bytes);
    }

    /// The bytes of an unfinished part.
    pub(crate) const fn left(&self) -> usize {
        self.held.len() - self.start
    }

    /// The next whole part.
    ///
    /// # Errors
    ///
    /// The server wrote what it must not write.
    pub(crate) fn next(&mut self) -> Result<Option<Part<'_>>, String> {
        if self.head_is_read { self.next_frame() } else { self.next_head() }
    }

    fn next_head(&mut self) -> Result<Option<Part<'_>>, String> {
        let Some(length) = self.held.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
        self.head_is_read = true;
        self.start = length + 4;
        let head = str::from_utf8(&self.held[..length]).map_err(|_| "a head that is not UTF-8")?;
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        Ok(Some(Part::Head(status.ok_or_else(|| format!("not an HTTP response: {head:?}"))?, head)))
    }

    fn next_frame(&mut self) -> Result<Option<Part<'_>>, String> {
        let unread = &self.held[self.start..];
        let &[first, second, ref rest @ ..] = unread else { return Ok(None) };
        if first & 0xf0 != FIN || second & 0x80 != 0 {
            return Err(format!(
                "a frame that begins with {first:#04x} {second:#04x}: cut, reserved or masked"
            ));
        }
        let (length, least, header) = match (second, rest) {
            (126, &[a, b, ..]) => (u64::from(u16::from_be_bytes([a, b])), 126, 4),
            (127, &[a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 65536, 10),
            (126 | 127, _) => return Ok(None),
            _ => (u64::from(second), 0, 2),
        };
        let opcode = first & 0xf;
        if length < least || (opcode >= CLOSE && length > 125) || ![TEXT, CLOSE, PING, PONG].contains(&opcode)
        {
            return Err(format!("a frame of opcode {opcode} with a length of {length} from {second}"));
        }
        let length = usize::try_from(length).map_err(|_| "a frame beyond memory")?;
        if unread.len() < header + length {
            return Ok(None);
        }
        let payload = self.start + header;
        self.start = payload + length;
        Ok(Some(Part::Frame(opcode, &self.held[payload..payload + length])))
    }
}
