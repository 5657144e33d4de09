//! One peer's life, seen from what it sends: `Connecting → Open → Closing → Closed`, each phase owning only its data.
//!
//! Pull-style: [`Connection::receive`] takes bytes from the input until there is something to say. It answers what
//! the protocol answers by itself (pings, closes, violations) into the peer's [`Outgoing`]. It must not know sockets,
//! clocks, or what messages say.

use super::close::{self, CloseCode, Violation};
use super::deflate::{Codec, WindowBits};
use super::frame::{self, FrameRules, MAX_CONTROL_PAYLOAD, MAX_HEADER, OpCode};
use super::handshake::{ExpectedAccept, HeadReader, Refusal, Rejection, Upgrade, UpgradeRequest};
use super::incoming::{Arrival, Incoming};
use super::message::{Limits, Message};
use super::outgoing::Outgoing;
use super::reader::{ControlFrame, Piece, Reader};

/// The receiving half of one peer: three words, no heap when idle.
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    role: Role,
}

/// Where a connection is in its life. The boxes are there only while something has begun and not ended.
#[derive(Debug)]
enum Phase {
    /// A client's request is awaited.
    AwaitingRequest(Option<Box<HeadReader>>),
    /// A client's request was handed to the caller, who has to decide.
    Deciding,
    /// The answer to our own request is awaited.
    AwaitingResponse(Box<(HeadReader, ExpectedAccept)>),
    /// Messages go both ways.
    Open { compression: Option<WindowBits>, incoming: Option<Box<Incoming>> },
    /// We have sent a Close and wait for the peer's; all else it sends is dropped.
    Closing { compression: Option<WindowBits>, reader: Option<Box<Reader>> },
    /// Nothing more is read.
    Closed,
}

/// Which side we are.
#[derive(Clone, Copy, Debug)]
enum Role {
    /// The peer is a client: its frames are masked, ours are not.
    Server,
    /// The peer is a server; the function gives a fresh random masking key for each frame of ours (§5.3).
    Client(fn() -> [u8; 4]),
}

