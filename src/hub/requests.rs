//! A client's requests: each message gets one reply, in the order of the messages.
//!
//! A request that can be decided at once is answered at once. One that needs a signature check or an answer of the
//! access service is pending, and so are those behind it; their checks and questions run meanwhile.

use super::Hub;
use super::pending::{Operation, Pending};
use crate::access::Decision;
use crate::api::{Action, Code, Request};
use crate::cost::{self, Budget};
use crate::peers::{CloseReason, PeerId, Peers};
use crate::subscriptions::{Lease, Topic};
use crate::time::{Now, Wall};
use crate::token::{Claims, Lookup};
use crate::websocket::message::Message;

/// Pending requests that a connection may have beyond its burst; with more it is closed.
const PENDING_OVER_BURST: usize = 256;

impl Hub {
    /// Handles one message of a client.
    pub(super) fn request(&mut self, peers: &mut Peers, peer: PeerId, message: Message<'_>, now: Now) {
        let request = self.read_request(peer, message, peers.is_catching_up(), now);
        let is_known = matches!(request, Pending::Decided { .. } | Pending::Refused(_));
        if is_known && !self.clients.has_pending(peer) {
            self.finish(peers, peer, request, now);
        } else {
            self.clients.push(peer, request);
            // Messages already read are still handled; the rest stays in the socket.
            peers.pause(peer);
            if self.clients.pending(peer) > self.limits.request_burst as usize + PENDING_OVER_BURST {
                peers.close(peer, CloseReason::TooManyRequests, now.monotonic);
            }
        }
    }

    /// Reads a request and decides it as far as possible without waiting. Every message counts against the rate, even one
    /// that cannot be parsed; but those that arrived while the process was stopped arrived at their own time.
    fn read_request(&mut self, peer: PeerId, message: Message<'_>, catching_up: bool, now: Now) -> Pending {
        if !catching_up && !self.rate.admit(&mut self.clients.get_mut(peer).rate, now.monotonic) {
            return Pending::Refused(Code::TooManyRequests);
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Pending::Refused(Code::InvalidRequest),
        };
        let Request { auth, action, subject } = match Request::parse(&text) {
            Ok(request) => request,
            Err(code) => return Pending::Refused(code),
        };
        let operation = Operation { action, subject };
        match self.tokens.lookup(&auth, now.wall) {
            Lookup::Known(Ok(claims)) => self.ask(claims, operation, now),
            Lookup::Known(Err(_)) => Pending::Refused(Code::InvalidToken),
            Lookup::Unverified(token) => Pending::Token { token, operation },
        }
    }

    /// Asks whether the user of a valid token may do this.
    fn ask(&mut self, claims: Claims, operation: Operation, now: Now) -> Pending {
        let subject = match operation.action {
            Action::Attach => Some(operation.subject),
            Action::Detach => None,
        };
        match self.access.decide(claims.user, subject, now.monotonic) {
            Decision::Now(code) => Pending::Decided { code, epoch: self.access_epoch, operation, claims },
            Decision::Later(question) => Pending::Access { question, operation, claims },
        }
    }

    /// Verifies pending tokens within the turn's budget.
    pub(super) fn verify_some(&mut self, peers: &mut Peers, budget: &mut Budget, now: Now) {
        while !budget.is_spent() {
            let Some((peer, token, operation)) = self.clients.next_unverified() else { break };
            // Since then it may have expired or been verified for another request.
            let verified = match self.tokens.settle(&token, now.wall) {
                Some(known) => {
                    budget.charge(cost::TOKEN_LOOKUP);
                    known
                }
                None => {
                    budget.charge_each(cost::SIGNATURE, token.cost());
                    self.tokens.verify(&token)
                }
            };
            let request = match verified {
                Ok(claims) => self.ask(claims, operation, now),
                Err(_) => Pending::Refused(Code::InvalidToken),
            };
            self.clients.put_back(peer, request);
            self.finish_ready(peers, peer, now);
        }
    }

    /// Finishes the decided requests at the front of the queue, stopping at one that closes the connection.
    pub(super) fn finish_ready(&mut self, peers: &mut Peers, peer: PeerId, now: Now) {
        while peers.is_open(peer)
            && let Some(request) = self.clients.next_ready(peer)
        {
            match self.renew(request, now) {
                asked @ Pending::Access { .. } => {
                    self.clients.push_first(peer, asked);
                    break;
                }
                known => self.finish(peers, peer, known, now),
            }
        }
        if !self.clients.has_pending(peer) {
            peers.resume(peer);
        }
    }

    /// Decides a request again if the access epoch has changed since.
    fn renew(&mut self, request: Pending, now: Now) -> Pending {
        match request {
            Pending::Decided { epoch, operation, claims, .. } if epoch != self.access_epoch => {
                self.ask(claims, operation, now)
            }
            current => current,
        }
    }

    /// Carries out a decided request, or refuses it, and replies.
    fn finish(&mut self, peers: &mut Peers, peer: PeerId, request: Pending, now: Now) {
        let code = match request {
            Pending::Refused(code) => code,
            Pending::Decided { code, operation, claims, .. } => {
                // The token may have expired or its key may have been removed while the request was pending.
                if self.tokens.ends_at(&claims) <= now.wall || !self.tokens.knows_key(claims.key) {
                    Code::InvalidToken
                } else {
                    peers.trust(peer);
                    self.clients.get_mut(peer).offences.good_token();
                    if code == Code::Ok { self.fulfil(peer, operation, claims) } else { code }
                }
            }
            Pending::Token { .. } | Pending::Access { .. } => {
                unreachable!("only decided and refused requests are finished")
            }
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

    /// Replies to a request, and closes the connection after too many refusals.
    fn reply(&mut self, peers: &mut Peers, peer: PeerId, code: Code, now: Now) {
        peers.send(peer, &self.replies[usize::from(code.number())], now.monotonic);
        self.counters.replies[usize::from(code.number())] += 1;
        let offences = &mut self.clients.get_mut(peer).offences;
        if code == Code::TooManyRequests {
            if offences.over_rate(now.monotonic) {
                peers.close(peer, CloseReason::TooManyRequests, now.monotonic);
            }
            return;
        }
        offences.within_rate();
        if code == Code::InvalidToken && offences.bad_token() {
            peers.close(peer, CloseReason::TooManyBadTokens, now.monotonic);
        }
    }
}
