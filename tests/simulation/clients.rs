//! The clients: what each of them sends, how it reads, and how it misbehaves.

use crate::books::Books;
use crate::faults::{Fault, Faults};
use crate::frames::{CLOSE, FIN, PING, PONG, TEXT, UPGRADE, close_payload, frame};
use crate::listener::{Listener, Phase, Request, Said};
use crate::names::{KINDS, NOTIFICATION, OBJECTS, Subject, USERS, object_id};
use crate::random::Random;
use crate::rate::BURST;
use crate::tokens::{self, token};
use crate::world::FRAMES;
use airlay::peers::PeerId;
use std::collections::VecDeque;

/// One client and its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: usize,
    /// The users whose tokens it shows: mostly the first.
    pub(crate) users: [usize; 2],
    /// Its peer, once it was accepted.
    pub(crate) peer: Option<PeerId>,
    pub(crate) listener: Listener,
    /// All it has sent, and how much of it has come to the server's socket and was read from there.
    pub(crate) out: Vec<u8>,
    pub(crate) arrived: usize,
    pub(crate) given: usize,
    /// What its bytes mean: each is done when that many of them were read and taken.
    pub(crate) sent: VecDeque<(usize, Sent)>,
    /// How its stream ends behind `out`; and whether that has come to the server's socket.
    pub(crate) end: Option<End>,
    pub(crate) end_has_arrived: bool,
    /// What the wire holds at most, and how much of it is unread.
    pub(crate) capacity: usize,
    pub(crate) unread: usize,
    /// For how many of its moments it does not read.
    pub(crate) stalled: usize,
    /// It answers pings, and closes.
    pub(crate) answers_pings: bool,
    pub(crate) answers_closes: bool,
    /// It has said its last word.
    pub(crate) is_finished: bool,
    /// What had been read when the process went on after a stop, if something else had come.
    pub(crate) was_unread: Option<usize>,
    /// What the oracle knows of the server's side of the connection.
    pub(crate) books: Books,
    /// Where in `out` nothing has begun that has not ended.
    boundaries: VecDeque<usize>,
    is_inside_message: bool,
    /// Where frames without a message end.
    other_frames: VecDeque<usize>,
    pings: u32,
    pub(crate) random: Random,
}

/// What the last of some bytes means.
#[derive(Debug)]
pub(crate) enum Sent {
    Request(Request),
    Ping(Vec<u8>),
    /// A pong that was not asked for.
    Pong,
    /// A Close with this code.
    Close(Option<u16>),
    /// The begin of something that is answered with a Close of this code.
    Sin(u16, Fault),
    /// A request that is answered with 101 if there is room.
    Head,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    EndOfStream,
    Reset,
}

impl Client {
    pub(crate) fn new(number: usize, capacity: usize, mut random: Random) -> Self {
        let users = [number % USERS, random.below(USERS)];
        Self {
            number,
            users,
            peer: None,
            listener: Listener::new(users),
            out: Vec::new(),
            arrived: 0,
            given: 0,
            sent: VecDeque::new(),
            end: None,
            end_has_arrived: false,
            capacity,
            unread: 0,
            stalled: 0,
            answers_pings: true,
            answers_closes: true,
            is_finished: false,
            was_unread: None,
            books: Books::default(),
            boundaries: VecDeque::new(),
            is_inside_message: false,
            other_frames: VecDeque::new(),
            pings: 0,
            random,
        }
    }

    /// Asks for the connection to be opened, mostly as it should be.
    pub(crate) fn knock(&mut self, faults: &mut Faults) {
        let without = |line: &str| UPGRADE.replace(line, "");
        if faults.strikes(Fault::BadHead, &mut self.random) {
            self.is_finished = true;
            self.books.is_bad_head = true;
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
            self.is_finished = true;
            let length = self.random.below(UPGRADE.len() - 1);
            self.out.extend_from_slice(&UPGRADE.as_bytes()[..length]);
        } else {
            self.out.extend_from_slice(UPGRADE.as_bytes());
            self.sent.push_back((self.out.len(), Sent::Head));
            self.boundaries.push_back(self.out.len());
            // Many do not wait for the answer.
            if self.random.chance(300) {
                self.attach_some();
            }
        }
    }

    /// Everything behind some byte that has not come to the server is never sent.
    pub(crate) fn cut(&mut self) {
        let length = self.random.between(self.arrived, self.out.len());
        self.out.truncate(length);
        // A sin's first byte is its end here.
        self.sent.retain(|(end, _)| *end <= length);
    }

