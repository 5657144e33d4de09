//! A WebSocket client that speaks permessage-deflate, frame by frame: tests see which messages are compressed, and with
//! what window.

use super::http::upgrade;
use super::{DEADLINE, Server, reply, request};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// One connection, and the extension that was agreed on.
pub struct DeflateClient {
    stream: TcpStream,
    /// The answer's `Sec-WebSocket-Extensions`.
    pub extensions: Option<String>,
}

/// A message that came in one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The frame's first byte: FIN, RSV1 to RSV3, opcode.
    pub first: u8,
    /// The payload as it came.
    pub payload: Vec<u8>,
}

impl DeflateClient {
    /// Connects with this offer as `Sec-WebSocket-Extensions`.
    #[track_caller]
    pub fn connect(server: &Server, offer: &str) -> Self {
        let mut stream = TcpStream::connect_timeout(&server.address(), DEADLINE).expect("the server accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
        stream.set_write_timeout(Some(DEADLINE)).expect("a deadline can be set");
        stream.set_nodelay(true).expect("delays can be turned off");
        let head = upgrade("/ws", &format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        stream.write_all(head.as_bytes()).expect("the server reads");
        // Byte by byte, for what follows is frames.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the server answers");
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).expect("a head of ASCII");
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let extensions = answer.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
        Self { stream, extensions: extensions.map(str::to_owned) }
    }

    /// Sends a text message as it is.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.send_frame(0x81, text.as_bytes());
    }

    /// Sends a text message compressed.
    #[track_caller]
    pub fn send_compressed(&mut self, text: &str) {
        self.send_frame(0xc1, &deflate(text.as_bytes()));
    }

    /// Sends a frame of this first byte, masked.
    #[track_caller]
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut frame = vec![first];
        match payload.len() {
            length @ ..126 => frame.push(0x80 | u8::try_from(length).expect("a short length")),
            length => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(length).expect("a frame of less than 64 KiB").to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        self.stream.write_all(&frame).expect("the server reads");
    }

    /// The next message that is no ping.
    #[track_caller]
    pub fn next(&mut self) -> Received {
        loop {
            let [first, length] = self.read();
            let length = match length {
                126 => usize::from(u16::from_be_bytes(self.read())),
                127 => usize::try_from(u64::from_be_bytes(self.read())).expect("a length of 32 bits"),
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).expect("the frame is whole");
            if first != 0x89 {
                return Received { first, payload };
            }
        }
    }

    /// Attaches; the answer must be `Ok`, and is never compressed.
    #[track_caller]
    pub fn attach(&mut self, token: &str, kind: &str, id: &str) {
        self.send(&request("attach", token, kind, id));
        self.expect_plain(&reply(0));
    }

    /// Asserts that the next message is this text, not compressed.
    #[track_caller]
    pub fn expect_plain(&mut self, text: &str) {
        let received = self.next();
        assert_eq!((received.first, received.payload), (0x81, text.as_bytes().to_vec()), "{text}");
    }

    /// Asserts that the next message is this text, compressed so that a window of so many bits inflates it, whatever came
    /// before. Returns the frame.
    #[track_caller]
    pub fn expect_compressed(&mut self, text: &str, bits: u8) -> Received {
        let received = self.next();
        assert_eq!(received.first, 0xc1, "{text}");
        assert!(inflate(&received.payload, bits) == text.as_bytes(), "{text}");
        received
    }

    /// Asserts that the server closes with this code, and then ends the connection.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) {
        let received = self.next();
        assert_eq!(received.first, 0x88, "{received:?}");
        assert_eq!(received.payload[..2], code.to_be_bytes(), "{received:?}");
        match self.stream.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("expected the end of the connection, got {other:?}"),
        }
    }

    #[track_caller]
    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).expect("the server sends");
        bytes
    }
}

impl Received {
    /// The text of a text message, compressed or not.
    #[track_caller]
    pub fn text(&self) -> String {
        let bytes = match self.first {
            0x81 => self.payload.clone(),
            0xc1 => inflate(&self.payload, 15),
            other => panic!("expected a text, got a frame that begins with {other:x}"),
        };
        String::from_utf8(bytes).expect("a text of UTF-8")
    }
}

/// The payload of a compressed message (RFC 7692 §7.2.1).
pub fn deflate(message: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(message.len() + 1024);
    Compress::new(Compression::best(), false)
        .compress_vec(message, &mut compressed, FlushCompress::Sync)
        .expect("anything can be compressed");
    assert!(compressed.ends_with(&[0, 0, 0xff, 0xff]), "the flush is whole");
    compressed.truncate(compressed.len() - 4);
    compressed
}

/// The message of a compressed payload (§7.2.2); of a long one the begin.
fn inflate(payload: &[u8], bits: u8) -> Vec<u8> {
    let mut message = Vec::with_capacity(64 << 10);
    Decompress::new_with_window_bits(false, bits)
        .decompress_vec(&[payload, &[0, 0, 0xff, 0xff]].concat(), &mut message, FlushDecompress::Sync)
        .expect("a compressed payload");
    message
}
