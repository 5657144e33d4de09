//! From a producer's event to its subscribers' queues: encoded once, shared by all.
//!
//! Consecutive events for the same subscribers are batched: a burst costs each subscriber one entry in its queue and one
//! write, however many events it has. Nothing is delayed for it: a batch ends with the turn's input at the latest, and
//! before anything changes who is subscribed.

use super::{Hub, HubCounters};
use crate::api::{Audience, Event, EventType, ObjectId, Subject, UserId, encode_taken};
use crate::peers::{Lane, Peers, Texts};
use crate::server::Service as _;
use crate::subscriptions::{Subscriptions, Topic};
use crate::time::{Monotonic, Now};

/// A fan-out to more peers than this is bulk: others are written to between.
const PROMPT_FAN_OUT: usize = 128;

/// Most bytes of a batch, but for its last event: about what a socket takes at once.
const BATCH_BYTES: usize = 64 << 10;

/// Consecutive events for the same subscribers, not yet fanned out.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Whom the events are for; `None` if there are none.
    recipients: Option<Recipients>,
    /// The slots of the recipients' peers, each once; those of a topic's subscribers are known to the subscriptions.
    slots: Vec<usize>,
    /// How many events there are.
    events: u64,
    texts: Texts,
}

/// Whom an event is for.
#[derive(Debug, PartialEq, Eq)]
enum Recipients {
    /// The topic's subscribers.
    Topic(Topic),
    /// The subscribers to this personal type among these users (`None`: among all) that want this id.
    Personal(EventType, Option<Box<[UserId]>>, Option<ObjectId>),
}

impl Batch {
    /// Queues the events for their recipients, and is empty again.
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

    /// Whether an event of this subject for these users can be added.
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
    /// Publishes an event, and answers if it asks for that.
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

    /// Adds the event to the batch of its topic. Returns how many subscribers it is for.
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

    /// Adds a personal event for these users (`None`: for everyone) to their batch, once for each peer. Returns how many
    /// peers it is for.
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

/// Answers a line that asks for it.
pub(super) fn acknowledge(ack: Option<&str>, subscribers: usize, answers: &mut Vec<u8>) {
    if let Some(ack) = ack {
        encode_taken(ack, subscribers as u64, answers);
    }
}

const fn lane(subscribers: usize) -> Lane {
    if subscribers > PROMPT_FAN_OUT { Lane::Bulk } else { Lane::Event }
}
