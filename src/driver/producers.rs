//! Which producers to accept, read and answer next, and what is left to read of them at a stop.

use super::{Exhausted, NotAccepted, Transport, accept_some};
use crate::cost::{self, Budget};
use crate::producers::{Loss, ProducerId};
use crate::server::{Server, Service};
use crate::time::Now;
use std::io::ErrorKind;

/// The producers that are connected: few, so each turn comes to all of them that have something.
#[derive(Debug, Default)]
pub(super) struct ProducerInput {
    /// A producer may be waiting to be accepted.
    is_waiting: bool,
    /// No more producers are accepted.
    is_closed: bool,
    /// By the producer's slot.
    sockets: Vec<Option<Readiness>>,
    /// Producers whose sockets may have something to read, or of which input was kept, each once.
    readable: Vec<ProducerId>,
    /// Producers that may be owed answers.
    answerable: Vec<ProducerId>,
    /// The server was told to stop.
    is_stopping: bool,
    /// That as many are connected as may be was logged.
    is_full_logged: bool,
}

/// What is known of one producer's socket.
#[derive(Debug)]
struct Readiness {
    producer: ProducerId,
    /// The producer is in `readable`.
    is_listed: bool,
    /// The stream has ended; only answers may be on their way.
    is_ended: bool,
    /// Bytes still to be read of those that were there when the server was told to stop, and one for the end behind them.
    owed: u64,
}

/// What came of reading from one producer.
enum Progress {
    /// Its socket is empty.
    Drained,
    /// Its share is spent, or the backlog is full.
    More,
    /// Its stream has ended.
    Ended,
    /// Its connection broke: what it had not finished does not count.
    Broken,
}

impl ProducerInput {
    pub(super) const fn set_waiting(&mut self) {
        self.is_waiting = true;
    }

    pub(super) const fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Whether a producer may be waiting and could be accepted. With as many as there may be, others wait.
    pub(super) fn may_accept<S: Service>(&self, server: &Server<S>) -> bool {
        self.is_waiting && !self.is_closed && server.producers().has_room()
    }

    pub(super) const fn stop_accepting(&mut self) {
        self.is_closed = true;
    }

    /// Accepts producers that wait, within the budget.
    pub(super) fn accept<S: Service>(
        &mut self,
        server: &mut Server<S>,
        transport: &mut impl Transport,
        budget: &mut Budget,
    ) -> Result<(), Exhausted> {
        let mut is_waiting = self.is_waiting && !self.is_closed;
        let result = accept_some(&mut is_waiting, budget, |_| {
            if !server.producers().has_room() {
                return Err(NotAccepted::NoneWaiting);
            }
            transport.accept_producer()?;
            if let Some(producer) = server.connect_producer() {
                self.adopt(server, transport, producer);
            }
            Ok(())
        });
        if server.producers().has_room() {
            self.is_full_logged = false;
            self.is_waiting = is_waiting;
        } else if !std::mem::replace(&mut self.is_full_logged, true) {
            let producers = server.producers().len();
            log::warn!(producers; "as many producers are connected as [limits] producers allows: others wait");
        }
        result
    }

    fn adopt<S: Service>(
        &mut self,
        server: &mut Server<S>,
        transport: &mut impl Transport,
        producer: ProducerId,
    ) {
        if let Err(error) = transport.adopt_producer(producer) {
            log::warn!(error:%; "cannot watch a producer, closing its connection");
            server.disconnect_producer(producer);
            return;
        }
        log::debug!(producer = producer.generation(); "producer connected");
        if self.sockets.len() <= producer.index() {
            self.sockets.resize_with(producer.index() + 1, || None);
        }
        self.sockets[producer.index()] =
            Some(Readiness { producer, is_listed: false, is_ended: false, owed: 0 });
        if self.is_stopping {
            self.owe(producer.index(), transport);
        }
        // What it wrote before it was accepted is read in the same turn, so that none is too late for a stop.
        self.readable(producer);
    }

    /// The producer's socket may have something to read.
    pub(super) fn readable(&mut self, producer: ProducerId) {
        if let Some(Some(socket)) = self.sockets.get_mut(producer.index())
            && socket.producer == producer
            && !socket.is_ended
            && !std::mem::replace(&mut socket.is_listed, true)
        {
            self.readable.push(producer);
        }
    }

    /// The producer's socket can be written to again.
    pub(super) fn writable(&mut self, producer: ProducerId) {
        self.answerable.push(producer);
    }

    /// The server was told to stop: what producers have written up to now is read, and no producer that goes on writing
    /// delays the end.
    pub(super) fn stop(&mut self, transport: &mut impl Transport) {
        self.is_stopping = true;
        // A producer that connected before the stop is read, whether its readiness has been reported or not.
        self.is_waiting = !self.is_closed;
        (0..self.sockets.len()).for_each(|index| self.owe(index, transport));
    }

