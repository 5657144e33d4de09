//! Questions to the access service and its answers: one line each.

use std::io::Write as _;

use super::id::{Subject, UserId};
use super::line::{LineError, utf8_prefix};
use super::reply::Code;
use crate::json::object::{self, Member};
use crate::json::problem::Problem;

/// A question to the access service: may this user attach to this subject?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// `ref`: identifies the question in its answer.
    pub reference: u64,
    /// The user.
    pub user: UserId,
    /// What to attach to; `None`, or a personal type with any id, asks only whether the user exists.
    pub subject: Option<Subject>,
}

/// An answer of the access service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessAnswer {
    /// `ref` of the question.
    pub reference: u64,
    /// [`Code::Ok`], [`Code::UserNotExists`] or [`Code::NoAccess`]; [`Code::Unavailable`] if `code` is anything else.
    pub code: Code,
}

impl Question {
    /// Appends the question's line, with its line feed:
    /// `{"ref":1,"user":"…","event":{"type":"…","id":"…"}}`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write!(out, r#"{{"ref":{},"user":"{}","event":{{"#, self.reference, self.user)
            .expect("writing to memory does not fail");
        match self.subject {
            Some(subject) if !subject.kind.is_personal() => subject.write_members(out),
            _ => out.extend_from_slice(br#""type":"notification""#),
        }
        out.extend_from_slice(b"}}\n");
    }
}

impl AccessAnswer {
    /// Reads a line, given without its line end.
    ///
    /// # Errors
    ///
    /// The line is not a JSON object, or its `ref` is not the number of a question.
    pub fn parse(line: &[u8]) -> Result<Self, LineError<'_>> {
        Self::read(line).map_err(|problem| LineError::of(problem, line))
    }

    fn read(line: &[u8]) -> Result<Self, Problem<'_>> {
        let (text, utf8) = utf8_prefix(line);
        let ([reference, code], outcome) = object::read(text, ["ref", "code"]);
        utf8.and(outcome)?;
        let reference = reference.required("ref", text)?;
        let Ok(number) = reference.text().parse() else {
            return Err(reference.unfit("ref", "the number of a question"));
        };
        let code = match code {
            Member::Once(code) => match code.text() {
                "0" => Code::Ok,
                "3" => Code::UserNotExists,
                "4" => Code::NoAccess,
                _ => Code::Unavailable,
            },
            Member::Absent | Member::Twice(_) => Code::Unavailable,
        };
        Ok(Self { reference: number, code })
    }
}

#[cfg(test)]
mod tests {
    use super::super::event_type::EventType;
    use super::*;

    #[test]
    fn questions_are_those_of_the_contract() {
        let id = Some("610217e481f6fc54736209e0".parse().unwrap());
        for (subject, event) in [
            (
                Some(Subject { kind: EventType::DatasetUpdate, id }),
                r#"{"type":"datasetUpdate","id":"610217e481f6fc54736209e0"}"#,
            ),
            (Some(Subject { kind: EventType::Notification, id: None }), r#"{"type":"notification"}"#),
            (Some(Subject { kind: EventType::Notification, id }), r#"{"type":"notification"}"#),
            (None, r#"{"type":"notification"}"#),
        ] {
            let mut line = Vec::new();
            Question { reference: 1, user: "5dad615eae019570fb4647ed".parse().unwrap(), subject }
                .encode(&mut line);
            let expected = format!("{{\"ref\":1,\"user\":\"5dad615eae019570fb4647ed\",\"event\":{event}}}\n");
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        }
    }

    #[test]
    fn an_answer_of_unknown_meaning_is_unavailable() {
        for (line, code) in [
            (r#"{"ref":1,"code":0}"#, Code::Ok),
            (r#"{"code":3,"ref":1}"#, Code::UserNotExists),
            (r#" {"ref":1,"code":4,"why":[null]} "#, Code::NoAccess),
            (r#"{"ref":1}"#, Code::Unavailable),
            (r#"{"ref":1,"code":1}"#, Code::Unavailable),
            (r#"{"ref":1,"code":8}"#, Code::Unavailable),
            (r#"{"ref":1,"code":99999999999}"#, Code::Unavailable),
            (r#"{"ref":1,"code":0.0}"#, Code::Unavailable),
            (r#"{"ref":1,"code":-0}"#, Code::Unavailable),
            (r#"{"ref":1,"code":"0"}"#, Code::Unavailable),
            (r#"{"ref":1,"code":null}"#, Code::Unavailable),
            (r#"{"ref":1,"code":false}"#, Code::Unavailable),
            (r#"{"ref":1,"code":[0]}"#, Code::Unavailable),
            (r#"{"ref":1,"code":0,"code":0}"#, Code::Unavailable),
        ] {
            assert_eq!(
                AccessAnswer::parse(line.as_bytes()).unwrap(),
                AccessAnswer { reference: 1, code },
                "{line}"
            );
        }
        let largest = format!(r#"{{"ref":{},"code":0}}"#, u64::MAX);
        assert_eq!(AccessAnswer::parse(largest.as_bytes()).unwrap().reference, u64::MAX);
    }

    #[test]
    fn an_answer_that_names_no_question_is_an_error() {
        for (line, expected) in [
            (&b""[..], "not a JSON object, column 1"),
            (b"[]", "not a JSON object, column 1"),
            (b"{\"ref\":1,\"code\":\xff}", "not UTF-8, column 17"),
            (br#"{"ref":1,"code":}"#, "expected value, column 17"),
            (br#"{"code":0}"#, "ref is missing, column 1"),
            (br#"{"ref":1,"ref":1,"code":0}"#, "ref is given twice, column 16"),
            (br#"{"ref":"1","code":0}"#, "ref is \"1\", not the number of a question, column 8"),
            (br#"{"ref":-1,"code":0}"#, "ref is -1, not the number of a question, column 8"),
            (br#"{"ref":1.0,"code":0}"#, "ref is 1.0, not the number of a question, column 8"),
            (
                br#"{"ref":18446744073709551616,"code":0}"#,
                "ref is 18446744073709551616, not the number of a question, column 8",
            ),
        ] {
            assert_eq!(AccessAnswer::parse(line).unwrap_err().to_string(), expected);
        }
    }
}
