//! The client side of the access service: which questions are on their way, which answers count, and when to connect
//! again. Whatever goes wrong, nobody gets in by it: no connection, no answer in time or no sense in it is
//! [`Code::Unavailable`].
//!
//! The socket is elsewhere: it takes questions from here when it can write, hands in the lines it has read, and tells
//! when it was connected and disconnected.

use std::collections::VecDeque;
use std::time::Duration;

use crate::api::{Answer, Code, LineError, Question, Subject, UserId};
use crate::time::Monotonic;

use super::Decision;
use super::answers::{About, Answers, Revocations};
use super::turns::Turns;

/// Names a question to the service; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub(super) u64);

/// `[access] cacheSeconds`, `timeoutMs` and `questions`.
#[derive(Clone, Copy, Debug)]
pub struct ServiceSettings {
    /// How long an answer counts for the same question; zero: not at all.
    pub keep: Duration,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// How many questions may wait for their answers; one more is unavailable at once.
    pub questions: usize,
}

/// The questions to the service and its answers.
#[derive(Debug)]
pub struct Service {
    settings: ServiceSettings,
    connection: Connection,
    /// The pause after the next failure, before jitter.
    pause: Duration,
    /// The questions without an answer in the order they were asked, which is that of their deadlines; `None` where one
    /// has been answered before the ones ahead of it. The first is never `None`.
    in_flight: VecDeque<Option<InFlight>>,
    /// The id of the first in `in_flight`; the others follow one by one.
    first: QuestionId,
    turns: Turns,
    answers: Answers,
    revocations: Revocations,
}

#[derive(Debug)]
enum Connection {
    Down { attempt_at: Monotonic },
    Up,
}

#[derive(Debug)]
struct InFlight {
    about: About,
    deadline: Monotonic,
    is_sent: bool,
}

impl Service {
    /// Not connected yet; the first attempt is due at once.
    #[must_use]
    pub fn new(settings: ServiceSettings) -> Self {
        Self {
            settings,
            connection: Connection::Down { attempt_at: Monotonic::default() },
            pause: FIRST_PAUSE,
            in_flight: VecDeque::new(),
            first: QuestionId(1),
            turns: Turns::default(),
            answers: Answers::new(settings.keep, MAX_ANSWERS),
            revocations: Revocations::new(settings.keep.max(settings.timeout)),
        }
    }

    /// When to try to connect; `None` while there is a connection.
    #[must_use]
    pub const fn next_attempt(&self) -> Option<Monotonic> {
        match self.connection {
            Connection::Down { attempt_at } => Some(attempt_at),
            Connection::Up => None,
        }
    }

    /// A connection was made, and questions can be sent.
    pub fn handle_connected(&mut self) {
        self.connection = Connection::Up;
    }

    /// The connection is gone, or an attempt to make one has failed. The next is due after a pause that doubles from
    /// failure to failure, up to 10 s, until an answer comes; a part of it, by `random`, is left out, so that many servers do
    /// not come back at once. Every question on its way is unanswered now: see [`Self::poll_unanswered`].
    pub fn handle_disconnected(&mut self, now: Monotonic, random: u64) {
        let half = self.pause / 2;
        let jitter = Duration::from_millis(random % (u64::try_from(half.as_millis()).unwrap_or(0) + 1));
        self.connection = Connection::Down { attempt_at: now + half + jitter };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.turns.drop_unsent();
    }

    /// The answer that is kept, or a question to be sent.
    pub(super) fn decide(&mut self, user: UserId, subject: Option<Subject>, now: Monotonic) -> Decision {
        let about = (user, subject);
        if let Some((code, question)) = self.answers.get(&about, now)
            && self.revocations.overrule(&about, question).is_none()
        {
            return Decision::Now(code);
        }
        let share = (self.settings.questions / USERS_SHARE).max(LEAST_SHARE);
        if matches!(self.connection, Connection::Down { .. })
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
            // Then nothing from before counts at all.
            self.answers.clear();
            self.revocations.clear();
            for question in self.in_flight.iter_mut().flatten() {
                question.deadline = now;
            }
        }
        self.revocations.add((user, subject), self.next_id(), now);
    }

    /// The next question to send, if one is waiting. Ask for it only when its line can be written soon: what waits here
    /// too long is never sent.
    pub fn next_question(&mut self) -> Option<Question> {
        let (user, id) = self.turns.next()?;
        let question = self.get_mut(id)?;
        question.is_sent = true;
        Some(Question { reference: id.0, user, subject: question.about.1 })
    }

    /// Takes in a line that the service wrote, without its line end. Returns the question it answers and how; `None` if
    /// nobody waits for it (any more).
    ///
    /// # Errors
    ///
    /// The line is no answer. It is to be ignored: the question it may have been for stays unanswered.
    pub fn handle_line<'l>(
        &mut self,
        line: &'l [u8],
        now: Monotonic,
    ) -> Result<Option<(QuestionId, Code)>, LineError<'l>> {
        let Answer { reference, code } = Answer::parse(line)?;
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

    /// When the first question on its way is given up.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        self.in_flight.front()?.as_ref().map(|question| question.deadline)
    }

    /// A question that will have no answer, so that it has to be answered with [`Code::Unavailable`]. To be called until it
    /// returns `None`, after each disconnection and at the [deadline](Self::deadline).
    pub fn poll_unanswered(&mut self, now: Monotonic) -> Option<QuestionId> {
        let is_down = matches!(self.connection, Connection::Down { .. });
        if !is_down && self.deadline()? > now {
            return None;
        }
        let id = self.first;
        self.remove(id).map(|_| id)
    }

    /// The id the next question will have.
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

    /// The place in `in_flight` of a question that has not left it.
    fn place(&self, id: QuestionId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first.0)?).ok()
    }
}

/// One user may ask this part of all questions at once, so that others are asked about too.
const USERS_SHARE: usize = 8;

/// But as many as one connection asks for in a burst.
const LEAST_SHARE: usize = 512;

/// The most answers kept.
const MAX_ANSWERS: usize = 100_000;

/// The most revocations kept.
const MAX_REVOCATIONS: usize = 100_000;

/// The pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
