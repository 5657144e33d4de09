//! What the event loop does with its sockets, played: readiness, reading, writing, closing; and what the oracle notes of it.

use super::setup::HANDSHAKE;
use super::{Stage, World, trace};
use crate::clients::{Client, End, Sent};
use crate::faults::Fault;
use crate::listener::{Heard, Verdict};
use crate::names::Topic;
use crate::producers::{Answer, Line, Producer};
use airlay::peers::PeerId;
use airlay::producers::Loss;
use std::hash::Hasher as _;
use std::time::Duration;

impl World {
    /// What was sent comes to the server's sockets: all of it, or a piece.
    pub(super) fn arrive(&mut self) {
        let begin = self.random.below(self.clients.len().max(1));
        for at in (begin..self.clients.len()).chain(0..begin) {
            let client = &mut self.clients[at];
            let peer = client.peer;
            let pending = client.out.len() - client.arrived;
            if pending > 0 {
                let cut = self.faults.strikes(Fault::CutInput, &mut client.random) && pending > 1;
                let piece = if cut { client.random.between(1, pending.min(200)) } else { pending };
                if cut && piece < pending {
                    self.faults.happened(Fault::CutInput);
                }
                client.arrived += piece;
            }
            let is_end =
                client.end.is_some_and(|end| end == End::Reset || client.arrived == client.out.len())
                    && !client.end_has_arrived;
            client.end_has_arrived |= is_end;
            if pending > 0 || is_end {
                self.make_readable(peer, is_end);
            }
            let wire = self.wires.of(peer);
            if wire.owes_event && wire.room > 0 {
                wire.owes_event = false;
                self.server.peers.writable(peer);
            }
        }
        for (at, producer) in self.producers.iter_mut().enumerate() {
            let pending = producer.out.len() - producer.arrived;
            if pending > 0 {
                let cut = self.faults.strike(Fault::CutInput, &mut producer.random);
                producer.arrived += if cut { producer.random.between(1, pending) } else { pending };
            }
            let is_end =
                producer.end.is_some() && producer.arrived == producer.out.len() && !producer.end_has_arrived;
            producer.end_has_arrived |= is_end;
            producer.is_readable |= pending > 0 || is_end;
            if producer.answers.owes_event && producer.answers.room > 0 {
                producer.answers.owes_event = false;
                self.answerable.push(at);
            }
        }
    }

    pub(super) fn make_readable(&mut self, peer: PeerId, to_the_end: bool) {
        let (is_queued, only_empty) = &mut self.marks[peer.index()];
        *only_empty |= to_the_end;
        if !std::mem::replace(is_queued, true) {
            self.readable.push_back(peer);
        }
    }

    pub(super) fn read_producers(&mut self) -> Verdict {
        let begin = self.turn as usize % self.producers.len().max(1);
        let order: Vec<usize> = (begin..self.producers.len()).chain(0..begin).collect();
        let mut gone = Vec::new();
        for at in order {
            if !self.producers[at].is_readable {
                continue;
            }
            self.answerable.push(at);
            loop {
                let producer = &mut self.producers[at];
                if !self.server.wants_lines(producer.id) {
                    self.faults.happened(Fault::ProducerWaits);
                    break;
                }
                let available = producer.arrived - producer.given;
                match (available, producer.end.filter(|_| producer.end_has_arrived)) {
                    (0, None) => producer.is_readable = false,
                    (0, Some(End::Reset)) => {
                        producer.is_readable = false;
                        gone.push(at);
                    }
                    (0, Some(End::EndOfStream)) => {
                        producer.is_readable = false;
                        producer.is_ended = true;
                        let id = producer.id;
                        trace!(self, "producer {} ends", producer.number);
                        self.take_lines(at, true)?;
                        self.server.finish_lines(id, self.now);
                    }
                    (available, _) => {
                        let piece = available.min(self.buffer.len());
                        producer.given += piece;
                        let (id, given) = (producer.id, producer.given);
                        self.take_lines(at, false)?;
                        let producer = &self.producers[at];
                        self.server.receive_lines(id, &producer.out[given - piece..given], self.now);
                        continue;
                    }
                }
                break;
            }
        }
        gone.sort_unstable();
        gone.into_iter().rev().try_for_each(|at| self.lose_producer(at))
    }

    /// Writes into the oracle's books the lines that the server is about to see whole.
    fn take_lines(&mut self, at: usize, is_end: bool) -> Verdict {
        loop {
            let producer = &mut self.producers[at];
            // A line without its end is one only when the stream has ended in order.
            let Producer { lines, out, given, .. } = producer;
            let is_whole = |end: usize| end <= *given && (is_end || end < out.len() || out.ends_with(b"\n"));
            let Some((_, line)) = lines.pop_front_if(|(end, _)| is_whole(*end)) else { return Ok(()) };
            let number = producer.number;
            trace!(self, "producer {number} has {line:?} read");
            match line {
                Line::Bad(number) => self.producers[at].expect(Answer::Refused(number)),
                Line::Event { number, ack } => {
                    let topics = self.ledger.topics(number);
                    self.ledger.read_event(number);
                    if let Some(ack) = ack {
                        let (least, most) = self.audience(&topics);
                        self.producers[at].expect(Answer::Taken { ack, least, most });
                    }
                }
                Line::Revoke { user, subject, ack } => {
                    self.take_from_service(user, subject);
                    self.ledger.revoke(user, subject);
                    if let Some(ack) = ack {
                        self.producers[at].expect(Answer::Taken { ack, least: 0, most: usize::MAX });
                    }
                }
            }
        }
    }

