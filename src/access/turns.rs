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

/// The questions of one user: there is at least one, or the user is in `ready`.
#[derive(Debug, Default)]
struct Asked {
    /// Not sent, in the order they were asked.
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

    /// The next question to send, of the user whose turn it is; it counts as sent.
    pub(super) fn next(&mut self) -> Option<(UserId, QuestionId)> {
        while let Some(user) = self.ready.pop_front() {
            let Some(asked) = self.users.get_mut(&user) else { continue };
            asked.is_listed = false;
            if let Some(question) = asked.unsent.pop_front() {
                asked.sent += 1;
                asked.list(user, &mut self.ready);
                return Some((user, question));
            }
            if asked.all == 0 {
                self.users.remove(&user);
            }
        }
        None
    }

    /// A question has its answer, or will have none. Those that were not sent end in the order they were asked.
    pub(super) fn end(&mut self, user: UserId, was_sent: bool) {
        let Some(asked) = self.users.get_mut(&user) else { return };
        asked.all -= 1;
        match was_sent {
            true => asked.sent -= 1,
            false => drop(asked.unsent.pop_front()),
        }
        // A user in `ready` is removed when its turn comes, else it could be listed twice.
        if asked.all == 0 && !asked.is_listed {
            self.users.remove(&user);
        } else {
            asked.list(user, &mut self.ready);
        }
    }

    /// Nothing that waits will be sent.
    pub(super) fn drop_unsent(&mut self) {
        self.ready.clear();
        self.users.retain(|_, asked| {
            asked.unsent.clear();
            asked.is_listed = false;
            asked.all > 0
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_that_end_unsent_leave_nothing_behind() {
        let users: Vec<UserId> = (0..3).map(|user| format!("{user:024x}").parse().unwrap()).collect();
        let mut turns = Turns::default();
        // A service that reads nothing: every question times out. The last user always has one more.
        turns.ask(users[2], QuestionId(0));
        for question in 1..1000 {
            for &user in &users {
                turns.ask(user, QuestionId(question));
                turns.end(user, false);
            }
        }
        assert_eq!((turns.ready.len(), turns.users.len()), (3, 3));
        assert!(turns.users.values().all(|asked| asked.unsent.len() <= 1));
        // It reads again.
        assert_eq!(turns.next(), Some((users[2], QuestionId(999))));
        assert_eq!(turns.next(), None);
        turns.end(users[2], true);
        assert!(turns.users.is_empty() && turns.ready.is_empty());
    }
}
