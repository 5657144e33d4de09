//! A client's requests: from the message to its one reply, in their order, however long one of them takes.
//!
//! What can be said at once is said at once. A request that needs a signature check or an answer of the access service
//! waits, and those behind it wait with it, though what they need is found out meanwhile.

use super::Hub;
use super::pending::{Operation, Pending};
use crate::access::Decision;
use crate::api::{Action, Code, Request};
use crate::peers::{CloseReason, PeerId, Peers};
use crate::subscriptions::{Lease, Topic};
use crate::time::{Now, Wall};
use crate::token::{Claims, Lookup};
use crate::websocket::message::Message;

/// Signatures checked in one turn: about a millisecond with RSA-4096.
const SIGNATURES_A_TURN: usize = 16;

/// The same while somebody is to be written to: half as long as the writes of a turn take. A flood of new tokens makes a fan-out
/// take half as long again, instead of five times as long with all of [`SIGNATURES_A_TURN`].
const SIGNATURES_BESIDE_WRITES: usize = 4;

/// So many tokens can be looked up, or refused for their contents, in the time of one signature check.
const LOOKUPS_FOR_A_SIGNATURE: usize = 16;

/// So many bad tokens in a row close the connection.
const BAD_TOKENS: u8 = 5;

/// So many requests in a row that are refused for their rate close the connection.
const OVER_RATE: u16 = 256;

/// So many requests may wait on one connection besides a whole burst; with more it is closed.
const WAITING_OVER_BURST: usize = 256;

impl Hub {
    /// Takes one message of a client.
    pub(super) fn request(&mut self, peers: &mut Peers, peer: PeerId, message: Message<'_>, now: Now) {
        let waiting = match message {
            Message::Text(text) => self.read_request(peer, &text, now),
            Message::Binary(_) => Pending::Refused(Code::InvalidRequest),
        };
        let is_known = matches!(waiting, Pending::Decided { .. } | Pending::Refused(_));
        if is_known && !self.clients.has_waiting(peer) {
            self.finish(peers, peer, waiting, now);
        } else {
            self.clients.wait(peer, waiting);
            // What has been read already is still taken; the rest stays where it is.
            peers.pause(peer);
            if self.clients.waiting(peer) > self.limits.request_burst as usize + WAITING_OVER_BURST {
                peers.close(peer, CloseReason::TooManyRequests, now.monotonic);
            }
        }
    }

    /// What can be said of a request now, first refusal first.
    fn read_request(&mut self, peer: PeerId, text: &str, now: Now) -> Pending {
        let Request { auth, action, subject } = match Request::parse(text) {
            Ok(request) => request,
            Err(code) => return Pending::Refused(code),
        };
        if !self.rate.admit(&mut self.clients.get_mut(peer).rate, now.monotonic) {
            return Pending::Refused(Code::TooManyRequests);
        }
        let operation = Operation { action, subject };
        match self.tokens.lookup(&auth, now.wall) {
            Lookup::Known(Ok(claims)) => self.ask(claims, operation, now),
            Lookup::Known(Err(_)) => Pending::Refused(Code::InvalidToken),
            Lookup::Unverified(token) => Pending::Token { token, operation },
        }
    }

    /// Asks whether the user of a good token may do this.
    fn ask(&mut self, claims: Claims, operation: Operation, now: Now) -> Pending {
        let subject = match operation.action {
            Action::Attach => Some(operation.subject),
            Action::Detach => None,
        };
        match self.access.decide(claims.user, subject, now.monotonic) {
            Decision::Now(code) => Pending::Decided { code, as_of: self.access_epoch, operation, claims },
            Decision::Later(question) => Pending::Access { question, operation, claims },
        }
    }

    /// Checks a turn's share of signatures.
    pub(super) fn verify_some(&mut self, peers: &mut Peers, now: Now) {
        let signatures = if peers.has_unflushed() { SIGNATURES_BESIDE_WRITES } else { SIGNATURES_A_TURN };
        let mut budget = signatures * LOOKUPS_FOR_A_SIGNATURE;
        while budget > 0 {
            let Some((peer, token, operation)) = self.clients.next_unverified() else { break };
            // It may have been verified for another request meanwhile, and it may have expired.
            let verified = match self.tokens.settle(&token, now.wall) {
                Some(known) => {
                    budget -= 1;
                    known
                }
                None => {
                    budget = budget.saturating_sub(token.cost() * LOOKUPS_FOR_A_SIGNATURE);
                    self.tokens.verify(&token)
                }
            };
            let waiting = match verified {
                Ok(claims) => self.ask(claims, operation, now),
                Err(_) => Pending::Refused(Code::InvalidToken),
            };
            self.clients.put_back(peer, waiting);
            self.finish_ready(peers, peer, now);
        }
    }

