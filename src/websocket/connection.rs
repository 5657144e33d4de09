//! One peer's life, seen from what it sends: `Connecting → Open → Closing → Closed`, each phase owning only its data.
//!
//! Pull-style: [`Connection::receive`] takes bytes from the input until there is something to say. It answers what
//! the protocol answers by itself (pings, closes, violations) into the peer's [`Outgoing`]. It must not know sockets,
//! clocks, or what messages say.

use super::close::{CloseCode, Violation};
use super::deflate::{Codec, WindowBits};
use super::frame::OpCode;
use super::handshake::{Refusal, Rejection, Upgrade, UpgradeRequest};
use super::message::{Limits, Message};
use super::outgoing::Outgoing;

/// The receiving half of one peer: three words, no heap when idle.
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    role: Role,
}

#[derive(Debug)]
enum Phase {
    Connecting(Option<Box<Vec<u8>>>),
    Open { deflate: Option<WindowBits>, incoming: Option<Box<Vec<u8>>> },
    Closing { incoming: Option<Box<Vec<u8>>> },
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
    /// The connection is `Closed`: write what is queued, then close the transport. What is left of the input is dropped.
    Ended(Ended),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The request cannot be taken; the HTTP answer is queued.
    Rejected(Rejection),
    /// The server did not take our request.
    Refused(Refusal),
    /// The peer's Close came, with this code if it gave one. Ours is queued or already sent.
    Closed(Option<CloseCode>),
    /// The peer broke the protocol or a limit; a Close with [`Violation::code`] is queued.
    Failed(Violation),
}

impl Connection {
    /// A connection a client has just opened: waits for its upgrade request.
    #[must_use]
    pub fn server() -> Self {
        Self { phase: Phase::Connecting(None), role: Role::Server }
    }

    /// A connection we have just opened to a server: queues the upgrade request. `mask` gives a fresh, unpredictable
    /// masking key each time (§5.3). No extension is offered.
    #[must_use]
    pub fn client(request: &UpgradeRequest<'_>, mask: fn() -> [u8; 4], outgoing: &mut Outgoing) -> Self {
        let _ = (request, outgoing);
        Self { phase: Phase::Connecting(None), role: Role::Client(mask) }
    }

    /// Takes bytes from the front of `input` (unmasking them in place) until there is something to say.
    ///
    /// Returns [`Step::Starved`] only when `input` is empty. The caller may stop after any other step and come back
    /// with the rest of the input later; nothing in a step borrows the connection. In `Closed` all input is dropped.
    pub fn receive<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        outgoing: &mut Outgoing,
        limits: &Limits,
        codec: &mut Codec,
    ) -> Step<'i> {
        let _ = (input, outgoing, limits, codec, &self.role);
        todo!()
    }

    /// Opens the connection: queues the 101. With `compression`, and if the request offered it, permessage-deflate
    /// is negotiated. No sub-protocol is ever chosen.
    pub fn accept(&mut self, upgrade: &Upgrade<'_>, compression: bool, outgoing: &mut Outgoing) {
        let _ = (upgrade, compression, outgoing);
        todo!()
    }

    /// Ends the connection before it was opened: queues the HTTP answer; the phase is then `Closed`.
    pub fn reject(&mut self, rejection: Rejection, outgoing: &mut Outgoing) {
        let _ = (rejection, outgoing);
        todo!()
    }

    /// Queues one message frame, `Text` or `Binary`, uncompressed; masked if we are the client. Ignored unless open.
    pub fn send(&self, opcode: OpCode, payload: &[u8], outgoing: &mut Outgoing) {
        let _ = (opcode, payload, outgoing);
        todo!()
    }

    /// Queues a ping, ahead of waiting messages. `payload` is at most 125 bytes. Ignored unless open.
    pub fn ping(&self, payload: &[u8], outgoing: &mut Outgoing) {
        let _ = (payload, outgoing);
        todo!()
    }

    /// Begins the closing handshake after all that is queued: `Open` → `Closing`. What the peer still sends is
    /// ignored up to its Close. A `reason` over 123 bytes is cut. Before the connection is open (or after): no frame,
    /// just `Closed`.
    pub fn close(&mut self, code: CloseCode, reason: &str, outgoing: &mut Outgoing) {
        let _ = (code, reason, outgoing);
        todo!()
    }

    /// As [`close`](Self::close), but at once: of what is queued only the frame being sent is kept.
    pub fn close_now(&mut self, code: CloseCode, reason: &str, outgoing: &mut Outgoing) {
        let _ = (code, reason, outgoing);
        todo!()
    }

    /// Whether messages can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether we wait for the peer's Close.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Whether nothing more is read: the transport is to be closed when the queue is written.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether a frame or a message has begun and not ended: what the time limit for messages is about.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        matches!(&self.phase, Phase::Open { incoming: Some(_), .. } | Phase::Closing { incoming: Some(_) })
    }

    /// The window size for messages to this peer, if compression was negotiated.
    #[must_use]
    pub fn deflate(&self) -> Option<WindowBits> {
        match self.phase {
            Phase::Open { deflate, .. } => deflate,
            _ => None,
        }
    }
}
