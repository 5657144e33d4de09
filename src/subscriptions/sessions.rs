//! Sessions: the users of each peer, and the peers of each user.

use super::linked::{Head, Key, Links, push_front, unlink};
use super::{Peer, Subscription, Subscriptions, narrow};
use crate::api::UserId;
use crate::peers::PeerId;
use std::hash::BuildHasher as _;
use std::iter;

/// One user on one peer, with at least one subscription.
#[derive(Debug)]
pub(super) struct Session {
    /// The peer's slot, as a key.
    pub(super) slot: Key,
    generation: u32,
    pub(super) user: UserId,
    pub(super) subscriptions: Head,
    next_of_peer: Head,
    pub(super) of_user: Links,
    /// The number of the user's sessions; valid in its first session only.
    pub(super) count: u32,
}

impl Subscriptions {
    /// Adds the subscription to the session of `user` on `peer`, which is created if needed.
    pub(super) fn join_session(&mut self, key: Key, peer: PeerId, user: UserId) {
        let session = self.find_session(peer, user).unwrap_or_else(|| self.begin_session(peer, user));
        self.subscriptions[key.index()].session = session;
        let head = &mut self.sessions[session.index()].subscriptions;
        push_front(&mut self.subscriptions, head, key, |entry| &mut entry.of_session);
    }

    /// Removes the subscription from its session, and the session with its last subscription.
    pub(super) fn leave_session(&mut self, key: Key) {
        let session = self.subscriptions[key.index()].session;
        let head = &mut self.sessions[session.index()].subscriptions;
        unlink(&mut self.subscriptions, head, key, |entry| &mut entry.of_session);
        if head.is_none() {
            self.remove_session(session);
        }
    }

    fn begin_session(&mut self, peer: PeerId, user: UserId) -> Key {
        if self.peers.len() <= peer.index() {
            self.peers.resize(peer.index() + 1, Peer::default());
        }
        let of_peer = &mut self.peers[peer.index()].sessions;
        let key = Key::new(self.sessions.insert(Session {
            slot: Key::new(peer.index()),
            generation: peer.generation(),
            user,
            subscriptions: None,
            next_of_peer: *of_peer,
            of_user: Links::default(),
            count: 1,
        }));
        *of_peer = Some(key);
        let hash = self.hasher.hash_one(user);
        let Self { user_index, sessions, hasher, .. } = self;
        match user_index.find_mut(hash, |first| sessions[first.index()].user == user) {
            Some(first) => {
                sessions[key.index()].count += sessions[first.index()].count;
                push_front(sessions, &mut Some(*first), key, |session| &mut session.of_user);
                *first = key;
            }
            None => {
                user_index.insert_unique(hash, key, |key| hasher.hash_one(sessions[key.index()].user));
            }
        }
        key
    }

    fn remove_session(&mut self, key: Key) {
        let Session { slot, user, next_of_peer, .. } = self.sessions[key.index()];
        // A peer has few sessions, so a walk is cheap.
        let mut link = &mut self.peers[slot.index()].sessions;
        while let Some(other) = *link
            && other != key
        {
            link = &mut self.sessions[other.index()].next_of_peer;
        }
        *link = next_of_peer;
        let hash = self.hasher.hash_one(user);
        let Self { user_index, sessions, .. } = self;
        if let Ok(mut entry) = user_index.find_entry(hash, |first| sessions[first.index()].user == user) {
            let mut first = Some(*entry.get());
            let left = sessions[entry.get().index()].count - 1;
            unlink(sessions, &mut first, key, |session| &mut session.of_user);
            match first {
                Some(first) => {
                    *entry.get_mut() = first;
                    sessions[first.index()].count = left;
                }
                None => drop(entry.remove()),
            }
        }
        self.sessions.remove(key.index());
    }

    /// Ends a session's subscriptions, and with the last of them the session.
    pub(super) fn end_session(&mut self, session: Key, ended: &mut impl FnMut(Subscription)) {
        let mut next = self.sessions[session.index()].subscriptions;
        while let Some(key) = next {
            next = self.subscriptions[key.index()].of_session.next;
            ended(self.get(key));
            self.remove(key);
        }
    }

    /// The first session of the user.
    pub(super) fn find_user(&self, user: UserId) -> Option<Key> {
        let is_it = |key: &Key| self.sessions[key.index()].user == user;
        self.user_index.find(self.hasher.hash_one(user), is_it).copied()
    }

    /// The peer's sessions: one for each user whose token it has sent.
    pub(super) fn sessions_of_peer(&self, peer: PeerId) -> impl Iterator<Item = &Session> {
        let session = |key: Key| &self.sessions[key.index()];
        let first = self.peers.get(peer.index()).and_then(|peer| peer.sessions);
        iter::successors(first.map(session), move |it| it.next_of_peer.map(session))
    }

    /// The session of `user` on `peer`. Walks the peer's sessions, which are few.
    pub(super) fn find_session(&self, peer: PeerId, user: UserId) -> Option<Key> {
        let mut session = self.peers.get(peer.index())?.sessions;
        while let Some(key) = session {
            let Session { user: owner, next_of_peer, .. } = &self.sessions[key.index()];
            if *owner == user {
                break;
            }
            session = *next_of_peer;
        }
        session
    }
}

impl Session {
    pub(super) fn peer(&self) -> PeerId {
        PeerId::new(narrow(self.slot.index()), self.generation)
    }
}
