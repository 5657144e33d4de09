//! The service itself: what clients ask and what producers write → replies, deliveries, closings.
//!
//! It brings together who may hear what ([`Tokens`], [`Access`]) and who listens to what ([`Subscriptions`]), and speaks
//! to its clients through [`Peers`]. It knows no socket, no file and no clock.

mod admission;
mod consulting;
mod counters;
mod pending;
mod publishing;
mod rate;
mod requests;
mod revocation;

pub use admission::Admission;
pub use counters::HubCounters;

use crate::access::Access;
use crate::api::{Code, Line, LineError, encode_refused};
use crate::ndjson::TooLong;
use crate::peers::{Application, PeerId, Peers};
use crate::server::Service;
use crate::subscriptions::Subscriptions;
use crate::time::{Monotonic, Now, Wall};
use crate::token::Tokens;
use crate::websocket::frame::Frames;
use crate::websocket::handshake::{PageRequest, Rejection, Upgrade};
use crate::websocket::message::Message;
use pending::Clients;
use publishing::Batch;
use rate::RateLimit;

/// What a client may ask for, and how often.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// Subscriptions of one connection; then code 6.
    pub subscriptions: usize,
    /// Connections of one user, 0 for any number; then code 7.
    pub connections_per_user: usize,
    /// Requests of one connection a second, 0 for any number; then code 7.
    pub requests_per_second: u32,
    /// Requests of one connection at once.
    pub request_burst: u32,
    /// A producer's line, in bytes; for the answer to a longer one.
    pub line: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Hub {
    admission: Admission,
    tokens: Tokens,
    access: Access,
    /// Counts how often something that `access` allowed may have been taken back.
    access_epoch: u64,
    subscriptions: Subscriptions,
    clients: Clients,
    limits: HubLimits,
    rate: RateLimit,
    /// Whether a subscription ends with its token.
    enforce_expiry: bool,
    /// Events that go to the same subscribers, not queued yet.
    batch: Batch,
    /// The frame of each reply, by its code.
    replies: [Frames; Code::ALL.len()],
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
            replies: Code::ALL.map(|code| Frames::text(code.reply())),
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

    fn message(&mut self, peers: &mut Peers, peer: PeerId, message: Message<'_>, now: Now) {
        self.flush_batch(peers, now);
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
    fn line(
        &mut self,
        peers: &mut Peers,
        number: u64,
        line: Result<&[u8], TooLong>,
        answers: &mut Vec<u8>,
        now: Now,
    ) {
        let line = match line {
            Ok(line) => Line::parse(line),
            Err(TooLong) => Err(LineError::too_long(self.limits.line)),
        };
        self.expire(peers, now);
        match line {
            Ok(Line::Event(event)) => self.publish(peers, &event, answers, now),
            Ok(Line::Revoke { user, subject, ack }) => {
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

    fn work(&mut self, peers: &mut Peers, now: Now) {
        self.expire(peers, now);
        self.give_up_questions(peers, now);
        self.verify_some(peers, now);
    }

    fn has_work(&self) -> bool {
        self.clients.has_unverified()
    }

    fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        let end = self
            .subscriptions
            .next_end()
            .map(|Wall(end)| Monotonic(now.monotonic.0.saturating_add(end.saturating_sub(now.wall.0))));
        end.into_iter().chain(self.next_give_up()).min()
    }

    fn flush_batch(&mut self, peers: &mut Peers, now: Now) {
        self.batch.queue(&self.subscriptions, peers, &mut self.counters, now.monotonic);
    }
}
