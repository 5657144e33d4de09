//! The clients: what they send, how they read, and how they misbehave.

use std::collections::VecDeque;

use crate::faults::{Fault, Faults};
use crate::frames::{CLOSE, FIN, PING, PONG, TEXT, UPGRADE, close_payload, frame};
use crate::listener::{Listener, Phase, Request, Said};
use crate::names::{KINDS, NOTIFICATION, OBJECTS, Subject, USERS, object_id};
use crate::random::Random;
use crate::rate::BURST;
use crate::tokens::{self, token};
use crate::world::{self, FRAMES, MESSAGE, QUEUE, SOFT_TIME};
use airlay::peers::PeerId;

/// One client and its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: usize,
    /// The users of its tokens, mostly the first.
    pub(crate) users: [usize; 2],
    pub(crate) peer: PeerId,
    pub(crate) listener: Listener,
    /// Everything it has sent, how much of it has arrived at the server's socket, and how much the server has read.
    pub(crate) out: Vec<u8>,
    pub(crate) arrived: usize,
    pub(crate) given: usize,
    /// The meaning of its bytes, each with the number of bytes after which the server has it.
    pub(crate) sent: VecDeque<(usize, Sent)>,
    /// How its stream ends after `out`, and whether that has arrived at the server's socket.
    pub(crate) end: Option<End>,
    pub(crate) end_has_arrived: bool,
    /// The server has read the end.
    pub(crate) end_is_given: bool,
    /// The most bytes that the wire holds, and how many are unread.
    pub(crate) capacity: usize,
    pub(crate) unread: usize,
    /// The number of turns in which it does not read.
    pub(crate) stalled: usize,
    /// Whether it answers pings, and a Close.
    pub(crate) answers_pings: bool,
    pub(crate) answers_closes: bool,
    /// It sends nothing more.
    pub(crate) is_finished: bool,
    /// When the server last received bytes of it, by the monotonic clock.
    pub(crate) heard_of: u64,
    pub(crate) connected_at: u64,
    /// When the closing of its connection began, by the monotonic clock.
    pub(crate) closing_since: Option<u64>,
    /// The places in `out` between messages; below, since when a message is unfinished, by the monotonic clock.
    boundaries: VecDeque<usize>,
    is_inside_message: bool,
    /// Where frames without a message end; and a second of the monotonic clock, and how many the server received in it.
    other_frames: VecDeque<usize>,
    frames: (u64, u32),
    pub(crate) unfinished_since: Option<u64>,
    /// Since when its wire is blocked, and the least bytes of events queued for it.
    blocked_since: Option<u64>,
    pub(crate) owed: usize,
    /// The server's last ping: when it may have been queued, and when it was received.
    pinged_at: Option<(u64, u64)>,
    pings: u32,
    pub(crate) random: Random,
}

/// The meaning of some bytes.
#[derive(Debug)]
pub(crate) enum Sent {
    Request(Request),
    Ping(Vec<u8>),
    /// A Close with this code.
    Close(Option<u16>),
    /// The beginning of a violation that ends with a Close of this code.
    Sin(u16),
    /// An upgrade request, with the allowed statuses of its answer.
    Head(&'static [u16]),
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    EndOfStream,
    Reset,
}

impl Client {
    pub(crate) fn new(number: usize, peer: PeerId, capacity: usize, now: u64, mut random: Random) -> Self {
        let users = [number % USERS, random.below(USERS)];
        Self {
            number,
            users,
            peer,
            listener: Listener::new(users),
            out: Vec::new(),
            arrived: 0,
            given: 0,
            sent: VecDeque::new(),
            end: None,
            end_has_arrived: false,
            end_is_given: false,
            capacity,
            unread: 0,
            stalled: 0,
            answers_pings: true,
            answers_closes: true,
            is_finished: false,
            heard_of: now,
            connected_at: now,
            closing_since: None,
            boundaries: VecDeque::new(),
            is_inside_message: false,
            other_frames: VecDeque::new(),
            frames: (0, 0),
            unfinished_since: None,
            blocked_since: None,
            owed: 0,
            pinged_at: None,
            pings: 0,
            random,
        }
    }

