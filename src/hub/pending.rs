//! The state of each client between requests: its rate, its offences and its pending requests.

use super::rate::{Account, Offences};
use crate::access::QuestionId;
use crate::api::{Action, Code, Subject};
use crate::peers::PeerId;
use crate::token::{Claims, Unverified};
use std::collections::{HashMap, VecDeque};

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// By the peer's slot.
    clients: Vec<Client>,
    /// The pending requests of each client that has any.
    pending: HashMap<PeerId, Queue>,
    /// Clients with a pending request that needs a signature check, in the order of arrival.
    unverified: VecDeque<PeerId>,
    /// The client that waits for the answer to each question.
    questions: HashMap<QuestionId, PeerId>,
}

/// One client. There may be a million of these.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Client {
    pub(super) rate: Account,
    pub(super) offences: Offences,
}

/// The pending requests of one client.
#[derive(Debug, Default)]
struct Queue {
    requests: VecDeque<Pending>,
    /// Length of the prefix that needs no signature check.
    known: usize,
    /// The client is in [`Clients::unverified`].
    is_listed: bool,
    /// A token was refused. The next one is verified only when its request is at the front, since the connection may
    /// be closed before that.
    is_held: bool,
}

/// A request that is not finished: it waits for a signature check or an answer, or behind a request that does.
#[derive(Debug)]
pub(super) enum Pending {
    /// The token's signature needs to be verified.
    Token { token: Box<Unverified>, operation: Operation },
    /// The access service has been asked.
    Access { question: QuestionId, operation: Operation, claims: Claims },
    /// Decided, as of this access epoch.
    Decided { code: Code, epoch: u64, operation: Operation, claims: Claims },
    /// Refused for good.
    Refused(Code),
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) action: Action,
    pub(super) subject: Subject,
}

impl Clients {
    /// Adds a client, resetting what its slot's last client left.
    pub(super) fn connect(&mut self, peer: PeerId) {
        if self.clients.len() <= peer.index() {
            self.clients.resize(peer.index() + 1, Client::default());
        }
        self.clients[peer.index()] = Client::default();
    }

    /// Drops the pending requests of a client that disconnected.
    pub(super) fn disconnect(&mut self, peer: PeerId) {
        for request in self.pending.remove(&peer).into_iter().flat_map(|queue| queue.requests) {
            if let Pending::Access { question, .. } = request {
                self.questions.remove(&question);
            }
        }
    }

    pub(super) fn get_mut(&mut self, peer: PeerId) -> &mut Client {
        &mut self.clients[peer.index()]
    }

    /// Whether this client has pending requests, so that a new one must wait behind them.
    pub(super) fn has_pending(&self, peer: PeerId) -> bool {
        self.pending.contains_key(&peer)
    }

    /// Appends a request to the pending ones.
    pub(super) fn push(&mut self, peer: PeerId, request: Pending) {
        self.expect_answer(peer, &request);
        let queue = self.pending.entry(peer).or_default();
        if matches!(request, Pending::Token { .. }) && !queue.is_held {
            queue.list(peer, &mut self.unverified);
        }
        queue.requests.push_back(request);
    }

    /// The number of this client's pending requests.
    pub(super) fn pending(&self, peer: PeerId) -> usize {
        self.pending.get(&peer).map_or(0, |queue| queue.requests.len())
    }

    /// Takes the first request, if it is decided or refused. Removes the client's queue when it is empty.
    pub(super) fn next_ready(&mut self, peer: PeerId) -> Option<Pending> {
        let queue = self.pending.get_mut(&peer)?;
        match queue.requests.front() {
            None => drop(self.pending.remove(&peer)),
            Some(Pending::Access { .. }) => {}
            Some(Pending::Token { .. }) => {
                queue.is_held = false;
                queue.list(peer, &mut self.unverified);
            }
            Some(Pending::Decided { .. } | Pending::Refused(_)) => {
                queue.known = queue.known.saturating_sub(1);
                return queue.requests.pop_front();
            }
        }
        None
    }

    /// Returns a request that [`Clients::next_ready`] took to the front, to wait for an answer.
    pub(super) fn push_first(&mut self, peer: PeerId, request: Pending) {
        self.expect_answer(peer, &request);
        let queue = self.pending.entry(peer).or_default();
        queue.requests.push_front(request);
        queue.known += 1;
    }

    /// Whether there are signatures to verify.
    pub(super) fn has_unverified(&self) -> bool {
        !self.unverified.is_empty()
    }

    /// Takes the next request whose token needs to be verified. Clients take turns with their first such request.
    pub(super) fn next_unverified(&mut self) -> Option<(PeerId, Box<Unverified>, Operation)> {
        while let Some(peer) = self.unverified.pop_front() {
            let Some(queue) = self.pending.get_mut(&peer) else { continue };
            queue.is_listed = false;
            while queue.requests.get(queue.known).is_some_and(|it| !matches!(it, Pending::Token { .. })) {
                queue.known += 1;
            }
            if let Some(Pending::Token { token, operation }) = queue.requests.remove(queue.known) {
                return Some((peer, token, operation));
            }
        }
        None
    }

