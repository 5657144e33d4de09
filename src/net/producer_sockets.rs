//! The producers' sockets: accepting, reading as far as the peers keep up, writing answers, closing.

use super::events_socket::EventsSocket;
use super::peer_sockets::is_exhaustion;
use super::readiness::Source;
use crate::producers::{Loss, ProducerId};
use crate::server::{Server, Service};
use crate::time::Now;
use mio::net::UnixStream;
use mio::{Interest, Registry};
use rustix::io::ioctl_fionread;
use std::io::{self, Read};

/// The producers that are connected: few, so each turn looks at all of them that have something.
#[derive(Debug, Default)]
pub(super) struct ProducerSockets {
    /// By the producer's slot.
    sockets: Vec<Option<ProducerSocket>>,
    /// Producers whose sockets may have something to read, each once.
    readable: Vec<ProducerId>,
    /// Producers that may be owed answers.
    answerable: Vec<ProducerId>,
    /// The server has been told to stop.
    stopping: bool,
}

#[derive(Debug)]
struct ProducerSocket {
    producer: ProducerId,
    stream: UnixStream,
    /// The producer is in `readable`.
    readable: bool,
    /// The stream has ended; only answers may be on their way.
    ended: bool,
    /// Bytes still to be read of those that were there when the server was told to stop.
    owed: u64,
}

/// What came of reading from one producer.
enum Progress {
    /// Its socket is empty.
    Drained,
    /// It is ahead of the peers.
    More,
    /// Its stream has ended.
    Ended,
    /// Its connection broke: what it had not finished does not count.
    Broken,
}

impl ProducerSockets {
    /// Accepts the producers that wait. Says whether accepting failed for want of resources, so that the caller pauses.
    pub(super) fn accept<S: Service>(
        &mut self,
        listener: &EventsSocket,
        server: &mut Server<S>,
        registry: &Registry,
    ) -> io::Result<()> {
        loop {
            match listener.accept() {
                Ok(Some(stream)) => self.register(stream, server, registry),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_exhaustion(&error) => return Err(error),
                Err(error) => log::debug!(error:%; "producer lost before it was accepted"),
            }
        }
    }

    fn register<S: Service>(&mut self, mut stream: UnixStream, server: &mut Server<S>, registry: &Registry) {
        let producer = server.producers.connect();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = registry.register(&mut stream, Source::Producer(producer).into(), interest);
        if self.sockets.len() <= producer.index() {
            self.sockets.resize_with(producer.index() + 1, || None);
        }
        self.sockets[producer.index()] =
            Some(ProducerSocket { producer, stream, readable: false, ended: false, owed: 0 });
        if self.stopping {
            self.owe(producer.index());
        }
        match registered {
            Ok(()) => {
                log::debug!(producer = producer.generation(); "producer connected");
                // What it wrote before it was accepted is read in the same turn, so that none is too late for a stop.
                self.readable(producer);
            }
            Err(error) => {
                log::warn!(error:%; "cannot watch a producer, closing its connection");
                self.sockets[producer.index()] = None;
                server.producers.disconnect(producer);
            }
        }
    }

    /// The producer's socket may have something to read.
    pub(super) fn readable(&mut self, producer: ProducerId) {
        if let Some(Some(socket)) = self.sockets.get_mut(producer.index())
            && !std::mem::replace(&mut socket.readable, true)
        {
            self.readable.push(producer);
        }
    }

    /// The server has been told to stop: what producers have written up to now is to be read, and no producer that goes on
    /// writing delays the end.
    pub(super) fn stopping(&mut self) {
        self.stopping = true;
        (0..self.sockets.len()).for_each(|index| self.owe(index));
    }

    /// Notes how much there is to read at this moment.
    fn owe(&mut self, index: usize) {
        if let Some(socket) = self.sockets[index].as_mut().filter(|socket| !socket.ended) {
            // It fails for no socket; and if it did, reading until there is no more would be right too.
            socket.owed = ioctl_fionread(&socket.stream).unwrap_or(u64::MAX);
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

    /// Reads from each producer that has something, until its socket is empty or it is too far ahead of the peers.
    pub(super) fn read<S: Service>(&mut self, server: &mut Server<S>, buffer: &mut [u8], now: Now) {
        let mut turn = std::mem::take(&mut self.readable);
        // A different one is first each time: when the peers do not keep up, no producer is always the last.
        if turn.len() > 1 {
            turn.rotate_left(1);
        }
        for producer in turn {
            let Some(Some(socket)) = self.sockets.get_mut(producer.index()) else { continue };
            self.answerable.push(producer);
            match Self::read_one(socket, producer, server, buffer, now) {
                Progress::Drained => {
                    socket.readable = false;
                    socket.owed = 0;
                }
                Progress::More => self.readable.push(producer),
                Progress::Ended => {
                    socket.ended = true;
                    socket.owed = 0;
                    server.finish_lines(producer, now);
                }
                Progress::Broken => self.close(producer, server),
            }
        }
    }

    fn read_one<S: Service>(
        socket: &mut ProducerSocket,
        producer: ProducerId,
        server: &mut Server<S>,
        buffer: &mut [u8],
        now: Now,
    ) -> Progress {
        while server.wants_lines(producer) {
            match socket.stream.read(buffer) {
                Ok(0) => return Progress::Ended,
                Ok(count) => {
                    socket.owed = socket.owed.saturating_sub(count as u64);
                    server.receive_lines(producer, &buffer[..count], now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::info!(error:%; "producer's connection broke");
                    return Progress::Broken;
                }
            }
        }
        Progress::More
    }

    /// The producer's socket can be written to again.
    pub(super) fn writable(&mut self, producer: ProducerId) {
        self.answerable.push(producer);
    }

    /// Writes the answers to what has been read: after the events they are about have been queued. A producer whose stream
    /// has ended is closed when it has them all.
    pub(super) fn write_answers<S: Service>(&mut self, server: &mut Server<S>) {
        for producer in std::mem::take(&mut self.answerable) {
            let Some(Some(socket)) = self.sockets.get_mut(producer.index()) else { continue };
            match server.producers.write_answers(producer, &mut socket.stream) {
                Ok(all) if all && socket.ended => self.close(producer, server),
                Ok(_) => {}
                Err(_) if socket.ended => self.close(producer, server),
                // It has gone, which the next read will tell, or has shut its reading end and may still write.
                Err(error) => log::debug!(error:%; "producer does not take its answers"),
            }
        }
    }

    fn close<S: Service>(&mut self, producer: ProducerId, server: &mut Server<S>) {
        let Loss { cut_line, answers } = server.producers.disconnect(producer);
        if cut_line {
            log::warn!(producer = producer.generation(); "producer's last line was cut and is dropped");
        }
        if answers > 0 {
            log::warn!(producer = producer.generation(), answers; "producer did not read its answers");
        }
        self.sockets[producer.index()] = None;
    }
}
