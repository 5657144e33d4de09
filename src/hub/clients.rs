//! What is kept of each client between its requests: its rate, its failures, and the requests that wait.

use super::rate::Account;
use crate::access::QuestionId;
use crate::api::{Action, Code, Subject};
use crate::peers::PeerId;
use crate::token::Claims;
use std::collections::{HashMap, VecDeque};

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// By the peer's slot.
    clients: Vec<Client>,
    /// The requests that wait, each client's in their order; only for those who have some.
    waiting: HashMap<PeerId, VecDeque<Waiting>>,
    /// The clients whose first waiting request needs a signature check, in the order they came.
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

/// A request that waits for its turn: for something it needs to know, or for one before it.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The token's signature is to be checked.
    Token { auth: Box<str>, wish: Wish },
    /// The access service has been asked.
    Access { question: QuestionId, wish: Wish, claims: Claims },
    /// All is known, as of this state of the rights: the hub's count.
    Decided { code: Code, as_of: u64, wish: Wish, claims: Claims },
    /// It is refused, whatever else is to be known.
    Refused(Code),
}

/// What a request wants done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
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
        for waiting in self.waiting.remove(&peer).into_iter().flatten() {
            if let Waiting::Access { question, .. } = waiting {
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
    pub(super) fn wait(&mut self, peer: PeerId, waiting: Waiting) {
        match waiting {
            Waiting::Access { question, .. } => drop(self.questions.insert(question, peer)),
            Waiting::Token { .. } if !self.has_waiting(peer) => self.unverified.push_back(peer),
            _ => {}
        }
        self.waiting.entry(peer).or_default().push_back(waiting);
    }

    /// How many requests of this client wait.
    pub(super) fn waiting(&self, peer: PeerId) -> usize {
        self.waiting.get(&peer).map_or(0, VecDeque::len)
    }

    /// The request that is next, if all it needs is known; forgets the client's queue when it is empty.
    pub(super) fn next_ready(&mut self, peer: PeerId) -> Option<Waiting> {
        let queue = self.waiting.get_mut(&peer)?;
        match queue.front() {
            None => drop(self.waiting.remove(&peer)),
            Some(Waiting::Access { .. }) => {}
            Some(Waiting::Token { .. }) => self.unverified.push_back(peer),
            Some(Waiting::Decided { .. } | Waiting::Refused(_)) => return queue.pop_front(),
        }
        None
    }

    /// Whether a signature is to be checked.
    pub(super) fn has_unverified(&self) -> bool {
        !self.unverified.is_empty()
    }

    /// The next request whose token's signature is to be checked.
    pub(super) fn next_unverified(&mut self) -> Option<(PeerId, Box<str>, Wish)> {
        while let Some(peer) = self.unverified.pop_front() {
            let Some(queue) = self.waiting.get_mut(&peer) else { continue };
            if let Some(Waiting::Token { auth, wish }) =
                queue.pop_front_if(|it| matches!(it, Waiting::Token { .. }))
            {
                return Some((peer, auth, wish));
            }
        }
        None
    }

    /// Puts a request that [`Clients::next_unverified`] gave back to the front, with what is known of it now.
    pub(super) fn put_back(&mut self, peer: PeerId, waiting: Waiting) {
        if let Waiting::Access { question, .. } = waiting {
            self.questions.insert(question, peer);
        }
        self.waiting.entry(peer).or_default().push_front(waiting);
    }

    /// Notes the answer to a question, true as of this state of the rights. Returns whose request it was.
    pub(super) fn answer(&mut self, question: QuestionId, code: Code, as_of: u64) -> Option<PeerId> {
        let peer = self.questions.remove(&question)?;
        for waiting in self.waiting.get_mut(&peer)? {
            if let Waiting::Access { question: asked, wish, claims } = *waiting
                && asked == question
            {
                *waiting = Waiting::Decided { code, as_of, wish, claims };
            }
        }
        Some(peer)
    }
}
