//! One client of a script: records what it sends, and checks what it receives.

use std::collections::VecDeque;

use crate::api::{Action, Code, ObjectId, Request, Subject};
use crate::fuzzing::inflate::inflate;
use crate::fuzzing::json::{Content, Json};
use crate::subscriptions::Topic;
use crate::time::Monotonic;
use crate::websocket::connection::{Connection, Step};
use crate::websocket::deflate::{Codec, WindowBits};
use crate::websocket::frame::{Decoded, FrameHeader, FrameRules, OpCode};
use crate::websocket::message::{Limits, Message};
use crate::websocket::outgoing::Outgoing;

/// The topics of each published event, by its number.
pub(super) type Published = Vec<Vec<Topic>>;

/// A client, and what it knows of its connection.
pub(super) struct Client {
    /// A second receiving side that gets the same bytes as the one in the server.
    mirror: Connection,
    /// The negotiated window, also after the mirror is closed.
    window_bits: Option<WindowBits>,
    /// The requests without a reply yet.
    unanswered: VecDeque<Wanted>,
    /// Bytes from the server that are not parsed yet: a part of a frame or of the head.
    unread: Vec<u8>,
    stage: Stage,
    subscribed: Vec<Subscribed>,
    /// Whether the client owes a pong.
    pub(super) owes_pong: bool,
    /// The rate limit on its messages, if any.
    bucket: Option<Bucket>,
}

/// A token bucket, measured in milliseconds: each message takes `interval`.
#[derive(Debug)]
pub(super) struct Bucket {
    interval: u64,
    capacity: u64,
    level: u64,
    at: Monotonic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Open,
    /// The server has refused the upgrade; the explanation follows.
    Refused,
    /// The server has sent a Close: nothing may follow.
    Over,
}

/// A request, and what is known of its reply.
#[derive(Clone, Debug)]
enum Wanted {
    /// Refused with this code, whatever the token.
    Refusal(Code),
    Done {
        action: Action,
        topic: Topic,
        /// Number of events published when it was sent.
        published: usize,
    },
}

/// A subscription, as the client knows it.
#[derive(Debug)]
struct Subscribed {
    topic: Topic,
    /// First event that may arrive: none published before the request was sent.
    from: usize,
    /// First event that must arrive: everything published since the client knew of the subscription.
    owed_from: usize,
    /// The last event of the topic that arrived.
    last: Option<usize>,
}

impl Bucket {
    /// A full bucket for `burst` messages, refilled at `per_second`.
    pub(super) const fn new(per_second: u64, burst: u64) -> Self {
        let interval = 1000 / per_second;
        Self { interval, capacity: burst * interval, level: burst * interval, at: Monotonic(0) }
    }

    fn take(&mut self, now: Monotonic) -> bool {
        self.level = (self.level + now.0.saturating_sub(self.at.0)).min(self.capacity);
        self.at = now;
        let is_enough = self.level >= self.interval;
        self.level -= if is_enough { self.interval } else { 0 };
        is_enough
    }
}

impl Client {
    pub(super) fn new(bucket: Option<Bucket>) -> Self {
        Self {
            mirror: Connection::server(),
            window_bits: None,
            unanswered: VecDeque::new(),
            unread: Vec::new(),
            stage: Stage::Connecting,
            subscribed: Vec::new(),
            owes_pong: false,
            bucket,
        }
    }

