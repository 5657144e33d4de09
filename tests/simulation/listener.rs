//! The oracle of one connection: it checks everything the server writes to it.
//!
//! The stream has the order in which the server queued its parts. So the replies so far determine the subscriptions at each
//! point of the stream, and each event must continue them without a gap.

use std::collections::VecDeque;

use crate::faults::Fault;
use crate::frames::{Decoder, PING, PONG, Part, TEXT};
use crate::ledger::{Ledger, Right, Stamp};
use crate::names::{KINDS, NOTIFICATION, SECRET, Subject, Topic, object_id, object_of, user_id};
use crate::rate::{BURST, Rate};
use crate::subscription::Subscription;
use crate::tokens::token;

/// An error is a violation that the oracle found.
pub(crate) type Verdict = Result<(), String>;

/// The oracle's state of one connection.
#[derive(Debug)]
pub(crate) struct Listener {
    decoder: Decoder,
    pub(crate) phase: Phase,
    subscriptions: Vec<Subscription>,
    /// The requests that the server has received whole and not answered yet.
    asked: VecDeque<Asked>,
    /// The payloads of unanswered pings, each with the number of the refused write it followed, if the writer was blocked.
    pings: VecDeque<(Vec<u8>, Option<u64>)>,
    /// The number of the refused write that the ping of the last pong followed.
    pong_behind: Option<u64>,
    /// The stamp of the last event.
    last_event: Stamp,
    /// The codes of the Close that the client's violations so far allow.
    pub(crate) sins: Vec<u16>,
    /// The server has received the client's Close, with this code.
    pub(crate) closed_by_client: Option<Option<u16>>,
    /// The next message must be a Close with code 1008.
    must_close: bool,
    bad_tokens: u8,
    over_rate: u16,
    rate: Rate,
    /// The allowed statuses of the answer to the upgrade request.
    pub(crate) statuses: Vec<u16>,
    /// What the client has yet to react to.
    pub(crate) said: Vec<Said>,
    /// The users of the client's tokens.
    users: [usize; 2],
    pub(crate) heard: Heard,
    /// The code of the server's Close.
    pub(crate) close_code: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    Open,
    /// The server has sent a Close, or an HTTP answer other than 101.
    Over,
}

/// A message that a client reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Opened,
    /// An HTTP answer other than 101.
    Refused,
    Ping,
    Close {
        code: u16,
        is_slow: bool,
    },
    /// The end of a subscription, and its cause.
    Lost(Subject, Fault),
}

/// Counts since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) events: usize,
    /// Attaches whose first event only the stream can tell.
    pub(crate) races: usize,
    pub(crate) secrets: usize,
}

/// A request that the server has received.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    stamp: Stamp,
    /// The number of the epoch at that time.
    epoch: usize,
    request: Request,
    /// The code of its reply, if it was certain at that time.
    certain: Option<u8>,
    /// The server replies before it receives anything else.
    at_once: bool,
}

/// A client's request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    Attach {
        token: usize,
        subject: Subject,
    },
    Detach {
        token: usize,
        subject: Subject,
    },
    /// A request that always gets this code.
    Bad(u8),
}

/// With more pending requests than this, a connection may be closed: a burst, and as many refusals for their rate as are
/// allowed.
const MOST_WAITING: usize = BURST as usize + 256;

/// The code of the Close when the server stops.
const GOING_AWAY: u16 = 1001;

/// The replies of the contract, by code.
const REPLIES: [&str; 9] = [
    r#"{"status":200,"message":"Ok","code":0"#,
    r#"{"status":400,"message":"Token not set","code":1"#,
    r#"{"status":400,"message":"Invalid token","code":2"#,
    r#"{"status":400,"message":"User not exists","code":3"#,
    r#"{"status":400,"message":"Not access for dataset","code":4"#,
    r#"{"status":400,"message":"Invalid request","code":5"#,
    r#"{"status":400,"message":"Too many subscriptions","code":6"#,
    r#"{"status":400,"message":"Too many requests","code":7"#,
    r#"{"status":400,"message":"Temporarily unavailable","code":8"#,
];

impl Listener {
    pub(crate) fn new(users: [usize; 2]) -> Self {
        Self {
            decoder: Decoder::default(),
            phase: Phase::Connecting,
            subscriptions: Vec::new(),
            asked: VecDeque::new(),
            pings: VecDeque::new(),
            pong_behind: None,
            last_event: 0,
            sins: Vec::new(),
            closed_by_client: None,
            must_close: false,
            bad_tokens: 0,
            over_rate: 0,
            rate: Rate::default(),
            statuses: Vec::new(),
            said: Vec::new(),
            users,
            heard: Heard::default(),
            close_code: None,
        }
    }

