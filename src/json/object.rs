//! Reads the text of a JSON object into its known members, each as the text of its value.
//!
//! One pass finds every member and checks the syntax of the whole text, unknown members included. What a member
//! must be is the caller's to check.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::problem::{Problem, What};
use super::value::Value;

/// How deep arrays and objects may nest; the outermost object is the first level.
const MAX_DEPTH: usize = 128;

/// A known member of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Member<'a> {
    Absent,
    Once(Value<'a>),
    /// More than once, with the last value.
    Twice(Value<'a>),
}

/// Reads the object `text` and returns its members with these names, in the order of `names`.
///
/// # Errors
///
/// The first [`Problem`] in the text, if it is not a JSON object or nests deeper than [`MAX_DEPTH`]. The members
/// before the problem are returned with it. A member name with an escaped lone surrogate (RFC 8259 §8.2) is bad JSON.
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
    let mut json = serde_json::Deserializer::from_str(text);
    let outcome = json
        .deserialize_map(Members { names: &names, members: &mut members })
        .and_then(|()| json.end())
        .map_err(|error| (offset(text, &error), What::Syntax(error)));
    let well_formed = outcome.as_ref().err().map_or(text.len(), |(offset, _)| *offset);
    let outcome = match first_too_deep(&text.as_bytes()[..well_formed]) {
        Some(offset) => Err((offset, What::TooDeep { limit: MAX_DEPTH })),
        None => outcome,
    };
    (members, outcome.map_err(|(offset, what)| Problem { what, at: &text.as_bytes()[offset..] }))
}

/// Collects the members with known names.
struct Members<'m, 'a, const N: usize> {
    names: &'m [&'m str],
    members: &'m mut [Member<'a>; N],
}

impl<'a, const N: usize> Visitor<'a> for Members<'_, 'a, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(place) = map.next_key_seed(Place(self.names))? {
            let value = Value::new(map.next_value()?);
            let Some(place) = place else { continue };
            let member = &mut self.members[place];
            *member = match member {
                Member::Absent => Member::Once(value),
                Member::Once(_) | Member::Twice(_) => Member::Twice(value),
            };
        }
        Ok(())
    }
}

/// Finds a member's name among the known ones.
struct Place<'n>(&'n [&'n str]);

impl<'a> DeserializeSeed<'a> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

impl<'a> Member<'a> {
    /// The value of a member that must be present; `object` is the text of the object it belongs to.
    ///
    /// # Errors
    ///
    /// The member is absent or given twice.
    pub(crate) fn required(self, member: &'static str, object: &'a str) -> Result<Value<'a>, Problem<'a>> {
        self.optional(member)?.ok_or(Problem { what: What::Missing { member }, at: object.as_bytes() })
    }

    /// The value of a member that may be absent.
    ///
    /// # Errors
    ///
    /// The member is given twice.
    pub(crate) fn optional(self, member: &'static str) -> Result<Option<Value<'a>>, Problem<'a>> {
        match self {
            Self::Absent => Ok(None),
            Self::Once(value) => Ok(Some(value)),
            Self::Twice(value) => Err(value.problem(What::Twice { member })),
        }
    }
}

/// The offset in `text` of the error's position. Its column counts from 1; 0 is the line feed that ends the line before.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let lines_before = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    (lines_before.map(str::len).sum::<usize>() + error.column()).saturating_sub(1)
}

