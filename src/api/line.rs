//! A producer's line: an event or a control line.

use std::fmt;

use serde_json::value::RawValue;

use super::event::{Audience, Event};
use super::id::{EventType, Subject, UserId};
use super::object::{self, Member, Value};
use super::problem::{Problem, What, place_in};
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
        let outcome = utf8.and(outcome).and_then(|()| {
            let ack = read_ack(ack)?;
            match control {
                Member::Absent => read_event(text, [kind, id, data, users], ack).map(Self::Event),
                control => read_control(text, [control, user, event], ack),
            }
        });
        outcome.map_err(|problem| LineError { ack: salvage_ack(text, ack), ..LineError::of(problem, line) })
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

    /// A problem of this line, which has no `ack`.
    pub(super) fn of(problem: Problem<'a>, line: &[u8]) -> Self {
        Self { what: problem.what, column: place_in(line, problem.at) + 1, ack: None }
    }
}

impl fmt::Display for LineError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, column {}", self.what, self.column)
    }
}

impl std::error::Error for LineError<'_> {}

/// The line as text, up to its first byte that is not UTF-8.
pub(super) fn utf8_prefix(line: &[u8]) -> (&str, Result<(), Problem<'_>>) {
    match simdutf8::compat::from_utf8(line) {
        Ok(text) => (text, Ok(())),
        Err(error) => {
            let prefix = line.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            (prefix, Err(Problem { what: What::NotUtf8, at: &line[error.valid_up_to()..] }))
        }
    }
}

fn read_event<'a>(
    line: &'a str,
    [kind, id, data, users]: [Member<'a>; 4],
    ack: Option<&'a str>,
) -> Result<Event<'a>, Problem<'a>> {
    let subject = Subject::read(line, (kind, "type"), (id, "id"))?;
    let data = match data.optional("data")? {
        Some(data) => data.raw(),
        None => no_data(),
    };
    let audience = match (subject.kind, users.optional("users")?) {
        (EventType::Notification, Some(users)) => read_users(users)?,
        (EventType::Notification, None) => {
            let user = subject.id.ok_or(Problem { what: What::NoAudience, at: line.as_bytes() })?;
            Audience::Users(vec![UserId(user)])
        }
        (_, Some(users)) => return Err(users.problem(What::UsersMisplaced)),
        (_, None) => Audience::Attached,
    };
    Ok(Event { subject, data, audience, ack })
}

fn read_control<'a>(
    line: &'a str,
    [control, user, event]: [Member<'a>; 3],
    ack: Option<&'a str>,
) -> Result<Line<'a>, Problem<'a>> {
    let control = control.required("control", line)?;
    if control.string().as_deref() != Some("revoke") {
        return Err(control.unfit("control", "\"revoke\""));
    }
    let user = read_user(user.required("user", line)?, "user")?;
    let subject = event.optional("event")?.map(Subject::read_event).transpose()?;
    Ok(Line::Revoke { user, subject, ack })
}

fn read_users(users: Value<'_>) -> Result<Audience, Problem<'_>> {
    if users.string().as_deref() == Some("*") {
        return Ok(Audience::Everyone);
    }
    let mut ids = Ok(Vec::new());
    let is_array = users.for_each_element(|element| {
        if let Ok(read) = &mut ids {
            match read_user(element, "an element of users") {
                Ok(user) => read.push(user),
                Err(problem) => ids = Err(problem),
            }
        }
    });
    if !is_array {
        return Err(users.unfit("users", "an array of user ids or \"*\""));
    }
    let mut ids = ids?;
    ids.sort_unstable();
    ids.dedup();
    Ok(Audience::Users(ids))
}

fn read_ack(ack: Member<'_>) -> Result<Option<&str>, Problem<'_>> {
    let Some(ack) = ack.optional("ack")? else { return Ok(None) };
    if !ack.is_string_or_number() {
        return Err(ack.unfit("ack", "a string or a number"));
    }
    Ok(Some(ack.text()))
}

/// The `ack` of a line that is wrong elsewhere, unless it is wrong itself.
fn salvage_ack<'a>(line: &'a str, ack: Member<'a>) -> Option<&'a str> {
    let ack = read_ack(ack).ok().flatten()?;
    // A number that something else follows may be the beginning of another one.
    let rest = &line[place_in(line.as_bytes(), ack.as_bytes()) + ack.len()..];
    (ack.starts_with('"') || rest.starts_with([',', '}', ' ', '\t', '\r'])).then_some(ack)
}

/// What `data` is if it is absent.
fn no_data() -> &'static RawValue {
    serde_json::from_str("[]").expect("an empty array is JSON")
}
