//! What subscriptions rest on: each lease once, however many share it, in the order of their ends.
//!
//! A crowd of tokens made within one second has one lease, so that a subscription keeps four bytes of it.

use super::Entry;
use super::linked::{Head, Key, push_front, unlink};
use crate::time::Wall;
use crate::token::KeyId;
use slab::Slab;
use std::collections::BTreeMap;

/// What a subscription rests on: the end and the key of the token that created or last renewed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When the subscription expires; may be [`Wall::NEVER`].
    pub ends: Wall,
    /// The key that verified the token.
    pub key: KeyId,
}

/// The leases of all subscriptions, each with at least one.
#[derive(Debug, Default)]
pub(super) struct Leases {
    leases: Slab<Held>,
    index: BTreeMap<(Wall, KeyId), Key>,
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    subscriptions: Head,
}

impl Leases {
    /// Attaches this lease to the subscription `key`, which must have none.
    pub(super) fn hold(&mut self, subscriptions: &mut Slab<Entry>, key: Key, lease: Lease) {
        let Self { leases, index } = self;
        let at = *index
            .entry((lease.ends, lease.key))
            .or_insert_with(|| Key::new(leases.insert(Held { lease, subscriptions: None })));
        subscriptions[key.index()].lease = at;
        let head = &mut leases[at.index()].subscriptions;
        push_front(subscriptions, head, key, |entry| &mut entry.of_lease);
    }

    /// Detaches the subscription `key` from its lease.
    pub(super) fn release(&mut self, subscriptions: &mut Slab<Entry>, key: Key) {
        let at = subscriptions[key.index()].lease;
        let head = &mut self.leases[at.index()].subscriptions;
        unlink(subscriptions, head, key, |entry| &mut entry.of_lease);
        if head.is_none() {
            let Lease { ends, key } = self.leases.remove(at.index()).lease;
            self.index.remove(&(ends, key));
        }
    }

    /// The lease with this key.
    pub(super) fn get(&self, key: Key) -> Lease {
        self.leases[key.index()].lease
    }

    /// When the next lease expires, and one of its subscriptions.
    pub(super) fn first(&self) -> Option<(Wall, Key)> {
        let (&(ends, _), &at) = self.index.first_key_value()?;
        let subscription = self.leases[at.index()].subscriptions?;
        (ends != Wall::NEVER).then_some((ends, subscription))
    }

    /// Whether there are none.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty() && self.index.is_empty()
    }
}
