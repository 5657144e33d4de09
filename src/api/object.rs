//! The text of a JSON object → its known members, each as the text of its value.
//!
//! One pass finds every member and checks the syntax of the whole text, whatever unknown members hold. What a
//! member must be is for the caller to know.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::problem::{Problem, What};

/// How deep arrays and objects may nest; the outermost object is the first level.
pub(crate) const MAX_DEPTH: usize = 128;

/// A known member of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Member<'a> {
    Absent,
    Once(Value<'a>),
    /// More than once; the value is the last.
    Twice(Value<'a>),
}

/// One JSON value as it is written, without the white space around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a>(&'a RawValue);

/// The members of these names in the object that `text` is.
///
/// A text that is no JSON object, or nests deeper than [`MAX_DEPTH`], is a [`Problem`], the one that comes first in
/// the text; the members are then those that stand before the problem.
pub(crate) fn read<'a, const N: usize>(
    text: &'a str,
    names: [&str; N],
) -> ([Member<'a>; N], Result<(), Problem<'a>>) {
    let mut members = [Member::Absent; N];
    let start = text.trim_start_matches([' ', '\t', '\n', '\r']);
    if !start.starts_with('{') {
        let what = if start.starts_with('\u{feff}') { What::ByteOrderMark } else { What::NotAnObject };
        return (members, Err(Problem { what, at: start.as_bytes() }));
    }
    let mut json = Deserializer::from_str(text);
    let outcome = json
        .deserialize_map(Members { names: &names, members: &mut members })
        .and_then(|()| json.end())
        .map_err(|error| (offset(text, &error), What::Syntax(error)));
    let well_formed = outcome.as_ref().err().map_or(text.len(), |(offset, _)| *offset);
    let outcome = match first_too_deep(&text.as_bytes()[..well_formed]) {
        Some(offset) => Err((offset, What::TooDeep)),
        None => outcome,
    };
    (members, outcome.map_err(|(offset, what)| Problem { what, at: &text.as_bytes()[offset..] }))
}

/// Takes the members of known names out of an object.
struct Members<'m, 'a, const N: usize> {
    names: &'m [&'m str; N],
    members: &'m mut [Member<'a>; N],
}

impl<'a, const N: usize> Visitor<'a> for Members<'_, 'a, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key()? {
            let value = Value(map.next_value()?);
            let Some(name) = Value(name).string() else { continue };
            if let Some(place) = self.names.iter().position(|known| *known == name) {
                let member = &mut self.members[place];
                *member = match member {
                    Member::Absent => Member::Once(value),
                    Member::Once(_) | Member::Twice(_) => Member::Twice(value),
                };
            }
        }
        Ok(())
    }
}

/// Hands over each element of an array.
struct Elements<F>(F);

impl<'a, F: FnMut(Value<'a>)> Visitor<'a> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut array: A) -> Result<(), A::Error> {
        while let Some(element) = array.next_element()? {
            (self.0)(Value(element));
        }
        Ok(())
    }
}

impl<'a> Member<'a> {
    /// The value of a member that must be there; `object` is the text of the object it is looked for in.
    pub(crate) fn required(self, member: &'static str, object: &'a str) -> Result<Value<'a>, Problem<'a>> {
        self.optional(member)?.ok_or(Problem { what: What::Missing { member }, at: object.as_bytes() })
    }

    /// The value of a member that may be absent.
    pub(crate) fn optional(self, member: &'static str) -> Result<Option<Value<'a>>, Problem<'a>> {
        match self {
            Self::Absent => Ok(None),
            Self::Once(value) => Ok(Some(value)),
            Self::Twice(value) => Err(value.problem(What::Twice { member })),
        }
    }
}

impl<'a> Value<'a> {
    /// The value as it is written.
    pub(crate) fn text(self) -> &'a str {
        self.0.get()
    }

    /// The value as JSON that needs no further check.
    pub(crate) const fn raw(self) -> &'a RawValue {
        self.0
    }

    pub(crate) fn is_null(self) -> bool {
        self.text() == "null"
    }

    /// Whether it is a string or a number.
    pub(crate) fn is_string_or_number(self) -> bool {
        self.text().starts_with(|first: char| matches!(first, '"' | '-' | '0'..='9'))
    }

    /// The value of a string; `None` for any other type, and for a string no Unicode text can hold (an escaped
    /// surrogate without its other half).
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        let quoted = self.text().strip_prefix('"')?.strip_suffix('"')?;
        match memchr::memchr(b'\\', quoted.as_bytes()) {
            None => Some(Cow::Borrowed(quoted)),
            Some(_) => serde_json::from_str(self.text()).ok().map(Cow::Owned),
        }
    }

    /// Hands each element of an array to `take`; false for any other type.
    pub(crate) fn for_each_element(self, take: impl FnMut(Self)) -> bool {
        Deserializer::from_str(self.text()).deserialize_seq(Elements(take)).is_ok()
    }

    /// That this value is wrong.
    pub(crate) fn problem(self, what: What<'a>) -> Problem<'a> {
        Problem { what, at: self.text().as_bytes() }
    }

    /// That this value of `member` is not what is `wanted`.
    pub(crate) fn unfit(self, member: &'static str, wanted: &'static str) -> Problem<'a> {
        self.problem(What::Unfit { member, value: self, wanted })
    }
}

/// The place in `text` that the error names.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let lines_before = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    lines_before.map(str::len).sum::<usize>() + error.column().saturating_sub(1)
}

/// The place of the first bracket that nests deeper than [`MAX_DEPTH`] in well-formed JSON, or in the beginning of
/// such. (The parser skips values without recursion and without a limit.)
fn first_too_deep(json: &[u8]) -> Option<usize> {
    // So few opening brackets, wherever they stand, cannot nest too deep: the usual case, at memory speed.
    memchr::memchr2_iter(b'[', b'{', json).nth(MAX_DEPTH)?;
    let (mut depth, mut in_string) = (0, false);
    let mut bytes = json.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' => drop(bytes.next()),
            _ if in_string => {}
            b'[' | b'{' if depth == MAX_DEPTH => return Some(at),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}
