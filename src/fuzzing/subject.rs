//! The reference for subjects, read from a parsed tree.

use super::json::{Json, NotJson};
use crate::api::{EventType, ObjectId, Subject};

/// The subject that `type` and `id` of this object name; `None` if they are invalid.
pub(super) fn subject(object: &Json<'_>) -> Result<Option<Subject>, NotJson> {
    let (kinds, ids) = (object.members("type")?, object.members("id")?);
    let ([kind], [] | [_]) = (&kinds[..], &ids[..]) else { return Ok(None) };
    let kind = EventType::ALL.into_iter().find(|known| kind.string() == Some(known.as_str()));
    let Some(kind) = kind else { return Ok(None) };
    let is_none = ids.first().is_none_or(|id| id.is_null() || id.string() == Some(""));
    if kind.id_optional() && is_none {
        return Ok(Some(Subject { kind, id: None }));
    }
    Ok(ids.first().and_then(|id| object_id(id)).map(|id| Subject { kind, id: Some(id) }))
}

/// The id in a string of 24 hex digits.
pub(super) fn object_id(value: &Json<'_>) -> Option<ObjectId> {
    let digits =
        value.string().filter(|text| text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let mut bytes = [0; 12];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * place..][..2], 16).ok()?;
    }
    Some(ObjectId::from_bytes(bytes))
}
