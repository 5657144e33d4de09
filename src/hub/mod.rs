//! The service itself: turns clients' requests and producers' lines into replies, deliveries and closings.
//!
//! It combines authorization ([`Tokens`], [`Access`]) with [`Subscriptions`] and sends to clients through [`Peers`]. It
//! knows no sockets, files, clocks or frames.

mod admission;
mod consulting;
mod counters;
mod pending;
mod publishing;
mod rate;
mod requests;
mod revocation;
#[cfg(test)]
mod tests;

pub use admission::Admission;
pub use counters::HubCounters;

use crate::access::Access;
use crate::api::{self, Code, LineError, encode_refused};
use crate::cost::Budget;
use crate::peers::{Application, PeerId, Peers, Prepared};
use crate::producers::{BadLine, Line};
use crate::server::Service;
use crate::subscriptions::Subscriptions;
use crate::time::{Monotonic, Now, Wall};
use crate::token::Tokens;
use crate::websocket::handshake::{PageRequest, Rejection, Upgrade};
use crate::websocket::message::Message;
use pending::Clients;
use publishing::Batch;
use rate::RateLimit;
use std::net::IpAddr;

/// Limits on clients' requests and producers' lines.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// The most subscriptions of one connection; one more is refused with code 6.
    pub subscriptions: usize,
    /// The most connections of one user, 0 for no limit; one more is refused with code 7.
    pub connections_per_user: usize,
    /// Requests per second of one connection, 0 for no limit; beyond that, code 7.
    pub requests_per_second: u32,
    /// Requests that a connection may send at once after being idle.
    pub request_burst: u32,
    /// The longest line of a producer, in bytes. Used only in the text of an error.
    pub line: usize,
    /// Bytes buffered for all producers. Used only in the text of an error.
    pub producers_total: usize,
}

/// Clients, their subscriptions, and the authorization of both.
#[derive(Debug)]
pub struct Hub {
    admission: Admission,
    tokens: Tokens,
    access: Access,
    /// Bumped whenever earlier decisions of `access` may be stale.
    access_epoch: u64,
    subscriptions: Subscriptions,
    clients: Clients,
    limits: HubLimits,
    rate: RateLimit,
    /// Whether a subscription ends with its token.
    enforce_expiry: bool,
    /// Consecutive events for the same subscribers, not yet fanned out.
    batch: Batch,
    /// See [`Service::take_examined`].
    examined: usize,
    /// Each reply, by its code.
    replies: [Prepared; Code::ALL.len()],
    counters: HubCounters,
}

impl Hub {
    /// A hub without clients.
    #[must_use]
    pub fn new(
        admission: Admission,
        tokens: Tokens,
        access: Access,
        limits: HubLimits,
        enforce_expiry: bool,
    ) -> Self {
        Self {
            admission,
            tokens,
            access,
            access_epoch: 0,
            subscriptions: Subscriptions::new(),
            clients: Clients::default(),
            rate: RateLimit::new(limits.requests_per_second, limits.request_burst),
            limits,
            enforce_expiry,
            batch: Batch::default(),
            examined: 0,
            replies: Code::ALL.map(|code| Prepared::text(code.reply())),
            counters: HubCounters::default(),
        }
    }
}

impl Application for Hub {
    fn upgrade(
        &mut self,
        peers: &mut Peers,
        peer: PeerId,
        upgrade: &Upgrade<'_>,
        _now: Now,
    ) -> Result<(), Rejection> {
        self.admission.admit(peers, peer, upgrade)?;
        self.clients.connect(peer);
        Ok(())
    }

    fn page(&self, request: &PageRequest<'_>) -> Result<&[u8], Rejection> {
        self.admission.page(request)
    }

    fn connections_at(&self, address: IpAddr) -> Option<usize> {
        self.admission.connections_at(address)
    }

    fn message(&mut self, peers: &mut Peers, peer: PeerId, message: Message<'_>, now: Now) {
        self.request(peers, peer, message, now);
    }

    fn user(&self, peer: PeerId) -> Option<String> {
        let users: Vec<String> =
            self.subscriptions.users_of_peer(peer).map(|user| user.to_string()).collect();
        (!users.is_empty()).then(|| users.join(","))
    }

    fn closed(&mut self, peer: PeerId) {
        self.subscriptions.disconnect(peer);
        self.clients.disconnect(peer);
    }
}

impl Service for Hub {
    fn line(&mut self, peers: &mut Peers, number: u64, line: Line<'_>, answers: &mut Vec<u8>, now: Now) {
        let line = match line {
            Ok(line) => api::Line::parse(line),
            Err(BadLine::TooLong) => Err(LineError::too_long(self.limits.line)),
            Err(BadLine::NoRoom) => Err(LineError::no_room(self.limits.producers_total)),
        };
        self.expire(peers, now);
        match line {
            Ok(api::Line::Event(event)) => self.publish(peers, &event, answers, now),
            Ok(api::Line::Revoke { user, subject, ack }) => {
                self.counters.revocations += 1;
                let ended = self.revoke(peers, user, subject, now);
                publishing::acknowledge(ack, ended, answers);
            }
            Err(error) => {
                self.counters.refused_lines += 1;
                encode_refused(number, &error, answers);
            }
        }
    }

    fn take_examined(&mut self) -> usize {
        std::mem::take(&mut self.examined)
    }

    fn work(&mut self, peers: &mut Peers, budget: &mut Budget, now: Now) {
        self.expire(peers, now);
        self.fail_questions(peers, now);
        self.verify_some(peers, budget, now);
    }

    fn has_work(&self) -> bool {
        self.clients.has_unverified()
    }

    fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        let end = self
            .subscriptions
            .next_end()
            .map(|Wall(end)| Monotonic(now.monotonic.0.saturating_add(end.saturating_sub(now.wall.0))));
        end.into_iter().chain(self.next_question_deadline()).min()
    }

    fn flush_batch(&mut self, peers: &mut Peers, now: Now) {
        self.batch.flush(&self.subscriptions, peers, &mut self.counters, now.monotonic);
    }
}
