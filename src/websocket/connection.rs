//! The receiving side of one peer: `Connecting → Open → Closing → Closed`; each phase owns only its own data.
//!
//! Pull-based: [`Connection::receive`] consumes input until it can return a [`Step`]. The connection itself answers
//! pings, closes and violations, into the peer's [`Outgoing`]. It must not know sockets, clocks, or the contents of
//! messages.

use super::close::{self, CloseCode, Violation};
use super::deflate::{Codec, WindowBits};
use super::frame::{self, FrameRules, MAX_CONTROL_PAYLOAD, MAX_HEADER, OpCode};
use super::handshake::{
    Asked, ExpectedAccept, HeadReader, PageRequest, Refusal, Rejection, Upgrade, UpgradeRequest,
};
use super::incoming::{Arrival, Incoming, whole_message};
use super::message::{Limits, Message};
use super::outgoing::Outgoing;
use super::reader::{ControlFrame, Piece, Reader};

/// The receiving half of one peer. A server's takes two words and, when idle, no heap.
#[derive(Debug)]
pub struct Connection<R = Server> {
    phase: Phase,
    role: R,
}

/// The phase of a connection. The boxes exist only while a head, a frame or a message is incomplete.
#[derive(Debug)]
enum Phase {
    /// Waiting for a client's request.
    AwaitingRequest(Option<Box<HeadReader>>),
    /// The caller has a client's request and must decide on it.
    Deciding,
    /// Waiting for the response to our own request.
    AwaitingResponse(Box<(HeadReader, ExpectedAccept)>),
    /// Both sides may send messages.
    Open { compression: Option<WindowBits>, incoming: Option<Box<Incoming>> },
    /// We have sent a Close and wait for the peer's; everything else it sends is dropped.
    Closing { compression: Option<WindowBits>, reader: Option<Box<Reader>> },
    /// Reading has ended.
    Closed,
}

/// Our side of a connection.
pub trait Role {
    /// Whether the peer masks its frames (§5.1).
    const PEER_MASKS: bool;

    /// The masking key for our next frame; `None` for a server.
    fn mask(&self) -> Option<[u8; 4]>;
}

/// The peer is a client: its frames are masked, ours are not.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// The peer is a server; the function returns a fresh random masking key for each of our frames (§5.3).
#[derive(Clone, Copy, Debug)]
pub struct Client(fn() -> [u8; 4]);

