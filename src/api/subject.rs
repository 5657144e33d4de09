//! What an event is about, read from and written as JSON.

use super::event_type::EventType;
use super::id::{ObjectId, Subject, UserId};
use crate::json::object::{self, Member};
use crate::json::problem::Problem;
use crate::json::value::Value;

const ID: &str = "a string of 24 hexadecimal digits";

impl Subject {
    /// Writes `"type":"…","id":"…"`: the id is `""` if there is none.
    pub(super) fn write_members(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"type\":\"");
        out.extend_from_slice(self.kind.as_str().as_bytes());
        out.extend_from_slice(b"\",\"id\":\"");
        if let Some(id) = self.id {
            out.extend_from_slice(&id.to_hex());
        }
        out.push(b'"');
    }

    /// The subject of an `event` member: `{"type": …, "id": …}`.
    pub(super) fn read_event(event: Value<'_>) -> Result<Self, Problem<'_>> {
        let ([kind, id], outcome) = object::read(event.text(), ["type", "id"]);
        outcome.map_err(|_| event.unfit("event", "an object"))?;
        Self::read(event.text(), (kind, "event.type"), (id, "event.id"))
    }

    /// The subject of these two members, each with the path it goes by in messages; `object` is where they stand.
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

/// The user a value names.
pub(super) fn read_user<'a>(value: Value<'a>, path: &'static str) -> Result<UserId, Problem<'a>> {
    read_id(value, path).map(UserId)
}

fn read_id<'a>(value: Value<'a>, path: &'static str) -> Result<ObjectId, Problem<'a>> {
    value.string().and_then(|id| id.parse().ok()).ok_or_else(|| value.unfit(path, ID))
}

/// Whether an id is written as none: `null` or `""`.
fn is_none(id: Value<'_>) -> bool {
    id.is_null() || id.text() == "\"\""
}
