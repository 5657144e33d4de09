//! Which peers to accept and read next: the readiness of their sockets and of their listener.

use super::{Exhausted, Transport, accept_some};
use crate::cost::{self, Budget};
use crate::peers::PeerId;
use crate::server::{Server, Service};
use crate::time::Now;
use std::collections::VecDeque;
use std::io::ErrorKind;

/// The peers that may have something to read.
#[derive(Debug, Default)]
pub(super) struct PeerInput {
    /// A client may be waiting to be accepted.
    is_waiting: bool,
    /// No more clients are accepted.
    is_closed: bool,
    /// By the peer's slot.
    sockets: Vec<Readiness>,
    /// Peers whose sockets may have something to read, or of which input was kept, each once.
    readable: VecDeque<PeerId>,
}

/// What is known of one peer's socket.
#[derive(Clone, Copy, Debug, Default)]
struct Readiness {
    /// The peer is in `readable`.
    is_listed: bool,
    /// The end of the stream was signalled, or events were missed: the socket is read until a read finds nothing.
    read_until_empty: bool,
}

impl PeerInput {
    pub(super) const fn set_waiting(&mut self) {
        self.is_waiting = true;
    }

    pub(super) const fn may_accept(&self) -> bool {
        self.is_waiting && !self.is_closed
    }

    pub(super) fn stop_accepting(&mut self, transport: &mut impl Transport) {
        if !self.is_closed {
            self.is_closed = true;
            transport.stop_accepting_peers();
        }
    }

    /// Accepts clients that wait, within the budget.
    pub(super) fn accept<S: Service>(
        &mut self,
        server: &mut Server<S>,
        transport: &mut impl Transport,
        budget: &mut Budget,
        now: Now,
    ) -> Result<(), Exhausted> {
        let mut is_waiting = self.may_accept();
        let result = accept_some(&mut is_waiting, budget, |is_first| {
            let address = transport.accept_peer(is_first)?;
            match server.connect(address, now) {
                Some(peer) => self.adopt(server, transport, peer),
                None => transport.refuse_peer(),
            }
            Ok(())
        });
        self.is_waiting = is_waiting && self.is_waiting;
        result
    }

    fn adopt<S: Service>(&mut self, server: &mut Server<S>, transport: &mut impl Transport, peer: PeerId) {
        if self.sockets.len() <= peer.index() {
            self.sockets.resize(peer.index() + 1, Readiness::default());
        }
        self.sockets[peer.index()] = Readiness::default();
        match transport.adopt_peer(peer) {
            // Its request has often come by now, or comes before the turn's reading.
            Ok(()) => self.readable(peer, false),
            Err(error) => {
                log::warn!(error:%; "cannot watch a connection, closing it");
                server.disconnect(peer);
            }
        }
    }

    /// The peer's socket may have something to read; `until_empty` if a short read does not show that it is empty.
    pub(super) fn readable(&mut self, peer: PeerId, until_empty: bool) {
        if let Some(socket) = self.sockets.get_mut(peer.index()) {
            socket.read_until_empty |= until_empty;
            if !std::mem::replace(&mut socket.is_listed, true) {
                self.readable.push_back(peer);
            }
        }
    }

    pub(super) fn has_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    pub(super) fn readable_count(&self) -> usize {
        self.readable.len()
    }

    /// Reads each peer that may have something once, within the turn's share, in the order of their readiness; a peer
    /// that is not done is read again after the others. Returns how many were read, and whether all of them are done.
    pub(super) fn read<S: Service>(
        &mut self,
        server: &mut Server<S>,
        transport: &mut impl Transport,
        buffer: &mut [u8],
        now: Now,
    ) -> (usize, bool) {
        for resumed in server.take_resumed() {
            self.readable(resumed, true);
        }
        let shares = server.shares();
        let mut budget = shares.peers();
        let listed = self.readable.len();
        let mut are_done = true;
        for count in 0..listed {
            if budget.is_spent() || server.peers().is_overloaded() {
                return (count, are_done);
            }
            let Some(peer) = self.readable.pop_front() else { return (count, are_done) };
            self.sockets[peer.index()].is_listed = false;
            // A paused peer comes back as a resumed one.
            if !server.wants_input(peer) {
                continue;
            }
            let is_done = budget.spend_part(shares.one_peer(), |budget| {
                self.read_one(peer, server, transport, buffer, budget, now)
            });
            if !is_done {
                server.set_unread(peer, true);
                self.readable(peer, false);
                are_done = false;
            }
        }
        (listed, are_done)
    }

    /// Takes what was kept of a peer's input, or reads its socket once. Returns whether there is nothing more for now.
    fn read_one<S: Service>(
        &mut self,
        peer: PeerId,
        server: &mut Server<S>,
        transport: &mut impl Transport,
        buffer: &mut [u8],
        budget: &mut Budget,
        now: Now,
    ) -> bool {
        if server.has_leftover(peer) {
            server.receive_leftover(peer, now, budget);
            return false;
        }
        budget.charge(cost::READ);
        let socket = &mut self.sockets[peer.index()];
        match transport.read_peer(peer, buffer) {
            Ok(0) => {
                server.disconnect(peer);
                true
            }
            Ok(count) => {
                server.receive(peer, &mut buffer[..count], now, budget);
                // A read that was not filled has emptied the socket: what comes later makes a new event.
                !(socket.read_until_empty || count == buffer.len() || server.has_leftover(peer))
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    socket.read_until_empty = false;
                    server.set_unread(peer, false);
                    true
                }
                ErrorKind::Interrupted => false,
                _ => {
                    log::debug!(error:%; "read failed");
                    server.disconnect(peer);
                    true
                }
            },
        }
    }
}
