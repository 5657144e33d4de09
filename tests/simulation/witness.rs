//! The hub with a witness in front of it: notes what the server gives to the service, and changes nothing.

use crate::tape::{Entry, Refusal, Tape};
use airlay::cost::Budget;
use airlay::hub::Hub;
use airlay::peers::{Application, PeerId, Peers};
use airlay::producers::{BadLine, Line};
use airlay::server::Service;
use airlay::time::{Monotonic, Now};
use airlay::websocket::handshake::{PageRequest, Rejection, Upgrade};
use airlay::websocket::message::Message;
use std::net::IpAddr;

#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) hub: Hub,
    pub(crate) tape: Tape,
}

impl Application for Witness {
    fn upgrade(
        &mut self,
        peers: &mut Peers,
        peer: PeerId,
        upgrade: &Upgrade<'_>,
        now: Now,
    ) -> Result<(), Rejection> {
        let result = self.hub.upgrade(peers, peer, upgrade, now);
        self.tape.note(Entry::Upgrade(peer, result.is_ok()));
        result
    }

    fn page(&self, request: &PageRequest<'_>) -> Result<&[u8], Rejection> {
        self.hub.page(request)
    }

    fn connections_at(&self, address: IpAddr) -> Option<usize> {
        self.hub.connections_at(address)
    }

    fn message(&mut self, peers: &mut Peers, peer: PeerId, message: Message<'_>, now: Now) {
        self.tape.note(Entry::Message(peer));
        self.hub.message(peers, peer, message, now);
    }

    fn user(&self, peer: PeerId) -> Option<String> {
        self.hub.user(peer)
    }

    fn closed(&mut self, peer: PeerId) {
        self.tape.note(Entry::Gone(peer));
        self.hub.closed(peer);
    }
}

impl Service for Witness {
    fn line(&mut self, peers: &mut Peers, number: u64, line: Line<'_>, answers: &mut Vec<u8>, now: Now) {
        let seen = line.map(<[u8]>::to_vec).map_err(|why| match why {
            BadLine::TooLong => Refusal::TooLong,
            BadLine::NoRoom => Refusal::NoRoom,
        });
        self.tape.note(Entry::Line(number, seen, now.wall.0));
        self.hub.line(peers, number, line, answers, now);
    }

    fn work(&mut self, peers: &mut Peers, budget: &mut Budget, now: Now) {
        self.hub.work(peers, budget, now);
    }

    fn has_work(&self) -> bool {
        self.hub.has_work()
    }

    fn next_deadline(&self, now: Now) -> Option<Monotonic> {
        self.hub.next_deadline(now)
    }

    fn flush_batch(&mut self, peers: &mut Peers, now: Now) {
        self.hub.flush_batch(peers, now);
    }
}
