//! The access service's questions and answers: one line each.

use super::id::{Subject, UserId};
use super::line::LineError;
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
        let _ = out;
        todo!()
    }
}

impl Answer {
    /// Reads a line, given without its line end.
    ///
    /// # Errors
    ///
    /// The line is no JSON object, or has no `ref` that could name a question.
    pub fn parse(line: &[u8]) -> Result<Self, LineError<'_>> {
        let _ = line;
        todo!()
    }
}
