//! The bodies of the fuzz targets for JSON: requests, and producers' lines.
//!
//! Each compares the module with the wire contract, read off a whole tree of the text.

mod line;
mod request;

pub use line::producer_lines;
pub use request::request;

use super::id::{EventType, ObjectId, Subject};
use crate::fuzzing::json::{Json, NotJson};

/// What `type` and `id` of this object name; `None` if they are not as they should be.
fn subject(object: &Json<'_>) -> Result<Option<Subject>, NotJson> {
    let (kinds, ids) = (object.members("type")?, object.members("id")?);
    let ([kind], [] | [_]) = (&kinds[..], &ids[..]) else { return Ok(None) };
    let kind = EventType::ALL.into_iter().find(|known| kind.string() == Some(known.as_str()));
    let Some(kind) = kind else { return Ok(None) };
    let is_none = ids.first().is_none_or(|id| id.is_null() || id.string() == Some(""));
    if kind == EventType::Notification && is_none {
        return Ok(Some(Subject { kind, id: None }));
    }
    Ok(ids.first().and_then(|id| object_id(id)).map(|id| Subject { kind, id: Some(id) }))
}

/// The id that a string of 24 hex digits is.
fn object_id(value: &Json<'_>) -> Option<ObjectId> {
    let digits =
        value.string().filter(|text| text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let mut bytes = [0; 12];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * place..][..2], 16).ok()?;
    }
    Some(ObjectId::from_bytes(bytes))
}
