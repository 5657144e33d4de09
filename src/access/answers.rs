//! What counts of what the access service has said: answers kept for a while, and what was taken back meanwhile.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::api::{Code, Subject, UserId};
use crate::time::Monotonic;

use super::QuestionId;

/// A question's contents: who, and what it is about (`None`: whether the user exists).
pub(super) type About = (UserId, Option<Subject>);

/// The answers of the last while, at most so many: the oldest goes first.
#[derive(Debug)]
pub(super) struct Answers {
    kept: HashMap<About, Kept>,
    /// The order of expiry, which is that of arrival since all are kept equally long. An item whose answer has been
    /// replaced meanwhile stands for nothing.
    order: VecDeque<(About, QuestionId)>,
    keep: Duration,
    capacity: usize,
}

#[derive(Debug)]
struct Kept {
    code: Code,
    question: QuestionId,
    until: Monotonic,
}

/// What was taken back, kept as long as there may be answers to questions from before.
#[derive(Debug)]
pub(super) struct Revocations {
    /// By what was taken back (`None`: everything of the user's), the first question asked after that.
    since: HashMap<About, QuestionId>,
    /// In the order they came in, each with the moment it can be forgotten.
    order: VecDeque<(About, QuestionId, Monotonic)>,
    keep: Duration,
}

impl Answers {
    /// Keeps up to `capacity` answers (at least one) for `keep` each.
    pub(super) fn new(keep: Duration, capacity: usize) -> Self {
        Self { kept: HashMap::new(), order: VecDeque::new(), keep, capacity }
    }

    /// The answer that is still kept, and the question it answered.
    pub(super) fn get(&self, about: &About, now: Monotonic) -> Option<(Code, QuestionId)> {
        let kept = self.kept.get(about).filter(|kept| now < kept.until)?;
        Some((kept.code, kept.question))
    }

    /// Keeps an answer that came just now.
    pub(super) fn keep(&mut self, about: About, question: QuestionId, code: Code, now: Monotonic) {
        if self.keep.is_zero() {
            return;
        }
        while let Some((oldest, _)) = self.order.front() {
            let is_over = self.kept.get(oldest).is_none_or(|kept| kept.until <= now);
            if !is_over && self.order.len() < self.capacity {
                break;
            }
            self.forget_oldest();
        }
        self.kept.insert(about, Kept { code, question, until: now + self.keep });
        self.order.push_back((about, question));
    }

    /// Forgets every answer.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.order.clear();
    }

    fn forget_oldest(&mut self) {
        if let Some((about, question)) = self.order.pop_front()
            && self.kept.get(&about).is_some_and(|kept| kept.question == question)
        {
            self.kept.remove(&about);
        }
    }
}

impl Revocations {
    /// Keeps each for `keep`: no answer to a question from before may count longer than that.
    pub(super) fn new(keep: Duration) -> Self {
        Self { since: HashMap::new(), order: VecDeque::new(), keep }
    }

    /// Notes that this was taken back before `next_question` was asked.
    pub(super) fn add(&mut self, revoked: About, next_question: QuestionId, now: Monotonic) {
        while let Some((revoked, question, _)) = self.order.pop_front_if(|(_, _, until)| *until <= now) {
            if self.since.get(&revoked) == Some(&question) {
                self.since.remove(&revoked);
            }
        }
        self.since.insert(revoked, next_question);
        self.order.push_back((revoked, next_question, now + self.keep));
    }

    /// Why the answer to this question counts no more: it was asked before what it is about was taken back.
    pub(super) fn overrule(&self, about: &About, question: QuestionId) -> Option<Code> {
        let (user, subject) = *about;
        let is_revoked = |about| self.since.get(&about).is_some_and(|first_after| question < *first_after);
        if is_revoked((user, None)) {
            Some(Code::UserNotExists)
        } else if subject.is_some() && is_revoked((user, subject)) {
            Some(Code::NoAccess)
        } else {
            None
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Forgets everything; for when no answer from before is left.
    pub(super) fn clear(&mut self) {
        self.since.clear();
        self.order.clear();
    }
}
