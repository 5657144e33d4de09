//! From a producer's event to its subscribers' queues: encoded once, shared by all.
//!
//! Consecutive events for the same subscribers are batched, so a burst costs each subscriber one queue entry and one
//! write. Batching adds no delay: a batch is flushed at the latest at the end of the turn's input, and before any change
//! of the subscriptions.

use super::{Hub, HubCounters};
use crate::api::{Audience, Event, EventType, ObjectId, Subject, UserId, encode_taken};
use crate::peers::{Lane, Peers, Texts};
use crate::server::Service as _;
use crate::subscriptions::{Subscriptions, Topic};
use crate::time::{Monotonic, Now};

/// A fan-out to more peers than this is written in the bulk lane.
const PROMPT_FAN_OUT: usize = 128;

/// Most bytes of a batch before its last event: about what a socket buffer holds.
const BATCH_BYTES: usize = 64 << 10;

/// Consecutive events for the same subscribers, not yet fanned out.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The recipients of the events; `None` if the batch is empty.
    recipients: Option<Recipients>,
    /// For personal events, the slots of the recipients' peers, each once. For a topic, the subscriptions know them.
    slots: Vec<usize>,
    /// The number of events.
    events: u64,
    texts: Texts,
}

/// The recipients of an event.
#[derive(Debug, PartialEq, Eq)]
enum Recipients {
    /// The topic's subscribers.
    Topic(Topic),
    /// Those of these users (`None`: all users) that are subscribed to this personal type, with this id or any.
    Personal(EventType, Option<Box<[UserId]>>, Option<ObjectId>),
}

impl Batch {
    /// Queues the events for their recipients and empties the batch.
    pub(super) fn flush(
        &mut self,
        subscriptions: &Subscriptions,
        peers: &mut Peers,
        counters: &mut HubCounters,
        now: Monotonic,
    ) {
        let Some(recipients) = self.recipients.take() else { return };
        let mut messages = self.texts.take();
        let (queued, kind) = match recipients {
            Recipients::Topic(topic) => {
                let subscribers = subscriptions.subscribers(&topic);
                let slots = subscribers.iter().map(|subscriber| subscriber.slot());
                (peers.fan_out(slots, &mut messages, lane(subscribers.len()), now), topic.subject().kind)
            }
            Recipients::Personal(kind, ..) => {
                let lane = lane(self.slots.len());
                (peers.fan_out(self.slots.drain(..), &mut messages, lane, now), kind)
            }
        };
        counters.deliveries[kind as usize] += queued as u64 * std::mem::take(&mut self.events);
    }

    /// Whether an event of this subject for these users can join the batch.
    fn continues(&self, subject: Subject, users: Option<&[UserId]>) -> bool {
        let Some(Recipients::Personal(kind, of_batch, id)) = &self.recipients else { return false };
        let is_same = (*kind, *id) == (subject.kind, subject.id) && of_batch.as_deref() == users;
        is_same && self.texts.len() < BATCH_BYTES
    }

    /// Adds an event.
    fn push(&mut self, event: &Event<'_>) {
        self.events += 1;
        self.texts.push(|out| event.encode_message(out));
    }
}

impl Hub {
    /// Publishes an event, and answers if it has an `ack`.
    pub(super) fn publish(&mut self, peers: &mut Peers, event: &Event<'_>, answers: &mut Vec<u8>, now: Now) {
        let subscribers = match (&event.audience, event.subject.id) {
            (Audience::Attached, Some(id)) => {
                self.publish_to_topic(peers, Topic::Object(event.subject.kind, id), event, now)
            }
            (Audience::Users(users), _) => self.notify(peers, Some(users), event, now),
            (Audience::Everyone | Audience::Attached, _) => self.notify(peers, None, event, now),
        };
        self.counters.events[event.subject.kind as usize] += 1;
        acknowledge(event.ack, subscribers, answers);
    }

    /// Adds the event to the batch of its topic. Returns the number of subscribers.
    fn publish_to_topic(&mut self, peers: &mut Peers, topic: Topic, event: &Event<'_>, now: Now) -> usize {
        if self.batch.recipients != Some(Recipients::Topic(topic)) || self.batch.texts.len() >= BATCH_BYTES {
            self.flush_batch(peers, now);
        }
        let subscribers = self.subscriptions.subscribers(&topic).len();
        if subscribers > 0 {
            self.batch.recipients = Some(Recipients::Topic(topic));
            self.batch.push(event);
        }
        subscribers
    }

    /// Adds a personal event for these users (`None`: everyone) to their batch. Returns the number of peers it reaches,
    /// each counted once.
    fn notify(&mut self, peers: &mut Peers, users: Option<&[UserId]>, event: &Event<'_>, now: Now) -> usize {
        let Subject { kind, id } = event.subject;
        if !self.batch.continues(event.subject, users) {
            self.flush_batch(peers, now);
            self.examined += users.map_or_else(|| self.subscriptions.personal_topics(), <[UserId]>::len);
            self.batch.slots.clear();
            self.batch.slots.extend(self.subscriptions.notified(kind, users, id));
            self.batch.slots.sort_unstable();
            self.batch.slots.dedup();
        }
        if !self.batch.slots.is_empty() {
            if self.batch.recipients.is_none() {
                self.batch.recipients = Some(Recipients::Personal(kind, users.map(Box::from), id));
            }
            self.batch.push(event);
        }
        self.batch.slots.len()
    }
}

/// Answers a line that has an `ack`.
pub(super) fn acknowledge(ack: Option<&str>, subscribers: usize, answers: &mut Vec<u8>) {
    if let Some(ack) = ack {
        encode_taken(ack, subscribers as u64, answers);
    }
}

const fn lane(subscribers: usize) -> Lane {
    if subscribers > PROMPT_FAN_OUT { Lane::Bulk } else { Lane::Event }
}
