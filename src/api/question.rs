//! The access service's questions and answers: one line each.

use std::io::Write as _;

use super::id::{EventType, Subject, UserId};
use super::line::{LineError, utf8_prefix};
use super::object::{self, Member};
use super::problem::Problem;
use super::reply::Code;

/// A question to the access service: may this user attach to this?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// `ref`: names the question in its answer.
    pub reference: u64,
    /// Who.
    pub user: UserId,
    /// To what; `None` asks only whether the user exists, as a notification (of any id) does.
    pub subject: Option<Subject>,
}

/// An answer of the access service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `ref` of the question.
    pub reference: u64,
    /// [`Code::Ok`], [`Code::UserNotExists`] or [`Code::NoAccess`]; [`Code::Unavailable`] if the service's `code` is
    /// none of theirs.
    pub code: Code,
}

impl Question {
    /// Appends the question's line, its line feed included:
    /// `{"ref":1,"user":"…","event":{"type":"…","id":"…"}}`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write!(out, r#"{{"ref":{},"user":"{}","event":{{"#, self.reference, self.user)
            .expect("memory takes every byte");
        match self.subject {
            Some(subject) if subject.kind != EventType::Notification => subject.write_members(out),
            _ => out.extend_from_slice(br#""type":"notification""#),
        }
        out.extend_from_slice(b"}}\n");
    }
}

impl Answer {
    /// Reads a line, given without its line end.
    ///
    /// # Errors
    ///
    /// The line is no JSON object, or has no `ref` that could name a question.
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
