//! All subscriptions, indexed by topic for the fan-out, by peer for disconnection, by user for revocation, and by the end
//! of their lease for expiry.
//!
//! Expiry and disconnection cost O(1) for each subscription that ends. Attach and detach search the peer's subscriptions
//! or the topic's subscribers, whichever are fewer; so they visit at most as many entries as one peer may have
//! subscriptions. The subscribers of a topic are one contiguous array of eight-byte entries, for the fan-out to walk.
//!
//! A subscription belongs to a *session*: one user on one peer. Nearly every peer has exactly one. This module knows
//! nothing of frames, replies or the reasons for which a subscription ends.

mod leases;
mod linked;
mod sessions;
mod topic;

pub use leases::Lease;
pub use topic::{Subscriber, Topic};

use crate::api::{EventType, ObjectId, UserId};
use crate::peers::PeerId;
use crate::time::Wall;
use hashbrown::HashTable;
use leases::Leases;
use linked::{Head, Key, Links};
use sessions::Session;
use slab::Slab;
use std::hash::{BuildHasher as _, RandomState};
use std::iter;
use topic::{Lists, Removed, Subscribers};

/// A subscription, as this module's callers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The subscribed peer.
    pub peer: PeerId,
    /// Its owner: the user of the token that created or last renewed it.
    pub user: UserId,
    /// The topic.
    pub topic: Topic,
    /// When and with which key it ends.
    pub lease: Lease,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// By the peer's slot.
    peers: Vec<Peer>,
    sessions: Slab<Session>,
    topics: Slab<TopicEntry>,
    lists: Lists,
    subscriptions: Slab<Entry>,
    /// The first session of each user.
    user_index: HashTable<Key>,
    topic_index: HashTable<Key>,
    hasher: RandomState,
    leases: Leases,
    /// The [personal](Topic::Personal) topics, in no order, for personal events to everyone.
    personal_topics: Vec<Key>,
    /// The number of subscriptions, by event type.
    counters: [usize; EventType::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    sessions: Head,
    subscriptions: u32,
}

/// A topic with at least one subscriber.
#[derive(Debug)]
struct TopicEntry {
    topic: Topic,
    subscribers: Subscribers,
    /// The topic's position in `personal_topics`, if it is one of them.
    position: u32,
}

#[derive(Debug)]
struct Entry {
    session: Key,
    topic: Key,
    /// The position in the topic's list of subscribers.
    position: u32,
    of_session: Links,
    lease: Key,
    of_lease: Links,
}

impl Subscriptions {
    /// No subscriptions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Subscribes `peer` to `topic` on behalf of `user`. An existing subscription is renewed with this owner and lease,
    /// unless its owner is the same and its lease ends later. Returns whether the subscription is new.
    pub fn attach(&mut self, peer: PeerId, user: UserId, topic: Topic, lease: Lease) -> bool {
        let hash = self.hasher.hash_one(topic);
        let place = self.find_topic_hashed(&topic, hash);
        let standing = place.and_then(|place| self.find_at(peer, place));
        match standing {
            Some(key) => self.renew(key, peer, user, lease),
            None => self.insert(peer, user, place.ok_or((topic, hash)), lease),
        }
        standing.is_none()
    }

    /// Ends the subscription of `peer` to `topic`. Returns whether there was one.
    pub fn detach(&mut self, peer: PeerId, topic: &Topic) -> bool {
        let key = self.find(peer, topic);
        if let Some(key) = key {
            self.remove(key);
        }
        key.is_some()
    }

    /// Ends every subscription of a peer that disconnected.
    pub fn disconnect(&mut self, peer: PeerId) {
        while let Some(session) = self.peers.get(peer.index()).and_then(|peer| peer.sessions) {
            debug_assert_eq!(
                self.sessions[session.index()].peer(),
                peer,
                "a slot is reused only after its peer disconnected"
            );
            self.end_session(session, &mut |_| {});
        }
    }

    /// Ends every subscription of `user`, passing each to `ended`.
    pub fn end_user(&mut self, user: UserId, mut ended: impl FnMut(Subscription)) {
        let mut session = self.find_user(user);
        while let Some(key) = session {
            session = self.sessions[key.index()].of_user.next;
            self.end_session(key, &mut ended);
        }
    }

    /// Ends every subscription of `user` to `topic`, passing each to `ended`. Other users keep theirs.
    pub fn end_topic_of_user(&mut self, user: UserId, topic: &Topic, mut ended: impl FnMut(Subscription)) {
        let mut session = self.find_user(user);
        while let Some(key) = session {
            let peer = self.sessions[key.index()].peer();
            session = self.sessions[key.index()].of_user.next;
            if let Some(entry) = self.find(peer, topic)
                && self.subscriptions[entry.index()].session == key
            {
                ended(self.get(entry));
                self.remove(entry);
            }
        }
    }