    /// Records what the client sends when `published` events exist. `topic` gives the topic for a token and a subject.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        published: usize,
        limits: &Limits,
        topic: impl Fn(&str, Subject) -> Topic,
        now: Monotonic,
    ) {
        let mut bytes = bytes.to_vec();
        let mut input = &mut bytes[..];
        let (mut outgoing, mut codec) = (Outgoing::default(), Codec::new());
        loop {
            match self.mirror.receive(&mut input, &mut outgoing, limits, &mut codec) {
                Step::Starved | Step::Ended(_) => return,
                Step::Upgrade(upgrade) => {
                    self.mirror.accept(&upgrade, true, &mut outgoing);
                    self.window_bits = self.mirror.deflate();
                }
                Step::Page(_) => {
                    self.mirror.respond(b"", &mut outgoing);
                    return;
                }
                // Every message counts against the rate, and one over the rate is refused unread.
                Step::Message(_) if !self.bucket.as_mut().is_none_or(|bucket| bucket.take(now)) => {
                    self.unanswered.push_back(Wanted::Refusal(Code::TooManyRequests));
                }
                Step::Message(Message::Binary(_)) => {
                    self.unanswered.push_back(Wanted::Refusal(Code::InvalidRequest))
                }
                Step::Message(Message::Text(text)) => {
                    self.unanswered.push_back(match Request::parse(&text) {
                        Err(code) => Wanted::Refusal(code),
                        Ok(Request { auth, action, subject }) => {
                            Wanted::Done { action, topic: topic(&auth, subject), published }
                        }
                    })
                }
                Step::Frame(_) | Step::Opened => {}
            }
        }
    }

    /// Parses and checks what the server has written.
    pub(super) fn receive(&mut self, bytes: &[u8], published: &Published) {
        self.unread.extend_from_slice(bytes);
        if self.stage == Stage::Connecting {
            let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") else { return };
            let is_open = self.unread.starts_with(b"HTTP/1.1 101 ");
            self.stage = if is_open { Stage::Open } else { Stage::Refused };
            self.unread.drain(..end + 4);
        }
        if self.stage == Stage::Refused {
            return;
        }
        let rules = FrameRules { masked: false, compression: true };
        loop {
            let decoded =
                FrameHeader::decode(&self.unread, rules).expect("the server writes valid, unmasked frames");
            let Decoded::Header { header, start } = decoded else { return };
            let end = start + usize::try_from(header.length).expect("a short frame");
            if self.unread.len() < end {
                return;
            }
            assert_eq!(self.stage, Stage::Open, "nothing follows a Close");
            let mut payload: Vec<u8> = self.unread.drain(..end).skip(start).collect();
            assert!(header.fin);
            if header.rsv1 {
                let bits = self.window_bits.expect("compression only where it was negotiated");
                let window = 1 << bits.get();
                let inflated = inflate(&payload, usize::MAX).expect("complete DEFLATE data");
                assert!(inflated.farthest <= window, "{} is outside the window", inflated.farthest);
                payload = inflated.bytes;
            }
            match header.opcode {
                OpCode::Text => self.receive_message(&payload, published),
                OpCode::Ping => self.owes_pong = true,
                OpCode::Pong => {}
                OpCode::Close => self.stage = Stage::Over,
                OpCode::Binary | OpCode::Continuation => panic!("the server sends texts in one frame"),
            }
        }
    }

    /// Whether the connection is open.
    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Checks, at the end, that an open connection has received every reply and every event.
    pub(super) fn check_complete(&self, published: &Published) {
        assert!(self.unread.is_empty(), "a frame is incomplete");
        assert!(self.unanswered.is_empty(), "no reply to {:?}", self.unanswered);
        self.subscribed.iter().for_each(|subscribed| subscribed.check_complete(published));
    }

    fn receive_message(&mut self, payload: &[u8], published: &Published) {
        let text = str::from_utf8(payload).expect("a message is text");
        let message = Json::parse(text).expect("a message is JSON");
        let the = |name| message.members(name).expect("a message is an object").first().copied();
        match (the("code"), the("event")) {
            (Some(code), None) => {
                let wanted = self.unanswered.pop_front().expect("one reply for each request");
                let code = Code::ALL.into_iter().find(|known| known.number().to_string() == code.text);
                self.receive_reply(&wanted, code.expect("a code of the contract"), published);
            }
            (Some(_), Some(event)) => self.lose_subscription(event),
            (None, _) => {
                let number = the("data").expect("an event has data").text.parse().expect("a number");
                self.receive_event(number, published);
            }
        }
    }

    fn receive_reply(&mut self, wanted: &Wanted, code: Code, published: &Published) {
        match (wanted, code) {
            (Wanted::Refusal(expected), code) => assert_eq!(code, *expected),
            (&Wanted::Done { action: Action::Attach, topic, published: from }, Code::Ok) => {
                if !self.subscribed.iter().any(|subscribed| subscribed.topic == topic) {
                    let owed_from = published.len();
                    self.subscribed.push(Subscribed { topic, from, owed_from, last: None });
                }
            }
            (&Wanted::Done { action: Action::Detach, topic, published: before }, Code::Ok) => {
                for ended in self.subscribed.extract_if(.., |subscribed| subscribed.topic == topic) {
                    ended.check_complete(&published[..before]);
                }
            }
            (Wanted::Done { .. }, Code::TokenNotSet | Code::InvalidRequest) => {
                panic!("{code} to {wanted:?}, which is well formed")
            }
            (Wanted::Done { .. }, _) => {}
        }
    }

    fn lose_subscription(&mut self, event: &Json<'_>) {
        let text = |name| event.members(name).expect("an object")[0].string().expect("a string").to_owned();
        let (kind, id) = (text("type"), text("id"));
        let id: Option<ObjectId> = (!id.is_empty()).then(|| id.parse().expect("an id"));
        let before = self.subscribed.len();
        self.subscribed.retain(|subscribed| {
            let subject = subscribed.topic.subject();
            subject.kind.as_str() != kind || subject.id != id
        });
        assert_eq!(self.subscribed.len() + 1, before, "one message for each subscription lost");
    }

    fn receive_event(&mut self, number: usize, published: &Published) {
        let mut is_wanted = false;
        for subscribed in &mut self.subscribed {
            if !published[number].contains(&subscribed.topic) {
                continue;
            }
            is_wanted = true;
            match subscribed.last {
                Some(last) => {
                    let next = events(published, subscribed.topic).find(|number| *number > last);
                    assert_eq!(Some(number), next, "a gap or a duplicate in {subscribed:?}");
                }
                None => {
                    assert!(number >= subscribed.from, "{number} was published before {subscribed:?}");
                    let first =
                        events(published, subscribed.topic).find(|number| *number >= subscribed.owed_from);
                    assert!(first.is_none_or(|first| number <= first), "a gap in {subscribed:?}");
                }
            }
            subscribed.last = Some(number);
        }
        assert!(is_wanted, "event {number} to a client that is not subscribed to it");
    }
}

impl Subscribed {
    /// Checks that every owed event has arrived.
    fn check_complete(&self, published: &[Vec<Topic>]) {
        let owed = events(published, self.topic).filter(|number| *number >= self.owed_from).last();
        assert!(self.last >= owed, "{self:?} lacks {owed:?}");
    }
}

/// The numbers of the events of this topic.
fn events(published: &[Vec<Topic>], topic: Topic) -> impl Iterator<Item = usize> {
    published.iter().enumerate().filter(move |(_, topics)| topics.contains(&topic)).map(|(number, _)| number)
}

/// Checks that an answer to a producer is a line of JSON with a status.
pub(super) fn check_answer(line: &str) {
    let answer = Json::parse(line).expect("an answer is JSON");
    let status = answer.members("status").expect("an answer is an object");
    assert!(matches!(status[..], [Json { content: Content::Number, text: "200" | "400" }]), "{line}");
}