    /// The server receives the last byte of a request, at this time of the monotonic clock.
    pub(crate) fn ask(&mut self, ledger: &mut Ledger, request: Request, monotonic: u64) {
        let stamp = ledger.next();
        let mut certain = None;
        let mut at_once = self.asked.iter().all(|asked| asked.at_once);
        match request {
            Request::Bad(code) => certain = Some(code),
            Request::Attach { token, .. } | Request::Detach { token, .. } => {
                if self.rate.admit(monotonic) {
                    at_once &= ledger.is_decided_at_once(token);
                } else {
                    certain = Some(7);
                }
            }
        }
        let epoch = ledger.epochs.len() - 1;
        if self.asked.len() > MOST_WAITING {
            self.sins.push(1008);
        }
        self.asked.push_back(Asked { stamp, epoch, request, certain, at_once });
    }

    /// The server receives a ping. `blocked` is the number of refused writes, if the last write was refused.
    pub(crate) fn ping(&mut self, payload: Vec<u8>, blocked: Option<u64>) {
        self.pings.push_back((payload, blocked));
    }

    /// Whether a request has no reply yet.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// The topics of the client's subscriptions, by the replies so far.
    pub(crate) fn topics(&self) -> impl Iterator<Item = Topic> {
        self.subscriptions.iter().map(|subscription| subscription.right.topic)
    }

    /// Checks bytes that the server wrote to the connection.
    pub(crate) fn hear(&mut self, bytes: &[u8], ledger: &mut Ledger, was_blocked: bool) -> Verdict {
        self.look_for_secrets(bytes)?;
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.push(bytes);
        let mut outcome = Ok(());
        while outcome.is_ok() && self.phase != Phase::Over {
            outcome = match decoder.next() {
                Ok(None) => break,
                Ok(Some(Part::Head(status, head))) => self.opened(status, head),
                Ok(Some(Part::Frame(opcode, payload))) => self.frame(opcode, payload, ledger, was_blocked),
                Err(error) => Err(error),
            };
        }
        if outcome.is_ok() && self.phase == Phase::Over && self.close_code.is_some() && decoder.left() > 0 {
            outcome = Err(format!("{} bytes behind the Close frame", decoder.left()));
        }
        self.decoder = decoder;
        outcome
    }

    /// Checks that the bytes contain no secrets of other users than the client's.
    fn look_for_secrets(&mut self, bytes: &[u8]) -> Verdict {
        let mut rest = bytes;
        while let Some(at) = memchr::memmem::find(rest, SECRET.as_bytes()) {
            rest = &rest[at + SECRET.len()..];
            let Some(id) = rest.get(..24) else { break };
            if !self.users.iter().any(|&user| user_id(user).as_bytes() == id) {
                return Err(format!("the secret of {} reaches another client", String::from_utf8_lossy(id)));
            }
            self.heard.secrets += 1;
        }
        Ok(())
    }