/// What [`Connection::receive`] found.
#[derive(Debug)]
pub enum Step<'i> {
    /// All of the input is taken. [`Connection::is_unfinished`] says whether something waits for its end.
    Starved,
    /// A client asks to open the connection: the caller must [`accept`](Connection::accept) or
    /// [`reject`](Connection::reject) before it goes on.
    Upgrade(Upgrade<'i>),
    /// A server accepted our request: the connection is open.
    Opened,
    /// A whole message.
    Message(Message<'i>),
    /// A frame that brought no message: a fragment, or a control frame, which has been answered. To be counted
    /// against floods.
    Frame(OpCode),
    /// The connection is `Closed`: write what is queued, then close the transport. The rest of the input is dropped.
    Ended(Ended),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The request cannot be taken; the HTTP answer is queued.
    Rejected(Rejection),
    /// The server did not take our request.
    Refused(Refusal),
    /// The peer's Close came; ours is queued or already sent.
    Closed {
        /// The code it gave.
        code: Option<CloseCode>,
        /// The reason it gave; often empty.
        reason: Box<str>,
    },
    /// The peer broke the protocol or a limit; a Close with [`Violation::code`] is queued, unless one was sent before.
    Failed(Violation),
}

impl Connection {
    /// A connection a client has just opened: waits for its upgrade request.
    #[must_use]
    pub const fn server() -> Self {
        Self { phase: Phase::AwaitingRequest(None), role: Role::Server }
    }

    /// A connection we have just opened to a server: queues the upgrade request. `mask` gives a fresh, unpredictable
    /// masking key each time (§5.3). No extension is offered.
    #[must_use]
    pub fn client(request: &UpgradeRequest<'_>, mask: fn() -> [u8; 4], outgoing: &mut Outgoing) -> Self {
        let (bytes, expected) = request.encode();
        outgoing.push_bytes(&bytes);
        let phase = Phase::AwaitingResponse(Box::new((HeadReader::default(), expected)));
        Self { phase, role: Role::Client(mask) }
    }

    /// Takes bytes from the front of `input` (unmasking them in place) until there is something to say.
    ///
    /// The caller may stop after any step and come back with the rest of the input later; nothing in a step borrows
    /// the connection. [`Step::Starved`] means that `input` is empty. In `Closed` all input is dropped.
    #[inline]
    pub fn receive<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        outgoing: &mut Outgoing,
        limits: &Limits,
        codec: &mut Codec,
    ) -> Step<'i> {
        let rules = self.rules();
        match &mut self.phase {
            Phase::Open { incoming, .. } => match next_arrival(incoming, input, rules, limits, codec) {
                Ok(Arrival::Message(message)) => Step::Message(message),
                Ok(Arrival::Starved) => Step::Starved,
                Ok(Arrival::Fragment(opcode)) => Step::Frame(opcode),
                Ok(Arrival::Control(control)) => self.control(&control, input, outgoing),
                Err(violation) => self.fail(violation, input, outgoing),
            },
            Phase::AwaitingRequest(_) => self.await_request(input, outgoing, limits),
            Phase::AwaitingResponse(_) => self.await_response(input, limits),
            Phase::Closing { .. } => self.await_close(input),
            Phase::Deciding => {
                debug_assert!(false, "the caller has to accept or reject the upgrade first");
                Step::Starved
            }
            Phase::Closed => {
                *input = &mut [];
                Step::Starved
            }
        }
    }

    /// Opens the connection: queues the 101. With `compression`, and if the request offered it, permessage-deflate
    /// is negotiated. No sub-protocol is ever chosen. Ignored unless an upgrade was handed out.
    pub fn accept(&mut self, upgrade: &Upgrade<'_>, compression: bool, outgoing: &mut Outgoing) {
        if matches!(self.phase, Phase::Deciding) {
            outgoing.push_bytes(&upgrade.response(compression));
            let compression = upgrade.deflate().filter(|_| compression);
            self.phase = Phase::Open { compression, incoming: None };
        }
    }

    /// Ends a connection that is not yet open: queues the HTTP answer; the phase is then `Closed`.
    pub fn reject(&mut self, rejection: Rejection, outgoing: &mut Outgoing) {
        if matches!(self.phase, Phase::AwaitingRequest(_) | Phase::Deciding) {
            outgoing.push_bytes(&rejection.response());
            self.phase = Phase::Closed;
        }
    }

    /// Queues one message frame, `Text` or `Binary`, uncompressed; masked if we are the client. Ignored unless open.
    pub fn send(&self, opcode: OpCode, payload: &[u8], outgoing: &mut Outgoing) {
        if self.is_open() {
            let mask = self.role.mask();
            outgoing.push_with(MAX_HEADER + payload.len(), |out| frame::encode(opcode, payload, mask, out));
        }
    }

    /// Queues a ping, ahead of waiting messages. `payload` is cut to 125 bytes. Ignored unless open.
    pub fn ping(&self, payload: &[u8], outgoing: &mut Outgoing) {
        if self.is_open() {
            let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
            outgoing.push_control(&self.encode(OpCode::Ping, payload));
        }
    }

    /// Begins the closing handshake after all that is queued: `Open` → `Closing`. What the peer still sends is
    /// dropped, up to its Close. A `reason` over 123 bytes is cut. A connection that is not yet open has no frames:
    /// it is just `Closed`.
    pub fn close(&mut self, code: CloseCode, reason: &str, outgoing: &mut Outgoing) {
        if self.begin_closing() {
            outgoing.push_bytes(&self.encode(OpCode::Close, &close::encode(code, reason)));
        }
    }

    /// As [`close`](Self::close), but at once: of what is queued only the frame being sent is kept.
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

    /// Whether nothing more is read: the transport is to be closed when the queue is written.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether a frame or a message has begun and not ended: what the time limit for messages is about.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        matches!(self.phase, Phase::Open { incoming: Some(_), .. } | Phase::Closing { reader: Some(_), .. })
    }

    /// The window size for compressed messages to this peer, if compression was negotiated.
    #[must_use]
    pub const fn deflate(&self) -> Option<WindowBits> {
        match self.phase {
            Phase::Open { compression, .. } | Phase::Closing { compression, .. } => compression,
            _ => None,
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
        let upgrade = match reader.take(input, limits.head_bytes) {
            Ok(None) => {
                *held = Some(reader);
                return Step::Starved;
            }
            Ok(Some(head)) => Upgrade::parse(head),
            Err(error) => Err(error.into()),
        };
        match upgrade {
            Ok(upgrade) => {
                self.phase = Phase::Deciding;
                Step::Upgrade(upgrade)
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
            // Between two frames there is nothing to hold.
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
            _ => {}
        }
        Step::Frame(control.opcode)
    }

    /// Ends an open connection whose peer broke a rule, after all that is queued.
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

    /// `Open` → `Closing`, anything before → `Closed`. Returns whether a Close is to be sent.
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
            _ => false,
        }
    }

    /// What the peer's frames must look like.
    const fn rules(&self) -> FrameRules {
        FrameRules { masked: matches!(self.role, Role::Server), compression: self.deflate().is_some() }
    }

    fn encode(&self, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_HEADER + payload.len());
        frame::encode(opcode, payload, self.role.mask(), &mut bytes);
        bytes
    }
}

impl Role {
    fn mask(self) -> Option<[u8; 4]> {
        match self {
            Self::Server => None,
            Self::Client(mask) => Some(mask()),
        }
    }
}

/// The next arrival on an open connection; `held` is filled only while something is under way.
#[inline]
fn next_arrival<'i>(
    held: &mut Option<Box<Incoming>>,
    input: &mut &'i mut [u8],
    rules: FrameRules,
    limits: &Limits,
    codec: &mut Codec,
) -> Result<Arrival<'i>, Violation> {
    if let Some(incoming) = held {
        let arrival = incoming.next(input, rules, limits, codec);
        if incoming.is_idle() {
            *held = None;
        }
        return arrival;
    }
    let mut incoming = Incoming::default();
    let arrival = incoming.next(input, rules, limits, codec);
    if !incoming.is_idle() {
        *held = Some(Box::new(incoming));
    }
    arrival
}