    /// Whether it has heard something that it will react to.
    pub(crate) fn has_to_react(&self) -> bool {
        self.end.is_none() && !self.listener.said.is_empty()
    }

    /// Reads what has come, and reacts. Returns how much room it has made.
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
                // Who has lost a subscription mostly wants it back.
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

    /// Does one of the things that clients do.
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
        if faults.strikes(Fault::UnaskedPong, &mut self.random) {
            self.frame(FIN | PONG, b"unasked");
            self.sent.push_back((self.out.len(), Sent::Pong));
        }
        if faults.strikes(Fault::BadRequest, &mut self.random) {
            self.bad_request();
        }
        if faults.strikes(Fault::PingFlood, &mut self.random) {
            let pings = *self.random.pick(&[60, 60, 4 * FRAMES]);
            (0..pings).for_each(|_| self.ping());
        }
        if faults.strikes(Fault::EmptyFrameFlood, &mut self.random) {
            // Fragments without content, as many as are allowed, then the message.
            self.frame(TEXT, b"");
            (0..62).for_each(|_| self.frame(0, b""));
            self.frame(FIN, b"{}");
            self.sent.push_back((self.out.len(), Sent::Request(Request::Bad(1, Fault::EmptyFrameFlood))));
        }
        if faults.strikes(Fault::BadTokenFlood, &mut self.random) {
            (0..8).for_each(|variant| self.request_with(tokens::bad(self.users[0], 3 + variant % 2)));
        }
        if faults.strikes(Fault::RequestFlood, &mut self.random) {
            // Over the rate no token is checked.
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
        // Rarely: what does this is gone.
        if self.random.chance(150)
            && let Some((fault, code)) =
                codes.into_iter().find(|(fault, _)| faults.strikes(*fault, &mut self.random))
        {
            self.sin(fault, code);
        }
    }

    /// Sends what ends a connection.
    fn sin(&mut self, fault: Fault, code: u16) {
        self.ping_perhaps();
        self.sent.push_back((self.out.len() + 1, Sent::Sin(code, fault)));
        self.is_finished = true;
        match fault {
            Fault::InvalidFrame => match self.random.below(8) {
                // Not masked; reserved bits; no such opcode; a control frame cut, or too long.
                0 => self.out.extend_from_slice(&[FIN | TEXT, 2, b'{', b'}']),
                1 => self.frame(FIN | 0x40 | TEXT, b"{}"),
                2 => self.frame(FIN | 0x3, b""),
                3 => self.frame(PING, b""),
                4 => self.frame(FIN | PING, &[0; 126]),
                // A length in more bytes than it needs; with the top bit; nothing to continue.
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
                // A binary message is none of ours.
                self.frame(FIN | 0x2, b"\0\xff");
                self.sent.push_back((self.out.len(), Sent::Request(Request::Bad(5, Fault::BadRequest))));
                return;
            }
        };
        self.frame(FIN | TEXT, text.as_bytes());
        self.sent.push_back((self.out.len(), Sent::Request(Request::Bad(code, Fault::BadRequest))));
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
            // Each signature check costs as much as all else that a request needs.
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

    /// Something to be told about: often what many are told about.
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
            Request::Bad(..) => unreachable!("has no usual form"),
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

    /// The pong to a last ping comes before the Close, if it comes.
    fn ping_perhaps(&mut self) {
        if self.random.chance(300) {
            self.ping();
        }
    }

    fn ping(&mut self) {
        self.pings += 1;
        // A secret of this client: its answer must not go to another.
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

    /// A piece was read at this moment of the time that counts: notes what it may mean for the limits on messages and frames.
    pub(crate) fn note_given(&mut self, now: u64) {
        let mut frames = 0;
        while self.other_frames.pop_front_if(|end| *end <= self.given).is_some() {
            frames += 1;
        }
        if self.books.note_frames(frames, now) {
            self.listener.sins.push(1008);
        }
        let mut passed = None;
        while let Some(boundary) = self.boundaries.pop_front_if(|boundary| *boundary <= self.given) {
            passed = Some(boundary);
        }
        if passed.is_some() {
            self.books.unfinished_since = None;
        }
        if passed != Some(self.given) && self.books.unfinished_since.is_none() {
            self.books.unfinished_since = Some(now);
        }
    }
}
