//! The oracle's judgement of one connection: everything the server writes to it is held against what it must be.
//!
//! A peer's stream is in the order in which the server queued things. So what the client has been told so far says which
//! subscriptions it has at that point of the stream, and each event must continue them without a hole.

use crate::books::{Gone, Slow};
use crate::faults::Fault;
use crate::frames::{Decoder, PING, PONG, Part, TEXT};
use crate::ledger::{Ledger, Right, Stamp};
use crate::names::{KINDS, NOTIFICATION, SECRET, Subject, Topic, object_id, object_of, user_id};
use crate::rate::{BURST, Rate};
use crate::subscription::Subscription;
use crate::tokens::token;
use std::collections::VecDeque;

/// A ping that was read.
#[derive(Debug)]
struct Ping {
    payload: Vec<u8>,
    /// The refused write it came after, if the last one was.
    behind: Option<u64>,
    /// It was taken before another write: `behind` is certain.
    is_certain: bool,
    is_taken: bool,
}

/// What is wrong: the oracle's complaint.
pub(crate) type Verdict = Result<(), String>;

/// What is known of one connection, as of the last byte written to it.
#[derive(Debug)]
pub(crate) struct Listener {
    decoder: Decoder,
    pub(crate) phase: Phase,
    subscriptions: Vec<Subscription>,
    /// The requests that the server has been given whole, and not answered yet.
    asked: VecDeque<Asked>,
    /// The pings that were read and not answered.
    pings: VecDeque<Ping>,
    /// The refused write that the last pong's ping came after.
    pong_behind: Option<u64>,
    /// The stamp of the last event.
    last_event: Stamp,
    /// The server must close with one of these codes: what the client has done, or is about to have done.
    pub(crate) sins: Vec<u16>,
    /// What the client has done that ends the connection, with the code it ends with.
    pub(crate) sin: Option<(u16, Fault)>,
    /// A Close of the client's own was given, with this code.
    pub(crate) closed_by_client: Option<Option<u16>>,
    /// The next thing said must be a Close with code 1008.
    must_close: bool,
    bad_tokens: u8,
    over_rate: u16,
    /// Bad tokens and requests over the rate, whatever came between; some are forgiven.
    bad_tokens_in_all: u32,
    over_rate_in_all: u32,
    is_trusted: bool,
    rate: Rate,
    /// The statuses that the request may be answered with.
    pub(crate) statuses: Vec<u16>,
    /// What the server has said that the client has to react to.
    pub(crate) said: Vec<Said>,
    /// The users whose tokens the client shows.
    users: [usize; 2],
    pub(crate) heard: Heard,
    /// The code of the server's Close.
    pub(crate) close_code: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    Open,
    /// An HTTP answer that is no 101 has come, or a Close.
    Over,
}

/// Something a client reacts to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said {
    Opened,
    /// Not opened, but answered with this HTTP status.
    Refused(u16),
    Ping,
    Pong {
        /// The last write had been refused when its ping was read.
        was_blocked: bool,
    },
    Answered(u8, Request),
    Close {
        code: u16,
        /// Why, if the reason is that it is slow.
        slow: Option<Slow>,
    },
    /// A subscription, and why.
    Lost(Subject, Fault),
}

/// What has been heard since the last look.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) events: usize,
    /// Attachments of which only the stream can say which event was their first.
    pub(crate) races: usize,
    pub(crate) secrets: usize,
}

/// A request as it was given to the server.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    stamp: Stamp,
    /// The epoch it was given in.
    epoch: usize,
    request: Request,
    /// The code that was certain when it was given.
    certain: Option<u8>,
    /// It was answered before anything else was given to the server.
    at_once: bool,
}

/// What a client asks for.
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
    /// One that is answered with this code if it is within the rate; and what it is.
    Bad(u8, Fault),
}

/// With this many requests waiting a connection may be closed: a burst, and those of a connection that is refused
/// for its rate.
const MOST_WAITING: usize = BURST as usize + 256;

/// This many bad tokens, or requests over the rate, end a connection whatever comes between; some are forgiven.
const BAD_TOKENS: u32 = 20;
const OVER_RATE: u32 = 1000;

/// The code of the Close when the server goes down.
const GOING_AWAY: u16 = 1001;