    /// Finishes the requests at the front of which all is known, up to one that closes the connection: those behind it go
    /// with the client.
    pub(super) fn finish_ready(&mut self, peers: &mut Peers, peer: PeerId, now: Now) {
        while peers.is_open(peer)
            && let Some(waiting) = self.clients.next_ready(peer)
        {
            match self.renew(waiting, now) {
                asked @ Pending::Access { .. } => {
                    self.clients.wait_first(peer, asked);
                    break;
                }
                known => self.finish(peers, peer, known, now),
            }
        }
        if !self.clients.has_waiting(peer) {
            peers.resume(peer);
        }
    }

    /// What is known of a request that has waited: if something was taken back meanwhile, its right is asked for again.
    fn renew(&mut self, waiting: Pending, now: Now) -> Pending {
        match waiting {
            Pending::Decided { as_of, operation, claims, .. } if as_of != self.access_epoch => {
                self.ask(claims, operation, now)
            }
            current => current,
        }
    }

    /// Does what a request of which all is known wants, and replies.
    fn finish(&mut self, peers: &mut Peers, peer: PeerId, waiting: Pending, now: Now) {
        let code = match waiting {
            Pending::Refused(code) => code,
            Pending::Decided { code, operation, claims, .. } => {
                // Time may have passed since the token was looked at, and the keys may have changed.
                if self.tokens.ends_at(&claims) <= now.wall || !self.tokens.knows_key(claims.key) {
                    Code::InvalidToken
                } else {
                    peers.trust(peer);
                    self.clients.get_mut(peer).bad_tokens = 0;
                    if code == Code::Ok { self.fulfil(peer, operation, claims) } else { code }
                }
            }
            Pending::Token { .. } | Pending::Access { .. } => unreachable!("only what is known is finished"),
        };
        self.reply(peers, peer, code, now);
    }

    /// Attaches or detaches.
    fn fulfil(&mut self, peer: PeerId, operation: Operation, claims: Claims) -> Code {
        let user = claims.user;
        let Some(topic) = Topic::new(user, operation.subject) else { return Code::InvalidRequest };
        match operation.action {
            Action::Detach => {
                self.subscriptions.detach(peer, &topic);
            }
            Action::Attach => {
                let limit = self.limits.connections_per_user;
                if limit > 0
                    && self.subscriptions.count_of_user(user) >= limit
                    && !self.subscriptions.has_session(peer, user)
                {
                    return Code::TooManyRequests;
                }
                if self.subscriptions.count_of_peer(peer) >= self.limits.subscriptions
                    && !self.subscriptions.contains(peer, &topic)
                {
                    return Code::TooManySubscriptions;
                }
                let ends = if self.enforce_expiry { self.tokens.ends_at(&claims) } else { Wall::NEVER };
                self.subscriptions.attach(peer, user, topic, Lease { ends, key: claims.key });
            }
        }
        Code::Ok
    }

    /// Replies to one request, and closes the connection of a client that goes on asking in vain.
    fn reply(&mut self, peers: &mut Peers, peer: PeerId, code: Code, now: Now) {
        peers.send(peer, &self.replies[usize::from(code.number())], now.monotonic);
        self.counters.replies[usize::from(code.number())] += 1;
        let client = self.clients.get_mut(peer);
        client.bad_tokens += u8::from(code == Code::InvalidToken);
        client.over_rate = if code == Code::TooManyRequests { client.over_rate + 1 } else { 0 };
        if client.bad_tokens >= BAD_TOKENS {
            peers.close(peer, CloseReason::TooManyBadTokens, now.monotonic);
        } else if client.over_rate >= OVER_RATE {
            peers.close(peer, CloseReason::TooManyRequests, now.monotonic);
        }
    }
}
