//! WebSocket frames as bytes (RFC 6455 §5.2): written with a mask of zeros, read without keeping more of a payload than is
//! needed to tell what it is.

/// The bytes of a payload that are kept.
const KEPT: usize = 192;

/// The first byte of a final text frame.
pub(crate) const TEXT: u8 = 0x81;
/// The first byte of a final text frame whose payload is compressed (RFC 7692).
pub(crate) const COMPRESSED: u8 = 0xc1;
/// The first byte of a ping.
pub(crate) const PING: u8 = 0x89;
/// The first byte of a pong.
pub(crate) const PONG: u8 = 0x8a;
/// The first byte of a Close.
pub(crate) const CLOSE: u8 = 0x88;

/// A client's frame. The mask is zero, which the RFC allows and which costs the server what any other does.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    if let Ok(length @ ..126) = u8::try_from(payload.len()) {
        frame.push(0x80 | length);
    } else if let Ok(length) = u16::try_from(payload.len()) {
        frame.push(0x80 | 126);
        frame.extend(length.to_be_bytes());
    } else {
        frame.push(0x80 | 127);
        frame.extend((payload.len() as u64).to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A text message.
pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(TEXT, text.as_bytes())
}

/// A frame of the server.
pub(crate) struct Frame<'t> {
    /// Its first byte.
    pub(crate) first: u8,
    /// The begin of its payload, at most 192 bytes.
    pub(crate) begin: &'t [u8],
    /// The length of its payload.
    pub(crate) length: u64,
}

/// What the server sends on one connection: an HTTP answer, then frames.
#[derive(Default)]
pub(crate) struct Incoming {
    /// The answer's status; 0 as long as its head has not ended.
    pub(crate) status: u16,
    /// The cut head of the answer, or of a frame.
    head: Vec<u8>,
    /// Payload of the current frame that is still to come.
    left: u64,
    first: u8,
    length: u64,
    begin: Vec<u8>,
}

impl Incoming {
    /// Of a connection that has been upgraded already.
    pub(crate) fn upgraded() -> Self {
        Self { status: 101, ..Self::default() }
    }

    /// Takes what has come, and gives each frame that is complete to `take`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(Frame<'_>)) {
        while self.status == 0 && !bytes.is_empty() {
            let (byte, rest) = (bytes[0], &bytes[1..]);
            bytes = rest;
            self.head.push(byte);
            if self.head.ends_with(b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&self.head);
                self.status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(999);
                self.head.clear();
            }
        }
        if self.status != 101 {
            return;
        }
        while !bytes.is_empty() {
            if self.left == 0 {
                // A short frame that is here as a whole is most of what comes.
                if let (true, &[first, length @ ..126, ref rest @ ..]) = (self.head.is_empty(), bytes)
                    && let Some((payload, rest)) = rest.split_at_checked(length.into())
                {
                    take(Frame { first, begin: payload, length: length.into() });
                    bytes = rest;
                    continue;
                }
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
                let Some(length) = length_of(&self.head) else { continue };
                (self.first, self.length, self.left) = (self.head[0], length, length);
                self.head.clear();
                self.begin.clear();
            } else {
                let here = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                let kept = here.min(KEPT - self.begin.len());
                self.begin.extend_from_slice(&bytes[..kept]);
                self.left -= here as u64;
                bytes = &bytes[here..];
            }
            if self.left == 0 {
                take(Frame { first: self.first, begin: &self.begin, length: self.length });
            }
        }
    }
}

/// The length of the payload, once its head is whole.
fn length_of(head: &[u8]) -> Option<u64> {
    match *head {
        [_, length @ ..=125] => Some(length.into()),
        [_, 126, high, low] => Some(u16::from_be_bytes([high, low]).into()),
        [_, 127, ref bytes @ ..] => bytes.try_into().ok().map(u64::from_be_bytes),
        _ => None,
    }
}

#[test]
fn frames_are_read_wherever_they_are_cut() {
    let long = [&[0x81, 126, 1, 0][..], &[b'x'; 256]].concat();
    let huge = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[b'y'; 65536]].concat();
    let bytes =
        [b"HTTP/1.1 101 Yes\r\n\r\n", &b"\x81\x02ab"[..], b"\x8a\x00", &long, &huge, b"\x88\x02\x03\xf0"]
            .concat();
    for size in [1, 2, 3, 7, 100, 70_000] {
        let (mut incoming, mut seen) = (Incoming::default(), Vec::new());
        for piece in bytes.chunks(size) {
            incoming.feed(piece, |frame| seen.push((frame.first, frame.begin.to_vec(), frame.length)));
        }
        let begins = [b"ab".to_vec(), vec![], vec![b'x'; 192], vec![b'y'; 192], vec![3, 0xf0]];
        let lengths = [2, 0, 256, 65536, 2];
        assert_eq!(seen.len(), 5, "in pieces of {size}");
        for ((first, begin, length), number) in seen.into_iter().zip(0..) {
            assert_eq!((first, length), ([0x81, 0x8a, 0x81, 0x82, 0x88][number], lengths[number]));
            // A frame that was whole is given whole.
            assert!(begin.starts_with(&begins[number]), "frame {number} in pieces of {size}");
        }
    }
}