    /// Sends an upgrade request, mostly a valid one.
    pub(crate) fn knock(&mut self, faults: &mut Faults) {
        let without = |line: &str| UPGRADE.replace(line, "");
        if faults.strikes(Fault::BadHead, &mut self.random) {
            faults.happened(Fault::BadHead);
            self.is_finished = true;
            let (head, statuses): (String, &'static [u16]) = match self.random.below(7) {
                0 => (UPGRADE.replace("/ws", "/elsewhere"), &[404]),
                1 => (without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), &[400]),
                2 => (UPGRADE.replace("Version: 13", "Version: 8"), &[426]),
                3 => (UPGRADE.replace("HTTP/1.1", "HTTP/1.0"), &[400, 426, 505]),
                4 => (UPGRADE.replace("GET", "POST"), &[405]),
                5 => (format!("{}X: {}\r\n\r\n", &UPGRADE[..UPGRADE.len() - 2], "x".repeat(20_000)), &[431]),
                _ => ("\0\n\n\r\n\r\n".into(), &[400]),
            };
            self.listener.statuses = statuses.to_vec();
            self.out.extend_from_slice(head.as_bytes());
        } else if faults.strikes(Fault::SlowHead, &mut self.random) {
            faults.happened(Fault::SlowHead);
            self.is_finished = true;
            self.listener.statuses = vec![408];
            let length = self.random.below(UPGRADE.len() - 1);
            self.out.extend_from_slice(&UPGRADE.as_bytes()[..length]);
        } else {
            self.out.extend_from_slice(UPGRADE.as_bytes());
            self.sent.push_back((self.out.len(), Sent::Head(&[101])));
            // Some do not wait for the answer.
            if self.random.chance(300) {
                self.attach_some();
            }
        }
    }

    /// Whether the server had a reason to drop the connection without a Close. A client whose wire was blocked receives pings
    /// late.
    pub(crate) fn was_to_be_dropped(&self, now: u64, was_blocked: bool) -> bool {
        let pinged = self.pinged_at.filter(|&(_, heard)| self.heard_of <= heard);
        let since_ping = pinged.map(|(queued, _)| queued);
        let silent_since = if was_blocked { Some(self.heard_of) } else { since_ping };
        silent_since.is_some_and(|since| now - since >= world::PONG)
            || self.closing_since.is_some_and(|since| now - since >= world::CLOSE)
    }

    /// Notes a message of the server that was received now and queued at `queued` or later.
    pub(crate) fn note(&mut self, said: Said, queued: u64, now: u64, faults: &mut Faults) {
        if matches!(said, Said::Close { .. } | Said::Refused) {
            // A closing that began before the stop has its time from then on.
            self.closing_since = Some(self.closing_since.map_or(queued, |since| since.min(queued)));
        }
        match said {
            Said::Ping => self.pinged_at = Some((queued, now)),
            Said::Close { code: 1008, is_slow: true } => {
                let is_early = self.blocked_since.is_none_or(|since| now < since + SOFT_TIME);
                faults.happened(match self.listener.subscriptions() {
                    0 => Fault::QueueFull,
                    _ if !is_early => Fault::NothingRead,
                    _ if self.owed < QUEUE / 4 => Fault::BudgetReached,
                    _ => Fault::QueueFull,
                });
            }
            Said::Close { code: 1008, .. } if self.frames.1 > FRAMES => faults.happened(Fault::FrameFlood),
            Said::Close { .. } | Said::Refused if !self.answers_closes => {
                faults.happened(Fault::UnansweredClose);
            }
            Said::Lost(_, why) => faults.happened(why),
            Said::Close { .. } | Said::Refused | Said::Opened => {}
        }
    }

    /// Notes since when its wire is blocked, and whether a message takes too long.
    pub(crate) fn note_lateness(&mut self, is_blocked: bool, now: u64) {
        self.blocked_since = is_blocked.then(|| self.blocked_since.unwrap_or(now));
        if self.unfinished_since.is_some_and(|since| now - since >= MESSAGE) {
            self.unfinished_since = None;
            self.listener.sins.push(1008);
        }
    }