/// What [`Connection::receive`] found.
#[derive(Debug)]
pub enum Step<'i> {
    /// The input is exhausted. [`Connection::is_unfinished`] says whether a frame or a message is incomplete.
    Starved,
    /// A client asks to upgrade: the caller must [`accept`](Connection::accept) or [`reject`](Connection::reject)
    /// before it receives more.
    Upgrade(Upgrade<'i>),
    /// A client asks for a page: the caller must [`respond`](Connection::respond) or [`reject`](Connection::reject).
    Page(PageRequest<'i>),
    /// A server accepted our request: the connection is open.
    Opened,
    /// A complete message.
    Message(Message<'i>),
    /// A frame that completed no message: a fragment, or a control frame, which is already answered. The caller should
    /// count it against floods.
    Frame(OpCode),
    /// The connection is `Closed`: write what is queued, then close the transport. The rest of the input is dropped.
    Ended(Ended),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// We rejected the client's request; the HTTP response is queued.
    Rejected(Rejection),
    /// The server refused our request.
    Refused(Refusal),
    /// The peer sent a Close; ours is queued or already sent.
    Closed {
        /// The peer's code, if any.
        code: Option<CloseCode>,
        /// The peer's reason; often empty.
        reason: Box<str>,
    },
    /// The peer broke the protocol or a limit; a Close with [`Violation::code`] is queued, unless we had sent one
    /// already.
    Failed(Violation),
}

impl Connection<Server> {
    /// A connection that a client has just opened, waiting for the upgrade request.
    #[must_use]
    pub const fn server() -> Self {
        Self { phase: Phase::AwaitingRequest(None), role: Server }
    }
}

impl Connection<Client> {
    /// A connection we have just opened to a server; queues the upgrade request, which offers no extension. `mask` must
    /// return a fresh, unpredictable masking key at each call (§5.3).
    #[must_use]
    pub fn client(request: &UpgradeRequest<'_>, mask: fn() -> [u8; 4], outgoing: &mut Outgoing) -> Self {
        let (bytes, expected) = request.encode();
        outgoing.push_http(bytes.len(), |out| out.extend_from_slice(&bytes));
        let phase = Phase::AwaitingResponse(Box::new((HeadReader::default(), expected)));
        Self { phase, role: Client(mask) }
    }
}

impl<R: Role> Connection<R> {
    /// Consumes `input` from the front, unmasking it in place, until it can return a step.
    ///
    /// The caller may stop after any step and pass the rest of the input later; a step does not borrow the connection.
    /// After [`Step::Starved`], `input` is empty. A `Closed` connection drops all input.
    #[inline]
    pub fn receive<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        outgoing: &mut Outgoing,
        limits: &Limits,
        codec: &mut Codec,
    ) -> Step<'i> {
        if input.is_empty() {
            return Step::Starved;
        }
        if matches!(self.phase, Phase::Open { incoming: None, .. })
            && let Some(message) = whole_message(input, self.rules(), limits, codec)
        {
            return match message {
                Ok(message) => Step::Message(message),
                Err(violation) => self.fail(violation, input, outgoing),
            };
        }
        match &mut self.phase {
            Phase::Open { .. } => self.next_arrival(input, outgoing, limits, codec),
            Phase::AwaitingRequest(_) => self.await_request(input, outgoing, limits),
            Phase::AwaitingResponse(_) => self.await_response(input, limits),
            Phase::Closing { .. } => self.await_close(input),
            Phase::Deciding => {
                debug_assert!(false, "the caller must accept or reject the upgrade before it receives more");
                Step::Starved
            }
            Phase::Closed => {
                *input = &mut [];
                Step::Starved
            }
        }
    }

    /// Opens the connection: queues the 101. With `compression`, negotiates permessage-deflate if the request offers
    /// it. Never selects a subprotocol. Ignored unless an upgrade awaits the decision.
    pub fn accept(&mut self, upgrade: &Upgrade<'_>, compression: bool, outgoing: &mut Outgoing) {
        if matches!(self.phase, Phase::Deciding) {
            outgoing.push_http(Upgrade::RESPONSE, |out| upgrade.respond(compression, out));
            let compression = upgrade.deflate().filter(|_| compression);
            self.phase = Phase::Open { compression, incoming: None };
        }
    }

    /// Ends a connection that is not open yet: queues the HTTP response and enters `Closed`.
    pub fn reject(&mut self, rejection: Rejection, outgoing: &mut Outgoing) {
        self.respond(&rejection.response(), outgoing);
    }

    /// Like [`reject`](Self::reject), with a complete HTTP response from the caller.
    pub fn respond(&mut self, response: &[u8], outgoing: &mut Outgoing) {
        if matches!(self.phase, Phase::AwaitingRequest(_) | Phase::Deciding) {
            outgoing.push_http(response.len(), |out| out.extend_from_slice(response));
            self.phase = Phase::Closed;
        }
    }

    /// Queues a message, `Text` or `Binary`, as one uncompressed frame; masked if we are the client. Ignored unless
    /// open.
    pub fn send(&self, opcode: OpCode, payload: &[u8], outgoing: &mut Outgoing) {
        if self.is_open() {
            let mask = self.role.mask();
            outgoing.push_with(MAX_HEADER + payload.len(), |out| frame::encode(opcode, payload, mask, out));
        }
    }

    /// Queues a ping ahead of waiting messages. `payload` is truncated to 125 bytes. Ignored unless open.
    pub fn ping(&self, payload: &[u8], outgoing: &mut Outgoing) {
        if self.is_open() {
            let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
            outgoing.push_control(&self.encode(OpCode::Ping, payload));
        }
    }

    /// Starts the closing handshake after everything queued: `Open` → `Closing`. Drops what the peer sends before its
    /// Close. A `reason` over 123 bytes is truncated. A connection that is not open yet becomes `Closed`, without a
    /// frame.
    pub fn close(&mut self, code: CloseCode, reason: &str, outgoing: &mut Outgoing) {
        if self.begin_closing() {
            outgoing.push_bytes(&self.encode(OpCode::Close, &close::encode(code, reason)));
        }
    }

    /// Like [`close`](Self::close), but drops everything queued except the frame being sent.
    pub fn close_now(&mut self, code: CloseCode, reason: &str, outgoing: &mut Outgoing) {
        if self.begin_closing() {
            outgoing.fail_with(&self.encode(OpCode::Close, &close::encode(code, reason)));
        }
    }

    /// Whether messages can be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether we wait for the peer's Close.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Whether reading has ended: the caller should close the transport once the queue is written.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether a frame or a message is incomplete: the time limit for messages then applies.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        matches!(self.phase, Phase::Open { incoming: Some(_), .. } | Phase::Closing { reader: Some(_), .. })
    }

    /// The window size for compressed messages to this peer, if compression was negotiated.
    #[must_use]
    pub const fn deflate(&self) -> Option<WindowBits> {
        match self.phase {
            Phase::Open { compression, .. } | Phase::Closing { compression, .. } => compression,
            Phase::AwaitingRequest(_) | Phase::Deciding | Phase::AwaitingResponse(_) | Phase::Closed => None,
        }
    }

    /// Heap memory held for an incomplete head or message, in bytes, without the parts of fixed size.
    #[must_use]
    pub fn held(&self) -> usize {
        match &self.phase {
            Phase::AwaitingRequest(Some(reader)) => reader.held(),
            Phase::Open { incoming: Some(incoming), .. } => incoming.held(),
            _ => 0,
        }
    }

    fn await_request<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        outgoing: &mut Outgoing,
        limits: &Limits,
    ) -> Step<'i> {
        let Phase::AwaitingRequest(held) = &mut self.phase else { return Step::Starved };
        let mut reader = held.take().unwrap_or_default();
        let asked = match reader.take(input, limits.head_bytes) {
            Ok(None) => {
                *held = Some(reader);
                return Step::Starved;
            }
            Ok(Some(head)) => Asked::parse(head),
            Err(error) => Err(error.into()),
        };
        match asked {
            Ok(Asked::Upgrade(upgrade)) => {
                self.phase = Phase::Deciding;
                Step::Upgrade(upgrade)
            }
            Ok(Asked::Page(page)) => {
                self.phase = Phase::Deciding;
                Step::Page(page)
            }
            Err(rejection) => {
                self.reject(rejection, outgoing);
                self.end(Ended::Rejected(rejection), input)
            }
        }
    }

    fn await_response<'i>(&mut self, input: &mut &'i mut [u8], limits: &Limits) -> Step<'i> {
        let Phase::AwaitingResponse(awaiting) = &mut self.phase else { return Step::Starved };
        let (reader, expected) = &mut **awaiting;
        let checked = match reader.take(input, limits.head_bytes) {
            Ok(None) => return Step::Starved,
            Ok(Some(head)) => expected.check(&head),
            Err(error) => Err(error.into()),
        };
        match checked {
            Ok(()) => {
                self.phase = Phase::Open { compression: None, incoming: None };
                Step::Opened
            }
            Err(refusal) => self.end(Ended::Refused(refusal), input),
        }
    }

    /// The next arrival on an open connection, unless it is a message in one piece. `Incoming` stays allocated only
    /// while it holds something.
    fn next_arrival<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        outgoing: &mut Outgoing,
        limits: &Limits,
        codec: &mut Codec,
    ) -> Step<'i> {
        let rules = self.rules();
        let Phase::Open { incoming: held, .. } = &mut self.phase else { return Step::Starved };
        let mut incoming = held.take().unwrap_or_default();
        let arrival = incoming.next(input, rules, limits, codec);
        *held = Some(incoming).filter(|incoming| !incoming.is_idle());
        match arrival {
            Ok(Arrival::Message(message)) => Step::Message(message),
            Ok(Arrival::Starved) => Step::Starved,
            Ok(Arrival::Fragment(opcode)) => Step::Frame(opcode),
            Ok(Arrival::Control(control)) => self.control(&control, input, outgoing),
            Err(violation) => self.fail(violation, input, outgoing),
        }
    }

    fn await_close<'i>(&mut self, input: &mut &'i mut [u8]) -> Step<'i> {
        let rules = self.rules();
        let Phase::Closing { reader: held, .. } = &mut self.phase else { return Step::Starved };
        let mut reader = held.take().map_or_else(Reader::default, |reader| *reader);
        loop {
            let opcode = match reader.next(input, rules) {
                Ok(Piece::Starved) => {
                    *held = (!reader.is_between()).then(|| Box::new(reader));
                    return Step::Starved;
                }
                Ok(Piece::Data(piece)) if !piece.last => continue,
                Ok(Piece::Data(piece)) => piece.header.opcode,
                Ok(Piece::Control(control)) if control.opcode == OpCode::Close => {
                    let ended = match close::decode(control.payload()) {
                        Ok((code, reason)) => Ended::Closed { code, reason: reason.into() },
                        Err(violation) => Ended::Failed(violation),
                    };
                    return self.end(ended, input);
                }
                Ok(Piece::Control(control)) => control.opcode,
                Err(error) => return self.end(Ended::Failed(error.into()), input),
            };
            // Between two frames the reader holds nothing.
            return Step::Frame(opcode);
        }
    }

    /// Answers a control frame of an open connection.
    #[cold]
    fn control<'i>(
        &mut self,
        control: &ControlFrame,
        input: &mut &'i mut [u8],
        outgoing: &mut Outgoing,
    ) -> Step<'i> {
        match control.opcode {
            OpCode::Ping => outgoing.push_pong(&self.encode(OpCode::Pong, control.payload())),
            OpCode::Close => {
                return match close::decode(control.payload()) {
                    Ok((code, reason)) => {
                        let answer = code.map_or_else(Vec::new, |code| close::encode(code, ""));
                        outgoing.push_bytes(&self.encode(OpCode::Close, &answer));
                        self.end(Ended::Closed { code, reason: reason.into() }, input)
                    }
                    Err(violation) => self.fail(violation, input, outgoing),
                };
            }
            OpCode::Pong | OpCode::Continuation | OpCode::Text | OpCode::Binary => {}
        }
        Step::Frame(control.opcode)
    }

    /// Ends an open connection after a violation: queues a Close after everything queued.
    #[cold]
    fn fail<'i>(
        &mut self,
        violation: Violation,
        input: &mut &'i mut [u8],
        outgoing: &mut Outgoing,
    ) -> Step<'i> {
        let payload = close::encode(violation.code(), &violation.to_string());
        outgoing.push_bytes(&self.encode(OpCode::Close, &payload));
        self.end(Ended::Failed(violation), input)
    }

    fn end<'i>(&mut self, ended: Ended, input: &mut &'i mut [u8]) -> Step<'i> {
        self.phase = Phase::Closed;
        *input = &mut [];
        Step::Ended(ended)
    }

    /// `Open` → `Closing`, any earlier phase → `Closed`. Returns whether the caller must send a Close.
    fn begin_closing(&mut self) -> bool {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Open { compression, incoming } => {
                let reader =
                    incoming.map(|incoming| incoming.into_reader()).filter(|reader| !reader.is_between());
                self.phase = Phase::Closing { compression, reader: reader.map(Box::new) };
                true
            }
            closing @ Phase::Closing { .. } => {
                self.phase = closing;
                false
            }
            Phase::AwaitingRequest(_) | Phase::Deciding | Phase::AwaitingResponse(_) | Phase::Closed => false,
        }
    }

    /// The rules for the peer's frames.
    const fn rules(&self) -> FrameRules {
        FrameRules { masked: R::PEER_MASKS, compression: self.deflate().is_some() }
    }

    fn encode(&self, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_HEADER + payload.len());
        frame::encode(opcode, payload, self.role.mask(), &mut bytes);
        bytes
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Connection<Server> {
    /// A server's connection, already open.
    pub(crate) const fn opened(compression: Option<WindowBits>) -> Self {
        Self { phase: Phase::Open { compression, incoming: None }, role: Server }
    }
}

