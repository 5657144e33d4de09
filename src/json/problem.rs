//! What can be wrong with a JSON text, in words its writer can act on.

use std::borrow::Cow;
use std::fmt;

/// What is wrong with a JSON text, and where.
#[derive(Debug)]
pub(crate) struct Problem<'a> {
    pub(crate) what: What<'a>,
    /// The text from the wrong byte, or from the wrong value, to its end.
    pub(crate) at: &'a [u8],
}

/// What is wrong with a JSON text. A member is named by its path: `event.id`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum What<'a> {
    #[error("not UTF-8")]
    NotUtf8,
    #[error("a byte order mark precedes the object")]
    ByteOrderMark,
    #[error("not a JSON object")]
    NotAnObject,
    #[error("{}", without_position(.0))]
    Syntax(serde_json::Error),
    #[error("nested deeper than {limit} levels")]
    TooDeep { limit: usize },
    #[error("{member} is missing")]
    Missing { member: &'static str },
    #[error("{member} is given twice")]
    Twice { member: &'static str },
    /// `value` is the text of the member's value.
    #[error("{member} is {}, not {wanted}", excerpt(.value))]
    Unfit { member: &'static str, value: &'a str, wanted: Cow<'static, str> },
    /// A rule of the caller's, in the caller's words.
    #[error("{0}")]
    Rule(String),
}

/// The offset of `part` in `whole`, of which it is a subslice.
pub(crate) fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

/// The error's text without its position: serde_json counts lines, and a producer's line is only one.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

/// The beginning of a value, short enough for a message.
fn excerpt(value: &str) -> impl fmt::Display {
    const CHARS: usize = 40;
    fmt::from_fn(move |f| match value.char_indices().nth(CHARS) {
        None => f.write_str(value),
        Some((end, _)) => write!(f, "{}…", &value[..end]),
    })
}
