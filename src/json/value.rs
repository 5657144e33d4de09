//! One JSON value, as it is written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::problem::{Problem, What};

/// One JSON value as it is written, without the white space around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a>(&'a RawValue);

impl<'a> Value<'a> {
    /// Wraps text that the parser has already checked.
    pub(super) const fn new(text: &'a RawValue) -> Self {
        Self(text)
    }

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

    pub(crate) fn is_string_or_number(self) -> bool {
        self.text().starts_with(|first: char| matches!(first, '"' | '-' | '0'..='9'))
    }

    /// The content of a string; `None` for any other type, and for a string with an escaped lone surrogate, which no
    /// Unicode text can hold.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        let quoted = self.text().strip_prefix('"')?.strip_suffix('"')?;
        match memchr::memchr(b'\\', quoted.as_bytes()) {
            None => Some(Cow::Borrowed(quoted)),
            Some(_) => serde_json::from_str(self.text()).ok().map(Cow::Owned),
        }
    }

    /// Calls `take` with each element of an array; returns false for any other type.
    pub(crate) fn for_each_element(self, take: impl FnMut(Self)) -> bool {
        serde_json::Deserializer::from_str(self.text()).deserialize_seq(Elements(take)).is_ok()
    }

    /// The problem that this value is wrong.
    pub(crate) fn problem(self, what: What<'a>) -> Problem<'a> {
        Problem { what, at: self.text().as_bytes() }
    }

    /// The problem that this value of `member` is not the `wanted` one.
    pub(crate) fn unfit(self, member: &'static str, wanted: impl Into<Cow<'static, str>>) -> Problem<'a> {
        self.problem(What::Unfit { member, value: self.text(), wanted: wanted.into() })
    }
}

/// Calls the function with each element of an array.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_decoded() {
        let string = |text| Value(serde_json::from_str(text).unwrap()).string();
        assert!(matches!(string(r#""plain""#), Some(Cow::Borrowed("plain"))));
        assert_eq!(string(r#""""#).as_deref(), Some(""));
        assert_eq!(string(r#""\u0061\"\\\ud83d\ude00""#).as_deref(), Some("a\"\\😀"));
        for other in [r#""\ud800""#, r#""\ude00\ud83d""#, "1", "null", r#"["a"]"#] {
            assert_eq!(string(other), None, "{other}");
        }
    }
}
