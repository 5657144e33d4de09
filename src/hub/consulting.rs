//! The hub's side of the access service: answers become replies, and questions without one fail.
//!
//! The owner of the socket moves the lines; [`access::Service`](crate::access::Service) has the rules. All of this is
//! called through [`Server::act`](crate::server::Server::act).

use super::Hub;
use crate::access::{Access, QuestionId, Service};
use crate::api::{Code, LineError, Question};
use crate::peers::Peers;
use crate::time::{Monotonic, Now};

impl Hub {
    /// When to try to connect to the access service; `None` while connected, or without such a service.
    #[must_use]
    pub fn access_attempt(&self) -> Option<Monotonic> {
        self.service()?.next_attempt()
    }

    /// The access service is connected.
    pub fn access_connected(&mut self) {
        if let Some(service) = self.service_mut() {
            service.handle_connected();
        }
    }

    /// The connection to the access service is lost, or an attempt to make one failed. Every question on its way fails;
    /// `random` jitters the pause before the next attempt.
    pub fn access_disconnected(&mut self, peers: &mut Peers, now: Now, random: u64) {
        if let Some(service) = self.service_mut() {
            service.handle_disconnected(now.monotonic, random);
        }
        self.fail_questions(peers, now);
    }

    /// The next question to write to the access service. Take it only when its line can be written soon: a question that
    /// has waited for its whole time is never sent.
    pub fn next_access_question(&mut self) -> Option<Question> {
        self.service_mut()?.next_question()
    }

    /// Takes a line of the access service, without its line end.
    ///
    /// # Errors
    /// The line is no answer; it is ignored.
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

    /// Fails questions that timed out or lost their connection, with `Unavailable`.
    pub(super) fn fail_questions(&mut self, peers: &mut Peers, now: Now) {
        while let Some(question) =
            self.service_mut().and_then(|service| service.poll_unanswered(now.monotonic))
        {
            self.answered(peers, question, Code::Unavailable, now);
        }
    }

    /// When a question times out.
    pub(super) fn next_question_deadline(&self) -> Option<Monotonic> {
        self.service()?.deadline()
    }

    fn answered(&mut self, peers: &mut Peers, question: QuestionId, code: Code, now: Now) {
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
