//! The oracle's books: what was given to the server, in its order, and who had which right when.
//!
//! Every input has a stamp of its own, so that before and after are never in doubt. It is written from the contract and
//! shares no code with the server.

use crate::faults::Fault;
use crate::names::{
    DATASET_KINDS, KINDS, NOTIFICATION, OBJECTS, Subject, TOPICS, Topic, USERS, object_id, user_id,
};
use crate::tokens::{Flaw, Token, token};
use std::fmt::Write as _;

/// The order of the inputs.
pub(crate) type Stamp = u64;

/// Who exists, and the datasets each may see, as bits; `None`: everybody exists and may see everything.
pub(crate) type AccessTable = Option<Vec<Option<u32>>>;

/// How long the access service's answers are kept, and how long they are waited for, in milliseconds.
pub(crate) const KEEP: u64 = 1000;
pub(crate) const TIMEOUT: u64 = 4500;

/// A stretch of inputs in which no right changed by itself: one wall clock, one key set, one access table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    pub(crate) stamp: Stamp,
    pub(crate) monotonic: u64,
    pub(crate) wall: u64,
    pub(crate) keys: usize,
    pub(crate) access: usize,
    pub(crate) turn: u32,
}

/// An event that a producer has written.
#[derive(Debug)]
pub(crate) struct Event {
    /// When the server read it; `None` as long as it has not.
    pub(crate) read: Option<Stamp>,
    pub(crate) subject: Subject,
    /// Whom a notification is for; `None`: everyone.
    pub(crate) users: Option<Vec<usize>>,
    /// The message its subscribers get.
    pub(crate) message: String,
}

/// A right that a producer has revoked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Revocation {
    pub(crate) stamp: Stamp,
    pub(crate) user: usize,
    pub(crate) subject: Option<Subject>,
}

/// What an attached client rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right {
    pub(crate) topic: Topic,
    pub(crate) owner: usize,
    pub(crate) key: usize,
    /// When it ends by the wall clock, leeway included.
    pub(crate) ends: u64,
}

/// The order of all inputs, and who had which right when.
#[derive(Debug)]
pub(crate) struct Ledger {
    stamp: Stamp,
    pub(crate) leeway: u64,
    pub(crate) enforce_expiry: bool,
    /// The most subscriptions of a connection.
    pub(crate) subscriptions: usize,
    /// When the server began to close everybody.
    pub(crate) closing: Option<Stamp>,
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) tables: Vec<AccessTable>,
    pub(crate) events: Vec<Event>,
    pub(crate) revocations: Vec<Revocation>,
    /// The events of each topic, by their numbers, in the order they were read.
    lists: Vec<Vec<usize>>,
    /// Tokens whose signature is known to be good with the keys in force, so that nothing is waited for.
    verified: Vec<bool>,
    /// Since when these are the keys.
    keys_since: Stamp,
    /// The access tables are what a service answers, and not a file.
    pub(crate) asks_service: bool,
    /// When the service was last not there, silent or late.
    pub(crate) trouble: Stamp,
    /// Whether what is verified is remembered.
    pub(crate) remembers: bool,
}

impl Ledger {
    pub(crate) fn new(tokens: usize, first: Epoch, table: AccessTable) -> Self {
        Self {
            stamp: 0,
            leeway: 0,
            enforce_expiry: true,
            subscriptions: usize::MAX,
            closing: None,
            epochs: vec![first],
            tables: vec![table],
            events: Vec::new(),
            revocations: Vec::new(),
            lists: vec![Vec::new(); TOPICS],
            verified: vec![false; tokens],
            keys_since: 0,
            asks_service: false,
            trouble: 0,
            remembers: true,
        }
    }

    /// The next input's stamp.
    pub(crate) const fn next(&mut self) -> Stamp {
        self.stamp += 1;
        self.stamp
    }

    /// The last input's stamp.
    pub(crate) const fn stamp(&self) -> Stamp {
        self.stamp
    }

    pub(crate) fn epoch(&self) -> &Epoch {
        self.epochs.last().expect("there is always one")
    }

    /// A new turn, with what the wall clock shows.
    pub(crate) fn begin_turn(&mut self, monotonic: u64, wall: u64) {
        let stamp = self.next();
        let former = *self.epoch();
        self.epochs.push(Epoch { stamp, monotonic, wall, turn: former.turn + 1, ..former });
    }

    /// The wall clock shows something else.
    pub(crate) fn change_wall(&mut self, wall: u64) {
        if self.epoch().wall != wall {
            let stamp = self.next();
            self.epochs.push(Epoch { stamp, wall, ..*self.epoch() });
        }
    }

