//! The hub's side of the access service: its answers become replies, and a question without one is answered for it.
//!
//! Whoever has the socket moves the lines; see [`access::Service`](crate::access::Service) for the rules of it.

use super::Hub;
use crate::access::{Access, QuestionId, Service};
use crate::api::{Code, LineError, Question};
use crate::peers::Peers;
use crate::server::Service as _;
use crate::time::{Monotonic, Now};

impl Hub {
    /// When to try to connect to the access service; `None` while there is a connection, or if none is asked.
    #[must_use]
    pub fn access_attempt(&self) -> Option<Monotonic> {
        self.service()?.next_attempt()
    }

    /// A connection to the access service was made.
    pub fn access_connected(&mut self) {
        if let Some(service) = self.service_mut() {
            service.handle_connected();
        }
    }

    /// The connection to the access service is gone, or an attempt to make one has failed. Every question on its way is
    /// unanswered; `random` chooses the pause before the next attempt.
    pub fn access_disconnected(&mut self, peers: &mut Peers, now: Now, random: u64) {
        if let Some(service) = self.service_mut() {
            service.handle_disconnected(now.monotonic, random);
        }
        self.give_up_questions(peers, now);
    }

    /// The next question to write to the access service. Ask for it only when its line can be written soon: what waits
    /// longer than its time is never sent.
    pub fn next_access_question(&mut self) -> Option<Question> {
        self.service_mut()?.next_question()
    }

    /// Takes a line that the access service has written, without its line end.
    ///
    /// # Errors
    /// The line is no answer: it is ignored.
    pub fn access_line<'l>(
        &mut self,
        peers: &mut Peers,
        line: &'l [u8],
        now: Now,
    ) -> Result<(), LineError<'l>> {
        let Some(service) = self.service_mut() else { return Ok(()) };
        if let Some((question, code)) = service.handle_line(line, now.monotonic)? {
            self.answered(peers, question, code, now);
        }
        Ok(())
    }

    /// Answers the questions for which the access service has had its time.
    pub(super) fn give_up_questions(&mut self, peers: &mut Peers, now: Now) {
        while let Some(question) =
            self.service_mut().and_then(|service| service.poll_unanswered(now.monotonic))
        {
            self.answered(peers, question, Code::Unavailable, now);
        }
    }

    /// When the access service has had its time for a question.
    pub(super) fn next_give_up(&self) -> Option<Monotonic> {
        self.service()?.deadline()
    }

    fn answered(&mut self, peers: &mut Peers, question: QuestionId, code: Code, now: Now) {
        self.flush_batch(peers, now);
        if let Some(peer) = self.clients.answer(question, code, self.access_epoch) {
            self.finish_ready(peers, peer, now);
        }
    }

    fn service(&self) -> Option<&Service> {
        match &self.access {
            Access::Service(service) => Some(service),
            Access::Token | Access::File { .. } => None,
        }
    }

    fn service_mut(&mut self) -> Option<&mut Service> {
        match &mut self.access {
            Access::Service(service) => Some(service),
            Access::Token | Access::File { .. } => None,
        }
    }
}
