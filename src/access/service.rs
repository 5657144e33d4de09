//! The client side of the access service: unanswered questions, kept answers, and when to reconnect.
//!
//! It fails closed: without a connection, without an answer in time, or with an answer it cannot interpret, the
//! decision is [`Code::Unavailable`]. Does not know the socket. Its owner calls [`AccessService::next_question`] when it
//! can write, and the `handle_` methods when it has read a line, connected or disconnected.

use std::collections::VecDeque;
use std::time::Duration;

use super::Decision;
use super::answers::{About, Answers, Revocations};
use super::turns::Turns;
use crate::api::{AccessAnswer, Code, LineError, Question, Subject, UserId};
use crate::time::Monotonic;

/// One user may have this fraction of all unanswered questions, so that room is left for others.
const USERS_SHARE: usize = 8;

/// The least share of one user: a burst of requests of one connection.
const LEAST_SHARE: usize = 512;

/// Most answers kept.
const MAX_ANSWERS: usize = 100_000;

/// Most revocations kept.
const MAX_REVOCATIONS: usize = 100_000;

/// The pause before reconnecting after the first failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause before reconnecting.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Identifies a question to the service; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub(super) u64);

#[cfg(test)]
impl QuestionId {
    /// An id for tests that ask no service.
    pub(crate) const fn of_test(number: u64) -> Self {
        Self(number)
    }
}

/// `[access] cacheSeconds`, `timeoutMs` and `questions`.
#[derive(Clone, Copy, Debug)]
pub struct ServiceSettings {
    /// How long an answer is reused for the same question; zero: never.
    pub keep: Duration,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// Most unanswered questions; one more is `Unavailable` at once.
    pub questions: usize,
}

/// The access service as its client sees it.
///
/// Invariants: `in_flight` is in the order of asking, which is also that of the deadlines; its front is never `None`;
/// entry `i` has the id `first + i`.
#[derive(Debug)]
pub struct AccessService {
    settings: ServiceSettings,
    link: Link,
    /// The pause after the next failure, before jitter.
    pause: Duration,
    /// The unanswered questions; `None` where one was answered before an earlier one.
    in_flight: VecDeque<Option<InFlight>>,
    /// The id of the front of `in_flight`.
    first: QuestionId,
    turns: Turns,
    answers: Answers,
    revocations: Revocations,
}

#[derive(Debug)]
enum Link {
    Down { attempt_at: Monotonic },
    Up,
}

#[derive(Debug)]
struct InFlight {
    about: About,
    deadline: Monotonic,
    is_sent: bool,
}

impl AccessService {
    /// A service that is not connected yet; the first attempt is due at once.
    #[must_use]
    pub fn new(settings: ServiceSettings) -> Self {
        Self {
            settings,
            link: Link::Down { attempt_at: Monotonic::default() },
            pause: FIRST_PAUSE,
            in_flight: VecDeque::new(),
            first: QuestionId(1),
            turns: Turns::default(),
            answers: Answers::new(settings.keep, MAX_ANSWERS),
            revocations: Revocations::new(settings.keep.max(settings.timeout)),
        }
    }

    /// When to try to connect; `None` while connected.
    #[must_use]
    pub const fn next_attempt(&self) -> Option<Monotonic> {
        match self.link {
            Link::Down { attempt_at } => Some(attempt_at),
            Link::Up => None,
        }
    }

    /// Records that a connection was made: questions can be sent.
    pub fn handle_connected(&mut self) {
        self.link = Link::Up;
    }

    /// Records that the connection was lost, or that an attempt to connect failed.
    ///
    /// The next attempt is due after a pause that doubles with each failure, up to 10 s, until an answer arrives. `random`
    /// shortens it by up to half, so that many servers do not reconnect at once. Every question is now unanswerable: see
    /// [`Self::poll_unanswered`].
    pub fn handle_disconnected(&mut self, now: Monotonic, random: u64) {
        let half = self.pause / 2;
        let jitter = Duration::from_millis(random % (u64::try_from(half.as_millis()).unwrap_or(0) + 1));
        self.link = Link::Down { attempt_at: now + half + jitter };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.turns.drop_unsent();
    }

