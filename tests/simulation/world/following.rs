//! What the driver did in a turn, written into the oracle's books in its order, and held against what it may do.

use super::setup::PEERS_OVER;
use super::{Stage, World, trace};
use crate::books::{Books, Gone, Slow};
use crate::clients::{Client, End, Sent};
use crate::faults::{Fault, Faults};
use crate::listener::{Heard, Phase, Request, Said, Verdict};
use crate::names::Topic;
use crate::producers::{Answer, Line, Producer, STRIDE, Written};
use crate::tape::{Entry, Refusal};
use airlay::peers::PeerId;
use std::hash::Hasher as _;

impl World {
    /// Reads the tape.
    pub(super) fn follow(&mut self) -> Verdict {
        for entry in self.tape.take() {
            self.follow_one(entry)?;
        }
        if self.open > self.peers_allowed {
            return Err(format!("{} connections are open, allowed are {}", self.open, self.peers_allowed));
        }
        Ok(())
    }

    fn follow_one(&mut self, entry: Entry) -> Verdict {
        let now = self.now.monotonic.0;
        match entry {
            Entry::Adopted(number, peer) => self.adopted(number, peer)?,
            Entry::Unwatched(number) => {
                self.faults.happened(Fault::Unwatchable);
                self.client(number)?.books.is_lost = true;
            }
            Entry::Refused(number) => {
                let connected = self.clients.iter().filter(|client| client.peer.is_some()).count();
                if connected < self.peers_allowed + PEERS_OVER {
                    return Err(format!("client {number} was turned away though there was room"));
                }
                self.faults.happened(Fault::SlotsFull);
                self.clients.retain(|client| client.number != number);
            }
            Entry::Read(number, count) => self.read_client(number, count)?,
            Entry::ReadEnd(number) => {
                trace!(self, "client {number} has ended");
                let client = self.client(number)?;
                let fault = if client.end == Some(End::Reset) { Fault::Reset } else { Fault::EndOfStream };
                client.books.is_lost = true;
                self.faults.happened(fault);
            }
            Entry::Wrote(number, bytes) => self.heard(number, &bytes)?,
            Entry::WriteRefused(number) => {
                let client = self.client(number)?;
                client.books.refused_since.get_or_insert(now);
                client.books.refusals += 1;
                client.listener.write_happens();
            }
            Entry::WriteFailed(number) => {
                self.faults.happened(Fault::WriteError);
                self.client(number)?.books.is_lost = true;
            }
            Entry::Fault(fault) => self.faults.happened(fault),
            Entry::Closed(number) => self.closed(number)?,
            Entry::Arrived(number, count, wall) => {
                if let Some(producer) = self.producer(number) {
                    producer.arrived += count;
                    let arrived = producer.arrived;
                    producer.arrivals.push_back((arrived, wall));
                }
                self.note_wall(wall);
            }
            Entry::ProducerAdopted(number, id) => {
                trace!(self, "producer {number} is accepted as {id:?}");
                let connected = self.producers.iter().filter(|producer| producer.id.is_some()).count();
                if connected >= self.sizes.producers {
                    return Err(format!(
                        "producer {number} was accepted, and there were {connected} already"
                    ));
                }
                let stage = self.stage;
                if let Some(producer) = self.producer(number) {
                    producer.id = Some(id);
                    if stage == Stage::Draining {
                        producer.owes = producer.arrived;
                        producer.owes_end = producer.end_has_arrived;
                    }
                }
            }
            Entry::ProducerRead(number, count) => {
                let given = self.producer(number).map_or(0, |producer| {
                    producer.read_from = producer.given;
                    producer.given += count;
                    producer.read_from
                });
                self.check_taken(number, given)?;
            }
            Entry::ProducerEnded(number, end) => {
                trace!(self, "producer {number} has ended: {end:?}");
                if let Some(producer) = self.producer(number) {
                    producer.ended = Some(end);
                }
            }
            Entry::Answered(number, bytes) => {
                self.hasher.write(&bytes);
                let Self { producers, faults, .. } = self;
                if let Some(producer) = producers.iter_mut().find(|producer| producer.number == number) {
                    producer.hear(&bytes, faults).map_err(|error| format!("producer {number}: {error}"))?;
                }
            }
            Entry::ProducerClosed(number) => self.closed_producer(number)?,
            Entry::PeersStopped => {
                // Those that were not accepted are reset by the kernel.
                self.clients.retain(|client| client.peer.is_some());
                self.net.clients.backlog.clear();
            }
            Entry::ProducersStopped => self.closings_begin()?,
            Entry::Wall(wall) => self.note_wall(wall),
            Entry::Line(number, line, wall) => self.line(number, line, wall)?,
            Entry::Message(peer) => self.message(peer)?,
            Entry::Upgrade(peer, is_granted) => self.upgrade(peer, is_granted)?,
            Entry::Gone(peer) => self.gone(peer)?,
        }
        Ok(())
    }

