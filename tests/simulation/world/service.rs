//! The access service and its socket, played: it is asked, and answers in time, late, never, nonsense, or is gone.

use super::{World, trace};
use crate::faults::Fault;
use crate::ledger::TIMEOUT;
use crate::listener::Verdict;
use crate::names::{KINDS, NOTIFICATION, Subject, USERS, object_of, user_id};
use airlay::hub::Hub;
use airlay::peers::Peers;
use airlay::time::Now;
use serde_json::Value;

/// The service's end of the connection.
#[derive(Debug, Default)]
pub(super) struct AccessService {
    is_connected: bool,
    /// The questions it has been asked, each with the moment it answers.
    asked: Vec<(u64, Question)>,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    reference: u64,
    user: usize,
    subject: Subject,
}

impl World {
    /// Does with the service what the event loop does after the traffic has been read.
    pub(super) fn consult(&mut self) -> Verdict {
        if !self.ledger.asks_service {
            return Ok(());
        }
        if !self.service.is_connected {
            self.ledger.trouble = self.ledger.stamp();
        }
        let is_lost = self.faults.strikes(Fault::ServiceLost, &mut self.random);
        match self.driver.server().service().hub.access_attempt() {
            Some(attempt) if self.now.monotonic < attempt => {}
            None | Some(_) if is_lost => self.lose_service(),
            Some(_) => {
                trace!(self, "the access service is there");
                self.service.is_connected = true;
                self.hub(|hub, _, _| hub.access_connected());
            }
            None => {
                self.answer()?;
                self.ask()?;
            }
        }
        self.follow()
    }

    /// Before a right is revoked, the service has mostly ceased to grant it.
    pub(super) fn take_from_service(&mut self, user: usize, subject: Option<Subject>) {
        let Some(mut table) = self.ledger.tables[self.ledger.epoch().access].clone() else { return };
        if !self.ledger.asks_service || !self.random.chance(700) {
            return;
        }
        match (subject, &mut table[user]) {
            (None, may_see) => *may_see = None,
            (Some((_, Some(object))), Some(may_see)) => *may_see &= !(1 << object),
            _ => return,
        }
        self.ledger.change_access(Some(table));
    }

    /// When the service answers next.
    pub(super) fn next_answer(&self) -> Option<u64> {
        self.service.asked.iter().map(|(at, _)| *at).min()
    }

    /// Lets the hub act, as the event loop does for what comes neither from a peer nor from a producer.
    pub(super) fn hub<R>(&mut self, act: impl FnOnce(&mut Hub, &mut Peers, Now) -> R) -> R {
        let now = self.now;
        self.driver.server_mut().act(now, |service, peers| act(&mut service.hub, peers, now))
    }

    fn lose_service(&mut self) {
        trace!(self, "the access service is gone");
        self.faults.happened(Fault::ServiceLost);
        self.service = AccessService::default();
        self.ledger.trouble = self.ledger.stamp();
        let random = self.random.next();
        self.hub(|hub, peers, now| hub.access_disconnected(peers, now, random));
    }

    /// The service answers what is due, in an order of its own.
    fn answer(&mut self) -> Verdict {
        let now = self.real.monotonic.0;
        let (mut due, later): (Vec<_>, Vec<_>) = self.service.asked.drain(..).partition(|(at, _)| *at <= now);
        self.service.asked = later;
        while !due.is_empty() {
            let (_, question) = due.swap_remove(self.random.below(due.len()));
            if self.faults.strike(Fault::ServiceGarbage, &mut self.random) {
                let unasked = format!("{{\"ref\":{},\"code\":0}}", question.reference + 1000);
                let garbage: [&[u8]; 4] = [b"nonsense", b"{\"code\":0}", b"\xff", unasked.as_bytes()];
                let line = *self.random.pick(&garbage);
                // That it is no answer is all there is to say of it.
                self.hub(|hub, peers, now| drop(hub.access_line(peers, line, now)));
            }
            let Question { reference, user, subject } = question;
            let code = self.ledger.access(self.ledger.epoch(), user, true, subject);
            trace!(self, "the access service answers {code} to {question:?}");
            let line = format!("{{\"ref\":{reference},\"code\":{code}}}");
            let taken = self.hub(|hub, peers, now| {
                hub.access_line(peers, line.as_bytes(), now).map_err(|error| error.to_string())
            });
            taken.map_err(|error| format!("{line} is not taken for an answer: {error}"))?;
        }
        Ok(())
    }

    /// The service takes the questions that are waiting.
    fn ask(&mut self) -> Verdict {
        while let Some(question) = self.hub(|hub, _, _| hub.next_access_question()) {
            let mut line = Vec::new();
            question.encode(&mut line);
            let question =
                read(&line).ok_or_else(|| format!("no question: {}", String::from_utf8_lossy(&line)))?;
            let mut at = self.real.monotonic.0 + 1;
            if self.faults.strike(Fault::ServiceSilent, &mut self.random) {
                continue;
            }
            if self.faults.strike(Fault::ServiceLate, &mut self.random) {
                at += self.random.next() % (2 * TIMEOUT);
            }
            self.service.asked.push((at, question));
        }
        Ok(())
    }
}

/// Reads a question's line.
fn read(line: &[u8]) -> Option<Question> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let (user, event) = (line["user"].as_str()?, &line["event"]);
    let kind = KINDS.iter().position(|kind| *kind == event["type"])?;
    let object = if kind == NOTIFICATION { None } else { object_of(event["id"].as_str()?)? };
    let user = (0..USERS).find(|&other| user_id(other) == user)?;
    Some(Question { reference: line["ref"].as_u64()?, user, subject: (kind, object) })
}