    /// How many hear an event to these topics, at least and at most.
    fn audience(&mut self, topics: &[Topic]) -> (usize, usize) {
        let mut audience = (0, 0);
        for client in &mut self.clients {
            let wire = self.wires.of(client.peer);
            // Whether the server has closed it may not have been heard yet.
            let is_certain = self.stage == Stage::Serving
                && wire.blocks == 0
                && client.listener.sins.is_empty()
                && client.listener.closed_by_client.is_none();
            let (certainly, possibly) = client.listener.hears(topics, &self.ledger);
            audience.0 += usize::from(certainly && is_certain);
            audience.1 += usize::from(possibly);
        }
        audience
    }

    pub(super) fn read_peers(&mut self) -> Verdict {
        for resumed in self.server.peers.take_resumed().collect::<Vec<_>>() {
            if self.wires.at(resumed.index()).is_some() {
                self.make_readable(resumed, true);
            }
        }
        for _ in 0..self.readable.len().min(256) {
            let Some(peer) = self.readable.pop_front() else { break };
            let Some(wire) = self.wires.at(peer.index()) else { continue };
            let (number, blocked) = (wire.client, wire.is_blocked.then_some(wire.blocks));
            self.marks[peer.index()].0 = false;
            if !self.server.peers.wants_input(peer) {
                continue;
            }
            let at = self.client(number);
            let client = &mut self.clients[at];
            let available = client.arrived - client.given;
            let end = client.end.filter(|_| client.end_has_arrived);
            if end == Some(End::Reset) || available == 0 && end.is_some() {
                trace!(self, "client {number} ends: {end:?}");
                client.end_is_given = true;
                self.server.disconnect(peer);
            } else if available == 0 {
                self.marks[peer.index()].1 = false;
            } else {
                let piece = available.min(self.buffer.len());
                self.buffer[..piece].copy_from_slice(&client.out[client.given..client.given + piece]);
                client.given += piece;
                client.heard_of = self.now.monotonic.0;
                client.note_given(self.now.monotonic.0);
                self.give(at, blocked);
                self.server.receive(peer, &mut self.buffer[..piece], self.now);
                if self.marks[peer.index()].1 || piece == self.buffer.len() {
                    self.outcome.unfinished_reads += usize::from(piece < available);
                    self.make_readable(peer, false);
                }
            }
        }
        Ok(())
    }

    /// Writes into the oracle's books what the server is about to be given of a client.
    fn give(&mut self, at: usize, blocked: Option<u64>) {
        let is_full = self.server.peers.open() >= self.peers_allowed;
        let client = &mut self.clients[at];
        let Client { listener, sent, given, .. } = client;
        while let Some((_, what)) = sent.pop_front_if(|(end, _)| *end <= *given) {
            trace!(self, "client {} has {what:?} read", client.number);
            match what {
                Sent::Head(_) if is_full => {
                    self.faults.happened(Fault::SlotsFull);
                    listener.statuses.push(503);
                }
                Sent::Head(statuses) => listener.statuses.extend_from_slice(statuses),
                Sent::Request(request) => listener.ask(&mut self.ledger, request, self.now.monotonic.0),
                Sent::Ping(payload) => {
                    if blocked.is_some() {
                        self.faults.happened(Fault::UnreadPongs);
                    }
                    listener.ping(payload, blocked);
                }
                Sent::Close(code) => listener.closed_by_client = Some(code),
                Sent::Sin(code) => listener.sins.push(code),
            }
        }
    }

    /// What producers had written when the server was told to stop is read and offered to everybody: the closings begin.
    pub(super) fn drain(&mut self) {
        let owe = |producer: &Producer| !producer.is_ended && producer.given < producer.owes;
        if self.stage != Stage::Draining || self.producers.iter().any(owe) || self.server.has_backlog() {
            return;
        }
        trace!(self, "the producers are drained");
        self.stage = Stage::Closing;
        self.ledger.closing = Some(self.ledger.next());
        for client in &mut self.clients {
            client.listener.statuses.push(503);
            client.closing_since.get_or_insert(self.now.monotonic.0);
        }
        let span = Duration::from_millis(self.random.below(3000) as u64);
        self.server.drain(span, self.random.next(), self.now);
    }

