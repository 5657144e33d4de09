//! Topics and the lists of their subscribers.

use super::linked::Key;
use crate::api::{EventType, ObjectId, Subject, UserId};
use slab::Slab;
use std::hash::{Hash, Hasher};

/// What a client can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The events of this type about this object.
    Object(EventType, ObjectId),
    /// The events of a personal type for this user: all of them, or those with this id.
    Personal(EventType, UserId, Option<ObjectId>),
}

impl Topic {
    /// The topic of `subject` for `user`; `None` if a required id is missing.
    #[must_use]
    pub fn new(user: UserId, subject: Subject) -> Option<Self> {
        let Subject { kind, id } = subject;
        if kind.is_personal() {
            Some(Self::Personal(kind, user, id))
        } else {
            id.map(|id| Self::Object(kind, id))
        }
    }

    /// The type of its events.
    #[must_use]
    pub const fn kind(self) -> EventType {
        match self {
            Self::Object(kind, _) | Self::Personal(kind, _, _) => kind,
        }
    }

    /// The subject as the subscriber requested it.
    #[must_use]
    pub const fn subject(self) -> Subject {
        match self {
            Self::Object(kind, id) => Subject { kind, id: Some(id) },
            Self::Personal(kind, _, id) => Subject { kind, id },
        }
    }
}

/// One write instead of the up to eight of a derived implementation: a third of the time with the standard hasher.
impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (first, second) = match *self {
            Self::Object(_, id) => (id, None),
            Self::Personal(_, UserId(user), id) => (user, id),
        };
        let mut bytes = [0; 25];
        bytes[0] = self.kind() as u8;
        bytes[1..13].copy_from_slice(first.as_bytes());
        if let Some(second) = second {
            bytes[13..].copy_from_slice(second.as_bytes());
        }
        state.write(&bytes);
    }
}

/// One entry of a topic's list: the peer's slot, which a fan-out needs, and the key of the subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    pub(super) peer: u32,
    pub(super) subscription: Key,
}

impl Subscriber {
    /// The peer's slot. Valid while the subscription exists.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.peer as usize
    }
}

/// A topic's subscribers, in no particular order. A single one, the usual case, needs no list.
#[derive(Debug)]
pub(super) enum Subscribers {
    One(Subscriber),
    /// The index of a list in [`Lists`].
    Many(u32),
}

/// The lists of all topics that have had more than one subscriber.
#[derive(Debug, Default)]
pub(super) struct Lists(Slab<Vec<Subscriber>>);

impl Lists {
    pub(super) fn get<'s>(&'s self, subscribers: &'s Subscribers) -> &'s [Subscriber] {
        match subscribers {
            Subscribers::One(subscriber) => std::slice::from_ref(subscriber),
            Subscribers::Many(list) => &self.0[*list as usize],
        }
    }

    /// Adds a subscriber and returns its position.
    pub(super) fn push(&mut self, subscribers: &mut Subscribers, subscriber: Subscriber) -> usize {
        match *subscribers {
            Subscribers::One(first) => {
                let list = self.0.insert(vec![first, subscriber]);
                *subscribers = Subscribers::Many(u32::try_from(list).expect("fewer than 2^32 topics"));
                1
            }
            Subscribers::Many(list) => {
                let list = &mut self.0[list as usize];
                list.push(subscriber);
                list.len() - 1
            }
        }
    }

    /// Removes the subscriber at `position`; the last one takes its place. If there is no other, the list is removed and
    /// the caller must remove the topic.
    pub(super) fn swap_remove(&mut self, subscribers: &Subscribers, position: usize) -> Removed {
        let Subscribers::Many(key) = *subscribers else { return Removed::Last };
        let list = &mut self.0[key as usize];
        if list.len() == 1 {
            self.0.remove(key as usize);
            return Removed::Last;
        }
        list.swap_remove(position);
        // Releases the memory of a list that has shrunk, but leaves room to grow, so that it does not oscillate.
        if list.len() * 4 < list.capacity() {
            list.shrink_to(list.len() * 2);
        }
        list.get(position).map_or(Removed::FromEnd, |&moved| Removed::Moved(moved))
    }

    /// Whether there are none.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What [`Lists::swap_remove`] did to the others.
pub(super) enum Removed {
    /// There are no others: the topic must be removed.
    Last,
    /// The removed one was at the end of the list; none moved.
    FromEnd,
    /// This one now has the removed one's position.
    Moved(Subscriber),
}
