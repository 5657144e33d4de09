//! A producer's line: an event or a control line.

use std::fmt;

use serde_json::value::RawValue;

use super::event::{Audience, Event};
use super::event_type::EventType;
use super::id::{Subject, UserId};
use super::subject::read_user;
use crate::json::object::{self, Member};
use crate::json::problem::{Problem, What, offset_in};
use crate::json::value::Value;

/// A line of a producer.
#[derive(Clone, Debug)]
pub enum Line<'a> {
    /// An event to publish.
    Event(Event<'a>),
    /// `{"control":"revoke", …}`: ends subscriptions.
    Revoke {
        /// The user whose subscriptions end.
        user: UserId,
        /// The subject of the subscriptions that end, with code 4; `None`: all of the user's, with code 3.
        subject: Option<Subject>,
        /// `ack`, as in [`Event::ack`].
        ack: Option<&'a str>,
    },
}

/// Why a line is refused. The text says what is wrong and in which column, bytes counted from 1.
#[derive(Debug)]
pub struct LineError<'a> {
    what: What<'a>,
    column: usize,
    ack: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// Reads a line, given without its line end.
    ///
    /// # Errors
    ///
    /// The line is not UTF-8 or not a JSON object, nests deeper than 128 levels, or has a wrong member.
    pub fn parse(line: &'a [u8]) -> Result<Self, LineError<'a>> {
        let (text, utf8) = utf8_prefix(line);
        let names = ["control", "type", "id", "data", "users", "ack", "user", "event"];
        let ([control, kind, id, data, users, ack, user, event], outcome) = object::read(text, names);
        let outcome = utf8.and(outcome).and_then(|()| {
            let ack = read_ack(ack)?;
            match control {
                Member::Absent => read_event(text, [kind, id, data, users], ack).map(Self::Event),
                control => read_control(text, [control, user, event], ack),
            }
        });
        outcome.map_err(|problem| LineError { ack: salvage_ack(text, ack), ..LineError::of(problem, line) })
    }
}

impl<'a> LineError<'a> {
    /// The error for a line longer than `limit` bytes.
    #[must_use]
    pub fn too_long(limit: usize) -> Self {
        Self { what: What::Rule(format!("longer than lineBytes = {limit}")), column: limit + 1, ack: None }
    }

    /// The error for an unfinished line that does not fit into the `limit` bytes for unfinished lines of all producers.
    #[must_use]
    pub fn no_room(limit: usize) -> Self {
        let what =
            format!("no room: producers' unfinished lines exceed producerBytes = {limit}; write it again");
        Self { what: What::Rule(what), column: 1, ack: None }
    }

    /// The line's `ack` as it was written, if it has one that could be read.
    #[must_use]
    pub const fn ack(&self) -> Option<&'a str> {
        self.ack
    }

    /// The error for a problem in this line, without an `ack`.
    pub(super) fn of(problem: Problem<'a>, line: &[u8]) -> Self {
        Self { what: problem.what, column: offset_in(line, problem.at) + 1, ack: None }
    }
}

impl fmt::Display for LineError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, column {}", self.what, self.column)
    }
}

impl std::error::Error for LineError<'_> {}

/// The line as text, up to its first byte that is not UTF-8.
pub(super) fn utf8_prefix(line: &[u8]) -> (&str, Result<(), Problem<'_>>) {
    match simdutf8::compat::from_utf8(line) {
        Ok(text) => (text, Ok(())),
        Err(error) => {
            let prefix = line.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            (prefix, Err(Problem { what: What::NotUtf8, at: &line[error.valid_up_to()..] }))
        }
    }
}

fn read_event<'a>(
    line: &'a str,
    [kind, id, data, users]: [Member<'a>; 4],
    ack: Option<&'a str>,
) -> Result<Event<'a>, Problem<'a>> {
    let subject = Subject::read(line, (kind, "type"), (id, "id"))?;
    let data = match data.optional("data")? {
        Some(data) => data.raw(),
        None => no_data(),
    };
    let audience = match (subject.kind.is_personal(), users.optional("users")?) {
        (true, Some(users)) => read_users(users)?,
        (true, None) => {
            let missing = || What::Rule(format!("a {} needs users or id", subject.kind));
            let user = subject.id.ok_or_else(|| Problem { what: missing(), at: line.as_bytes() })?;
            Audience::Users(vec![UserId(user)])
        }
        (false, Some(users)) => {
            let personal = EventType::names(EventType::is_personal);
            return Err(users.problem(What::Rule(format!("users is for {personal} only"))));
        }
        (false, None) => Audience::Attached,
    };
    Ok(Event { subject, data, audience, ack })
}

