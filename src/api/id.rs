//! Ids of objects and users, and the subject of an event, which is a type and an id.

use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::event_type::EventType;

/// The id of an object: 12 bytes; on the wire 24 hex digits, written in lower case and read in either case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId([u8; 12]);

/// The id of a user: an [`ObjectId`] with a type of its own, so that users and objects cannot be confused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub ObjectId);

/// The error for a text that is not an [`ObjectId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 24 hexadecimal digits")]
pub struct ObjectIdError;

/// What an event is about: `{"type": …, "id": …}`. Only some types may lack the id (see [`EventType::id_optional`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// `type`
    pub kind: EventType,
    /// `id`. `None` is written as `""`, and read from an absent member, `null` or `""`.
    pub id: Option<ObjectId>,
}

impl ObjectId {
    /// The id of these 12 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// The 12 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }

    /// The 24 hex digits of the id, in lower case.
    #[must_use]
    pub fn to_hex(self) -> [u8; 24] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 24];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

/// A derived implementation would also hash the length.
impl Hash for ObjectId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl FromStr for ObjectId {
    type Err = ObjectIdError;

    fn from_str(text: &str) -> Result<Self, ObjectIdError> {
        let digits: &[u8; 24] = text.as_bytes().try_into().map_err(|_| ObjectIdError)?;
        let mut bytes = [0; 12];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0]).ok_or(ObjectIdError)? << 4 | digit(pair[1]).ok_or(ObjectIdError)?;
        }
        Ok(Self(bytes))
    }
}

/// The value of one hex digit of either case.
const fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_hex().iter().try_for_each(|&digit| f.write_char(char::from(digit)))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for UserId {
    type Err = ObjectIdError;

    fn from_str(text: &str) -> Result<Self, ObjectIdError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_id_is_24_hex_digits_of_either_case() {
        let id: ObjectId = "610217E481f6fc54736209e0".parse().unwrap();
        assert_eq!(id.to_string(), "610217e481f6fc54736209e0");
        for wrong in [
            "",
            "610217e481f6fc54736209e",
            "610217e481f6fc54736209e00",
            "g10217e481f6fc54736209e0",
            "я10217e481f6fc54736209e0",
            " 10217e481f6fc54736209e0",
        ] {
            assert_eq!(wrong.parse::<ObjectId>(), Err(ObjectIdError), "{wrong:?}");
        }
    }
}