    /// Drops everything after some byte that has not arrived at the server.
    pub(crate) fn cut(&mut self) {
        let length = self.random.between(self.arrived, self.out.len());
        self.out.truncate(length);
        // For a violation, `end` is its first byte.
        self.sent.retain(|(end, _)| *end <= length);
    }

    /// Reads everything that has arrived and reacts. Returns the number of bytes read.
    pub(crate) fn read(&mut self) -> usize {
        if self.stalled > 0 {
            self.stalled -= 1;
            return 0;
        }
        for said in std::mem::take(&mut self.listener.said) {
            match said {
                _ if self.end.is_some() => {}
                Said::Opened if self.sent.is_empty() && !self.is_finished => self.attach_some(),
                Said::Ping if self.answers_pings && !self.is_finished => self.frame(FIN | PONG, b""),
                Said::Close { code, .. } if self.answers_closes => {
                    if self.listener.closed_by_client.is_none() && self.listener.sins.is_empty() {
                        let payload = if code == 0 { Vec::new() } else { close_payload(code, b"") };
                        self.frame(FIN | CLOSE, &payload);
                    }
                    self.is_finished = true;
                }
                // It mostly attaches again.
                Said::Lost(subject, _) if !self.is_finished && self.random.chance(600) => {
                    let variant = *self.random.pick(&tokens::LASTING);
                    let shown = tokens::good(self.users[0], variant);
                    self.request(Request::Attach { token: shown, subject });
                }
                _ => {}
            }
        }
        std::mem::take(&mut self.unread)
    }

    /// Does something that clients do.
    pub(crate) fn act(&mut self, faults: &mut Faults) {
        if self.is_finished || self.end.is_some() || self.listener.phase != Phase::Open {
            return;
        }
        self.misbehave(faults);
        if self.is_finished || self.end.is_some() {
            return;
        }
        match self.random.below(20) {
            0..8 => self.attach(),
            8..12 => self.detach(),
            12 => self.attach_some(),
            13..15 => {
                self.attach();
                self.detach();
                self.attach();
            }
            15..17 => self.ping(),
            17 if self.random.chance(200) => self.close(faults),
            _ => {}
        }
    }

    fn misbehave(&mut self, faults: &mut Faults) {
        if faults.strike(Fault::UnaskedPong, &mut self.random) {
            self.frame(FIN | PONG, b"unasked");
        }
        if faults.strike(Fault::BadRequest, &mut self.random) {
            self.bad_request();
        }
        if faults.strike(Fault::PingFlood, &mut self.random) {
            let pings = *self.random.pick(&[60, 60, 2 * FRAMES]);
            (0..pings).for_each(|_| self.ping());
        }
        if faults.strike(Fault::EmptyFrameFlood, &mut self.random) {
            // The most empty fragments that are allowed, and then the message.
            self.frame(TEXT, b"");
            (0..62).for_each(|_| self.frame(0, b""));
            self.frame(FIN, b"{}");
            self.sent.push_back((self.out.len(), Sent::Request(Request::Bad(1))));
        }
        if faults.strike(Fault::BadTokenFlood, &mut self.random) {
            (0..8).for_each(|variant| self.request_with(tokens::bad(self.users[0], 3 + variant % 2)));
        }
        if faults.strike(Fault::RequestFlood, &mut self.random) {
            // Above the rate limit no token is checked.
            let shown = [tokens::good(self.users[0], 0), tokens::bad(self.users[0], 4)];
            for number in 0..320 {
                let token = shown[usize::from(number > BURST)];
                self.request(Request::Detach { token, subject: (0, Some(0)) });
            }
        }
        let codes = [
            (Fault::InvalidFrame, 1002),
            (Fault::InvalidUtf8, 1007),
            (Fault::OversizedMessage, 1009),
            (Fault::TooManyFragments, 1008),
            (Fault::UnfinishedMessage, 1008),
            (Fault::BadClose, 1002),
        ];
        // Rarely, since these end the connection.
        if self.random.chance(150)
            && let Some((fault, code)) =
                codes.into_iter().find(|(fault, _)| faults.strikes(*fault, &mut self.random))
        {
            faults.happened(fault);
            self.sin(fault, code);
        }
    }

