//! Whose question is sent next: the users take turns, so that the questions of one never delay those of another.
//!
//! The access service answers in its own time, and what has been written to its socket cannot be overtaken. So each user
//! has few questions on their way at once; the others wait here.

use std::collections::{HashMap, VecDeque};

use crate::api::UserId;

use super::QuestionId;

/// Questions of one user that were sent and have no answer, at most.
const MOST_SENT: usize = 16;

/// The users with questions, and the questions that were not sent.
#[derive(Debug, Default)]
pub(super) struct Turns {
    users: HashMap<UserId, Asked>,
    /// Users with a question that may be sent, each once, in their turn.
    ready: VecDeque<UserId>,
}

/// The questions of one user: there is at least one.
#[derive(Debug, Default)]
struct Asked {
    /// Not sent, in the order they were asked; some may be over by now.
    unsent: VecDeque<QuestionId>,
    sent: usize,
    /// Sent and unsent.
    all: usize,
    /// The user is in `ready`.
    is_listed: bool,
}

impl Turns {
    /// How many questions of this user are on their way or wait to be sent.
    pub(super) fn count(&self, user: UserId) -> usize {
        self.users.get(&user).map_or(0, |asked| asked.all)
    }

    /// Adds a question that has not been sent.
    pub(super) fn ask(&mut self, user: UserId, question: QuestionId) {
        let asked = self.users.entry(user).or_default();
        asked.all += 1;
        asked.unsent.push_back(question);
        asked.list(user, &mut self.ready);
    }

    /// The next question to send, of the user whose turn it is; it counts as sent. It may be over already: then
    /// [`end`](Self::end) has not been called for it as sent, and [`skip`](Self::skip) has to be.
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

    /// The question that [`next`](Self::next) gave is over: it was not sent.
    pub(super) fn skip(&mut self, user: UserId) {
        if let Some(asked) = self.users.get_mut(&user) {
            asked.sent -= 1;
            asked.list(user, &mut self.ready);
        }
    }

    /// A question has its answer, or will have none.
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

    /// Nothing that waits will be sent.
    pub(super) fn drop_unsent(&mut self) {
        self.ready.clear();
        for asked in self.users.values_mut() {
            asked.unsent.clear();
            asked.is_listed = false;
        }
    }
}

impl Asked {
    fn list(&mut self, user: UserId, ready: &mut VecDeque<UserId>) {
        if !self.is_listed && self.sent < MOST_SENT && !self.unsent.is_empty() {
            self.is_listed = true;
            ready.push_back(user);
        }
    }
}
