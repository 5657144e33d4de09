//! From a producer's event to its subscribers' queues: encoded once, shared by all (compressed once for those who inflate
//! with the same window).
//!
//! Events that follow each other and go to the same subscribers are joined: a burst costs each subscriber one entry in its
//! queue and one write, however many events it has.

use super::{Hub, HubCounters};
use crate::api::{Audience, Event, encode_taken};
use crate::peers::{Lane, Peers, Shared};
use crate::subscriptions::{Subscriptions, Topic};
use crate::time::{Monotonic, Now};
use crate::websocket::frame::{Frames, OpCode, encode};

/// A fan-out to more than this many goes in bulk: others are written to between.
const PROMPT_FAN_OUT: usize = 128;

/// Bytes of events that are joined at most: about what a socket takes at once.
const JOINED_BYTES: usize = 64 << 10;

/// The events that wait to be queued together: all of one topic, in their order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    topic: Option<Topic>,
    /// How many there are.
    events: u64,
    frames: Vec<u8>,
    /// The message that is being encoded.
    message: Vec<u8>,
}

impl Batch {
    /// Queues the events for the topic's subscribers, and is empty again.
    pub(super) fn queue(
        &mut self,
        subscriptions: &Subscriptions,
        peers: &mut Peers,
        counters: &mut HubCounters,
        now: Monotonic,
    ) {
        if let Some(topic) = self.topic.take() {
            let mut messages = self.take();
            let subscribers = subscriptions.subscribers(&topic);
            let lane = lane(subscribers.len());
            let slots = subscribers.iter().map(|subscriber| subscriber.slot());
            let queued = slots.filter(|&slot| peers.deliver(slot, &mut messages, lane, now)).count();
            counters.deliveries[topic.subject().kind as usize] +=
                queued as u64 * std::mem::take(&mut self.events);
        }
    }

    /// What has been encoded, to be shared.
    fn take(&mut self) -> Shared {
        Shared::new(Frames::new(std::mem::take(&mut self.frames)))
    }

    /// Appends the frame of an event.
    fn encode(&mut self, event: &Event<'_>) {
        self.message.clear();
        event.encode_message(&mut self.message);
        encode(OpCode::Text, &self.message, None, &mut self.frames);
    }
}

impl Hub {
    /// Publishes an event, and answers if it asks for that.
    pub(super) fn publish(&mut self, peers: &mut Peers, event: &Event<'_>, answers: &mut Vec<u8>, now: Now) {
        let subscribers = match (&event.audience, event.subject.id) {
            (Audience::Attached, Some(id)) => {
                self.publish_to_topic(peers, Topic::Object(event.subject.kind, id), event, now)
            }
            (Audience::Users(users), id) => self.notify(peers, Some(users), id, event, now),
            (Audience::Everyone | Audience::Attached, id) => self.notify(peers, None, id, event, now),
        };
        self.counters.events[event.subject.kind as usize] += 1;
        acknowledge(event.ack, subscribers, answers);
    }

    /// Adds the event to the run of its topic. Returns how many it goes to.
    fn publish_to_topic(&mut self, peers: &mut Peers, topic: Topic, event: &Event<'_>, now: Now) -> usize {
        if self.batch.topic != Some(topic) || self.batch.frames.len() >= JOINED_BYTES {
            self.batch.queue(&self.subscriptions, peers, &mut self.counters, now.monotonic);
        }
        let subscribers = self.subscriptions.subscribers(&topic).len();
        if subscribers > 0 {
            self.batch.topic = Some(topic);
            self.batch.events += 1;
            self.batch.encode(event);
        }
        subscribers
    }

    /// Queues a notification for these users (`None`: for everyone), once for each peer. Returns for how many.
    fn notify(
        &mut self,
        peers: &mut Peers,
        users: Option<&[crate::api::UserId]>,
        id: Option<crate::api::ObjectId>,
        event: &Event<'_>,
        now: Now,
    ) -> usize {
        self.batch.queue(&self.subscriptions, peers, &mut self.counters, now.monotonic);
        let mut slots: Vec<usize> = self.subscriptions.notified(event.subject.kind, users, id).collect();
        slots.sort_unstable();
        slots.dedup();
        if !slots.is_empty() {
            self.batch.encode(event);
            let mut messages = self.batch.take();
            let lane = lane(slots.len());
            let queued =
                slots.iter().filter(|&&slot| peers.deliver(slot, &mut messages, lane, now.monotonic)).count();
            self.counters.deliveries[event.subject.kind as usize] += queued as u64;
        }
        slots.len()
    }
}

/// Answers a line that asks for it.
pub(super) fn acknowledge(ack: Option<&str>, subscribers: usize, answers: &mut Vec<u8>) {
    if let Some(ack) = ack {
        encode_taken(ack, subscribers as u64, answers);
    }
}

const fn lane(subscribers: usize) -> Lane {
    if subscribers > PROMPT_FAN_OUT { Lane::Bulk } else { Lane::Prompt }
}