    /// Returns a request that [`Clients::next_unverified`] took to its place in the queue, in its new state.
    pub(super) fn put_back(&mut self, peer: PeerId, request: Pending) {
        self.expect_answer(peer, &request);
        let queue = self.pending.entry(peer).or_default();
        queue.is_held = matches!(request, Pending::Refused(_));
        queue.requests.insert(queue.known, request);
        queue.known += 1;
        if !queue.is_held && queue.known < queue.requests.len() {
            queue.list(peer, &mut self.unverified);
        }
    }

    /// Records the answer to a question, as of this access epoch. Returns the client whose request asked it.
    pub(super) fn answer(&mut self, question: QuestionId, code: Code, epoch: u64) -> Option<PeerId> {
        let peer = self.questions.remove(&question)?;
        for request in &mut self.pending.get_mut(&peer)?.requests {
            if let Pending::Access { question: asked, operation, claims } = *request
                && asked == question
            {
                *request = Pending::Decided { code, epoch, operation, claims };
            }
        }
        Some(peer)
    }

    fn expect_answer(&mut self, peer: PeerId, request: &Pending) {
        if let Pending::Access { question, .. } = request {
            self.questions.insert(*question, peer);
        }
    }
}

impl Queue {
    fn list(&mut self, peer: PeerId, unverified: &mut VecDeque<PeerId>) {
        if !std::mem::replace(&mut self.is_listed, true) {
            unverified.push_back(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EventType;
    use crate::time::Wall;
    use crate::token::KeyId;

    /// A request that needs a signature check. The tests tell requests apart by the action.
    fn token(action: Action) -> Pending {
        let subject = Subject { kind: EventType::Notification, id: None };
        Pending::Token { token: Box::new(Unverified::example()), operation: Operation { action, subject } }
    }

    fn next_unverified(clients: &mut Clients) -> Option<(PeerId, Action)> {
        clients.next_unverified().map(|(peer, _, operation)| (peer, operation.action))
    }

    #[test]
    fn s37_behind_a_bad_token_the_next_is_verified_when_it_comes_first() {
        let mut clients = Clients::default();
        let [peer, other] = [PeerId::new(0, 1), PeerId::new(1, 2)];
        for action in [Action::Detach, Action::Attach, Action::Detach] {
            clients.push(peer, token(action));
        }
        clients.push(other, token(Action::Attach));
        assert_eq!(next_unverified(&mut clients), Some((peer, Action::Detach)));
        clients.put_back(peer, Pending::Refused(Code::InvalidToken));
        // A request received now is pending as well.
        clients.push(peer, token(Action::Detach));
        assert_eq!(next_unverified(&mut clients), Some((other, Action::Attach)));
        assert_eq!(next_unverified(&mut clients), None);
        assert!(matches!(clients.next_ready(peer), Some(Pending::Refused(Code::InvalidToken))));
        assert!(clients.next_ready(peer).is_none());
        assert_eq!(next_unverified(&mut clients), Some((peer, Action::Attach)));
        assert_eq!(clients.pending(peer), 2);
    }

    #[test]
    fn a_request_returns_to_its_place() {
        let mut clients = Clients::default();
        let peer = PeerId::new(0, 1);
        let refused = [Code::TokenNotSet, Code::InvalidRequest, Code::TooManyRequests];
        clients.push(peer, token(Action::Attach));
        clients.push(peer, Pending::Refused(refused[1]));
        clients.push(peer, token(Action::Detach));
        assert_eq!(next_unverified(&mut clients), Some((peer, Action::Attach)));
        clients.put_back(peer, Pending::Refused(refused[0]));
        for code in &refused[..2] {
            assert!(matches!(clients.next_ready(peer), Some(Pending::Refused(ready)) if ready == *code));
        }
        assert!(clients.next_ready(peer).is_none());
        assert_eq!(next_unverified(&mut clients), Some((peer, Action::Detach)));
        clients.put_back(peer, Pending::Refused(refused[2]));
        assert!(matches!(clients.next_ready(peer), Some(Pending::Refused(ready)) if ready == refused[2]));
        assert!(clients.next_ready(peer).is_none());
        assert!(!clients.has_pending(peer));
    }

    #[test]
    fn nothing_stays_of_a_client_that_is_gone() {
        let mut clients = Clients::default();
        let [gone, stays] = [PeerId::new(0, 1), PeerId::new(1, 2)];
        let questions = [1, 2].map(QuestionId::of_test);
        for (peer, question) in [gone, stays].into_iter().zip(questions) {
            let subject = Subject { kind: EventType::Notification, id: None };
            let operation = Operation { action: Action::Attach, subject };
            let claims = Claims {
                user: "5dad615eae019570fb4647ed".parse().unwrap(),
                expires: Wall(1),
                key: KeyId::of_no_key(1),
            };
            clients.push(peer, token(Action::Attach));
            clients.push(peer, Pending::Access { question, operation, claims });
        }
        clients.disconnect(gone);
        assert_eq!((clients.pending(gone), clients.pending(stays)), (0, 2));
        assert_eq!(clients.answer(questions[0], Code::Ok, 0), None);
        assert_eq!((clients.questions.len(), clients.pending.len()), (1, 1));
        assert_eq!(next_unverified(&mut clients), Some((stays, Action::Attach)));
        assert_eq!(clients.answer(questions[1], Code::Ok, 0), Some(stays));
        assert!(clients.questions.is_empty());
    }
}
