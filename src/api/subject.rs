//! Subjects and ids as JSON.

use super::event_type::EventType;
use super::id::{ObjectId, Subject, UserId};
use crate::json::object::{self, Member};
use crate::json::problem::Problem;
use crate::json::value::Value;

const ID: &str = "a string of 24 hexadecimal digits";

impl Subject {
    /// Appends `"type":"…","id":"…"`; the id is `""` if there is none.
    pub(super) fn write_members(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"type\":\"");
        out.extend_from_slice(self.kind.as_str().as_bytes());
        out.extend_from_slice(b"\",\"id\":\"");
        if let Some(id) = self.id {
            out.extend_from_slice(&id.to_hex());
        }
        out.push(b'"');
    }

    /// Reads the subject from an `event` member: `{"type": …, "id": …}`.
    ///
    /// # Errors
    ///
    /// It is not an object, or as for [`read`](Self::read).
    pub(super) fn read_event(event: Value<'_>) -> Result<Self, Problem<'_>> {
        let ([kind, id], outcome) = object::read(event.text(), ["type", "id"]);
        outcome.map_err(|_| event.unfit("event", "an object"))?;
        Self::read(event.text(), (kind, "event.type"), (id, "event.id"))
    }

    /// Reads the subject from these two members of `object`, each with its path for error messages.
    ///
    /// # Errors
    ///
    /// The type is missing or unknown, or the id is malformed, or missing though the type needs it.
    pub(super) fn read<'a>(
        object: &'a str,
        (kind, kind_path): (Member<'a>, &'static str),
        (id, id_path): (Member<'a>, &'static str),
    ) -> Result<Self, Problem<'a>> {
        let name = kind.required(kind_path, object)?;
        let kind = name.string().and_then(|name| EventType::from_name(&name));
        let kind =
            kind.ok_or_else(|| name.unfit(kind_path, format!("one of {}", EventType::names(|_| true))))?;
        let id = match id.optional(id_path)? {
            Some(id) if kind.id_optional() && is_none(id) => None,
            None if kind.id_optional() => None,
            _ => Some(read_id(id.required(id_path, object)?, id_path)?),
        };
        Ok(Self { kind, id })
    }
}

/// Reads a user's id.
///
/// # Errors
///
/// The value is not a string of 24 hex digits.
pub(super) fn read_user<'a>(value: Value<'a>, path: &'static str) -> Result<UserId, Problem<'a>> {
    read_id(value, path).map(UserId)
}

fn read_id<'a>(value: Value<'a>, path: &'static str) -> Result<ObjectId, Problem<'a>> {
    value.string().and_then(|id| id.parse().ok()).ok_or_else(|| value.unfit(path, ID))
}

/// Whether the value means no id: `null` or `""`.
fn is_none(id: Value<'_>) -> bool {
    id.is_null() || id.text() == "\"\""
}