    /// Ends every subscription whose lease has ended by `now`, in that order, passing each to `ended`.
    pub fn expire(&mut self, now: Wall, mut ended: impl FnMut(Subscription)) {
        while let Some((moment, key)) = self.leases.first()
            && moment <= now
        {
            ended(self.get(key));
            self.remove(key);
        }
    }

    /// When the next lease ends.
    #[must_use]
    pub fn next_end(&self) -> Option<Wall> {
        self.leases.first().map(|(moment, _)| moment)
    }

    /// Ends every subscription for which `judge` returns a reason, passing each to `ended`. Visits all subscriptions.
    pub fn end_where<R>(
        &mut self,
        mut judge: impl FnMut(&Subscription) -> Option<R>,
        mut ended: impl FnMut(Subscription, R),
    ) {
        let keys = self.subscriptions.iter().map(|(index, _)| Key::new(index));
        let doomed: Vec<_> =
            keys.filter_map(|key| judge(&self.get(key)).map(|reason| (key, reason))).collect();
        for (key, reason) in doomed {
            ended(self.get(key), reason);
            self.remove(key);
        }
    }

    /// The subscribers of `topic`, each peer once, in no particular order.
    #[must_use]
    pub fn subscribers(&self, topic: &Topic) -> &[Subscriber] {
        self.find_topic(topic).map_or(&[], |key| self.lists.get(&self.topics[key.index()].subscribers))
    }

    /// The slots of the peers that a personal event of this type and id reaches, for these users (`None`: everyone). A
    /// peer with several matching subscriptions is listed several times.
    pub fn notified(
        &self,
        kind: EventType,
        users: Option<&[UserId]>,
        id: Option<ObjectId>,
    ) -> impl Iterator<Item = usize> {
        let with_id = id.is_some().then_some(id);
        let topics_of =
            move |&user| [None].into_iter().chain(with_id).map(move |id| Topic::Personal(kind, user, id));
        let named =
            users.into_iter().flatten().flat_map(topics_of).flat_map(|topic| self.subscribers(&topic));
        let all = if users.is_none() { self.personal_topics.as_slice() } else { &[] };
        let everyone = all.iter().map(|key| &self.topics[key.index()]).filter(
            move |entry| matches!(entry.topic, Topic::Personal(of, _, wanted) if of == kind && (wanted.is_none() || wanted == id)),
        );
        named
            .chain(everyone.flat_map(|entry| self.lists.get(&entry.subscribers)))
            .map(|subscriber| subscriber.slot())
    }

    /// How many topics of personal types have subscribers: what [`notified`](Self::notified) walks through for everyone.
    #[must_use]
    pub fn personal_topics(&self) -> usize {
        self.personal_topics.len()
    }

    /// Whether `peer` is subscribed to `topic`.
    #[must_use]
    pub fn contains(&self, peer: PeerId, topic: &Topic) -> bool {
        self.find(peer, topic).is_some()
    }

    /// The number of subscriptions of `peer`.
    #[must_use]
    pub fn count_of_peer(&self, peer: PeerId) -> usize {
        self.peers.get(peer.index()).map_or(0, |peer| peer.subscriptions as usize)
    }

    /// The users on whose behalf `peer` is subscribed: nearly always one.
    pub fn users_of_peer(&self, peer: PeerId) -> impl Iterator<Item = UserId> {
        self.sessions_of_peer(peer).map(|session| session.user)
    }

    /// The number of connections on which `user` has a subscription.
    #[must_use]
    pub fn count_of_user(&self, user: UserId) -> usize {
        self.find_user(user).map_or(0, |first| self.sessions[first.index()].count as usize)
    }

    /// Whether `peer` has a subscription of `user`.
    #[must_use]
    pub fn has_session(&self, peer: PeerId, user: UserId) -> bool {
        self.find_session(peer, user).is_some()
    }

    /// The number of users with a subscription.
    #[must_use]
    pub fn users(&self) -> usize {
        self.user_index.len()
    }

    /// The number of subscriptions of this type.
    #[must_use]
    pub const fn count_of_kind(&self, kind: EventType) -> usize {
        self.counters[kind as usize]
    }

    /// Inserts a subscription to an existing topic, or to a new one, given with its hash.
    fn insert(&mut self, peer: PeerId, user: UserId, topic: Result<Key, (Topic, u64)>, lease: Lease) {
        let key = Key::new(self.subscriptions.vacant_key());
        let subscriber = Subscriber { peer: narrow(peer.index()), subscription: key };
        let (topic, position) = match topic {
            Ok(topic) => (topic, self.join_topic(topic, subscriber)),
            Err((topic, hash)) => (self.begin_topic(topic, hash, subscriber), 0),
        };
        self.subscriptions.insert(Entry {
            session: key, // until join_session, just below
            topic,
            position,
            of_session: Links::default(),
            lease: key, // until hold, just below
            of_lease: Links::default(),
        });
        self.join_session(key, peer, user);
        self.leases.hold(&mut self.subscriptions, key, lease);
        self.peers[peer.index()].subscriptions += 1;
        self.counters[self.kind_of(topic)] += 1;
    }

