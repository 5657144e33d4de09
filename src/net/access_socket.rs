//! The access service's socket: connecting, writing questions, reading answers.
//!
//! [`AccessService`](crate::access::AccessService) interprets the lines, times out questions and decides when to
//! reconnect. All I/O is non-blocking: at most one buffer of questions waits for a service that does not read, and a
//! service that writes without end gets a share of each turn.

use super::random::random;
use super::readiness::Source;
use crate::cost;
use crate::hub::Hub;
use crate::ndjson::{LineReader, RawLine, TooLong};
use crate::server::Server;
use crate::time::Now;
use mio::event::Event;
use mio::net::UnixStream;
use mio::{Interest, Registry};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::PathBuf;

/// Bytes read at once: few enough answers for a turn's share.
const READ_BYTES: usize = 4 << 10;

/// Bytes of questions encoded at once, before the last question.
const QUESTIONS_AT_ONCE: usize = 16 << 10;

/// The service's path, and the connection to it while there is one.
#[derive(Debug)]
pub(super) struct AccessSocket {
    path: PathBuf,
    /// The longest answer, in bytes.
    line_bytes: usize,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    /// The socket may be readable.
    readable: bool,
    /// The socket may be writable.
    writable: bool,
    /// The answer being read.
    answer: LineReader,
    /// The questions being written.
    questions: Vec<u8>,
    /// The number of bytes of `questions` already written.
    written: usize,
    /// A malformed line has been reported as a warning; further ones are logged at a lower level.
    has_complained: bool,
}

impl AccessSocket {
    /// Not connected yet.
    pub(super) const fn new(path: PathBuf, line_bytes: usize) -> Self {
        Self { path, line_bytes, connection: None }
    }

    /// Handles a readiness event of the socket.
    pub(super) fn ready(&mut self, event: &Event) {
        if let Some(connection) = &mut self.connection {
            connection.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            connection.writable |= event.is_writable();
        }
    }

    /// Whether the socket may still have answers to read.
    pub(super) fn has_work(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.readable)
    }

    /// Reads a share of the answers and writes the questions that the socket accepts, or connects when that is due.
    pub(super) fn turn(
        &mut self,
        server: &mut Server<Hub>,
        registry: &Registry,
        buffer: &mut [u8],
        now: Now,
    ) {
        let outcome = match &mut self.connection {
            None if server.service().access_attempt().is_none_or(|attempt| now.monotonic < attempt) => return,
            None => self.connect(server, registry, now),
            Some(connection) => connection
                .read_answers(server, buffer, self.line_bytes, now)
                .and_then(|()| connection.write_questions(server, now)),
        };
        if let Err(error) = outcome {
            self.connection = None;
            server.act(now, |hub, peers| hub.access_disconnected(peers, now, random()));
            let pause = server.service().access_attempt().unwrap_or(now.monotonic) - now.monotonic;
            log::warn!(
                socket:% = self.path.display(), error:%, pause:? = pause;
                "no connection to the access service, trying again after a pause"
            );
        }
    }

    /// Connects. A Unix-domain socket connects at once or fails: if the service's queue is full, with EAGAIN (connect(2)).
    fn connect(&mut self, server: &mut Server<Hub>, registry: &Registry, now: Now) -> io::Result<()> {
        let mut stream = UnixStream::connect(&self.path)?;
        registry.register(
            &mut stream,
            Source::AccessService.into(),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.connection = Some(Connection {
            stream,
            readable: false,
            writable: true,
            answer: LineReader::default(),
            questions: Vec::new(),
            written: 0,
            has_complained: false,
        });
        server.act(now, |hub, _| hub.access_connected());
        log::info!(socket:% = self.path.display(); "connected to the access service");
        Ok(())
    }
}

impl Connection {
    /// Reads a share of the answers.
    ///
    /// # Errors
    ///
    /// The connection is lost. A partial line is discarded.
    fn read_answers(
        &mut self,
        server: &mut Server<Hub>,
        buffer: &mut [u8],
        line_bytes: usize,
        now: Now,
    ) -> io::Result<()> {
        let mut budget = server.shares().access();
        while self.readable && !budget.is_spent() {
            budget.charge(cost::READ);
            match self.stream.read(&mut buffer[..READ_BYTES]) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the service closed the connection"));
                }
                Ok(count) => {
                    let mut input = &buffer[..count];
                    while let Some(line) = self.answer.read(&mut input, line_bytes) {
                        budget.charge(cost::ACCESS_ANSWER);
                        if let Err(problem) = take_answer(server, line, now) {
                            self.complain(&problem);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn complain(&mut self, problem: &str) {
        let level = if self.has_complained { log::Level::Debug } else { log::Level::Warn };
        log::log!(level, problem; "the access service sent a line that is not an answer");
        self.has_complained = true;
    }

    /// Writes questions until none are left or the socket is full.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    fn write_questions(&mut self, server: &mut Server<Hub>, now: Now) -> io::Result<()> {
        while self.writable {
            if self.written == self.questions.len() {
                self.questions.clear();
                self.written = 0;
                // Take questions as late as possible: one that times out in the queue is never sent.
                while self.questions.len() < QUESTIONS_AT_ONCE
                    && let Some(question) = server.act(now, |hub, _| hub.next_access_question())
                {
                    question.encode(&mut self.questions);
                }
                if self.questions.is_empty() {
                    break;
                }
            }
            match self.stream.write(&self.questions[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Handles one line. The error describes what is wrong with it.
fn take_answer(server: &mut Server<Hub>, line: RawLine<'_>, now: Now) -> Result<(), String> {
    match line.bytes {
        Ok(line) => server
            .act(now, |hub, peers| hub.access_line(peers, &line, now).map_err(|error| error.to_string())),
        Err(TooLong) => Err("it is longer than lineBytes".to_owned()),
    }
}