/// No frame but an event's is longer.
const LONGEST_OTHER: usize = 200;

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
            sin: None,
            closed_by_client: None,
            must_close: false,
            bad_tokens: 0,
            over_rate: 0,
            bad_tokens_in_all: 0,
            over_rate_in_all: 0,
            is_trusted: false,
            rate: Rate::default(),
            statuses: Vec::new(),
            said: Vec::new(),
            users,
            heard: Heard::default(),
            close_code: None,
        }
    }

    /// The server is given the last byte of a request, at this moment of the monotonic clock.
    pub(crate) fn ask(&mut self, ledger: &mut Ledger, request: Request, monotonic: u64) {
        let stamp = ledger.next();
        let mut certain = None;
        let mut at_once = self.asked.iter().all(|asked| asked.at_once);
        match request {
            _ if !self.rate.admit(monotonic) => certain = Some(7),
            Request::Bad(code, _) => certain = Some(code),
            Request::Attach { token, .. } | Request::Detach { token, .. } => {
                at_once &= ledger.is_decided_at_once(token);
            }
        }
        let epoch = ledger.epochs.len() - 1;
        if self.asked.len() >= MOST_WAITING {
            self.sins.push(1008);
        }
        self.asked.push_back(Asked { stamp, epoch, request, certain, at_once });
    }

    /// A ping was read. `behind` counts the refused writes if the last write was refused.
    pub(crate) fn ping(&mut self, payload: Vec<u8>, behind: Option<u64>) {
        self.pings.push_back(Ping { payload, behind, is_certain: true, is_taken: false });
    }

    /// All pings that were read have certainly been taken.
    pub(crate) fn pings_are_taken(&mut self) {
        self.pings.iter_mut().rev().take_while(|ping| !ping.is_taken).for_each(|ping| ping.is_taken = true);
    }

    /// A write was made or refused: a ping that may not have been taken before may come before or after it.
    pub(crate) fn write_happens(&mut self) {
        for ping in self.pings.iter_mut().rev().take_while(|ping| !ping.is_taken) {
            ping.is_certain = false;
        }
    }

    /// Whether the last tokens were bad, so that the connection ends.
    pub(crate) const fn has_bad_tokens(&self) -> bool {
        self.bad_tokens >= 5
    }

    /// Whether the server has said that a token was good.
    pub(crate) const fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// Whether a request waits for its reply.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// What the client is subscribed to, as far as it has heard.
    pub(crate) fn topics(&self) -> impl Iterator<Item = Topic> {
        self.subscriptions.iter().map(|subscription| subscription.right.topic)
    }

    /// Bytes have been written to the connection.
    pub(crate) fn hear(&mut self, bytes: &[u8], ledger: &mut Ledger, gone: Option<Gone>) -> Verdict {
        self.look_for_secrets(bytes)?;
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.push(bytes);
        let mut outcome = Ok(());
        while outcome.is_ok() && self.phase != Phase::Over {
            outcome = match decoder.next() {
                Ok(None) => break,
                Ok(Some(Part::Head(status, head))) => self.opened(status, head),
                Ok(Some(Part::Frame(opcode, payload))) => self.frame(opcode, payload, ledger, gone),
                Err(error) => Err(error),
            };
        }
        if outcome.is_ok() && self.phase == Phase::Over && self.close_code.is_some() && decoder.left() > 0 {
            outcome = Err(format!("{} bytes behind the Close frame", decoder.left()));
        }
        self.decoder = decoder;
        outcome
    }

    /// No secret comes but those of the client's own users, wherever in the bytes.
    fn look_for_secrets(&mut self, bytes: &[u8]) -> Verdict {
        let mut rest = bytes;
        while let Some(at) = memchr::memmem::find(rest, SECRET.as_bytes()) {
            rest = &rest[at + SECRET.len()..];
            let Some(id) = rest.get(..24) else { break };
            if !self.users.iter().any(|&user| user_id(user).as_bytes() == id) {
                return Err(format!("the secret of {} comes to others", String::from_utf8_lossy(id)));
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
            self.said.push(Said::Refused(status));
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

    fn frame(&mut self, opcode: u8, payload: &[u8], ledger: &mut Ledger, gone: Option<Gone>) -> Verdict {
        match opcode {
            TEXT if self.must_close => Err("something is said in place of the close that is due".into()),
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
            _ => self.close(payload, ledger, gone),
        }
    }

    fn event(&mut self, text: &str, ledger: &Ledger) -> Verdict {
        self.heard.events += 1;
        let number = text.find("{\"n\":").and_then(|at| {
            let digits = &text[at + 5..];
            digits[..digits.find([',', '}'])?].parse::<usize>().ok()
        });
        let Some(event) = number.and_then(|number| ledger.events.get(number)) else {
            return Err(format!("an event that no producer wrote: {text}"));
        };
        let number = number.expect("it was just found by it");
        if event.message != text {
            return Err(format!("event {number} is {text}, and was {}", event.message));
        }
        let Some(read) = event.read else { return Err(format!("event {number} was not read yet")) };
        if read <= self.last_event {
            return Err(format!("event {number} comes twice or behind a later one"));
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
            return Err(format!("event {number} reaches a client that is not subscribed: {text}"));
        }
        let is_certain = explained.iter().any(|(subscription, _)| subscription.least == subscription.most);
        for (subscription, place) in explained {
            subscription.least = place + 1;
            // Another subscription may be why it came, and this one may begin later.
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

    /// The reply to the first request that waits.
    fn answered(&mut self, code: u8, ledger: &mut Ledger) -> Verdict {
        let Some(asked) = self.asked.pop_front() else { return Err(format!("code {code} answers nothing")) };
        let allowed = self.allowed(&asked, ledger);
        if allowed >> code & 1 == 0 {
            return Err(format!("code {code} answers {asked:?}, for which the codes {allowed:#b} are right"));
        }
        match code {
            0 | 3 | 4 | 6 | 8 => (self.bad_tokens, self.is_trusted) = (0, true),
            2 => self.bad_tokens += 1,
            _ => {}
        }
        self.over_rate = if code == 7 { self.over_rate + 1 } else { 0 };
        self.bad_tokens_in_all += u32::from(code == 2);
        self.over_rate_in_all += u32::from(code == 7);
        self.said.push(Said::Answered(code, asked.request));
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

    /// The codes that are right for a request, as bits.
    fn allowed(&self, asked: &Asked, ledger: &Ledger) -> u16 {
        if let Some(code) = asked.certain {
            return 1 << code;
        }
        let (number, is_attach, subject) = match asked.request {
            Request::Attach { token, subject } => (token, true, subject),
            Request::Detach { token, subject } => (token, false, subject),
            Request::Bad(code, _) => return 1 << code,
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
            // Only a longer lease of the same owner stands against a new one.
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

    /// A subscription is lost, and the client is told why.
    fn lost(&mut self, code: u8, subject: Subject, ledger: &Ledger) -> Verdict {
        // One that has certainly ended before one that may have: two users' notifications have one name here.
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

    /// While the writer is blocked only the latest pong is kept, and comes before what waits (§5.5.3); all others come.
    fn pong(&mut self, payload: &[u8]) -> Verdict {
        let Some(at) = self.pings.iter().position(|ping| ping.payload == payload) else {
            return Err(format!("a pong of {:?}, which was not asked for", String::from_utf8_lossy(payload)));
        };
        let Ping { behind, is_certain, .. } = self.pings.remove(at).expect("found just now");
        self.said.push(Said::Pong { was_blocked: behind.is_some() });
        if !is_certain {
            return Ok(());
        }
        if behind.is_some() {
            if behind <= self.pong_behind {
                return Err("more than the latest pong was kept while the writer was blocked".into());
            }
            self.pong_behind = behind;
            self.pings.retain(|other| !other.is_certain || other.behind.is_none() || other.behind > behind);
        } else if self.pings.iter().take(at).any(|other| other.is_certain && other.behind.is_none()) {
            return Err("a pong overtakes another".into());
        }
        Ok(())
    }

    fn close(&mut self, payload: &[u8], ledger: &Ledger, gone: Option<Gone>) -> Verdict {
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
        let Some(gone) = gone else {
            return Err(format!("closed with {code} {reason:?}, and the service was not told"));
        };
        if code == 1008 && reason == "slow consumer" {
            self.said.push(Said::Close { code, slow: gone.is_slow });
            return match gone.is_slow {
                Some(_) => Ok(()),
                None => Err("closed as a slow consumer, and it is none".into()),
            };
        }
        self.said.push(Said::Close { code, slow: None });
        let is_echo = self.closed_by_client.is_some_and(|closed| closed.unwrap_or(0) == code);
        if self.must_close && code == 1008 {
            return Ok(());
        }
        let in_all = self.bad_tokens_in_all >= BAD_TOKENS || self.over_rate_in_all >= OVER_RATE;
        if !self.must_close && (is_echo || self.sins.contains(&code) || code == 1008 && in_all) {
            return Ok(());
        }
        if code == GOING_AWAY
            && let Some(closing) = ledger.closing
        {
            return self.check_all_was_sent_before(closing, ledger);
        }
        Err(format!(
            "closed with {code} {reason:?}, which is no answer to {:?}, {:?}",
            self.sins, self.closed_by_client
        ))
    }

    /// The server goes away: what producers had written before is sent first.
    fn check_all_was_sent_before(&mut self, closing: Stamp, ledger: &Ledger) -> Verdict {
        for subscription in &mut self.subscriptions {
            subscription.look_for_end(ledger);
            let due = ledger.count_before(subscription.right.topic, closing);
            if subscription.most < due && subscription.ended.is_none() {
                return Err(format!("closed before the {due} events that were due: {subscription:?}"));
            }
        }
        Ok(())
    }

    /// All that was queued for the connection is written: everything that is due must have been heard.
    pub(crate) fn check_nothing_is_missing(&mut self, ledger: &Ledger) -> Verdict {
        if self.phase != Phase::Open {
            return Ok(());
        }
        if let Some(asked) = self.asked.iter().find(|asked| asked.at_once) {
            return Err(format!("no reply to {asked:?}"));
        }
        if self.must_close {
            return Err("the close that is due has not come".into());
        }
        if let Some(ping) =
            self.pings.iter().find(|ping| ping.is_certain && ping.is_taken && ping.behind.is_none())
        {
            return Err(format!("no pong to {:?}", String::from_utf8_lossy(&ping.payload)));
        }
        for subscription in &mut self.subscriptions {
            subscription.look_for_end(ledger);
            if subscription.ended.is_some() {
                return Err(format!("nothing was said of the end of {subscription:?}"));
            }
            let count = ledger.count(subscription.right.topic);
            if subscription.most < count {
                return Err(format!("{count} events were read for {subscription:?}"));
            }
            // What was not heard by now began after it.
            subscription.least = count;
        }
        Ok(())
    }

    /// Bytes of events that are certainly queued.
    pub(crate) fn queued_at_least(&mut self, ledger: &Ledger) -> usize {
        let mut bytes = 0;
        // What was asked may be done already, and the answer be queued behind the events.
        for subscription in self.subscriptions.iter_mut().filter(|_| self.asked.is_empty()) {
            subscription.look_for_end(ledger);
            let topic = subscription.right.topic;
            if !subscription.may_have_ended(ledger) && topic.subject().0 != NOTIFICATION {
                bytes += ledger.bytes_from(topic, subscription.most);
            }
        }
        // Of the first one a part may have been written.
        bytes.saturating_sub(self.decoder.left())
    }

    /// Bytes that may be queued: everything that may be on its way to the client.
    pub(crate) fn queued_at_most(&self, ledger: &Ledger) -> usize {
        let events = self.subscriptions.iter().map(|it| ledger.bytes_from(it.right.topic, it.least));
        let attached = self.asked.iter().filter_map(|asked| match asked.request {
            Request::Attach { token: number, subject } => {
                let topic = Topic::of(token(number).user, subject);
                Some(ledger.bytes_from(topic, ledger.count_before(topic, asked.stamp)))
            }
            _ => None,
        });
        let others = 3 + self.asked.len() + self.pings.len() + self.subscriptions.len();
        events.sum::<usize>() + attached.sum::<usize>() + others * LONGEST_OTHER
    }

    /// How many subscriptions a revocation ends: at least, at most.
    pub(crate) fn revokes(
        &mut self,
        user: usize,
        subject: Option<Subject>,
        ledger: &Ledger,
    ) -> (usize, usize) {
        let concerns = |topic| subject.is_none_or(|subject| Topic::of(user, subject) == topic);
        let is_known = self.asked.is_empty();
        let mut count = (0, 0);
        for subscription in &mut self.subscriptions {
            subscription.look_for_end(ledger);
            if subscription.right.owner == user
                && concerns(subscription.right.topic)
                && subscription.ended.is_none()
            {
                count.0 += usize::from(is_known && !subscription.may_have_ended(ledger));
                count.1 += 1;
            }
        }
        count.1 += self
            .asked
            .iter()
            .filter(|asked| match asked.request {
                Request::Attach { token: number, subject } => {
                    token(number).user == user && concerns(Topic::of(user, subject))
                }
                _ => false,
            })
            .count();
        count
    }

    /// When the first subscription ends by the wall clock.
    pub(crate) fn next_end(&mut self, ledger: &Ledger) -> Option<u64> {
        self.subscriptions.iter_mut().for_each(|subscription| subscription.look_for_end(ledger));
        let lasting = self.subscriptions.iter().filter(|subscription| subscription.ended.is_none());
        lasting.map(|subscription| subscription.right.ends).min()
    }

    /// Whether an event to `topics`, read next, reaches the connection: certainly, possibly.
    pub(crate) fn hears(&mut self, topics: &[Topic], ledger: &Ledger) -> (bool, bool) {
        let mut hears = (false, false);
        for subscription in self.subscriptions.iter_mut().filter(|it| topics.contains(&it.right.topic)) {
            subscription.look_for_end(ledger);
            hears.0 |= self.asked.is_empty() && !subscription.may_have_ended(ledger);
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

    /// The oldest event that was read and certainly concerns the connection, and was not written to it.
    pub(crate) fn oldest_unwritten(&mut self, ledger: &Ledger) -> Option<Stamp> {
        if !self.asked.is_empty() {
            return None;
        }
        self.subscriptions
            .iter_mut()
            .filter_map(|subscription| {
                subscription.look_for_end(ledger);
                (!subscription.may_have_ended(ledger)).then_some(())?;
                ledger.event_at(subscription.right.topic, subscription.most)
            })
            .min()
    }
}