impl Role for Server {
    const PEER_MASKS: bool = true;

    fn mask(&self) -> Option<[u8; 4]> {
        None
    }
}

impl Role for Client {
    const PEER_MASKS: bool = false;

    fn mask(&self) -> Option<[u8; 4]> {
        Some(self.0())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::super::frame::{Decoded, FrameError, FrameHeader, Frames};
    use super::super::outgoing::Flush;
    use super::*;

    /// An owned copy of a [`Step`].
    #[derive(Clone, Debug, PartialEq)]
    enum Seen {
        Upgrade(String),
        Page(String),
        Opened,
        Text(String),
        Binary(Vec<u8>),
        Frame(OpCode),
        Ended(Ended),
    }

    /// A connection with its queue, driven by a caller that accepts every upgrade and echoes every message.
    struct Peer<R = Server> {
        connection: Connection<R>,
        outgoing: Outgoing,
        limits: Limits,
        codec: Codec,
        seen: Vec<Seen>,
    }

    impl Peer<Server> {
        /// A server's connection, already open.
        fn server(compression: Option<WindowBits>) -> Self {
            Self::new(Connection::opened(compression))
        }
    }

    impl Peer<Client> {
        fn client() -> Self {
            let phase = Phase::Open { compression: None, incoming: None };
            Self::new(Connection { phase, role: Client(|| [1, 2, 3, 4]) })
        }
    }

    impl<R: Role> Peer<R> {
        fn new(connection: Connection<R>) -> Self {
            let limits = Limits { message_bytes: 1000, fragments: 8, ..Limits::default() };
            Self { connection, outgoing: Outgoing::default(), limits, codec: Codec::new(), seen: Vec::new() }
        }

        fn receive(&mut self, bytes: &[u8]) {
            let mut bytes = bytes.to_vec();
            let mut input = &mut bytes[..];
            loop {
                let Self { connection, outgoing, limits, codec, seen } = self;
                let step = connection.receive(&mut input, outgoing, limits, codec);
                seen.push(match step {
                    Step::Starved => {
                        assert!(input.is_empty());
                        return;
                    }
                    Step::Upgrade(upgrade) => {
                        connection.accept(&upgrade, true, outgoing);
                        Seen::Upgrade(upgrade.path().to_owned())
                    }
                    Step::Page(request) => {
                        connection.respond(b"HTTP/1.1 204 No Content\r\n\r\n", outgoing);
                        Seen::Page(request.path().to_owned())
                    }
                    Step::Opened => Seen::Opened,
                    Step::Message(message) => {
                        connection.send(message.opcode(), message.payload(), outgoing);
                        match message {
                            Message::Text(text) => Seen::Text(text.into_owned()),
                            Message::Binary(bytes) => Seen::Binary(bytes.into_owned()),
                        }
                    }
                    Step::Frame(opcode) => Seen::Frame(opcode),
                    Step::Ended(ended) => Seen::Ended(ended),
                });
            }
        }

        fn written(&mut self) -> Vec<u8> {
            let mut written = Vec::new();
            assert_eq!(self.outgoing.write_to(&mut written, usize::MAX).unwrap(), Flush::Done);
            written
        }
    }

    /// What a new peer receives in `bytes` and answers; checks that it is the same byte by byte and at every split.
    fn run<R: Role>(new: impl Fn() -> Peer<R>, bytes: &[u8]) -> (Vec<Seen>, Vec<u8>) {
        let run = |pieces: &[&[u8]]| {
            let mut peer = new();
            pieces.iter().for_each(|piece| peer.receive(piece));
            let written = peer.written();
            (peer.seen, written)
        };
        let whole = run(&[bytes]);
        assert_eq!(run(&bytes.chunks(1).collect::<Vec<_>>()), whole, "byte by byte: {bytes:x?}");
        for split in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(split);
            assert_eq!(run(&[head, tail]), whole, "at {split}: {bytes:x?}");
        }
        whole
    }