    pub(crate) fn change_keys(&mut self, keys: usize) {
        let stamp = self.next();
        self.epochs.push(Epoch { stamp, keys, ..*self.epoch() });
        self.verified.fill(false);
        self.keys_since = stamp;
    }

    pub(crate) fn change_access(&mut self, table: AccessTable) {
        let stamp = self.next();
        self.tables.push(table);
        self.epochs.push(Epoch { stamp, access: self.tables.len() - 1, ..*self.epoch() });
    }

    pub(crate) fn revoke(&mut self, user: usize, subject: Option<Subject>) {
        let stamp = self.next();
        self.revocations.push(Revocation { stamp, user, subject });
    }

    /// A producer has written an event; its data says of itself that it is number `self.events.len()`.
    pub(crate) fn write_event(&mut self, subject: Subject, users: Option<Vec<usize>>, message: String) {
        self.events.push(Event { read: None, subject, users, message });
    }

    /// The server has read an event.
    pub(crate) fn read_event(&mut self, number: usize) {
        self.events[number].read = Some(self.next());
        for topic in self.topics(number) {
            self.lists[topic.index()].push(number);
        }
    }

    /// The topics of an event.
    pub(crate) fn topics(&self, number: usize) -> Vec<Topic> {
        let Event { subject: (kind, object), users, .. } = &self.events[number];
        match object {
            Some(object) if *kind != NOTIFICATION => vec![Topic::Object(*kind, *object)],
            _ => {
                let everyone: Vec<usize> = if users.is_none() { (0..USERS).collect() } else { Vec::new() };
                let with_id = |user| object.map(|object| Topic::Notes(user, Some(object)));
                let users = users.as_ref().unwrap_or(&everyone).iter();
                users.flat_map(|&user| [Topic::Notes(user, None)].into_iter().chain(with_id(user))).collect()
            }
        }
    }

    /// How many of a topic's events were read before `stamp`.
    pub(crate) fn count_before(&self, topic: Topic, stamp: Stamp) -> usize {
        self.lists[topic.index()].partition_point(|&event| self.events[event].read < Some(stamp))
    }

    pub(crate) fn count(&self, topic: Topic) -> usize {
        self.lists[topic.index()].len()
    }

    /// The place of an event among those of a topic, if it is one of them.
    pub(crate) fn place(&self, topic: Topic, event: usize) -> Option<usize> {
        let read = self.events[event].read?;
        self.lists[topic.index()].binary_search_by_key(&Some(read), |&event| self.events[event].read).ok()
    }

    /// When the event at this place of a topic was read, if there is one.
    pub(crate) fn event_at(&self, topic: Topic, place: usize) -> Option<Stamp> {
        self.events[*self.lists[topic.index()].get(place)?].read
    }

    /// Bytes of the messages of a topic from this place on.
    pub(crate) fn bytes_from(&self, topic: Topic, place: usize) -> usize {
        let list = &self.lists[topic.index()];
        let length = |&event: &usize| self.events[event].message.len();
        // With the frame's head (RFC 6455 §5.2).
        list.iter().skip(place).map(length).map(|length| length + if length < 126 { 2 } else { 4 }).sum()
    }

    /// A request given at `stamp` has shown that the token's signature is good.
    pub(crate) fn note_verified(&mut self, token: usize, stamp: Stamp) {
        if stamp > self.keys_since {
            self.verified[token] = self.remembers;
        }
    }

    /// Whether what comes of this token now needs no signature check.
    pub(crate) fn is_decided_at_once(&self, number: usize) -> bool {
        let shown = token(number);
        self.verified[number] && !self.asks_service
            || shown.flaw == Some(Flaw::Plain)
            || !self.is_valid_at(shown, self.epoch().wall)
    }

    fn is_valid_at(&self, token: &Token, wall: u64) -> bool {
        wall < token.expires + self.leeway && wall + self.leeway >= token.not_before
    }

    /// What may be said of a request given at `stamp`, in epoch number `first`, and answered by now: the codes 0, 2, 3, 4
    /// and 8 that are possible, as bits.
    pub(crate) fn codes(
        &self,
        stamp: Stamp,
        first: usize,
        number: usize,
        is_attach: bool,
        subject: Subject,
    ) -> u16 {
        let shown = token(number);
        let mut codes = 0;
        for epoch in &self.epochs[first..] {
            let is_good = shown.flaw.is_none()
                && self.is_valid_at(shown, epoch.wall)
                && epoch.keys >> shown.key & 1 == 1;
            codes |= if is_good { 1 << self.access(epoch, shown.user, is_attach, subject) } else { 1 << 2 };
        }
        if self.asks_service && codes != 1 << 2 {
            codes |= self.answers(stamp, first, shown.user, is_attach, subject);
        }
        codes
    }

