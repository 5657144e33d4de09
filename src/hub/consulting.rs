//! The hub's side of the access service: its answers become replies, and unanswered questions fail.
//!
//! The owner of the socket moves the lines; [`AccessService`] has the rules. Call these methods through
//! [`Server::act`](crate::server::Server::act).

use super::Hub;
use crate::access::{Access, AccessService, QuestionId};
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

    /// The connection to the access service is lost, or an attempt to connect failed. Every question in flight fails;
    /// `random` jitters the pause before the next attempt.
    pub fn access_disconnected(&mut self, peers: &mut Peers, now: Now, random: u64) {
        if let Some(service) = self.service_mut() {
            service.handle_disconnected(now.monotonic, random);
        }
        self.fail_questions(peers, now);
    }

    /// The next question to write to the access service. It counts as sent, so call this only when its line can be
    /// written soon: a question that times out before that is never sent.
    pub fn next_access_question(&mut self) -> Option<Question> {
        self.service_mut()?.next_question()
    }

    /// Handles a line of the access service, given without its line end.
    ///
    /// # Errors
    ///
    /// The line is not an answer. It was ignored.
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

    /// When the next question times out.
    pub(super) fn next_question_deadline(&self) -> Option<Monotonic> {
        self.service()?.deadline()
    }

    fn answered(&mut self, peers: &mut Peers, question: QuestionId, code: Code, now: Now) {
        if let Some(peer) = self.clients.answer(question, code, self.access_epoch) {
            self.finish_ready(peers, peer, now);
        }
    }

    fn service(&self) -> Option<&AccessService> {
        match &self.access {
            Access::Service(service) => Some(service),
            Access::Token | Access::File { .. } => None,
        }
    }

    fn service_mut(&mut self) -> Option<&mut AccessService> {
        match &mut self.access {
            Access::Service(service) => Some(service),
            Access::Token | Access::File { .. } => None,
        }
    }
}
