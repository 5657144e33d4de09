//! Answers of the access service that are kept for a while, and the revocations that overrule them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::QuestionId;
use crate::api::{Code, Subject, UserId};
use crate::time::Monotonic;

/// What a question asks: may this user attach to this subject? `None` asks only whether the user exists.
pub(super) type About = (UserId, Option<Subject>);

/// The recent answers, up to a limit; the oldest makes room.
#[derive(Debug)]
pub(super) struct Answers {
    kept: HashMap<About, Kept>,
    /// In the order of arrival, which is also that of expiry, because all are kept equally long. An item whose answer has
    /// since been replaced is stale.
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

/// Revocations, each kept as long as an answer to an earlier question may be in use.
#[derive(Debug)]
pub(super) struct Revocations {
    /// The first question asked after each revocation. A subject of `None` is all the user's rights.
    since: HashMap<About, QuestionId>,
    /// In the order of arrival, each with the moment at which it can be dropped.
    order: VecDeque<(About, QuestionId, Monotonic)>,
    keep: Duration,
}

impl Answers {
    /// Keeps up to `capacity` answers (at least one) for `keep` each.
    pub(super) fn new(keep: Duration, capacity: usize) -> Self {
        Self { kept: HashMap::new(), order: VecDeque::new(), keep, capacity }
    }

    /// The kept answer, if it is still valid, and the question it answered.
    pub(super) fn get(&self, about: &About, now: Monotonic) -> Option<(Code, QuestionId)> {
        let kept = self.kept.get(about).filter(|kept| now < kept.until)?;
        Some((kept.code, kept.question))
    }

    /// Keeps an answer that has just arrived.
    pub(super) fn keep(&mut self, about: About, question: QuestionId, code: Code, now: Monotonic) {
        if self.keep.is_zero() {
            return;
        }
        while let Some((oldest, _)) = self.order.front() {
            let is_over = self.kept.get(oldest).is_none_or(|kept| kept.until <= now);
            if !is_over && self.order.len() < self.capacity {
                break;
            }
            self.drop_oldest();
        }
        self.kept.insert(about, Kept { code, question, until: now + self.keep });
        self.order.push_back((about, question));
    }

    /// Drops every answer.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.order.clear();
    }

    fn drop_oldest(&mut self) {
        if let Some((about, question)) = self.order.pop_front()
            && self.kept.get(&about).is_some_and(|kept| kept.question == question)
        {
            self.kept.remove(&about);
        }
    }
}

impl Revocations {
    /// Keeps each revocation for `keep`: no earlier answer may be used for longer than that.
    pub(super) fn new(keep: Duration) -> Self {
        Self { since: HashMap::new(), order: VecDeque::new(), keep }
    }

    /// Records a revocation that precedes `next_question`.
    pub(super) fn add(&mut self, revoked: About, next_question: QuestionId, now: Monotonic) {
        while let Some((revoked, question, _)) = self.order.pop_front_if(|(_, _, until)| *until <= now) {
            if self.since.get(&revoked) == Some(&question) {
                self.since.remove(&revoked);
            }
        }
        self.since.insert(revoked, next_question);
        self.order.push_back((revoked, next_question, now + self.keep));
    }

    /// The code that overrules the answer to `question`, if a revocation came after it was asked.
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

    /// Drops everything; only valid when no earlier answer is kept or awaited.
    pub(super) fn clear(&mut self) {
        self.since.clear();
        self.order.clear();
    }
}