    /// What the access service may have answered before, and why it may not have answered at all.
    fn answers(&self, stamp: Stamp, first: usize, user: usize, is_attach: bool, subject: Subject) -> u16 {
        // Of a notification only the user's existence is asked, which the revocation of one does not end.
        let about = |revocation: &&Revocation| {
            let is_asked = |other| is_attach && other == subject && subject.0 != NOTIFICATION;
            revocation.user == user && revocation.subject.is_none_or(is_asked)
        };
        let (before, after): (Vec<&Revocation>, Vec<&Revocation>) =
            self.revocations.iter().filter(about).partition(|revocation| revocation.stamp < stamp);
        let given = self.epochs[first].monotonic;
        // An answer counts for a while, unless the right was revoked meanwhile.
        let oldest = self.epochs.partition_point(|epoch| epoch.monotonic + KEEP < given).saturating_sub(1);
        let revoked = before.last().map_or(0, |last| last.stamp);
        let first = self.epochs.partition_point(|epoch| epoch.stamp <= revoked).saturating_sub(1).max(oldest);
        let mut codes = 0;
        for epoch in &self.epochs[first..] {
            codes |= 1 << self.access(epoch, user, is_attach, subject);
        }
        for revocation in after {
            codes |= if revocation.subject.is_none() { 1 << 3 } else { 1 << 4 };
        }
        let is_late = self.epoch().monotonic - given >= TIMEOUT;
        codes | u16::from(is_late || self.trouble >= stamp) << 8
    }

    /// What the access table says: 0, 3 or 4.
    pub(crate) fn access(&self, epoch: &Epoch, user: usize, is_attach: bool, (kind, object): Subject) -> u8 {
        match (&self.tables[epoch.access], object) {
            (None, _) => 0,
            (Some(table), object) => match (table[user], object) {
                (None, _) => 3,
                (Some(datasets), Some(object))
                    if is_attach && DATASET_KINDS.contains(&kind) && datasets >> object & 1 == 0 =>
                {
                    4
                }
                _ => 0,
            },
        }
    }

    /// Whether a right has ended in this epoch.
    pub(crate) fn has_ended_in(&self, epoch: &Epoch, right: &Right) -> bool {
        [2, 3, 4].into_iter().any(|code| self.end_in(epoch, right, code).is_some())
    }

    /// What has ended a right in this epoch, if something has that is told with this code.
    pub(crate) fn end_in(&self, epoch: &Epoch, right: &Right, code: u8) -> Option<Fault> {
        match code {
            2 if epoch.wall >= right.ends => Some(Fault::TokenExpiry),
            2 => (epoch.keys >> right.key & 1 == 0).then_some(Fault::KeyChange),
            // A service is asked when a client attaches; it ends rights by revocations.
            _ if self.asks_service => None,
            code => {
                let ends = self.access(epoch, right.owner, true, right.topic.subject()) == code;
                ends.then_some(Fault::AccessChange)
            }
        }
    }

    pub(crate) fn ends_at(&self, token: &Token) -> u64 {
        if self.enforce_expiry { token.expires + self.leeway } else { u64::MAX }
    }
}

impl Revocation {
    /// The code with which it ends a right; `None` if it does not concern it.
    pub(crate) fn ends(&self, right: &Right) -> Option<u8> {
        match self.subject {
            _ if self.user != right.owner => None,
            None => Some(3),
            Some(subject) => (Topic::of(self.user, subject) == right.topic).then_some(4),
        }
    }
}

/// An access file that says what the table says.
pub(crate) fn access_file(table: &[Option<u32>]) -> String {
    let mut file = String::from("{\"users\":{");
    for (user, datasets) in table.iter().enumerate() {
        let Some(datasets) = datasets else { continue };
        let listed: Vec<String> = (0..OBJECTS)
            .filter(|object| datasets >> object & 1 == 1)
            .map(|object| format!("\"{}\"", object_id(Some(object))))
            .collect();
        let comma = if file.ends_with('{') { "" } else { "," };
        let _ = write!(file, "{comma}\"{}\":{{\"datasets\":[{}]}}", user_id(user), listed.join(","));
    }
    file + "}}"
}

/// The message that subscribers get of an event with this data.
pub(crate) fn message((kind, object): Subject, data: &str) -> String {
    format!(r#"{{"type":"{}","id":"{}","data":{data}}}"#, KINDS[kind], object_id(object))
}