fn read_control<'a>(
    line: &'a str,
    [control, user, event]: [Member<'a>; 3],
    ack: Option<&'a str>,
) -> Result<Line<'a>, Problem<'a>> {
    let control = control.required("control", line)?;
    if control.string().as_deref() != Some("revoke") {
        return Err(control.unfit("control", "\"revoke\""));
    }
    let user = read_user(user.required("user", line)?, "user")?;
    let subject = event.optional("event")?.map(Subject::read_event).transpose()?;
    Ok(Line::Revoke { user, subject, ack })
}

fn read_users(users: Value<'_>) -> Result<Audience, Problem<'_>> {
    if users.string().as_deref() == Some("*") {
        return Ok(Audience::Everyone);
    }
    let mut ids = Ok(Vec::new());
    let is_array = users.for_each_element(|element| {
        if let Ok(read) = &mut ids {
            match read_user(element, "an element of users") {
                Ok(user) => read.push(user),
                Err(problem) => ids = Err(problem),
            }
        }
    });
    if !is_array {
        return Err(users.unfit("users", "an array of user ids or \"*\""));
    }
    let mut ids = ids?;
    ids.sort_unstable();
    ids.dedup();
    Ok(Audience::Users(ids))
}

fn read_ack(ack: Member<'_>) -> Result<Option<&str>, Problem<'_>> {
    let Some(ack) = ack.optional("ack")? else { return Ok(None) };
    if !ack.is_string_or_number() {
        return Err(ack.unfit("ack", "a string or a number"));
    }
    Ok(Some(ack.text()))
}

/// The `ack` of a line that has a problem elsewhere; `None` if the `ack` is wrong itself.
fn salvage_ack<'a>(line: &'a str, ack: Member<'a>) -> Option<&'a str> {
    let ack = read_ack(ack).ok().flatten()?;
    // A number at which the line breaks off may be only the beginning of the one meant.
    let rest = &line[offset_in(line.as_bytes(), ack.as_bytes()) + ack.len()..];
    (ack.starts_with('"') || rest.starts_with([',', '}', ' ', '\t', '\r'])).then_some(ack)
}

/// The value of an absent `data`.
fn no_data() -> &'static RawValue {
    serde_json::from_str("[]").expect("an empty array is JSON")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::id::ObjectId;
    use super::*;
    use crate::ndjson::LineReader;

    const ID: &str = "610217e481f6fc54736209e0";
    const USER: &str = "5dad615eae019570fb4647ed";

    fn user(text: &str) -> UserId {
        text.parse().unwrap()
    }

    fn event(line: &str) -> Event<'_> {
        match Line::parse(line.as_bytes()) {
            Ok(Line::Event(event)) => event,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// The message of the line's error, and its `ack`.
    fn error(line: &[u8]) -> (String, Option<&str>) {
        let error = Line::parse(line).expect_err(&String::from_utf8_lossy(line));
        (error.to_string(), error.ack())
    }

    #[test]
    fn the_events_of_the_contract() {
        let first = event(r#"{"type":"issueUpdate","id":"610217e481f6fc54736209e0","data":[]}"#);
        assert_eq!(first.subject, Subject { kind: EventType::IssueUpdate, id: Some(ID.parse().unwrap()) });
        assert_eq!((first.data.get(), first.audience, first.ack), ("[]", Audience::Attached, None));

        let second = r#"{"type":"notification","users":["5dad615eae019570fb4647ed"],"id":"610217e481f6fc54736209e0","data":[{"text":"…"}]}"#;
        let second = event(second);
        assert_eq!(second.subject, Subject { kind: EventType::Notification, id: Some(ID.parse().unwrap()) });
        assert_eq!(second.data.get(), r#"[{"text":"…"}]"#);
        assert_eq!((second.audience, second.ack), (Audience::Users(vec![user(USER)]), None));
        let unfilled =
            r#"{"type":"notification","users":["5dad615eae019570fb4647ed"],"id":"…","data":[{"text":"…"}]}"#;
        assert!(Line::parse(unfilled.as_bytes()).is_err());
    }

    #[test]
    fn the_control_lines_of_the_contract() {
        let lost = Subject { kind: EventType::DatasetUpdate, id: Some(ID.parse().unwrap()) };
        let own = Subject { kind: EventType::Notification, id: None };
        for (rest, expected) in [
            ("", (None, None)),
            (r#","event":{"type":"datasetUpdate","id":"610217e481f6fc54736209e0"}"#, (Some(lost), None)),
            (r#","event":{"type":"notification"}"#, (Some(own), None)),
            (r#","event":{"type":"notification","id":""},"ack":1"#, (Some(own), Some("1"))),
            (r#","type":5,"type":6,"users":{},"x":[]"#, (None, None)),
        ] {
            let line = format!(r#"{{"control":"revoke","user":"{}"{rest}}}"#, USER.to_uppercase());
            let Ok(Line::Revoke { user: whose, subject, ack }) = Line::parse(line.as_bytes()) else {
                panic!("{line}")
            };
            assert_eq!((whose, subject, ack), (user(USER), expected.0, expected.1), "{line}");
        }
    }

    #[test]
    fn data_passes_through_as_it_was_written() {
        for data in [
            "null",
            "[]",
            "\"\u{2028}\u{7f}\"",
            r#""\ud800 \u0041\/""#,
            "-0.10E+400",
            "123456789012345678901234567890",
            r#"{"b":1,"a":2,"a":3}"#,
            "[ 1,\t2 ,\r3 ]",
        ] {
            let line = format!(r#"{{"type":"issueUpdate","data":  {data} ,"id":"{ID}"}}"#);
            let event = event(&line);
            assert_eq!(event.data.get(), data);
            let mut message = Vec::new();
            event.encode_message(&mut message);
            let expected = format!(r#"{{"type":"issueUpdate","id":"{ID}","data":{data}}}"#);
            assert_eq!(String::from_utf8(message).unwrap(), expected);
        }
        assert_eq!(event(&format!(r#"{{"type":"issueUpdate","id":"{ID}"}}"#)).data.get(), "[]");
    }

    #[test]
    fn a_notification_names_its_users() {
        for (members, expected) in [
            (r#""users":"*""#.to_owned(), Audience::Everyone),
            (r#""users":"\u002a""#.to_owned(), Audience::Everyone),
            (r#""users":[]"#.to_owned(), Audience::Users(vec![])),
            (format!(r#""id":"{ID}","users":[]"#), Audience::Users(vec![])),
            (format!(r#""id":"{}""#, ID.to_uppercase()), Audience::Users(vec![user(ID)])),
            (format!(r#""users":["{}"]"#, USER.to_uppercase()), Audience::Users(vec![user(USER)])),
            (
                format!(r#""id":"","users":["{ID}", "{USER}","{}"]"#, USER.to_uppercase()),
                Audience::Users(vec![user(USER), user(ID)]),
            ),
        ] {
            let line = format!(r#"{{"type":"notification",{members}}}"#);
            assert_eq!(event(&line).audience, expected, "{line}");
        }
    }

    #[test]
    fn an_ack_is_a_string_or_a_number_kept_as_it_was_written() {
        for ack in ["0", "-0", "1.50", "1e999", "18446744073709551616", r#""""#, r#""\u0041\ud800""#] {
            let line = format!(r#"{{"ack": {ack} ,"type":"issueUpdate","id":"{ID}","user":1,"user":2}}"#);
            assert_eq!(event(&line).ack, Some(ack));
        }
        for ack in ["null", "true", "[1]", "{}"] {
            let line = format!(r#"{{"type":"issueUpdate","id":"{ID}","ack":{ack}}}"#);
            let expected = format!("ack is {ack}, not a string or a number, column 61");
            assert_eq!(error(line.as_bytes()), (expected, None));
        }
    }

    #[test]
    fn an_error_says_what_is_wrong_and_where() {
        let types = format!("not one of {}", EventType::names(|_| true));
        const HEX: &str = "not a string of 24 hexadecimal digits";
        const USERS: &str = "not an array of user ids or \"*\"";
        for (line, expected) in [
            (r#"{}"#, "type is missing, column 1"),
            (r#"{"type":"issueupdate"}"#, &format!("type is \"issueupdate\", {types}, column 9")),
            (r#"{"type":null}"#, &format!("type is null, {types}, column 9")),
            (r#"{"type":"notification","type":"notification"}"#, "type is given twice, column 31"),
            (r#"{"type":"issueUpdate"}"#, "id is missing, column 1"),
            (r#"{"type":"issueUpdate","id":null}"#, &format!("id is null, {HEX}, column 28")),
            (r#"{"type":"issueUpdate","id":""}"#, &format!("id is \"\", {HEX}, column 28")),
            (r#"{"type":"notification","id":5}"#, &format!("id is 5, {HEX}, column 29")),
            (r#"{"type":"notification","id":"","id":""}"#, "id is given twice, column 37"),
            (
                r#"{"type":"notification","id":"610217e481f6fc54736209e0610217e481f6fc54736209e0"}"#,
                &format!("id is \"610217e481f6fc54736209e0610217e481f6fc5…, {HEX}, column 29"),
            ),
            (r#"{"type":"notification","id":null}"#, "a notification needs users or id, column 1"),
            (r#"{"type":"notification","users":null}"#, &format!("users is null, {USERS}, column 32")),
            (r#"{"type":"notification","users":"all"}"#, &format!("users is \"all\", {USERS}, column 32")),
            (
                r#"{"type":"notification","users":["5dad615eae019570fb4647ed","*",5]}"#,
                &format!("an element of users is \"*\", {HEX}, column 60"),
            ),
            (r#"{"type":"notification","users":[],"users":"*"}"#, "users is given twice, column 43"),
            (
                r#"{"type":"issueUpdate","id":"610217e481f6fc54736209e0","users":null}"#,
                "users is for notification only, column 63",
            ),
            (
                r#"{"type":"issueUpdate","id":"610217e481f6fc54736209e0","data":1,"data":1}"#,
                "data is given twice, column 71",
            ),
            (r#"{"type":"issueUpdate","ack":1,"ack":1}"#, "ack is given twice, column 37"),
            (r#"{"control":"stop"}"#, "control is \"stop\", not \"revoke\", column 12"),
            (r#"{"control":null,"type":"notification"}"#, "control is null, not \"revoke\", column 12"),
            (r#"{"control":"revoke","control":"revoke"}"#, "control is given twice, column 31"),
            (r#"{"control":"revoke"}"#, "user is missing, column 1"),
            (r#"{"control":"revoke","user":"*"}"#, &format!("user is \"*\", {HEX}, column 28")),
            (
                r#"{"control":"revoke","user":"5dad615eae019570fb4647ed","event":null}"#,
                "event is null, not an object, column 63",
            ),
            (
                r#"{"control":"revoke","user":"5dad615eae019570fb4647ed","event":{"type":"uploadFile"}}"#,
                "event.id is missing, column 63",
            ),
            (
                r#"{"control":"revoke","user":"5dad615eae019570fb4647ed","event":{"type":"uploadFile","id":1}}"#,
                &format!("event.id is 1, {HEX}, column 89"),
            ),
        ] {
            assert_eq!(error(line.as_bytes()).0, expected, "{line}");
        }
    }

    #[test]
    fn an_error_carries_the_ack_if_it_could_be_read() {
        for (line, ack) in [
            (&br#"{"ack":12,"type":"x"}"#[..], Some("12")),
            (br#"{"type":"x","ack":"a"}"#, Some("\"a\"")),
            (br#"{"ack":12,"data":NaN}"#, Some("12")),
            (br#"{"ack":12}}"#, Some("12")),
            (br#"{"ack":12 "#, Some("12")),
            (b"{\"ack\":12,\"\xff\":1}", Some("12")),
            (br#"{"ack":"12""#, Some("\"12\"")),
            (br#"{"ack":12"#, None),
            (b"{\"ack\":12\xff3}", None),
            (br#"{"ack":12x}"#, None),
            (br#"{"ack":"12"#, None),
            (br#"{"data":NaN,"ack":12}"#, None),
            (br#"{"ack":12,"ack":13}"#, None),
            (br#"{"type":"x"}"#, None),
        ] {
            assert_eq!(error(line).1, ack, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn s38_an_event_nested_too_deep() {
        let line = |levels| {
            let data = "[".repeat(levels) + &"]".repeat(levels);
            format!(r#"{{"ack":1,"type":"issueUpdate","id":"{ID}","data":{data}}}"#)
        };
        assert!(Line::parse(line(127).as_bytes()).is_ok());
        for levels in [128, 500_000] {
            let expected = ("nested deeper than 128 levels, column 197".to_owned(), Some("1"));
            assert_eq!(error(line(levels).as_bytes()), expected);
        }
    }

    #[test]
    fn s44_cut_at_every_byte() {
        for line in [
            format!(r#"{{"type":"issueUpdate","id":"{ID}","data":[{{"a":1}}],"ack":7}}"#),
            format!(r#"{{"type":"notification","users":["{USER}"]}}"#),
            format!(r#"{{"control":"revoke","user":"{USER}","event":{{"type":"notification"}}}}"#),
        ] {
            for cut in 0..line.len() {
                assert!(Line::parse(&line.as_bytes()[..cut]).is_err(), "{}", &line[..cut]);
            }
            assert!(Line::parse(line.as_bytes()).is_ok(), "{line}");
        }
    }

    #[test]
    fn s46_a_good_line_after_each_bad_one_arrives() {
        let good = format!(r#"{{"type":"issueUpdate","id":"{ID}"}}"#);
        for (bad, expected) in [
            (&b"\0"[..], "not a JSON object, column 1"),
            (b"\xff", "not UTF-8, column 1"),
            (b"\xef\xbb\xbf{}", "a byte order mark precedes the object, column 1"),
            (b"{\"type\":\"\xd0\xb6\xed\xa0\x80\"}", "not UTF-8, column 12"),
            (b"{\"type\":\"\xd0", "not UTF-8, column 10"),
            (b" ", "not a JSON object, column 2"),
            (b"[]", "not a JSON object, column 1"),
            (b"null", "not a JSON object, column 1"),
            (b"{\"a\":\0}", "expected value, column 6"),
            (b"{\"data\":NaN}", "expected value, column 9"),
            (b"{\"data\":[1,]}", "expected value, column 12"),
            (b"{\"data\":1e}", "invalid number, column 11"),
            (b"{'type':1}", "key must be a string, column 2"),
            (b"{} {}", "trailing characters, column 4"),
            // serde_json points at the last byte that was good.
            (b"{\"a\":\"\t\"}", "control character (\\u0000-\\u001F) found while parsing a string, column 6"),
        ] {
            let stream = [bad, b"\n\r\n", good.as_bytes(), b"\n"].concat();
            let (mut reader, mut input) = (LineReader::default(), &stream[..]);
            let first = reader.read(&mut input, 100).unwrap();
            assert_eq!((first.number, error(&first.bytes.unwrap()).0.as_str()), (1, expected));
            let second = reader.read(&mut input, 100).unwrap();
            assert_eq!(second.number, 3);
            assert!(Line::parse(&second.bytes.unwrap()).is_ok());
        }
    }

    fn users() -> impl Strategy<Value = Vec<UserId>> {
        let users = prop::collection::btree_set(any::<[u8; 12]>(), 0..4);
        users.prop_map(|users| users.into_iter().map(|user| UserId(ObjectId::from_bytes(user))).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_was_encoded_is_read_back(
            kind in prop::sample::select(EventType::ALL.to_vec()),
            id: [u8; 12],
            lacks_id: bool,
            users in prop::option::of(users()),
            ack in prop::option::of(r#"-?[1-9][0-9]{0,20}|"[a-z]*""#),
            data in r#"null|"[^"\\\p{Cc}]*"|\[ ?\]|[0-9]\.[0-9]{1,3}|\{"a" ?: ?\[[1-9], ?"x"\]\}"#,
        ) {
            let personal = kind.is_personal();
            let id = (!(personal && lacks_id)).then(|| ObjectId::from_bytes(id));
            let audience = match users {
                _ if !personal => Audience::Attached,
                Some(users) => Audience::Users(users),
                None => Audience::Everyone,
            };
            let subject = Subject { kind, id };
            let data = serde_json::from_str(&data).unwrap();
            let written = Event { subject, data, audience, ack: ack.as_deref() };
            let mut line = Vec::new();
            written.encode_line(&mut line);
            prop_assert_eq!(line.pop(), Some(b'\n'));
            let read = event(std::str::from_utf8(&line).unwrap());
            prop_assert_eq!((read.subject, read.audience, read.ack), (subject, written.audience, written.ack));
            prop_assert_eq!(read.data.get(), data.get());
        }
    }

    /// Every byte of a line replaced by every other value: the line is JSON and accepted, or the error's column is one of the line's.
    #[test]
    fn s46_any_byte_changed() {
        let good = format!(r#"{{"ack":7,"type":"notification","users":["{USER}"],"data":{{"я":[1e2]}}}}"#);
        let mut accepted = 0;
        for place in 0..good.len() {
            for byte in 0..=u8::MAX {
                let mut line = good.clone().into_bytes();
                line[place] = byte;
                match Line::parse(&line) {
                    Ok(_) => {
                        let parsed = serde_json::from_slice::<serde_json::Value>(&line);
                        assert!(parsed.is_ok(), "byte {place} is {byte:#04x}: {parsed:?}");
                        accepted += 1;
                    }
                    Err(error) => {
                        let columns = 1..=line.len();
                        assert!(columns.contains(&error.column), "byte {place} is {byte:#04x}: {error}");
                    }
                }
            }
        }
        // The line itself, once at each place, and many more whose `data`, `ack` or user is another.
        assert!(accepted > good.len(), "{accepted} lines accepted");
    }
}
