//! What can be wrong with a JSON text, in words its writer can act on.

use std::fmt;

use super::object::{MAX_DEPTH, Value};

/// What is wrong with a JSON text, and at which of its bytes.
#[derive(Debug)]
pub(crate) struct Problem<'a> {
    pub(crate) what: What<'a>,
    /// The text from the wrong byte on (or from the value that is wrong).
    pub(crate) at: &'a [u8],
}

/// What is wrong with a JSON text. Members go by their path: `event.id`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum What<'a> {
    #[error("longer than lineBytes = {limit}")]
    TooLong { limit: usize },
    #[error("no room: the unfinished lines of all producers exceed producerBytes = {limit}; write it again")]
    NoRoom { limit: usize },
    #[error("not UTF-8")]
    NotUtf8,
    #[error("a byte order mark stands before the object")]
    ByteOrderMark,
    #[error("not a JSON object")]
    NotAnObject,
    #[error("{}", without_position(.0))]
    Syntax(serde_json::Error),
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("{member} is missing")]
    Missing { member: &'static str },
    #[error("{member} is given twice")]
    Twice { member: &'static str },
    #[error("{member} is {}, not {wanted}", excerpt(*.value))]
    Unfit { member: &'static str, value: Value<'a>, wanted: &'static str },
    #[error("users is for notification only")]
    UsersMisplaced,
    #[error("a notification needs users or id")]
    NoAudience,
}

/// How many bytes of `whole` stand before `part`, which is a part of it.
pub(crate) fn place_in(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

/// The error's text without its position, which counts lines of its own.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

/// The beginning of a value as it is written, short enough for a message.
fn excerpt(value: Value<'_>) -> impl fmt::Display {
    const CHARS: usize = 40;
    let text = value.text();
    fmt::from_fn(move |f| match text.char_indices().nth(CHARS) {
        None => f.write_str(text),
        Some((end, _)) => write!(f, "{}…", &text[..end]),
    })
}
