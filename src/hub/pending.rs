//! What is kept of each client between its requests: its rate, its failures, and the requests that wait.

use super::rate::Account;
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
    /// The requests that wait, each client's in their order; only for those who have some.
    waiting: HashMap<PeerId, Queue>,
    /// The clients of whose waiting requests one needs a signature check, in the order they came.
    unverified: VecDeque<PeerId>,
    /// Whose request waits for the answer to a question.
    questions: HashMap<QuestionId, PeerId>,
}

/// One client. There may be a million of these.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Client {
    pub(super) rate: Account,
    /// Bad tokens in a row.
    pub(super) bad_tokens: u8,
    /// Requests in a row refused for their rate.
    pub(super) over_rate: u16,
}

/// The waiting requests of one client.
#[derive(Debug, Default)]
struct Queue {
    requests: VecDeque<Pending>,
    /// So many of the first need no signature check.
    known: usize,
    /// The client is in the list of those with an unverified request.
    is_listed: bool,
    /// A token was refused: the next one is looked at when it comes first, for the connection may be closed before.
    is_held: bool,
}

/// A request that waits for its turn: for something it needs to know, or for one before it.
#[derive(Debug)]
pub(super) enum Pending {
    /// The token's signature is to be checked.
    Token { token: Box<Unverified>, operation: Operation },
    /// The access service has been asked.
    Access { question: QuestionId, operation: Operation, claims: Claims },
    /// All is known, as of this state of the rights: the hub's count.
    Decided { code: Code, as_of: u64, operation: Operation, claims: Claims },
    /// It is refused, whatever else is to be known.
    Refused(Code),
}

/// What a request wants done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) action: Action,
    pub(super) subject: Subject,
}

impl Clients {
    /// A client's connection is open.
    pub(super) fn connect(&mut self, peer: PeerId) {
        if self.clients.len() <= peer.index() {
            self.clients.resize(peer.index() + 1, Client::default());
        }
        self.clients[peer.index()] = Client::default();
    }

    /// A client is gone, and what it still wanted with it.
    pub(super) fn disconnect(&mut self, peer: PeerId) {
        for waiting in self.waiting.remove(&peer).into_iter().flat_map(|queue| queue.requests) {
            if let Pending::Access { question, .. } = waiting {
                self.questions.remove(&question);
            }
        }
    }

    pub(super) fn get_mut(&mut self, peer: PeerId) -> &mut Client {
        &mut self.clients[peer.index()]
    }

    /// Whether requests of this client wait, so that a new one has to wait behind them.
    pub(super) fn has_waiting(&self, peer: PeerId) -> bool {
        self.waiting.contains_key(&peer)
    }

    /// Puts a request behind those that wait.
    pub(super) fn wait(&mut self, peer: PeerId, waiting: Pending) {
        self.expect_answer(peer, &waiting);
        let queue = self.waiting.entry(peer).or_default();
        if matches!(waiting, Pending::Token { .. }) && !queue.is_held {
            queue.list(peer, &mut self.unverified);
        }
        queue.requests.push_back(waiting);
    }

    /// How many requests of this client wait.
    pub(super) fn waiting(&self, peer: PeerId) -> usize {
        self.waiting.get(&peer).map_or(0, |queue| queue.requests.len())
    }

    /// The request that is next, if all it needs is known; forgets the client's queue when it is empty.
    pub(super) fn next_ready(&mut self, peer: PeerId) -> Option<Pending> {
        let queue = self.waiting.get_mut(&peer)?;
        match queue.requests.front() {
            None => drop(self.waiting.remove(&peer)),
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

    /// Puts a request that [`Clients::next_ready`] gave back to the front, where it waits for an answer.
    pub(super) fn wait_first(&mut self, peer: PeerId, waiting: Pending) {
        self.expect_answer(peer, &waiting);
        let queue = self.waiting.entry(peer).or_default();
        queue.requests.push_front(waiting);
        queue.known += 1;
    }

    /// Whether a signature is to be checked.
    pub(super) fn has_unverified(&self) -> bool {
        !self.unverified.is_empty()
    }

    /// Takes out the next request whose token's signature is to be checked: of each client the first one.
    pub(super) fn next_unverified(&mut self) -> Option<(PeerId, Box<Unverified>, Operation)> {
        while let Some(peer) = self.unverified.pop_front() {
            let Some(queue) = self.waiting.get_mut(&peer) else { continue };
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

    /// Puts a request that [`Clients::next_unverified`] gave back to its place, with what is known of it now.
    pub(super) fn put_back(&mut self, peer: PeerId, waiting: Pending) {
        self.expect_answer(peer, &waiting);
        let queue = self.waiting.entry(peer).or_default();
        queue.is_held = matches!(waiting, Pending::Refused(_));
        queue.requests.insert(queue.known, waiting);
        queue.known += 1;
        if !queue.is_held && queue.known < queue.requests.len() {
            queue.list(peer, &mut self.unverified);
        }
    }

    /// Notes the answer to a question, true as of this state of the rights. Returns whose request it was.
    pub(super) fn answer(&mut self, question: QuestionId, code: Code, as_of: u64) -> Option<PeerId> {
        let peer = self.questions.remove(&question)?;
        for waiting in &mut self.waiting.get_mut(&peer)?.requests {
            if let Pending::Access { question: asked, operation, claims } = *waiting
                && asked == question
            {
                *waiting = Pending::Decided { code, as_of, operation, claims };
            }
        }
        Some(peer)
    }

    fn expect_answer(&mut self, peer: PeerId, waiting: &Pending) {
        if let Pending::Access { question, .. } = waiting {
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

    /// A request that waits for a signature check, told from others by its action.
    fn token(action: Action) -> Pending {
        let subject = Subject { kind: EventType::Notification, id: None };
        Pending::Token { token: Box::new(Unverified::example()), operation: Operation { action, subject } }
    }

    fn next_unverified(clients: &mut Clients) -> Option<(PeerId, Action)> {
        clients.next_unverified().map(|(peer, _, operation)| (peer, operation.action))
    }

    #[test]
    fn s37_behind_a_bad_token_the_next_is_looked_at_when_it_comes_first() {
        let mut clients = Clients::default();
        let [peer, other] = [PeerId::new(0, 1), PeerId::new(1, 2)];
        for action in [Action::Detach, Action::Attach, Action::Detach] {
            clients.wait(peer, token(action));
        }
        clients.wait(other, token(Action::Attach));
        assert_eq!(next_unverified(&mut clients), Some((peer, Action::Detach)));
        clients.put_back(peer, Pending::Refused(Code::InvalidToken));
        // One that comes now waits as well.
        clients.wait(peer, token(Action::Detach));
        assert_eq!(next_unverified(&mut clients), Some((other, Action::Attach)));
        assert_eq!(next_unverified(&mut clients), None);
        assert!(matches!(clients.next_ready(peer), Some(Pending::Refused(Code::InvalidToken))));
        assert!(clients.next_ready(peer).is_none());
        assert_eq!(next_unverified(&mut clients), Some((peer, Action::Attach)));
        assert_eq!(clients.waiting(peer), 2);
    }

    #[test]
    fn a_request_goes_back_to_its_place() {
        let mut clients = Clients::default();
        let peer = PeerId::new(0, 1);
        let refused = [Code::TokenNotSet, Code::InvalidRequest, Code::TooManyRequests];
        clients.wait(peer, token(Action::Attach));
        clients.wait(peer, Pending::Refused(refused[1]));
        clients.wait(peer, token(Action::Detach));
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
        assert!(!clients.has_waiting(peer));
    }
}
