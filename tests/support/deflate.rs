//! A WebSocket client that speaks permessage-deflate, frame by frame: tests see which messages are compressed, and which
//! window it takes to inflate them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use flate2::{Compress, Compression, FlushCompress};

use super::http::upgrade;
use super::wait::{Timed, failure};
use super::window::inflate;
use super::{DEADLINE, Server, reply, request};

/// One connection and the extension that was negotiated.
pub struct DeflateClient {
    stream: Timed<TcpStream>,
    /// The answer's `Sec-WebSocket-Extensions`.
    pub extensions: Option<String>,
}

/// A message in one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The frame's first byte: FIN, RSV1 to RSV3, opcode.
    pub first: u8,
    /// The payload as received.
    pub payload: Vec<u8>,
}

impl DeflateClient {
    /// Connects with this offer as `Sec-WebSocket-Extensions`.
    #[track_caller]
    pub fn connect(server: &Server, offer: &str) -> Self {
        let stream = TcpStream::connect_timeout(&server.address(), DEADLINE).expect("the server accepts");
        stream.set_nodelay(true).expect("delays can be turned off");
        let mut stream = Timed::new(stream);
        let head = upgrade("/ws", &format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        stream.write_all(head.as_bytes()).expect("the server reads");
        // Byte by byte: frames follow.
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
        self.stream.begin_wait();
        self.stream.write_all(&frame).expect("the server reads");
    }

    /// The next message that is not a ping.
    #[track_caller]
    pub fn next(&mut self) -> Received {
        self.wait_for("a message")
    }

    /// The same; `awaited` names it in the report of a failure.
    #[track_caller]
    fn wait_for(&mut self, awaited: &str) -> Received {
        self.stream.begin_wait();
        let mut pings = 0;
        loop {
            match self.read_frame() {
                Ok(Received { first: 0x89, .. }) => pings += 1,
                Ok(received) => return received,
                Err(error) => {
                    panic!("{}", failure(awaited, self.stream.waited(), &format!("{pings} pings"), &error))
                }
            }
        }
    }

    fn read_frame(&mut self) -> io::Result<Received> {
        let [first, length] = self.read()?;
        let length = match length {
            126 => usize::from(u16::from_be_bytes(self.read()?)),
            127 => usize::try_from(u64::from_be_bytes(self.read()?)).expect("a length of 32 bits"),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        Ok(Received { first, payload })
    }

    /// Attaches; the reply must be `Ok`, not compressed.
    #[track_caller]
    pub fn attach(&mut self, token: &str, kind: &str, id: &str) {
        self.send(&request("attach", token, kind, id));
        self.expect_plain(&reply(0));
    }

    /// Asserts that the next message is this text, not compressed.
    #[track_caller]
    pub fn expect_plain(&mut self, text: &str) {
        let received = self.wait_for(text);
        assert_eq!((received.first, received.payload), (0x81, text.as_bytes().to_vec()), "{text}");
    }

    /// Asserts that the next message is this text, compressed, and inflates by itself with a window of 2^`bits` bytes. Returns
    /// the frame.
    #[track_caller]
    pub fn expect_compressed(&mut self, text: &str, bits: u8) -> Received {
        let received = self.wait_for(text);
        assert_eq!(received.first, 0xc1, "{text}");
        match inflate(&received.payload, bits) {
            Ok(message) => assert!(message == text.as_bytes(), "another text than {text}"),
            Err(problem) => panic!("{problem}, in {text}"),
        }
        received
    }

    /// Asserts that the server closes with this code and then ends the connection.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) {
        let received = self.wait_for(&format!("a Close with {code}"));
        assert_eq!(received.first, 0x88, "{received:?}");
        assert_eq!(received.payload[..2], code.to_be_bytes(), "{received:?}");
        self.expect_end();
    }

    /// Performs the closing handshake and waits for the server to end the connection.
    #[track_caller]
    pub fn close(mut self) {
        self.send_frame(0x88, &[]);
        let received = self.wait_for("the answer to a Close");
        assert_eq!(received.first, 0x88, "{received:?}");
        self.expect_end();
    }

    #[track_caller]
    fn expect_end(&mut self) {
        match self.stream.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("expected the end of the connection, got {other:?}"),
        }
    }

    fn read<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Received {
    /// The text of a text message, compressed or not.
    #[track_caller]
    pub fn text(&self) -> String {
        let bytes = match self.first {
            0x81 => self.payload.clone(),
            0xc1 => inflate(&self.payload, 15).expect("a compressed text"),
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