    fn opened(&mut self, status: u16, head: &str) -> Verdict {
        if !self.statuses.contains(&status) {
            return Err(format!("answered with {status}, not one of {:?}", self.statuses));
        }
        if status != 101 {
            self.phase = Phase::Over;
            self.said.push(Said::Refused);
            return Ok(());
        }
        self.phase = Phase::Open;
        self.said.push(Said::Opened);
        if head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
            Ok(())
        } else {
            Err(format!("the 101 does not accept the key: {head:?}"))
        }
    }

    fn frame(&mut self, opcode: u8, payload: &[u8], ledger: &mut Ledger, was_blocked: bool) -> Verdict {
        match opcode {
            TEXT if self.must_close => Err("a text in place of the Close that is due".into()),
            TEXT => {
                let text = str::from_utf8(payload).map_err(|_| "a text that is not UTF-8")?;
                if text.starts_with("{\"type\":") {
                    self.event(text, ledger)
                } else {
                    self.reply(text, ledger)
                }
            }
            PING => {
                self.said.push(Said::Ping);
                Ok(())
            }
            PONG => self.pong(payload),
            _ => self.close(payload, ledger, was_blocked),
        }
    }

    fn event(&mut self, text: &str, ledger: &Ledger) -> Verdict {
        self.heard.events += 1;
        let number = text.find("{\"n\":").and_then(|at| {
            let digits = &text[at + 5..];
            digits[..digits.find([',', '}'])?].parse::<usize>().ok()
        });
        let Some(event) = number.and_then(|number| ledger.events.get(number)) else {
            return Err(format!("an event that was not written: {text}"));
        };
        let number = number.expect("it was just found by it");
        if event.message != text {
            return Err(format!("event {number} is {text}, and was {}", event.message));
        }
        let Some(read) = event.read else { return Err(format!("event {number} was not read yet")) };
        if read <= self.last_event {
            return Err(format!("event {number} is repeated or follows a later one"));
        }
        self.last_event = read;
        let mut explained = Vec::new();
        for subscription in &mut self.subscriptions {
            let Some(place) = ledger.place(subscription.right.topic, number) else { continue };
            if !(subscription.least..=subscription.most).contains(&place) {
                return Err(format!(
                    "event {number} has place {place} in its topic, due is {} to {}: {subscription:?}",
                    subscription.least, subscription.most
                ));
            }
            subscription.look_for_end(ledger);
            if subscription.ended.is_some_and(|end| end < read) {
                return Err(format!("event {number}, read at {read}, after the end of {subscription:?}"));
            }
            explained.push((subscription, place));
        }
        if explained.is_empty() {
            return Err(format!("event {number} without a subscription: {text}"));
        }
        let is_certain = explained.iter().any(|(subscription, _)| subscription.least == subscription.most);
        for (subscription, place) in explained {
            subscription.least = place + 1;
            // The event may belong to another subscription, and this one may begin later.
            subscription.most = if is_certain { subscription.most.max(place + 1) } else { place + 1 };
        }
        Ok(())
    }

    fn reply(&mut self, text: &str, ledger: &mut Ledger) -> Verdict {
        let found =
            REPLIES.iter().enumerate().find_map(|(code, reply)| Some((code, text.strip_prefix(reply)?)));
        let Some((code, rest)) = found else { return Err(format!("neither event nor reply: {text}")) };
        let code = u8::try_from(code).expect("nine codes");
        if rest == "}" {
            return self.answered(code, ledger);
        }
        let lost = rest
            .strip_prefix(",\"event\":{\"type\":\"")
            .and_then(|rest| rest.strip_suffix("\"}}"))
            .and_then(|rest| rest.split_once("\",\"id\":\""))
            .and_then(|(kind, id)| Some((KINDS.iter().position(|known| *known == kind)?, object_of(id)?)));
        match lost {
            Some(subject) => self.lost(code, subject, ledger),
            None => Err(format!("neither a reply nor a loss: {text}")),
        }
    }

    /// Checks the reply to the first pending request.
    fn answered(&mut self, code: u8, ledger: &mut Ledger) -> Verdict {
        let Some(asked) = self.asked.pop_front() else { return Err(format!("code {code} answers nothing")) };
        let allowed = self.allowed(&asked, ledger);
        if allowed >> code & 1 == 0 {
            return Err(format!("code {code} answers {asked:?}, for which the codes {allowed:#b} are right"));
        }
        match code {
            0 | 3 | 4 | 6 | 8 => self.bad_tokens = 0,
            2 => self.bad_tokens += 1,
            _ => {}
        }
        self.over_rate = if code == 7 { self.over_rate + 1 } else { 0 };
        self.must_close = self.bad_tokens >= 5 || self.over_rate >= 256;
        match asked.request {
            Request::Attach { token, .. } | Request::Detach { token, .. }
                if [0, 3, 4, 6, 8].contains(&code) =>
            {
                ledger.note_verified(token, asked.stamp);
            }
            _ => {}
        }
        match asked.request {
            Request::Attach { token, subject } if code == 0 => self.attached(&asked, token, subject, ledger),
            Request::Detach { token, subject } if code == 0 => self.detached(&asked, token, subject, ledger),
            _ => Ok(()),
        }
    }

    /// The allowed codes for a request, as bits.
    fn allowed(&self, asked: &Asked, ledger: &Ledger) -> u16 {
        if let Some(code) = asked.certain {
            return 1 << code;
        }
        let (number, is_attach, subject) = match asked.request {
            Request::Attach { token, subject } => (token, true, subject),
            Request::Detach { token, subject } => (token, false, subject),
            Request::Bad(code) => return 1 << code,
        };
        let codes = ledger.codes(asked.stamp, asked.epoch, number, is_attach, subject);
        let topic = Topic::of(token(number).user, subject);
        let is_full = is_attach && self.subscriptions.len() >= ledger.subscriptions;
        if is_full && codes & 1 == 1 && !self.topics().any(|other| other == topic) {
            return codes & !1 | 1 << 6;
        }
        codes
    }

    fn attached(&mut self, asked: &Asked, number: usize, subject: Subject, ledger: &Ledger) -> Verdict {
        let shown = token(number);
        let topic = Topic::of(shown.user, subject);
        let right = Right { topic, owner: shown.user, key: shown.key, ends: ledger.ends_at(shown) };
        let settled = if asked.at_once { asked.stamp } else { ledger.stamp() };
        // What was in force when it was settled allowed it, or has ended it since.
        let epochs_seen = ledger.epochs.partition_point(|epoch| epoch.stamp <= settled) - 1;
        let revocations_seen = ledger.revocations.partition_point(|it| it.stamp <= settled);
        if let Some(standing) = self.subscriptions.iter_mut().find(|it| it.right.topic == topic) {
            standing.look_for_end(ledger);
            let turn = ledger.epochs[asked.epoch].turn;
            let begin = ledger.epochs.iter().rev().take_while(|epoch| epoch.turn == turn).last();
            if standing.ended.is_some_and(|end| begin.is_some_and(|begin| end < begin.stamp)) {
                return Err(format!("renewed after its end: {standing:?}"));
            }
            // Only a longer lease of the same owner prevails over a new one.
            if standing.right.owner != right.owner || standing.right.ends <= right.ends {
                standing.right = right;
            }
            (standing.since, standing.settled, standing.ended) = (asked.stamp, settled, None);
            (standing.epochs_seen, standing.revocations_seen) = (epochs_seen, revocations_seen);
            return Ok(());
        }
        let first = ledger.count_before(topic, asked.stamp);
        let most = if asked.at_once { first } else { ledger.count(topic) };
        self.heard.races += usize::from(first < most);
        self.subscriptions.push(Subscription {
            right,
            least: first,
            most,
            since: asked.stamp,
            settled,
            epochs_seen,
            revocations_seen,
            ended: None,
        });
        Ok(())
    }

    fn detached(&mut self, asked: &Asked, number: usize, subject: Subject, ledger: &Ledger) -> Verdict {
        let topic = Topic::of(token(number).user, subject);
        let Some(at) = self.subscriptions.iter().position(|it| it.right.topic == topic) else {
            return Ok(());
        };
        let ended = self.subscriptions.swap_remove(at);
        let least = ledger.count_before(topic, asked.stamp);
        let most = if asked.at_once { least } else { ledger.count(topic) };
        if ended.most < least || ended.least > most {
            return Err(format!("detached with {least} to {most} events due, and has {ended:?}"));
        }
        Ok(())
    }

    /// Checks the message that a subscription has ended.
    fn lost(&mut self, code: u8, subject: Subject, ledger: &Ledger) -> Verdict {
        // Those that certainly ended first, since the message does not tell two users' notifications apart.
        self.subscriptions.iter_mut().for_each(|subscription| subscription.look_for_end(ledger));
        self.subscriptions.sort_by_key(|subscription| subscription.ended.is_none());
        let mut why = Vec::new();
        for at in 0..self.subscriptions.len() {
            let subscription = &mut self.subscriptions[at];
            if subscription.right.topic.subject() != subject {
                continue;
            }
            match subscription.judge_loss(code, ledger) {
                Ok(fault) => {
                    self.subscriptions.swap_remove(at);
                    self.said.push(Said::Lost(subject, fault));
                    return Ok(());
                }
                Err(error) => why.push(error),
            }
        }
        Err(format!("loss of {} {} with code {code}: {why:?}", KINDS[subject.0], object_id(subject.1)))
    }

    /// Checks a pong. While the writer is blocked only the latest is kept, ahead of the queue (§5.5.3); all others are sent.
    fn pong(&mut self, payload: &[u8]) -> Verdict {
        let Some(at) = self.pings.iter().position(|(ping, _)| ping == payload) else {
            return Err(format!("an unsolicited pong of {:?}", String::from_utf8_lossy(payload)));
        };
        let (_, behind) = self.pings.remove(at).expect("it was just found");
        if behind.is_some() {
            if behind <= self.pong_behind {
                return Err("more than the latest pong was kept while the writer was blocked".into());
            }
            self.pong_behind = behind;
            self.pings.retain(|(_, other)| other.is_none() || *other > behind);
        } else if self.pings.iter().take(at).any(|(_, behind)| behind.is_none()) {
            return Err("a pong overtakes another".into());
        }
        Ok(())
    }

    fn close(&mut self, payload: &[u8], ledger: &Ledger, was_blocked: bool) -> Verdict {
        self.phase = Phase::Over;
        let (code, reason) = match payload {
            [] => (0, ""),
            [a, b, reason @ ..] => {
                let reason = str::from_utf8(reason).map_err(|_| "a reason that is not UTF-8")?;
                (u16::from_be_bytes([*a, *b]), reason)
            }
            _ => return Err("a Close with a payload of one byte".into()),
        };
        self.close_code = Some(code);
        let is_slow = code == 1008 && reason == "slow consumer" && was_blocked;
        self.said.push(Said::Close { code, is_slow });
        let is_echo = self.closed_by_client.is_some_and(|closed| closed.unwrap_or(0) == code);
        if is_slow || self.must_close && code == 1008 {
            return Ok(());
        }
        if !self.must_close && (is_echo || self.sins.contains(&code)) {
            return Ok(());
        }
        if code == GOING_AWAY
            && let Some(closing) = ledger.closing
        {
            return self.check_all_was_sent_before(closing, ledger);
        }
        Err(format!(
            "closed with {code} {reason:?}, but allowed are {:?}, and the client's Close is {:?}",
            self.sins, self.closed_by_client
        ))
    }

    /// Checks that the server, which is stopping, has sent everything that producers wrote before.
    fn check_all_was_sent_before(&mut self, closing: Stamp, ledger: &Ledger) -> Verdict {
        for subscription in &mut self.subscriptions {
            subscription.look_for_end(ledger);
            let due = ledger.count_before(subscription.right.topic, closing);
            if subscription.most < due && subscription.ended.is_none() {
                return Err(format!("closed before {due} events that were due: {subscription:?}"));
            }
        }
        Ok(())
    }

    /// Checks, when the queue is written to its end, that everything due has been sent.
    pub(crate) fn check_nothing_is_missing(&mut self, ledger: &Ledger) -> Verdict {
        if self.phase != Phase::Open {
            return Ok(());
        }
        if let Some(asked) = self.asked.iter().find(|asked| asked.at_once) {
            return Err(format!("no reply to {asked:?}"));
        }
        if self.must_close {
            return Err("the Close that is due is missing".into());
        }
        if let Some((ping, _)) = self.pings.iter().find(|(_, behind)| behind.is_none()) {
            return Err(format!("no pong to {:?}", String::from_utf8_lossy(ping)));
        }
        for subscription in &mut self.subscriptions {
            subscription.look_for_end(ledger);
            if subscription.ended.is_some() {
                return Err(format!("no message about the end of {subscription:?}"));
            }
            let count = ledger.count(subscription.right.topic);
            if subscription.most < count {
                return Err(format!("{count} events were read for {subscription:?}"));
            }
            // A subscription without these events began after them.
            subscription.least = count;
        }
        Ok(())
    }

    /// The bytes of events that are certainly queued.
    pub(crate) fn owed(&mut self, ledger: &Ledger) -> usize {
        let mut bytes = 0;
        // A pending request may have been carried out, with its reply queued behind the events.
        for subscription in self.subscriptions.iter_mut().filter(|_| self.asked.is_empty()) {
            subscription.look_for_end(ledger);
            let topic = subscription.right.topic;
            if !subscription.may_have_ended(ledger) && topic.subject().0 != NOTIFICATION {
                bytes += ledger.bytes_from(topic, subscription.most);
            }
        }
        bytes
    }

    /// Whether an event to `topics`, read next, is certainly, and whether it is possibly, queued for the connection.
    pub(crate) fn hears(&mut self, topics: &[Topic], ledger: &Ledger) -> (bool, bool) {
        if self.phase == Phase::Over {
            return (false, false);
        }
        let mut hears = (false, false);
        for subscription in self.subscriptions.iter_mut().filter(|it| topics.contains(&it.right.topic)) {
            subscription.look_for_end(ledger);
            hears.0 |= subscription.ended.is_none() && self.asked.is_empty();
            hears.1 |= subscription.ended.is_none();
        }
        hears.1 |= self.asked.iter().any(|asked| match asked.request {
            Request::Attach { token: number, subject } => {
                topics.contains(&Topic::of(token(number).user, subject))
            }
            _ => false,
        });
        hears
    }
}