    fn note_wall(&mut self, wall: u64) {
        if self.walls.last() != Some(&wall) {
            self.walls.push(wall);
        }
    }

    fn adopted(&mut self, number: usize, peer: PeerId) -> Verdict {
        trace!(self, "client {number} is accepted as {peer:?}");
        let now = self.now.monotonic.0;
        self.numbers.insert(peer, number);
        let client = self.client(number)?;
        client.peer = Some(peer);
        client.books.accepted_at = Some(now);
        let connected = self.clients.iter().filter(|client| client.peer.is_some()).count();
        self.outcome.clients = self.outcome.clients.max(connected);
        let Some(at) = self.ghosts.iter().rposition(|ghost| ghost.index() == peer.index()) else {
            return Ok(());
        };
        self.faults.happened(Fault::SlotReuse);
        let ghost = self.ghosts.swap_remove(at);
        if ghost.generation() == peer.generation() {
            return Err(format!("{peer:?} is called like one before it"));
        }
        // Calls for a peer that had this slot before must not touch the new one.
        if self.faults.strike(Fault::StaleEvent, &mut self.random) {
            trace!(self, "calls for {ghost:?} come too late");
            let now = self.now;
            let server = self.driver.server_mut();
            server.writable(ghost);
            let mut budget = airlay::cost::Budget::unlimited();
            server.receive(ghost, &mut b"GET / HTTP/1.1\r\n\r\n".to_vec(), now, &mut budget);
            server.disconnect(ghost);
        }
        Ok(())
    }