    /// Sends a violation that ends the connection.
    fn sin(&mut self, fault: Fault, code: u16) {
        self.ping_perhaps();
        self.sent.push_back((self.out.len() + 1, Sent::Sin(code)));
        self.is_finished = true;
        match fault {
            Fault::InvalidFrame => match self.random.below(8) {
                // Not masked; reserved bits; an unknown opcode; a fragmented control frame, and one that is too long.
                0 => self.out.extend_from_slice(&[FIN | TEXT, 2, b'{', b'}']),
                1 => self.frame(FIN | 0x40 | TEXT, b"{}"),
                2 => self.frame(FIN | 0x3, b""),
                3 => self.frame(PING, b""),
                4 => self.frame(FIN | PING, &[0; 126]),
                // A length that is not minimal, and one with the top bit; a continuation of nothing.
                5 => self.out.extend_from_slice(&[FIN | TEXT, 0x80 | 126, 0, 2, 0, 0, 0, 0, b'{', b'}']),
                6 => self.out.extend_from_slice(&[FIN | TEXT, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                _ => self.frame(FIN, b"x"),
            },
            Fault::InvalidUtf8 => self.frame(FIN | TEXT, b"{\"auth\":\"\xed\xa0\x80\"}"),
            Fault::OversizedMessage => self.frame(FIN | TEXT, &[b'x'; 5000]),
            Fault::TooManyFragments => {
                self.frame(TEXT, b"");
                (0..64).for_each(|_| self.frame(0, b""));
            }
            Fault::UnfinishedMessage => self.frame(TEXT, b"{\"auth\":"),
            _ => match self.random.below(3) {
                0 => self.frame(FIN | CLOSE, b"\x03"),
                1 => self.frame(FIN | CLOSE, &close_payload(1005, b"")),
                _ => self.frame(FIN | CLOSE, &close_payload(999, b"")),
            },
        }
    }

    fn bad_request(&mut self) {
        let good = &token(tokens::good(self.users[0], 0)).text;
        let issue = object_id(Some(0));
        let about = |event: &str| format!(r#"{{"auth":"{good}","action":"attach","event":{event}}}"#);
        let (text, code) = match self.random.below(9) {
            0 => ("[]".into(), 5),
            1 => ("{\"auth\":".into(), 5),
            2 => (r#"{"auth":"","action":"attach","event":{"type":"issueUpdate"}}"#.into(), 1),
            3 => (r#"{"action":"attach"}"#.into(), 1),
            4 => (about(r#"{"type":"issueUpdate"}"#), 5),
            5 => (about(&format!(r#"{{"type":"nothing","id":"{issue}"}}"#)), 5),
            6 => (about(r#"{"type":"issueUpdate","id":"x"}"#), 5),
            7 => ("[".repeat(4000), 5),
            _ => {
                // A binary message is not a request.
                self.frame(FIN | 0x2, b"\0\xff");
                self.sent.push_back((self.out.len(), Sent::Request(Request::Bad(5))));
                return;
            }
        };
        self.frame(FIN | TEXT, text.as_bytes());
        self.sent.push_back((self.out.len(), Sent::Request(Request::Bad(code))));
    }

    pub(crate) fn attach_some(&mut self) {
        for _ in 0..self.random.between(1, 4) {
            self.attach();
        }
    }

    fn attach(&mut self) {
        let user = self.users[usize::from(self.random.chance(100))];
        let shown = match self.random.below(20) {
            0 => tokens::bad(user, self.random.below(5)),
            1..5 => tokens::good(user, self.random.below(7)),
            // Few different tokens, since a signature check costs as much as the rest of a request.
            _ => tokens::good(user, tokens::LASTING[user % 2]),
        };
        self.request_with(shown);
    }

    fn request_with(&mut self, shown: usize) {
        let subject = self.subject();
        self.request(Request::Attach { token: shown, subject });
    }

    fn detach(&mut self) {
        let topics: Vec<_> = self.listener.topics().collect();
        let subject = match topics.as_slice() {
            [] => self.subject(),
            topics => self.random.pick(topics).subject(),
        };
        let shown = tokens::good(self.users[0], self.random.below(3));
        self.request(Request::Detach { token: shown, subject });
    }

    /// A subject, often one with many subscribers.
    fn subject(&mut self) -> Subject {
        match self.random.below(10) {
            0..4 => (0, Some(0)),
            4 => (NOTIFICATION, None),
            5 => (NOTIFICATION, Some(self.random.below(OBJECTS))),
            _ => match self.random.below(KINDS.len()) {
                NOTIFICATION => (0, Some(self.random.below(OBJECTS))),
                kind => (kind, Some(self.random.below(OBJECTS))),
            },
        }
    }

    pub(crate) fn request(&mut self, request: Request) {
        let (shown, action, (kind, object)) = match request {
            Request::Attach { token, subject } => (token, "attach", subject),
            Request::Detach { token, subject } => (token, "detach", subject),
            Request::Bad(_) => unreachable!("a bad request has no usual form"),
        };
        let id = match object {
            Some(object) if self.random.chance(100) => {
                format!(r#","id":"{}""#, object_id(Some(object)).to_uppercase())
            }
            Some(object) => format!(r#","id":"{}""#, object_id(Some(object))),
            None => (*self.random.pick(&["", r#","id":"""#, r#","id":null"#])).into(),
        };
        let auth = &token(shown).text;
        let text =
            format!(r#"{{"auth":"{auth}","action":"{action}","event":{{"type":"{}"{id}}}}}"#, KINDS[kind]);
        if self.random.chance(50) {
            let cut = self.random.below(text.len());
            self.frame(TEXT, &text.as_bytes()[..cut]);
            if self.random.chance(300) {
                self.ping();
            }
            self.frame(FIN, &text.as_bytes()[cut..]);
        } else {
            self.frame(FIN | TEXT, text.as_bytes());
        }
        self.sent.push_back((self.out.len(), Sent::Request(request)));
    }

    /// Sometimes sends a last ping, whose pong, if there is one, must precede the Close.
    fn ping_perhaps(&mut self) {
        if self.random.chance(300) {
            self.ping();
        }
    }

    fn ping(&mut self) {
        self.pings += 1;
        // Unique to this client: no other may get the answer.
        let payload = format!("ping {} of client {}", self.pings, self.number).into_bytes();
        self.frame(FIN | PING, &payload);
        self.sent.push_back((self.out.len(), Sent::Ping(payload)));
    }

    fn close(&mut self, faults: &mut Faults) {
        self.ping_perhaps();
        let code = *self.random.pick(&[None, Some(1000), Some(1001), Some(3000)]);
        let payload = code.map_or_else(Vec::new, |code| close_payload(code, b"bye"));
        self.frame(FIN | CLOSE, &payload);
        self.sent.push_back((self.out.len(), Sent::Close(code)));
        self.is_finished = true;
        if faults.strikes(Fault::UnansweredClose, &mut self.random) {
            self.answers_closes = false;
        }
    }

    fn frame(&mut self, first: u8, payload: &[u8]) {
        frame(first, payload, &mut self.random, &mut self.out);
        if first & CLOSE == 0 {
            self.is_inside_message = first & FIN == 0;
        }
        if !self.is_inside_message {
            self.boundaries.push_back(self.out.len());
        }
        if first & (FIN | CLOSE) != FIN {
            self.other_frames.push_back(self.out.len());
        }
    }

    /// Notes, after the server has received a piece, since when a message is unfinished, and how many frames without a message
    /// there were in this second.
    pub(crate) fn note_given(&mut self, now: u64) {
        let second = now / 1000;
        if self.frames.0 != second {
            self.frames = (second, 0);
        }
        while self.other_frames.pop_front_if(|end| *end <= self.given).is_some() {
            self.frames.1 += 1;
        }
        if self.frames.1 > FRAMES {
            self.listener.sins.push(1008);
        }
        let mut passed = None;
        while let Some(boundary) = self.boundaries.pop_front_if(|boundary| *boundary <= self.given) {
            passed = Some(boundary);
        }
        if passed.is_some() {
            self.unfinished_since = None;
        }
        if passed != Some(self.given) && self.unfinished_since.is_none() {
            self.unfinished_since = Some(now);
        }
    }
}