    /// Notes how much there is to read at this moment.
    fn owe(&mut self, index: usize, transport: &mut impl Transport) {
        if let Some(socket) = self.sockets[index].as_mut().filter(|socket| !socket.is_ended) {
            // And the read behind that, which tells whether the stream had ended: then a last line without its end counts.
            socket.owed = transport.unread_of(socket.producer).saturating_add(1);
            let producer = socket.producer;
            self.readable(producer);
        }
    }

    /// Whether something is left to read of what had been written before the server was told to stop.
    pub(super) fn owe_lines(&self) -> bool {
        self.sockets.iter().flatten().any(|socket| socket.owed > 0)
    }

    /// Whether a producer has something to read and may be read from.
    pub(super) fn has_readable<S: Service>(&self, server: &Server<S>) -> bool {
        self.readable.iter().any(|&producer| server.wants_lines(producer))
    }

    /// Reads from each producer that has something until its socket is empty, its share is spent or the backlog is full.
    pub(super) fn read<S: Service>(
        &mut self,
        server: &mut Server<S>,
        transport: &mut impl Transport,
        buffer: &mut [u8],
        now: Now,
    ) {
        let mut turn = std::mem::take(&mut self.readable);
        // A different one is first each time that any may be read: when the peers do not keep up, none is always the last.
        if turn.len() > 1 && turn.iter().any(|&producer| server.wants_lines(producer)) {
            turn.rotate_left(1);
        }
        let shares = server.shares();
        let mut budget = shares.producers();
        for producer in turn {
            let Some(Some(socket)) = self.sockets.get_mut(producer.index()) else { continue };
            if socket.producer != producer {
                continue;
            }
            self.answerable.push(producer);
            let progress = budget.spend_part(shares.one_producer(), |budget| {
                Self::read_one(socket, server, transport, buffer, budget, now)
            });
            match progress {
                Progress::Drained => {
                    socket.is_listed = false;
                    socket.owed = 0;
                }
                Progress::More => self.readable.push(producer),
                Progress::Ended => {
                    socket.is_ended = true;
                    socket.is_listed = false;
                    socket.owed = 0;
                    server.finish_lines(producer, Now { wall: transport.wall(), ..now });
                }
                Progress::Broken => self.close(producer, server, transport),
            }
        }
    }

    fn read_one<S: Service>(
        socket: &mut Readiness,
        server: &mut Server<S>,
        transport: &mut impl Transport,
        buffer: &mut [u8],
        budget: &mut Budget,
        now: Now,
    ) -> Progress {
        let producer = socket.producer;
        while server.wants_lines(producer) && !budget.is_spent() {
            if server.has_leftover_lines(producer) {
                server.receive_leftover_lines(producer, now, budget);
                continue;
            }
            budget.charge(cost::READ);
            match transport.read_producer(producer, buffer) {
                Ok(0) => return Progress::Ended,
                Ok(count) => {
                    socket.owed = socket.owed.saturating_sub(count as u64);
                    // Asked after the read: a token that had expired when a line was written has expired now.
                    let now = Now { wall: transport.wall(), ..now };
                    server.receive_lines(producer, &buffer[..count], now, budget);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Drained,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    log::info!(error:%; "producer's connection broke");
                    return Progress::Broken;
                }
            }
        }
        Progress::More
    }

    /// Writes the answers to what was read, after the events they are about have been queued. A producer whose stream has
    /// ended is closed when it has them all.
    pub(super) fn write_answers<S: Service>(
        &mut self,
        server: &mut Server<S>,
        transport: &mut impl Transport,
    ) {
        self.answerable.extend(server.take_refused_producers());
        for producer in std::mem::take(&mut self.answerable) {
            let Some(Some(socket)) = self.sockets.get(producer.index()) else { continue };
            if socket.producer != producer {
                continue;
            }
            let is_ended = socket.is_ended;
            match server.write_answers(producer, transport.producer(producer)) {
                Ok(is_all) if is_all && is_ended => self.close(producer, server, transport),
                Ok(_) => {}
                Err(_) if is_ended => self.close(producer, server, transport),
                // It has gone, which the next read will tell, or has shut its reading end and may still write.
                Err(error) => log::debug!(error:%; "producer does not take its answers"),
            }
        }
    }

    fn close<S: Service>(
        &mut self,
        producer: ProducerId,
        server: &mut Server<S>,
        transport: &mut impl Transport,
    ) {
        let Loss { cut_line, answers } = server.disconnect_producer(producer);
        if cut_line {
            log::warn!(producer = producer.generation(); "producer's last line was cut and is dropped");
        }
        if answers > 0 {
            log::warn!(producer = producer.generation(), answers; "producer did not read its answers");
        }
        self.sockets[producer.index()] = None;
        transport.close_producer(producer);
    }
}