    /// A piece of what a client has sent was read. What was read before has been taken by now.
    fn read_client(&mut self, number: usize, count: usize) -> Verdict {
        let now = self.now.monotonic.0;
        let is_left = self.net.clients.wire(number).is_some_and(|wire| wire.unread() > 0);
        self.outcome.unfinished_reads += usize::from(is_left);
        let (at, is_catching_up) = (self.place(number)?, self.is_catching_up);
        let client = &mut self.clients[at];
        client.listener.pings_are_taken();
        let behind = client.books.refused_since.map(|_| client.books.refusals);
        if let Some((_, sent)) = client.sent.front()
            && matches!(sent, Sent::Request(_))
            && client.sent[0].0 <= client.given
            && client.books.is_open()
        {
            return Err(format!("client {number}: read on, and {sent:?} was not taken"));
        }
        client.given += count;
        if self.plan.trace {
            println!(
                "client {number} is read up to {} of {}, due are {:?}",
                client.given,
                client.out.len(),
                client.sent
            );
        }
        client.books.read_at = now;
        client.books.unread_since = is_left.then_some(now);
        if client.books.is_bad_head {
            client.books.closing_since.get_or_insert(now);
        }
        client.note_given(now);
        // What came all at once, because the process was stopped, is no flood.
        client.books.is_flood &= !is_catching_up;
        let Client { listener, sent, given, .. } = client;
        // What is no request has no witness: it may be taken from now on.
        let mut at = 0;
        while let Some((end, what)) = sent.get(at) {
            if *end > *given {
                break;
            }
            match what {
                Sent::Head | Sent::Request(_) => at += 1,
                Sent::Ping(_) | Sent::Pong | Sent::Close(_) | Sent::Sin(..) => {
                    match sent.remove(at).expect("it is there").1 {
                        Sent::Ping(payload) => listener.ping(payload, behind),
                        Sent::Pong => self.faults.happened(Fault::UnaskedPong),
                        Sent::Close(code) => listener.closed_by_client = Some(code),
                        Sent::Sin(code, fault) => {
                            listener.sins.push(code);
                            listener.sin = Some((code, fault));
                        }
                        Sent::Head | Sent::Request(_) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// The service was asked to let a client in.
    fn upgrade(&mut self, peer: PeerId, is_granted: bool) -> Verdict {
        let now = self.now.monotonic.0;
        let (open, allowed, is_tight) = (self.open, self.peers_allowed, self.sizes.is_tight());
        let number = self.number(peer)?;
        let client = self.client(number)?;
        let is_asked = client.sent.pop_front_if(|(_, sent)| matches!(sent, Sent::Head)).is_some();
        let is_full = open >= allowed;
        // Of one that has ended in the same call the service is told behind it.
        if is_granted != (is_asked && !is_full) && !(is_granted && is_asked) {
            return Err(format!("client {number}: granted is {is_granted}, with {open} of {allowed} open"));
        }
        if is_granted {
            client.listener.statuses = vec![101];
            client.books.opened_at = Some(now);
            self.open += 1;
        } else {
            client.books.closing_since.get_or_insert(now);
            if is_asked {
                client.listener.statuses = vec![503];
            }
        }
        if is_tight {
            client_may_be_refused(&mut self.client(number)?.listener.statuses);
        }
        Ok(())
    }

    /// The service was given a message: it must be the next one that was read of this client.
    fn message(&mut self, peer: PeerId) -> Verdict {
        let now = self.now.monotonic.0;
        let number = self.number(peer)?;
        let turn_wall = self.now.wall.0;
        self.ledger.change_wall(turn_wall);
        let at = self.place(number)?;
        let (client, ledger) = (&mut self.clients[at], &mut self.ledger);
        if !client.books.is_open() {
            return Err(format!("client {number}: a message behind the end of its connection"));
        }
        let given = client.given;
        match client.sent.pop_front_if(|(end, sent)| *end <= given && matches!(sent, Sent::Request(_))) {
            Some((_, Sent::Request(request))) => {
                if self.plan.trace {
                    println!("client {number}: {request:?} is taken");
                }
                client.listener.ask(ledger, request, now, self.is_catching_up);
                Ok(())
            }
            _ => Err(format!(
                "client {number}: a message was taken, of {given} bytes read, and due is {:?}",
                client.sent.front()
            )),
        }
    }

    /// A line was given to the service: it must be the next one of its producer.
    fn line(&mut self, number: u64, line: Result<Vec<u8>, Refusal>, wall: u64) -> Verdict {
        let tag = (number - 1) % STRIDE;
        let found = self.producers.iter().position(|it| it.tag == tag && it.id.is_some());
        let Some(at) = found else { return Err(format!("line {number} of a producer that is not there")) };
        self.ledger.change_wall(wall);
        let steps = self.wall_steps;
        let (walls, is_shown) = (&self.walls, self.walls.contains(&wall));
        let producer = &mut self.producers[at];
        let about = |error: String| Err(format!("producer {}: {error}", producer.number));
        let Some(written) = producer.lines.front() else { return about(format!("line {number} is none")) };
        let is_ended = producer.ended == Some(End::EndOfStream) && written.end <= producer.given;
        let is_whole =
            written.end <= producer.given && (is_ended || producer.out[..written.end].ends_with(b"\n"));
        let is_right = written.number == number
            && match &line {
                Ok(bytes) => is_whole && bytes == producer.text(written),
                Err(Refusal::TooLong) => matches!(written.line, Line::Bad(Fault::OversizedLine)),
                Err(Refusal::NoRoom) => !is_whole && written.begin < producer.given && producer.is_tight,
            };
        if !is_right {
            let given = producer.given;
            let line = line.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            return about(format!("line {number} is {line:?}, due is {written:?} of {given} bytes"));
        }
        if !is_shown {
            return about(format!("line {number} was taken at {wall}, the clock has shown {walls:?}"));
        }
        while producer.arrivals.front().is_some_and(|(end, _)| *end < written.end) {
            producer.arrivals.pop_front();
        }
        // A clock that was set back may show less than when the line came.
        if let Some((_, arrived)) = producer.arrivals.front()
            && steps == 0
            && wall < *arrived
            && line.is_ok()
        {
            return about(format!("line {number} came at {arrived}, and was taken at {wall}, before it"));
        }
        let written = producer.lines.pop_front().expect("it was the first just now");
        self.take_line(at, written, line.err())
    }

    fn take_line(&mut self, at: usize, written: Written, refusal: Option<Refusal>) -> Verdict {
        let Written { begin, end, number: line_number, line } = written;
        trace!(self, "producer {} has {line:?} read", self.producers[at].number);
        if refusal == Some(Refusal::NoRoom) {
            self.producers[at].expect(Answer::Refused(line_number, Fault::NoRoomForLine));
            return Ok(());
        }
        // Of a line that came in several reads the last part is what counts. One that was refused unfinished does not: its bytes
        // may have been read long ago, and nothing is offered for them.
        let Producer { given, read_from, .. } = self.producers[at];
        self.taken += end.min(given).saturating_sub(begin.max(read_from));
        let producer = &self.producers[at];
        if producer.ended.is_some() && end == producer.out.len() && !matches!(line, Line::Bad(_)) {
            self.faults.happened(Fault::LastLineUnended);
        }
        match line {
            Line::Cut => return Err("a cut line is taken for a whole one".into()),
            Line::Bad(fault) => self.producers[at].expect(Answer::Refused(line_number, fault)),
            Line::Event { number, ack } => {
                if let Some(ack) = ack {
                    let topics = self.ledger.topics(number);
                    let (least, most) = self.audience(&topics);
                    self.producers[at].expect(Answer::Taken { ack, least, most });
                }
                self.ledger.read_event(number);
                self.positions.push((self.ledger.stamp(), self.taken));
            }
            Line::Revoke { user, subject, ack } => {
                if let Some(ack) = ack {
                    let (mut least, mut most) = (0, 0);
                    for client in self.clients.iter_mut().filter(|client| client.books.is_open()) {
                        let ends = client.listener.revokes(user, subject, &self.ledger);
                        least += ends.0;
                        most += ends.1;
                    }
                    self.producers[at].expect(Answer::Taken { ack, least, most });
                }
                self.take_from_service(user, subject);
                self.ledger.revoke(user, subject);
            }
        }
        Ok(())
    }

    /// A producer is read on: every line that had been read whole before has been taken.
    fn check_taken(&mut self, number: usize, given: usize) -> Verdict {
        let Some(producer) = self.producer(number) else { return Ok(()) };
        let is_whole =
            |written: &&Written| written.end <= given && producer.out[..written.end].ends_with(b"\n");
        match producer.lines.front().filter(is_whole) {
            Some(written) => Err(format!("producer {number}: read on, and {written:?} was not taken")),
            None => Ok(()),
        }
    }

    /// How many an event to these topics is for, at least and at most.
    fn audience(&mut self, topics: &[Topic]) -> (usize, usize) {
        let mut audience = (0, 0);
        for client in self.clients.iter_mut().filter(|client| client.books.is_open()) {
            let (certainly, possibly) = client.listener.hears(topics, &self.ledger);
            if self.plan.trace && possibly {
                println!("client {} may hear it, certainly: {certainly}", client.number);
            }
            audience.0 += usize::from(certainly);
            audience.1 += usize::from(possibly);
        }
        audience
    }

    /// The service was told that a connection has ended: notes what reasons there may be.
    fn gone(&mut self, peer: PeerId) -> Verdict {
        let now = self.now.monotonic.0;
        let number = self.number(peer)?;
        trace!(self, "client {number} is gone");
        let at = self.place(number)?;
        let client = &self.clients[at];
        if !client.books.is_open() {
            return Err(format!("client {number}: an end that is none"));
        }
        let most = client.listener.queued_at_most(&self.ledger);
        let is_trusted = client.listener.is_trusted() && !client.listener.is_waiting();
        let mut is_slow = client.books.slowness(most, is_trusted, now);
        let is_silent = client.books.is_silent(now);
        if is_slow.is_none() && self.sizes.is_tight() && self.held_at_most() > self.sizes.queue_total {
            is_slow = Some(Slow::AllQueuesFull);
        }
        let client = &mut self.clients[at];
        if client.books.is_unfinished(now) {
            client.listener.sins.push(1008);
            client.listener.sin.get_or_insert((1008, Fault::UnfinishedMessage));
        }
        client.books.gone = Some(Gone { is_slow, is_silent });
        client.books.closing_since.get_or_insert(now);
        self.open -= 1;
        Ok(())
    }

    /// Bytes that may be held for all peers.
    fn held_at_most(&self) -> usize {
        let of_client = |client: &Client| {
            let queued = client.listener.queued_at_most(&self.ledger);
            let read = (client.out.len() - client.given.min(client.out.len())).min(1 << 16);
            1000 + 3 * queued + 2 * read.max(client.given.min(1 << 12))
        };
        self.clients.iter().filter(|client| client.peer.is_some()).map(of_client).sum()
    }

    /// Bytes were written to a client.
    fn heard(&mut self, number: usize, bytes: &[u8]) -> Verdict {
        let now = self.now.monotonic.0;
        self.hasher.write_usize(number);
        self.hasher.write(bytes);
        let at = self.place(number)?;
        let client = &mut self.clients[at];
        let Books { accepted_at, opened_at, gone, .. } = client.books;
        if opened_at.is_none() && accepted_at.is_some_and(|accepted| now - accepted >= super::HANDSHAKE) {
            client.listener.statuses.push(408);
        }
        if opened_at.is_none() && self.sizes.is_tight() {
            client_may_be_refused(&mut client.listener.statuses);
        }
        client.unread += bytes.len();
        client.books.taken_at = now;
        client.books.refused_since = None;
        client.listener.write_happens();
        let said = client.listener.said.len();
        let verdict = client.listener.hear(bytes, &mut self.ledger, gone);
        for at in said..client.listener.said.len() {
            let what = client.listener.said[at];
            if self.plan.trace {
                println!("client {number} hears {what:?}");
            }
            client.note(what, now, &mut self.faults);
        }
        let Heard { events, races, secrets } = std::mem::take(&mut client.listener.heard);
        self.outcome.events += events;
        self.outcome.races += races;
        self.outcome.secrets += secrets;
        verdict.map_err(|error| format!("client {number}: {error}"))
    }

    /// A client's socket was closed.
    fn closed(&mut self, number: usize) -> Verdict {
        let now = self.now.monotonic.0;
        let at = self.place(number)?;
        let client = self.clients.remove(at);
        trace!(self, "client {number} is closed");
        self.ghosts.extend(client.peer);
        let Books { is_lost, gone, opened_at, closing_since, accepted_at, .. } = client.books;
        if opened_at.is_some() && gone.is_none() {
            return Err(format!("client {number} is closed, and the service was not told"));
        }
        let was_silent = gone.is_some_and(|gone| gone.is_silent) && client.listener.phase == Phase::Open;
        let is_late = closing_since.is_some_and(|since| now - since >= super::CLOSE)
            || opened_at.is_none()
                && accepted_at.is_some_and(|at| now - at >= super::HANDSHAKE + super::CLOSE);
        // So that its memory is freed.
        let is_slow = gone.is_some_and(|gone| gone.is_slow == Some(Slow::AllQueuesFull));
        let is_dropped = self.sizes.is_tight() && (is_slow || closing_since.is_some() || opened_at.is_none());
        if was_silent && !is_lost {
            self.faults.happened(Fault::UnansweredPing);
        }
        if is_late && !is_lost && !client.answers_closes {
            self.faults.happened(Fault::UnansweredClose);
        }
        if self.is_aborted || is_lost || was_silent || is_late || is_dropped {
            Ok(())
        } else {
            Err(format!("client {number} was dropped without a reason: {:?}", client.books))
        }
    }

    /// A producer's socket was closed.
    fn closed_producer(&mut self, number: usize) -> Verdict {
        let at = self.producers.iter().position(|producer| producer.number == number);
        let Some(at) = at else { return Err(format!("producer {number} is closed twice")) };
        let producer = self.producers.remove(at);
        trace!(self, "producer {number} is closed");
        let about = |error: String| Err(format!("producer {number}: {error}"));
        let Producer { ended, given, .. } = producer;
        match ended {
            None => return about("it is closed, and its stream has not ended".into()),
            Some(End::EndOfStream) => {
                if given != producer.out.len() || !producer.lines.is_empty() {
                    return about(format!(
                        "it has ended, and these lines were not taken: {:?}",
                        producer.lines
                    ));
                }
                let wire_is_open = producer.stalled == 0 && producer.end != Some(End::Reset);
                if wire_is_open && let Some(answer) = producer.missing() {
                    return about(format!("it is closed without {answer:?}"));
                }
            }
            Some(End::Reset) => {
                if producer.lines.iter().any(|written| matches!(written.line, Line::Cut)) {
                    self.faults.happened(Fault::CutLine);
                }
                let is_whole =
                    |written: &&Written| written.end <= given && !matches!(written.line, Line::Cut);
                if let Some(written) = producer.lines.iter().find(is_whole) {
                    return about(format!("{written:?} was read and not taken"));
                }
            }
        }
        Ok(())
    }

    /// The closings begin: all that producers had written at the stop was read, taken and offered.
    fn closings_begin(&mut self) -> Verdict {
        trace!(self, "the closings begin");
        let now = self.now.monotonic.0;
        for producer in &self.producers {
            let is_whole = |end: usize| producer.owes_end || producer.out[..end].ends_with(b"\n");
            let is_owed = |written: &&Written| {
                written.end <= producer.owes && is_whole(written.end) && !matches!(written.line, Line::Cut)
            };
            let missing = producer.lines.iter().find(is_owed);
            if producer.given < producer.owes || missing.is_some() {
                return Err(format!(
                    "the closings begin, and producer {} is owed {} of {} bytes, {missing:?}",
                    producer.number, producer.owes, producer.given
                ));
            }
        }
        let connected = self.producers.iter().filter(|producer| producer.id.is_some()).count();
        if let Some(producer) = self.producers.iter().find(|producer| producer.waits_at_stop)
            && producer.id.is_none()
            && connected < self.sizes.producers
        {
            return Err(format!("the closings begin, and producer {} was not accepted", producer.number));
        }
        if let Some(error) = self.unwritten().map(|(number, stamp)| {
            format!("the closings begin, and client {number} was not offered what was read at {stamp}")
        }) {
            return Err(error);
        }
        self.stage = Stage::Closing;
        self.ledger.closing = Some(self.ledger.next());
        for client in &mut self.clients {
            client.listener.statuses.push(503);
            if client.books.opened_at.is_none() {
                client.books.closing_since.get_or_insert(now);
            }
        }
        Ok(())
    }

    /// The client that lacks the oldest event, of those whose sockets take something.
    pub(super) fn unwritten(&mut self) -> Option<(usize, u64)> {
        let Self { clients, net, ledger, .. } = self;
        let lacks = |client: &mut Client| {
            let wire = net.clients.wires[client.number].as_ref()?;
            // A full socket is offered the rest when it has room.
            if !client.books.is_open() || wire.is_refused || client.books.is_lost {
                return None;
            }
            Some((client.number, client.listener.oldest_unwritten(ledger)?))
        };
        clients.iter_mut().filter_map(lacks).min_by_key(|(_, stamp)| *stamp)
    }

    fn number(&self, peer: PeerId) -> Result<usize, String> {
        self.numbers.get(&peer).copied().ok_or_else(|| format!("{peer:?} was never accepted"))
    }

    /// The place of a client that is still there.
    fn place(&self, number: usize) -> Result<usize, String> {
        let found = self.clients.binary_search_by_key(&number, |client| client.number);
        found.map_err(|_| format!("client {number} is gone"))
    }

    fn client(&mut self, number: usize) -> Result<&mut Client, String> {
        let at = self.place(number)?;
        Ok(&mut self.clients[at])
    }

    fn producer(&mut self, number: usize) -> Option<&mut Producer> {
        self.producers.iter_mut().find(|producer| producer.number == number)
    }
}

/// A client may be refused so that memory is freed.
fn client_may_be_refused(statuses: &mut Vec<u16>) {
    if !statuses.contains(&503) {
        statuses.push(503);
    }
}

impl Client {
    /// Notes what the server has said.
    fn note(&mut self, said: Said, now: u64, faults: &mut Faults) {
        match said {
            Said::Ping => self.books.pinged_at = Some(now),
            Said::Pong { was_blocked: true } => faults.happened(Fault::UnreadPongs),
            Said::Pong { .. } => faults.happened(Fault::PingFlood),
            Said::Refused(status) => {
                self.books.closing_since.get_or_insert(now);
                match status {
                    408 => faults.happened(Fault::SlowHead),
                    503 => faults.happened(Fault::SlotsFull),
                    _ => faults.happened(Fault::BadHead),
                }
            }
            Said::Answered(7, _) => faults.happened(Fault::RequestFlood),
            Said::Answered(code, Request::Bad(due, fault)) if code == due => faults.happened(fault),
            Said::Close { slow: Some(slow), .. } => faults.happened(match slow {
                Slow::QueueFull | Slow::OverSoftLimit => Fault::QueueFull,
                Slow::NothingRead => Fault::NothingRead,
                Slow::AllQueuesFull => Fault::BudgetReached,
            }),
            Said::Close { code, .. } => {
                if let Some((_, fault)) = self.listener.sin.filter(|(due, _)| *due == code) {
                    faults.happened(fault);
                } else if code == 1008 && self.listener.has_bad_tokens() {
                    faults.happened(Fault::BadTokenFlood);
                } else if code == 1008 && self.books.is_flood {
                    faults.happened(Fault::FrameFlood);
                }
            }
            Said::Lost(_, why) => faults.happened(why),
            Said::Opened | Said::Answered(..) => {}
        }
    }
}
