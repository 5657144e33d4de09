//! A producer's line: an event or a control line.

use std::fmt;

use serde_json::value::RawValue;

use super::event::{Audience, Event};
use super::id::{EventType, Subject, UserId};
use super::object::{self, Member, Value};
use super::problem::{Problem, What};
use super::subject::read_user;

/// What a producer's line says.
#[derive(Clone, Debug)]
pub enum Line<'a> {
    /// An event to publish.
    Event(Event<'a>),
    /// `{"control":"revoke", …}`: subscriptions end.
    Revoke {
        /// Whose.
        user: UserId,
        /// The one that ends, with code 4; `None`: every one of the user's, with code 3.
        subject: Option<Subject>,
        /// `ack`, as in [`Event::ack`].
        ack: Option<&'a str>,
    },
}

/// Why a line cannot be taken. Its text says what is wrong and in which column, bytes counted from 1.
#[derive(Debug)]
pub struct LineError<'a> {
    what: What<'a>,
    column: usize,
    ack: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// Reads a line, given without its line end.
    ///
    /// # Errors
    ///
    /// The line is no UTF-8, no JSON object, nests deeper than 128 levels, or a member is not as it should be.
    pub fn parse(line: &'a [u8]) -> Result<Self, LineError<'a>> {
        let (text, utf8) = utf8_prefix(line);
        let names = ["control", "type", "id", "data", "users", "ack", "user", "event"];
        let ([control, kind, id, data, users, ack, user, event], outcome) = object::read(text, names);
        let outcome = utf8.and(outcome).and_then(|()| match control {
            Member::Absent => read_event(text, kind, id, data, users, ack).map(Self::Event),
            _ => read_control(text, control, user, event, ack),
        });
        outcome.map_err(|problem| LineError {
            column: problem.column_in(line),
            what: problem.what,
            ack: whole_ack(text, ack),
        })
    }
}

impl<'a> LineError<'a> {
    /// That a line is longer than `limit` bytes.
    #[must_use]
    pub const fn too_long(limit: usize) -> Self {
        Self { what: What::TooLong { limit }, column: limit + 1, ack: None }
    }

    /// The line's `ack`, if it has one that could be read; exactly as it was written.
    #[must_use]
    pub const fn ack(&self) -> Option<&'a str> {
        self.ack
    }

    /// The problem as that of a line without `ack`.
    pub(super) fn of(problem: Problem<'a>, line: &[u8]) -> Self {
        Self { column: problem.column_in(line), what: problem.what, ack: None }
    }
}

impl fmt::Display for LineError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, column {}", self.what, self.column)
    }
}

impl std::error::Error for LineError<'_> {}

/// The line as text, up to the first byte that is no UTF-8.
pub(super) fn utf8_prefix(line: &[u8]) -> (&str, Result<(), Problem<'_>>) {
    let Err(error) = simdutf8::compat::from_utf8(line) else { todo!() };
    let _ = error;
    todo!()
}

fn read_event<'a>(
    text: &'a str,
    kind: Member<'a>,
    id: Member<'a>,
    data: Member<'a>,
    users: Member<'a>,
    ack: Member<'a>,
) -> Result<Event<'a>, Problem<'a>> {
    let subject = Subject::read(text, (kind, "type"), (id, "id"))?;
    let _ = (data, users, ack, EventType::Notification, RawValue::NULL, Audience::Attached);
    let _ = subject;
    todo!()
}

fn read_control<'a>(
    text: &'a str,
    control: Member<'a>,
    user: Member<'a>,
    event: Member<'a>,
    ack: Member<'a>,
) -> Result<Line<'a>, Problem<'a>> {
    let _ =
        (text, control, event, ack, user.optional("user")?.map(|user: Value<'_>| read_user(user, "user")));
    todo!()
}

fn whole_ack<'a>(_text: &'a str, _ack: Member<'a>) -> Option<&'a str> {
    todo!()
}