    /// The oracle hears what has been written to the peers.
    pub(super) fn listen(&mut self) -> Verdict {
        let mut touched = std::mem::take(&mut self.wires.touched);
        touched.sort_unstable();
        touched.dedup();
        for slot in touched.drain(..) {
            let Some(wire) = self.wires.at(slot).filter(|wire| !wire.written.is_empty()) else { continue };
            let (number, was_blocked) = (wire.client, wire.blocks > 0);
            let bytes = std::mem::take(&mut wire.written);
            self.hasher.write_usize(number);
            self.hasher.write(&bytes);
            let at = self.client(number);
            let client = &mut self.clients[at];
            if self.now.monotonic.0 - client.connected_at >= HANDSHAKE {
                client.listener.statuses.push(408);
            }
            client.unread += bytes.len();
            let said = client.listener.said.len();
            let verdict = client.listener.hear(&bytes, &mut self.ledger, was_blocked);
            for at in said..client.listener.said.len() {
                let what = client.listener.said[at];
                trace!(self, "client {number} hears {what:?}");
                let now = self.now.monotonic.0;
                client.note(what, self.unflushed_since.unwrap_or(now), now, &mut self.faults);
            }
            let Heard { events, races, secrets } = std::mem::take(&mut client.listener.heard);
            self.outcome.events += events;
            self.outcome.races += races;
            self.outcome.secrets += secrets;
            verdict.map_err(|error| format!("client {number}: {error}"))?;
        }
        self.wires.touched = touched;
        Ok(())
    }

    pub(super) fn write_answers(&mut self) -> Verdict {
        let mut answerable = std::mem::take(&mut self.answerable);
        answerable.sort_unstable();
        answerable.dedup();
        let mut ended = Vec::new();
        for at in answerable {
            // Those behind one that is lost have moved up, and come again.
            let Some(producer) = self.producers.get_mut(at) else { continue };
            match self.server.producers.write_answers(producer.id, &mut producer.answers) {
                Ok(true) if producer.is_ended => ended.push(at),
                Ok(_) => {}
                Err(error) => return Err(format!("producer {}: {error}", producer.number)),
            }
        }
        for producer in &mut self.producers {
            if producer.stalled > 0 {
                producer.stalled -= 1;
                continue;
            }
            self.hasher.write(&producer.answers.written);
            producer.answers.room += producer.answers.written.len();
            producer.answers.room = producer.answers.room.max(1 << 16);
            producer.hear().map_err(|error| format!("producer {}: {error}", producer.number))?;
        }
        ended.into_iter().rev().try_for_each(|at| self.lose_producer(at))
    }

    /// A producer is gone.
    fn lose_producer(&mut self, at: usize) -> Verdict {
        let mut producer = self.producers.remove(at);
        self.answerable.clear();
        self.answerable.extend(0..self.producers.len());
        let Loss { cut_line, answers } = self.server.producers.disconnect(producer.id);
        trace!(self, "producer {} is gone", producer.number);
        let given = &producer.out[..producer.given];
        let is_inside = !producer.is_ended && given.last().is_some_and(|&byte| byte != b'\n');
        let number = producer.number;
        let about = |error: String| Err(format!("producer {number}: {error}"));
        if cut_line != is_inside {
            return about(format!("its last line was cut: {cut_line}, not {is_inside}"));
        }
        if producer.is_ended {
            producer.hear()?;
            let missing = producer.lost + producer.missing() as u64;
            if missing != answers {
                return about(format!("{answers} answers are said to be lost, and {missing} are"));
            }
        }
        if answers > 0 {
            self.faults.happened(Fault::UnreadAnswers);
        }
        Ok(())
    }

    /// The slots of peers that are gone are given back.
    pub(super) fn reap(&mut self) -> Verdict {
        let mut gone = Vec::new();
        self.server.reap(|peer| gone.push(peer));
        for peer in gone {
            let wire = self.wires.take(peer);
            let at = self.client(wire.client);
            let client = self.clients.remove(at);
            trace!(self, "client {} is gone", client.number);
            if wire.shorts > 0 {
                self.faults.happened(Fault::ShortWrite);
            }
            if wire.spurious_blocks > 0 {
                self.faults.happened(Fault::SpuriousBlock);
            }
            if wire.blocks > wire.spurious_blocks {
                self.faults.happened(Fault::BlockedWriter);
            }
            self.ghosts.push(peer);
            let is_right = self.is_aborted
                || client.end_is_given
                || wire.has_failed
                || wire.is_blocked
                || wire.blocks > 0 && client.closing_since.is_some()
                || client.was_to_be_dropped(self.now.monotonic.0, wire.blocks > 0);
            if !is_right {
                return Err(format!("client {} was dropped without a reason", client.number));
            }
        }
        Ok(())
    }

    /// The place of a client that is still there.
    fn client(&self, number: usize) -> usize {
        let found = self.clients.binary_search_by_key(&number, |client| client.number);
        found.unwrap_or_else(|_| panic!("client {number} is gone and has a wire"))
    }
}