    fn run_server(bytes: &[u8]) -> (Vec<Seen>, Vec<u8>) {
        run(|| Peer::server(None), bytes)
    }

    /// A client's frame: its first byte (FIN, RSV, opcode) and its payload.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::encode(OpCode::Text, payload, Some([0x37, 0xfa, 0x21, 0x3d]), &mut bytes);
        bytes[0] = first;
        bytes
    }

    /// A server's frame.
    fn plain(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::encode(opcode, payload, None, &mut bytes);
        bytes
    }

    /// The Close that answers a violation.
    fn close_for(violation: Violation) -> Vec<u8> {
        plain(OpCode::Close, &close::encode(violation.code(), &violation.to_string()))
    }

    fn text(text: &str) -> Seen {
        Seen::Text(text.to_owned())
    }

    fn closed(code: Option<u16>, reason: &str) -> Seen {
        Seen::Ended(Ended::Closed { code: code.and_then(CloseCode::new), reason: reason.into() })
    }

    #[test]
    fn an_idle_connection_is_two_words() {
        assert!(size_of::<Connection>() <= 16);
    }

    #[test]
    fn the_messages_of_the_rfc_arrive() {
        let from_client = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        assert_eq!(run_server(from_client), (vec![text("Hello")], plain(OpCode::Text, b"Hello")));

        let from_server = b"\x81\x05Hello\x01\x03Hel\x89\x05Hello\x80\x02lo";
        let (seen, _) = run(Peer::client, from_server);
        let fragment = Seen::Frame(OpCode::Text);
        assert_eq!(seen, [text("Hello"), fragment, Seen::Frame(OpCode::Ping), text("Hello")]);

        let mut peer = Peer::client();
        peer.receive(b"\x89\x05Hello");
        assert_eq!(peer.written(), b"\x8a\x85\x01\x02\x03\x04Igohn");
    }

    #[test]
    fn s05_frames_behind_the_head_are_messages() {
        let mut request = Outgoing::default();
        let target = UpgradeRequest { host: "example.com", target: "/ws", nonce: *b"the sample nonce" };
        let client = || {
            let mut outgoing = Outgoing::default();
            let mut peer = Peer::new(Connection::client(&target, || [1, 2, 3, 4], &mut outgoing));
            peer.limits.head_bytes = 512;
            peer
        };
        let _ = Connection::client(&target, || [1, 2, 3, 4], &mut request);
        let mut bytes = Vec::new();
        let _ = request.write_to(&mut bytes, usize::MAX).unwrap();
        bytes.extend_from_slice(&masked(0x81, b"first"));

        let (seen, answer) = run(|| Peer::new(Connection::server()), &bytes);
        assert_eq!(seen, [Seen::Upgrade("/ws".to_owned()), text("first")]);
        assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(&plain(OpCode::Text, b"first")));

        let (seen, _) = run(client, &answer);
        assert_eq!(seen, [Seen::Opened, text("first")]);
        let (seen, _) = run(client, b"HTTP/1.1 404 Not Found\r\n\r\nrest");
        let refusal = Refusal::Status { status: 404, reason: "Not Found".to_owned() };
        assert_eq!(seen, [Seen::Ended(Ended::Refused(refusal))]);
    }

    #[test]
    fn s01_s05_bad_heads_are_answered_and_what_follows_is_dropped() {
        let mut long = b"GET / HTTP/1.1\r\nA: ".to_vec();
        long.resize(2000, b'a');
        for (head, rejection) in [
            (&b"GET / HTTP/1.0\r\n\r\n\x81\x80"[..], Rejection::VersionNotSupported),
            (b"POST / HTTP/1.1\r\n\r\nbody", Rejection::MethodNotAllowed),
            (b"GET / HTTP/1.1\n\n", Rejection::BadRequest("a line of the head ends without CR")),
            (b"\r\n\r\n", Rejection::BadRequest("the head is not HTTP")),
            (&long, Rejection::HeadTooLarge),
        ] {
            let new = || {
                let mut peer = Peer::new(Connection::server());
                peer.limits.head_bytes = 1024;
                peer
            };
            let expected = (vec![Seen::Ended(Ended::Rejected(rejection))], rejection.response());
            assert_eq!(run(new, head), expected);
        }
    }

    #[test]
    fn a_page_ends_the_connection() {
        let get = "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n";
        let (seen, written) = run(|| Peer::new(Connection::server()), get.repeat(2).as_bytes());
        assert_eq!(seen, [Seen::Page("/a".to_owned())]);
        assert_eq!(written, b"HTTP/1.1 204 No Content\r\n\r\n");
    }

    #[test]
    fn s05_frames_behind_a_refused_head_are_dropped() {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
        bytes.extend_from_slice(&masked(0x81, b"hello"));
        let mut peer = Peer::new(Connection::server());
        let mut input = &mut bytes[..];
        let Peer { connection, outgoing, limits, codec, .. } = &mut peer;
        let step = connection.receive(&mut input, outgoing, limits, codec);
        assert!(matches!(step, Step::Upgrade(_)));
        connection.reject(Rejection::Forbidden, outgoing);
        assert!(matches!(connection.receive(&mut input, outgoing, limits, codec), Step::Starved));
        assert!(input.is_empty() && connection.is_closed());
        assert_eq!(peer.written(), Rejection::Forbidden.response());
    }

    #[test]
    fn s12_s15_violations_are_answered_behind_the_echoes_of_good_messages() {
        use FrameError::{
            FragmentedControl, LengthNotMinimal, LongControl, NotMasked, ReservedBit, UnknownOpCode,
        };
        for (bytes, violation) in [
            (masked(0xc1, b"x"), ReservedBit.into()),
            (masked(0xa1, b"x"), ReservedBit.into()),
            (masked(0x91, b"x"), ReservedBit.into()),
            (masked(0x83, b""), UnknownOpCode.into()),
            (masked(0x8b, b""), UnknownOpCode.into()),
            (plain(OpCode::Text, b"x"), NotMasked.into()),
            (vec![0x82, 0xfe, 0, 0], LengthNotMinimal.into()),
            (masked(0x09, b""), FragmentedControl.into()),
            (masked(0x89, &[b'x'; 126]), LongControl.into()),
            (masked(0x80, b"x"), Violation::UnexpectedContinuation),
            (masked(0x00, b"x"), Violation::UnexpectedContinuation),
            ([masked(0x01, b"a"), masked(0x81, b"b")].concat(), Violation::ExpectedContinuation),
            ([masked(0x01, b"a"), masked(0x02, b"b")].concat(), Violation::ExpectedContinuation),
        ] {
            let bytes = [masked(0x81, b"good"), bytes, masked(0x81, b"late"), masked(0x88, b"")].concat();
            let (seen, written) = run_server(&bytes);
            assert_eq!(seen.first(), Some(&text("good")));
            assert_eq!(seen.last(), Some(&Seen::Ended(Ended::Failed(violation))));
            assert_eq!(written, [plain(OpCode::Text, b"good"), close_for(violation)].concat());
        }
    }

    #[test]
    fn s10_s11_the_declared_length_is_compared_before_anything_comes() {
        for length in [1001, 65_536, u64::from(u32::MAX), u64::MAX >> 1] {
            for (fin, first) in [(true, 1), (false, 1), (true, 0)] {
                let mut bytes = masked(0x01, b"x");
                let header = FrameHeader {
                    fin,
                    rsv1: false,
                    opcode: if first == 1 { OpCode::Text } else { OpCode::Continuation },
                    mask: Some([0; 4]),
                    length: length - (1 - first),
                };
                if first == 1 {
                    bytes.clear();
                }
                header.encode(&mut bytes);
                let (seen, written) = run_server(&bytes);
                assert_eq!(seen.last(), Some(&Seen::Ended(Ended::Failed(Violation::MessageTooBig))));
                assert_eq!(written, close_for(Violation::MessageTooBig));
            }
        }
        let (seen, _) = run_server(&masked(0x82, &[7; 1000]));
        assert_eq!(seen, [Seen::Binary(vec![7; 1000])]);
    }

    #[test]
    fn s13_fragments_are_counted_and_summed() {
        let fragment = Seen::Frame(OpCode::Continuation);
        let eight = [masked(0x01, b""), masked(0x00, b"a").repeat(6), masked(0x80, b"z")].concat();
        let (seen, _) = run_server(&eight);
        assert_eq!(seen, [&[Seen::Frame(OpCode::Text)][..], &vec![fragment; 6], &[text("aaaaaaz")]].concat());

        let nine = [masked(0x01, b""), masked(0x00, b"").repeat(8)].concat();
        let (seen, written) = run_server(&nine);
        assert_eq!(seen.len(), 9);
        assert_eq!(seen.last(), Some(&Seen::Ended(Ended::Failed(Violation::TooManyFragments))));
        assert_eq!(written, close_for(Violation::TooManyFragments));

        let (seen, _) = run_server(&[masked(0x02, &[1; 500]), masked(0x80, &[1; 501])].concat());
        assert_eq!(seen.last(), Some(&Seen::Ended(Ended::Failed(Violation::MessageTooBig))));
    }

    #[test]
    fn control_frames_come_between_fragments() {
        let bytes = [
            masked(0x01, b"a"),
            masked(0x89, b"one"),
            masked(0x00, b"b"),
            masked(0x8a, b"unasked"),
            masked(0x80, b"c"),
        ]
        .concat();
        let (seen, written) = run_server(&bytes);
        assert_eq!(seen.last(), Some(&text("abc")));
        assert_eq!(written, [plain(OpCode::Pong, b"one"), plain(OpCode::Text, b"abc")].concat());
    }

    #[test]
    fn s17_unasked_pongs_are_ignored() {
        let (seen, written) = run_server(&[masked(0x8a, b""), masked(0x8a, &[7; 125])].concat());
        assert_eq!(seen, [Seen::Frame(OpCode::Pong), Seen::Frame(OpCode::Pong)]);
        assert_eq!(written, b"");
    }

    #[test]
    fn ten_pings_give_ten_pongs() {
        let payloads: Vec<Vec<u8>> = (0..10).map(|i| vec![i; usize::from(i) * 13]).collect();
        let pings: Vec<u8> = payloads.iter().flat_map(|payload| masked(0x89, payload)).collect();
        let pongs: Vec<u8> = payloads.iter().flat_map(|payload| plain(OpCode::Pong, payload)).collect();
        assert_eq!(run_server(&pings).1, pongs);
    }

    #[test]
    fn s18_closes_are_answered_and_what_follows_is_ignored() {
        for (payload, seen, answer) in [
            (&b""[..], closed(None, ""), &b""[..]),
            (b"\x03\xe8", closed(Some(1000), ""), b"\x03\xe8"),
            (b"\x0b\xb8why", closed(Some(3000), "why"), b"\x0b\xb8"),
            (b"\x03\xf0\xd0\xbf", closed(Some(1008), "п"), b"\x03\xf0"),
        ] {
            let bytes = [
                masked(0x01, b"amid fragments"),
                masked(0x88, payload),
                masked(0x89, b"x"),
                masked(0x83, b""),
                masked(0x81, b"x"),
            ]
            .concat();
            let expected = (vec![Seen::Frame(OpCode::Text), seen], plain(OpCode::Close, answer));
            assert_eq!(run_server(&bytes), expected);
        }
        for (payload, violation) in [
            (&b"\x03"[..], Violation::ClosePayload),
            (b"\x00\x00", Violation::InvalidCloseCode),
            (b"\x03\xed", Violation::InvalidCloseCode),
            (b"\x03\xe8\xce", Violation::InvalidCloseReason),
        ] {
            let expected = (vec![Seen::Ended(Ended::Failed(violation))], close_for(violation));
            assert_eq!(run_server(&masked(0x88, payload)), expected);
        }
    }

    #[test]
    fn s19_text_is_refused_at_its_first_bad_byte_inside_an_unfinished_frame() {
        let valid = "κόσμε".as_bytes();
        for bad in [&b"\xf4\x90"[..], b"\xed\xa0", b"\xff", b"\xc0", b"\xe0\x80"] {
            let payload = [valid, bad, b"\x80\x80edited"].concat();
            let certain = valid.len() + bad.len();
            for first in [0x01, 0x81] {
                let frame = masked(first, &payload);
                let header = frame.len() - payload.len();
                let mut peer = Peer::server(None);
                for (at, byte) in frame.iter().enumerate() {
                    peer.receive(&[*byte]);
                    assert_eq!(peer.connection.is_closed(), at + 1 >= header + certain, "{bad:x?} at {at}");
                }
                assert_eq!(peer.written(), close_for(Violation::InvalidUtf8));
                run_server(&frame);
            }
            // The invalid frame is a fragment of an unfinished message.
            let bytes = [masked(0x01, valid), masked(0x00, bad)].concat();
            let (seen, written) = run_server(&bytes);
            assert_eq!(seen.last(), Some(&Seen::Ended(Ended::Failed(Violation::InvalidUtf8))));
            assert_eq!(written, close_for(Violation::InvalidUtf8));
        }
        let (seen, _) = run_server(&[masked(0x01, b"\xce"), masked(0x80, b"\xba")].concat());
        assert_eq!(seen.last(), Some(&text("κ")));
        for cut in [vec![masked(0x81, b"\xce")], vec![masked(0x01, b"\xce"), masked(0x80, b"")]] {
            let (seen, _) = run_server(&cut.concat());
            assert_eq!(seen.last(), Some(&Seen::Ended(Ended::Failed(Violation::InvalidUtf8))));
        }
    }

    #[test]
    fn a_whole_message_is_borrowed_and_nothing_is_held_when_idle() {
        let mut peer = Peer::server(None);
        let mut bytes = masked(0x81, &[b'x'; 128]);
        let (mut input, mut outgoing) = (&mut bytes[..], Outgoing::default());
        let step = peer.connection.receive(&mut input, &mut outgoing, &peer.limits, &mut peer.codec);
        assert!(matches!(step, Step::Message(Message::Text(Cow::Borrowed(_)))));
        let nothing_held = |peer: &Peer| matches!(peer.connection.phase, Phase::Open { incoming: None, .. });
        assert!(nothing_held(&peer));

        let frame = masked(0x81, b"x");
        for split in 1..frame.len() {
            peer.receive(&frame[..split]);
            assert!(peer.connection.is_unfinished());
            peer.receive(&frame[split..]);
            assert!(nothing_held(&peer) && !peer.connection.is_unfinished());
        }
        peer.receive(&masked(0x01, b"x"));
        assert!(peer.connection.is_unfinished());
        peer.receive(&masked(0x80, b""));
        assert!(nothing_held(&peer));
    }

    #[test]
    fn after_our_close_everything_before_the_peers_close_is_dropped() {
        let closing = || {
            let mut peer = Peer::server(None);
            peer.connection.send(OpCode::Text, b"last", &mut peer.outgoing);
            peer.connection.close(CloseCode::GOING_AWAY, "bye", &mut peer.outgoing);
            peer.connection.send(OpCode::Text, b"too late", &mut peer.outgoing);
            peer.connection.ping(b"too late", &mut peer.outgoing);
            peer.connection.close(CloseCode::NORMAL, "", &mut peer.outgoing);
            assert!(peer.connection.is_closing());
            peer
        };
        let ours = [plain(OpCode::Text, b"last"), plain(OpCode::Close, b"\x03\xe9bye")].concat();
        let bytes =
            [masked(0x01, b"\xff"), masked(0x89, b"x"), masked(0x80, &[0; 2000]), masked(0x88, b"\x03\xe9")]
                .concat();
        let (seen, written) = run(closing, &bytes);
        let frames = [OpCode::Text, OpCode::Ping, OpCode::Continuation].map(Seen::Frame);
        assert_eq!(seen, [&frames[..], &[closed(Some(1001), "")]].concat());
        assert_eq!(written, ours);

        let (seen, written) = run(closing, &plain(OpCode::Text, b"x"));
        assert_eq!(seen, [Seen::Ended(Ended::Failed(FrameError::NotMasked.into()))]);
        assert_eq!(written, ours);
    }

    #[test]
    fn our_close_may_come_within_a_frame_of_the_peer() {
        let frame = masked(0x82, &[7; 300]);
        for split in 0..frame.len() {
            let mut peer = Peer::server(None);
            peer.receive(&frame[..split]);
            peer.connection.close_now(CloseCode::POLICY_VIOLATION, "slow consumer", &mut peer.outgoing);
            peer.receive(&frame[split..]);
            peer.receive(&masked(0x88, b""));
            assert_eq!(peer.seen, [Seen::Frame(OpCode::Binary), closed(None, "")], "{split}");
            assert_eq!(peer.written(), plain(OpCode::Close, b"\x03\xf0slow consumer"));
        }
    }

    #[test]
    fn a_connection_that_is_not_open_closes_without_a_frame() {
        let mut peer = Peer::new(Connection::server());
        peer.receive(b"GET /");
        peer.connection.close(CloseCode::GOING_AWAY, "", &mut peer.outgoing);
        assert!(peer.connection.is_closed() && peer.outgoing.is_empty());
        peer.connection.reject(Rejection::RequestTimeout, &mut peer.outgoing);
        assert!(peer.outgoing.is_empty());
    }

    #[test]
    fn compressed_messages_arrive_whole_and_in_fragments() {
        let new = || Peer::server(Some(WindowBits::default()));
        let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        let bytes = [
            masked(0xc1, hello),
            masked(0x41, &hello[..3]),
            masked(0x89, b""),
            masked(0x00, b""),
            masked(0x80, &hello[3..]),
            masked(0xc2, b"\x00"),
            masked(0x81, b"plain"),
        ]
        .concat();
        let (seen, _) = run(new, &bytes);
        let fragments = [OpCode::Text, OpCode::Ping, OpCode::Continuation].map(Seen::Frame);
        let rest = [text("Hello"), Seen::Binary(Vec::new()), text("plain")];
        assert_eq!(seen, [&[text("Hello")], &fragments[..], &rest].concat());

        for (bytes, violation) in [
            (masked(0xc1, b"\xff\xff"), Violation::BrokenDeflate),
            (masked(0xc9, b""), FrameError::ReservedBit.into()),
            ([masked(0x41, hello), masked(0xc0, b"")].concat(), FrameError::ReservedBit.into()),
            (masked(0xc2, &[0; 2000]), Violation::MessageTooBig),
        ] {
            let (seen, written) = run(new, &bytes);
            assert_eq!(seen.last(), Some(&Seen::Ended(Ended::Failed(violation))), "{violation}");
            assert_eq!(written, close_for(violation));
        }
    }

    #[test]
    fn s13_a_compressed_message_is_inflated_no_further_than_allowed() {
        let mut codec = Codec::new();
        for (length, expected) in [
            (1000, None),
            (1001, Some(Violation::MessageTooBig)),
            (10_000_000, Some(Violation::MessageTooBig)),
        ] {
            let frame = codec.compress(OpCode::Binary, &vec![0; length], WindowBits::default());
            let (mut peer, bytes) = (Peer::server(Some(WindowBits::default())), masked_again(&frame));
            peer.receive(&bytes);
            let expected = match expected {
                None => Seen::Binary(vec![0; length]),
                Some(violation) => Seen::Ended(Ended::Failed(violation)),
            };
            assert_eq!(peer.seen, [expected]);
        }
        let frame = codec.compress(OpCode::Text, b"\xff", WindowBits::default());
        let (seen, _) = run(|| Peer::server(Some(WindowBits::default())), &masked_again(&frame));
        assert_eq!(seen, [Seen::Ended(Ended::Failed(Violation::InvalidUtf8))]);
    }

    /// A server's frame, encoded as a client would send it.
    fn masked_again(frame: &Frames) -> Vec<u8> {
        let rules = FrameRules { masked: false, compression: true };
        let Ok(Decoded::Header { header, start }) = FrameHeader::decode(frame.as_bytes(), rules) else {
            panic!("a frame has a header")
        };
        let mut bytes = Vec::new();
        FrameHeader { mask: Some([0; 4]), ..header }.encode(&mut bytes);
        bytes.extend_from_slice(&frame.as_bytes()[start..]);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Our client and our server interoperate, whatever is sent and however it is split.
        #[test]
        fn what_the_client_sends_comes_back(
            messages in prop::collection::vec((any::<bool>(), ".{0,80}"), 0..8), size in 1..64_usize,
        ) {
            let (mut client, mut server) = (Peer::client(), Peer::server(None));
            for (is_text, message) in &messages {
                let opcode = if *is_text { OpCode::Text } else { OpCode::Binary };
                client.connection.send(opcode, message.as_bytes(), &mut client.outgoing);
            }
            client.written().chunks(size).for_each(|piece| server.receive(piece));
            server.written().chunks(size).for_each(|piece| client.receive(piece));
            let expected: Vec<Seen> = messages
                .into_iter()
                .map(|(is_text, message)| if is_text { Seen::Text(message) } else { Seen::Binary(message.into_bytes()) })
                .collect();
            prop_assert_eq!(&server.seen, &expected);
            prop_assert_eq!(&client.seen, &expected);
        }

        /// Fragments masked with different keys form the message at every split.
        #[test]
        fn fragments_with_any_keys_arrive_at_every_split(
            messages in prop::collection::vec((any::<bool>(), ".{0,40}", prop::collection::vec(any::<(prop::sample::Index, [u8; 4])>(), 0..7)), 0..4),
            last_key: [u8; 4],
        ) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (is_text, message, fragments) in messages {
                let opcode = if is_text { OpCode::Text } else { OpCode::Binary };
                let mut ends: Vec<_> = fragments.iter().map(|(end, key)| (end.index(message.len() + 1), *key)).collect();
                ends.sort_unstable();
                ends.push((message.len(), last_key));
                let mut start = 0;
                for (number, (end, key)) in ends.iter().enumerate() {
                    let opcode = if number == 0 { opcode } else { OpCode::Continuation };
                    let fin = number + 1 == ends.len();
                    let length = (end - start) as u64;
                    FrameHeader { fin, rsv1: false, opcode, mask: Some(*key), length }.encode(&mut bytes);
                    let masked = message.as_bytes()[start..*end].iter().zip(key.iter().cycle());
                    bytes.extend(masked.map(|(byte, key)| byte ^ key));
                    if !fin {
                        expected.push(Seen::Frame(opcode));
                    }
                    start = *end;
                }
                expected.push(if is_text { Seen::Text(message) } else { Seen::Binary(message.into_bytes()) });
            }
            prop_assert_eq!(run_server(&bytes).0, expected);
        }

        /// Arbitrary bytes cause no panic, and give the same steps however they are split.
        #[test]
        fn any_bytes_give_the_same_steps_in_any_pieces(
            frames in prop::collection::vec(
                (prop::sample::select(&[0x01_u8, 0x81, 0x02, 0x82, 0x00, 0x80, 0x89, 0x8a, 0x41, 0xc1, 0x88][..]), prop::collection::vec(any::<u8>(), 0..40)),
                0..8,
            ),
            noise in prop::collection::vec(any::<u8>(), 0..3), at in any::<prop::sample::Index>(), size in 1..20_usize,
        ) {
            let mut bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| masked(*first, payload)).collect();
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, noise);
            let run = |size| {
                let mut peer = Peer::server(Some(WindowBits::default()));
                bytes.chunks(size).for_each(|piece| peer.receive(piece));
                (peer.written(), peer.seen)
            };
            prop_assert_eq!(run(size), run(usize::MAX));
        }
    }
}
