//! The users, objects and event types of the simulation, and their topics, all numbered.

use std::sync::LazyLock;

pub(crate) const USERS: usize = 64;
pub(crate) const OBJECTS: usize = 12;
/// The event types of the contract; [`NOTIFICATION`] is the personal one, and an access file decides [`DATASET_KINDS`]
/// by the object.
pub(crate) use crate::event_types::{
    EVENT_TYPES as KINDS, OF_DATASETS as DATASET_KINDS, PERSONAL as NOTIFICATION,
};
pub(crate) const TOPICS: usize = KINDS.len() * OBJECTS + USERS * (OBJECTS + 1);

/// Precedes a user's id in what only that user may read.
pub(crate) const SECRET: &str = "secret of ";

/// A topic of subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// A type's events of an object.
    Object(usize, usize),
    /// A user's notifications: all, or those with this id.
    Notes(usize, Option<usize>),
}

/// A type and an object, which only a notification may lack.
pub(crate) type Subject = (usize, Option<usize>);

impl Topic {
    /// The topic of `subject` for `user`.
    pub(crate) const fn of(user: usize, (kind, object): Subject) -> Self {
        match object {
            _ if kind == NOTIFICATION => Self::Notes(user, object),
            Some(object) => Self::Object(kind, object),
            None => panic!("only a notification may lack its object"),
        }
    }

    /// The topic's place among all [`TOPICS`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Object(kind, object) => kind * OBJECTS + object,
            Self::Notes(user, object) => {
                let place = match object {
                    None => 0,
                    Some(object) => 1 + object,
                };
                KINDS.len() * OBJECTS + user * (OBJECTS + 1) + place
            }
        }
    }

    pub(crate) const fn subject(self) -> Subject {
        match self {
            Self::Object(kind, object) => (kind, Some(object)),
            Self::Notes(_, object) => (NOTIFICATION, object),
        }
    }
}

/// The 24 hex digits of a user's id.
pub(crate) fn user_id(user: usize) -> &'static str {
    &IDS.0[user]
}

/// The 24 hex digits of an object's id; empty without an object.
pub(crate) fn object_id(object: Option<usize>) -> &'static str {
    object.map_or("", |object| &IDS.1[object])
}

/// The object with this id, or no object for the empty id; `None` for an unknown id.
pub(crate) fn object_of(id: &str) -> Option<Option<usize>> {
    if id.is_empty() { Some(None) } else { IDS.1.iter().position(|known| known == id).map(Some) }
}

static IDS: LazyLock<(Vec<String>, Vec<String>)> = LazyLock::new(|| {
    let ids = |first: &str, count| (0..count).map(|number| format!("{first}{number:04x}")).collect();
    (ids("5dad615eae019570fb46", USERS), ids("610217e481f6fc547362", OBJECTS))
});