    /// Decides by a kept answer, or asks a question.
    pub(super) fn decide(&mut self, user: UserId, subject: Option<Subject>, now: Monotonic) -> Decision {
        let about = (user, subject);
        if let Some((code, question)) = self.answers.get(&about, now)
            && self.revocations.overrule(&about, question).is_none()
        {
            return Decision::Now(code);
        }
        let share = (self.settings.questions / USERS_SHARE).max(LEAST_SHARE);
        if matches!(self.link, Link::Down { .. })
            || self.in_flight.len() >= self.settings.questions
            || self.turns.count(user) >= share
        {
            return Decision::Now(Code::Unavailable);
        }
        let id = self.next_id();
        let deadline = now + self.settings.timeout;
        self.in_flight.push_back(Some(InFlight { about, deadline, is_sent: false }));
        self.turns.ask(user, id);
        Decision::Later(id)
    }

    pub(super) fn revoke(&mut self, user: UserId, subject: Option<Subject>, now: Monotonic) {
        if self.revocations.len() >= MAX_REVOCATIONS {
            // No record of earlier revocations is left, so no earlier answer may be used.
            self.answers.clear();
            self.revocations.clear();
            for question in self.in_flight.iter_mut().flatten() {
                question.deadline = now;
            }
        }
        self.revocations.add((user, subject), self.next_id(), now);
    }

    /// Takes the next question to send. Call it only when its line can be written soon: a question that times out while it
    /// waits here is never sent.
    pub fn next_question(&mut self) -> Option<Question> {
        let (user, id) = self.turns.next()?;
        let question = self.get_mut(id)?;
        question.is_sent = true;
        Some(Question { reference: id.0, user, subject: question.about.1 })
    }

    /// Reads a line of the service, given without its line end. Returns the question it answers and the code; `None` if
    /// that question is not, or no longer, waiting.
    ///
    /// # Errors
    ///
    /// The line is not an answer. The question it may have been meant for stays unanswered.
    pub fn handle_line<'l>(
        &mut self,
        line: &'l [u8],
        now: Monotonic,
    ) -> Result<Option<(QuestionId, Code)>, LineError<'l>> {
        let AccessAnswer { reference, code } = AccessAnswer::parse(line)?;
        self.pause = FIRST_PAUSE;
        let id = QuestionId(reference);
        if self.get_mut(id).is_none_or(|question| !question.is_sent || question.deadline <= now) {
            return Ok(None);
        }
        let Some(InFlight { about, .. }) = self.remove(id) else { return Ok(None) };
        if let Some(code) = self.revocations.overrule(&about, id) {
            return Ok(Some((id, code)));
        }
        if code != Code::Unavailable {
            self.answers.keep(about, id, code, now);
        }
        Ok(Some((id, code)))
    }

    /// When the next question times out.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        self.in_flight.front()?.as_ref().map(|question| question.deadline)
    }

    /// Takes a question that will get no answer; its decision is [`Code::Unavailable`]. Call it until it returns `None`,
    /// after each disconnection and at the [deadline](Self::deadline).
    pub fn poll_unanswered(&mut self, now: Monotonic) -> Option<QuestionId> {
        let is_down = matches!(self.link, Link::Down { .. });
        if !is_down && self.deadline()? > now {
            return None;
        }
        let id = self.first;
        self.remove(id).map(|_| id)
    }

    /// The id of the next question asked.
    fn next_id(&self) -> QuestionId {
        QuestionId(self.first.0 + self.in_flight.len() as u64)
    }

    fn get_mut(&mut self, id: QuestionId) -> Option<&mut InFlight> {
        let place = self.place(id)?;
        self.in_flight.get_mut(place)?.as_mut()
    }

    fn remove(&mut self, id: QuestionId) -> Option<InFlight> {
        let place = self.place(id)?;
        let removed = self.in_flight.get_mut(place)?.take();
        if let Some(InFlight { about: (user, _), is_sent, .. }) = removed {
            self.turns.end(user, is_sent);
        }
        while self.in_flight.pop_front_if(|question| question.is_none()).is_some() {
            self.first = QuestionId(self.first.0 + 1);
        }
        removed
    }

    /// The index in `in_flight` of a question that has not left it.
    fn place(&self, id: QuestionId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first.0)?).ok()
    }
}

#[cfg(test)]
mod tests;
