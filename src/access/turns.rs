//! The order in which questions are sent: round robin over users, so that one user's questions never delay another's.
//!
//! A question written to the service's socket cannot be overtaken. So each user has only a few sent at once, and the
//! others wait here.

use std::collections::{HashMap, VecDeque};

use super::QuestionId;
use crate::api::UserId;

/// Most questions of one user that are sent and unanswered at once.
const MOST_SENT: usize = 16;

/// The users with unanswered questions, and their unsent questions.
#[derive(Debug, Default)]
pub(super) struct Turns {
    users: HashMap<UserId, UserQuestions>,
    /// Users with a question that may be sent, each once, in round-robin order.
    ready: VecDeque<UserId>,
}

/// The unanswered questions of one user.
///
/// Invariants: `all` is at least 1; `is_listed` says whether the user is in `ready`.
#[derive(Debug, Default)]
struct UserQuestions {
    /// In the order they were asked; some may have timed out.
    unsent: VecDeque<QuestionId>,
    sent: usize,
    /// Sent and unsent.
    all: usize,
    is_listed: bool,
}

impl Turns {
    /// The number of this user's questions, sent or unsent.
    pub(super) fn count(&self, user: UserId) -> usize {
        self.users.get(&user).map_or(0, |asked| asked.all)
    }

    /// Adds an unsent question.
    pub(super) fn ask(&mut self, user: UserId, question: QuestionId) {
        let asked = self.users.entry(user).or_default();
        asked.all += 1;
        asked.unsent.push_back(question);
        asked.list(user, &mut self.ready);
    }

    /// Takes the next question to send and counts it as sent. If it has already ended, the caller calls
    /// [`skip`](Self::skip).
    pub(super) fn next(&mut self) -> Option<(UserId, QuestionId)> {
        while let Some(user) = self.ready.pop_front() {
            let Some(asked) = self.users.get_mut(&user) else { continue };
            asked.is_listed = false;
            if let Some(question) = asked.unsent.pop_front() {
                asked.sent += 1;
                asked.list(user, &mut self.ready);
                return Some((user, question));
            }
        }
        None
    }

    /// Corrects the count: the question from [`next`](Self::next) had ended and was not sent.
    pub(super) fn skip(&mut self, user: UserId) {
        if let Some(asked) = self.users.get_mut(&user) {
            asked.sent -= 1;
            asked.list(user, &mut self.ready);
        }
    }

    /// Removes a question that is answered or given up.
    pub(super) fn end(&mut self, user: UserId, was_sent: bool) {
        let Some(asked) = self.users.get_mut(&user) else { return };
        asked.all -= 1;
        asked.sent -= usize::from(was_sent);
        if asked.all == 0 {
            self.users.remove(&user);
        } else {
            asked.list(user, &mut self.ready);
        }
    }

    /// Drops the unsent questions; they stay in the counts until [`end`](Self::end).
    pub(super) fn drop_unsent(&mut self) {
        self.ready.clear();
        for asked in self.users.values_mut() {
            asked.unsent.clear();
            asked.is_listed = false;
        }
    }
}

impl UserQuestions {
    fn list(&mut self, user: UserId, ready: &mut VecDeque<UserId>) {
        if !self.is_listed && self.sent < MOST_SENT && !self.unsent.is_empty() {
            self.is_listed = true;
            ready.push_back(user);
        }
    }
}