/// The offset of the first bracket nested deeper than [`MAX_DEPTH`] in `json`, which is well-formed JSON or a prefix
/// of it. (The parser skips values without recursion and without a limit.)
fn first_too_deep(json: &[u8]) -> Option<usize> {
    // The usual case, at memory speed: too few opening brackets to nest too deep, in strings or not.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object_with(value: &str) -> String {
        format!(r#"{{"known":1,"x":{value}}}"#)
    }

    fn is_taken(text: &str) -> bool {
        read(text, ["known"]).1.is_ok()
    }

    fn nested(levels: usize) -> String {
        "[".repeat(levels) + &"]".repeat(levels)
    }

    #[test]
    fn known_members_are_found_among_others_and_counted() {
        let text = r#" { "a" : 1 , "other":{"a":2}, "b":[ "a" ], "\u0061":  3e0 ,"c" :null} "#;
        let ([a, b, c, d], outcome) = read(text, ["a", "b", "c", "d"]);
        assert!(outcome.is_ok());
        assert!(matches!(a, Member::Twice(value) if value.text() == "3e0"));
        assert!(matches!(b, Member::Once(value) if value.text() == r#"[ "a" ]"#));
        assert!(matches!(c, Member::Once(value) if value.is_null()));
        assert!(matches!(d, Member::Absent));
    }

    #[test]
    fn unknown_members_may_hold_any_json() {
        for value in [
            "null",
            "true",
            "-0",
            "1e999999",
            "123456789012345678901234567890.5",
            r#""\ud800""#,
            r#""\u0000""#,
            r#"{"a":1,"a":2}"#,
            "[]",
            " [ 1 , { } ] ",
            "\"\u{10ffff}\u{7f}\"",
        ] {
            assert!(is_taken(&object_with(value)), "{value}");
        }
        for value in [
            "",
            "nul",
            "NaN",
            "Infinity",
            "-Infinity",
            "-",
            "+1",
            ".5",
            "1.",
            "1e",
            "01",
            "0x1",
            "'a'",
            "a",
            "[1,]",
            "[1 2]",
            "{a:1}",
            r#"{"a":1,}"#,
            r#"{"a"}"#,
            r#"{1:2}"#,
            "[}",
            "\"\n\"",
            "\"\0\"",
            r#""\x""#,
            r#""\u12g4""#,
            "1 /* */",
            "\u{a0}1",
        ] {
            assert!(!is_taken(&object_with(value)), "{value}");
        }
    }

    #[test]
    fn a_text_that_is_no_object_says_so_where_it_begins() {
        for (text, wrong, at) in [
            ("", "not a JSON object", 0),
            ("  ", "not a JSON object", 2),
            ("[{}]", "not a JSON object", 0),
            (" 5", "not a JSON object", 1),
            ("\u{feff}{}", "a byte order mark precedes the object", 0),
            ("{} {}", "trailing characters", 3),
            ("{}\0", "trailing characters", 2),
            ("{", "EOF while parsing an object", 0),
            (r#"{"a":1,"#, "EOF while parsing a value", 6),
            ("{\n\n\"a\":x}", "expected value", 7),
            (r#"{"\ud800":1}"#, "unexpected end of hex escape", 8),
        ] {
            let problem = read(text, []).1.unwrap_err();
            assert_eq!(problem.what.to_string(), wrong, "{text:?}");
            assert_eq!(text.len() - problem.at.len(), at, "{text:?}");
        }
    }

    #[test]
    fn nesting_is_limited_to_128_levels_the_object_included() {
        assert!(is_taken(&object_with(&nested(127))));
        assert!(!is_taken(&object_with(&nested(128))));
        assert!(is_taken(&object_with(&format!(r#"["\\", "{}", "\"{0}"]"#, "[{".repeat(500)))), "in strings");
        assert!(is_taken(&object_with(&format!("[{}1]", "[[]],".repeat(500)))), "side by side");
    }

    #[test]
    fn of_two_problems_the_first_in_the_text_is_reported() {
        let deep = nested(200);
        for (text, wrong, at) in [
            (format!(r#"{{"x":{deep},"y":?}}"#), "nested deeper than 128 levels", 5 + 127),
            (format!(r#"{{"y":?,"x":{deep}}}"#), "expected value", 5),
            (format!(r#"{{"x":{}"#, "[".repeat(200)), "nested deeper than 128 levels", 5 + 127),
        ] {
            let problem = read(&text, []).1.unwrap_err();
            assert_eq!(
                (problem.what.to_string().as_str(), text.len() - problem.at.len()),
                (wrong, at),
                "{text}"
            );
        }
    }

    #[test]
    fn s38_a_million_brackets() {
        const MILLION: usize = 1_000_000;
        for text in [
            "[".repeat(MILLION),
            "{".repeat(MILLION),
            object_with(&"[".repeat(MILLION)),
            object_with(&r#"{"":"#.repeat(MILLION)),
            object_with(&nested(MILLION)),
            format!(r#"{{"known":{}}}"#, nested(MILLION)),
        ] {
            assert!(!is_taken(&text), "{}…", &text[..20]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// For texts close to JSON, accepts exactly what serde_json's own map accepts.
        #[test]
        fn exactly_json_objects_are_taken(text in r#"\{("[ab]":([\[\]{}",:0-9a\\-]|"x"|1|\[\]|null|true)?,?){0,4}\}? ?"#) {
            let taken = read(&text, ["a"]).1.is_ok();
            prop_assert_eq!(taken, serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(&text).is_ok());
        }

        #[test]
        fn no_text_panics(text in ".*") {
            for text in [text.clone(), format!("{{{text}"), object_with(&text)] {
                let _ = read(&text, ["known", "x"]);
            }
        }
    }
}