    fn renew(&mut self, key: Key, peer: PeerId, user: UserId, lease: Lease) {
        let Entry { session, lease: standing, .. } = self.subscriptions[key.index()];
        let same_owner = self.sessions[session.index()].user == user;
        if same_owner && self.leases.get(standing).ends > lease.ends {
            return;
        }
        self.leases.release(&mut self.subscriptions, key);
        self.leases.hold(&mut self.subscriptions, key, lease);
        if !same_owner {
            self.leave_session(key);
            self.join_session(key, peer, user);
        }
    }

    fn remove(&mut self, key: Key) {
        let Entry { session, topic, position, .. } = self.subscriptions[key.index()];
        let slot = self.sessions[session.index()].slot;
        self.counters[self.kind_of(topic)] -= 1;
        self.leases.release(&mut self.subscriptions, key);
        self.leave_session(key);
        self.leave_topic(topic, position);
        self.subscriptions.remove(key.index());
        self.peers[slot.index()].subscriptions -= 1;
    }

    /// Creates a topic with its first subscriber.
    fn begin_topic(&mut self, topic: Topic, hash: u64, first: Subscriber) -> Key {
        let position = match topic {
            Topic::Personal(..) => narrow(self.personal_topics.len()),
            Topic::Object(..) => 0,
        };
        let entry = TopicEntry { topic, subscribers: Subscribers::One(first), position };
        let key = Key::new(self.topics.insert(entry));
        if let Topic::Personal(..) = topic {
            self.personal_topics.push(key);
        }
        let Self { topic_index, topics, hasher, .. } = self;
        topic_index.insert_unique(hash, key, |key| hasher.hash_one(topics[key.index()].topic));
        key
    }

    /// Adds a subscriber to the topic's list. Returns its position.
    fn join_topic(&mut self, topic: Key, subscriber: Subscriber) -> u32 {
        narrow(self.lists.push(&mut self.topics[topic.index()].subscribers, subscriber))
    }

    /// Removes a subscriber from the topic's list, and the topic with its last subscriber.
    fn leave_topic(&mut self, topic: Key, position: u32) {
        let subscribers = &self.topics[topic.index()].subscribers;
        match self.lists.swap_remove(subscribers, position as usize) {
            Removed::FromEnd => {}
            Removed::Moved(moved) => self.subscriptions[moved.subscription.index()].position = position,
            Removed::Last => {
                let hash = self.hasher.hash_one(self.topics[topic.index()].topic);
                if let Ok(entry) = self.topic_index.find_entry(hash, |&found| found == topic) {
                    entry.remove();
                }
                let TopicEntry { topic: name, position, .. } = self.topics.remove(topic.index());
                if let Topic::Personal(..) = name {
                    self.personal_topics.swap_remove(position as usize);
                    if let Some(moved) = self.personal_topics.get(position as usize) {
                        self.topics[moved.index()].position = position;
                    }
                }
            }
        }
    }

    fn get(&self, key: Key) -> Subscription {
        let Entry { session, topic, lease, .. } = self.subscriptions[key.index()];
        let session = &self.sessions[session.index()];
        let topic = self.topics[topic.index()].topic;
        Subscription { peer: session.peer(), user: session.user, topic, lease: self.leases.get(lease) }
    }

    fn find(&self, peer: PeerId, topic: &Topic) -> Option<Key> {
        self.find_at(peer, self.find_topic(topic)?)
    }

    /// The subscription of `peer` to the topic with this key.
    fn find_at(&self, peer: PeerId, topic: Key) -> Option<Key> {
        let subscribers = self.lists.get(&self.topics[topic.index()].subscribers);
        let found = if subscribers.len() < self.count_of_peer(peer) {
            subscribers.iter().find(|it| it.slot() == peer.index()).map(|it| it.subscription)
        } else {
            self.keys_of_peer(peer).find(|key| self.subscriptions[key.index()].topic == topic)
        };
        found.filter(|key| self.sessions[self.subscriptions[key.index()].session.index()].peer() == peer)
    }

    /// The peer's subscriptions.
    fn keys_of_peer(&self, peer: PeerId) -> impl Iterator<Item = Key> {
        self.sessions_of_peer(peer).flat_map(|session| {
            iter::successors(session.subscriptions, |key| self.subscriptions[key.index()].of_session.next)
        })
    }

    /// The topic's index in `counters`.
    fn kind_of(&self, topic: Key) -> usize {
        self.topics[topic.index()].topic.kind() as usize
    }

    fn find_topic(&self, topic: &Topic) -> Option<Key> {
        self.find_topic_hashed(topic, self.hasher.hash_one(topic))
    }

    fn find_topic_hashed(&self, topic: &Topic, hash: u64) -> Option<Key> {
        self.topic_index.find(hash, |key| self.topics[key.index()].topic == *topic).copied()
    }
}

/// A count or position as four bytes. Memory cannot hold 2³² of anything counted here.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than 2^32 of anything")
}

#[cfg(test)]
mod tests;
