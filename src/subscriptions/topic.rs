//! What can be subscribed to, and the list of those who did.

use super::linked::Key;
use crate::api::{EventType, ObjectId, Subject, UserId};

/// What a subscription is to. Notifications are personal, so their topic is the user's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The events of this type about this object.
    Object(EventType, ObjectId),
    /// The notifications of this user: all of them, or those whose event carries this id.
    Notification(UserId, Option<ObjectId>),
}

impl Topic {
    /// The topic that `user` means by `subject`; `None` when an id is missing that only a notification may lack.
    #[must_use]
    pub fn new(user: UserId, subject: Subject) -> Option<Self> {
        match subject {
            Subject { kind: EventType::Notification, id } => Some(Self::Notification(user, id)),
            Subject { kind, id } => id.map(|id| Self::Object(kind, id)),
        }
    }

    /// The topic as its subscriber named it.
    #[must_use]
    pub const fn subject(self) -> Subject {
        match self {
            Self::Object(kind, id) => Subject { kind, id: Some(id) },
            Self::Notification(_, id) => Subject { kind: EventType::Notification, id },
        }
    }
}

/// One entry of a topic's list: the peer's slot, which a fan-out needs, and the subscription it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    pub(super) peer: u32,
    pub(super) subscription: Key,
}

impl Subscriber {
    /// The peer's slot. Valid as long as the subscription stands.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.peer as usize
    }
}

/// A topic's subscribers, in no order. Most topics of a large service have one, and that one needs no allocation.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "a box more for each topic with several saves eight bytes for each with one"
)]
pub(super) enum Subscribers {
    One(Subscriber),
    Many(Box<Vec<Subscriber>>),
}

impl Subscribers {
    pub(super) fn as_slice(&self) -> &[Subscriber] {
        match self {
            Self::One(subscriber) => std::slice::from_ref(subscriber),
            Self::Many(subscribers) => subscribers,
        }
    }

    /// Adds a subscriber and returns its position.
    pub(super) fn push(&mut self, subscriber: Subscriber) -> usize {
        match self {
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, subscriber])),
            Self::Many(subscribers) => subscribers.push(subscriber),
        }
        self.as_slice().len() - 1
    }

    /// Removes the subscriber at `position`; the last one takes its place and is returned, if there was another.
    /// `None` leaves the list empty in the one case where its topic is to go with it: the only subscriber left.
    pub(super) fn swap_remove(&mut self, position: usize) -> Removed {
        match self {
            Self::One(_) => Removed::Last,
            Self::Many(subscribers) if subscribers.len() == 1 => Removed::Last,
            Self::Many(subscribers) => {
                subscribers.swap_remove(position);
                // A list that was long and is short gives back its memory, with room to grow so as not to swing.
                if subscribers.len() * 4 < subscribers.capacity() {
                    subscribers.shrink_to(subscribers.len() * 2);
                }
                subscribers.get(position).map_or(Removed::FromEnd, |&moved| Removed::Moved(moved))
            }
        }
    }
}

/// What [`Subscribers::swap_remove`] did to the others.
pub(super) enum Removed {
    /// There are no others: the topic is to go.
    Last,
    /// The removed one was the last of the list; nobody moved.
    FromEnd,
    /// This one now has the removed one's position.
    Moved(Subscriber),
}
