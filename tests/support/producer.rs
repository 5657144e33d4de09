//! A backend process that writes events: a plain Unix-domain stream socket.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::Server;
use super::wait::{Timed, failure};

/// One connection of one producer.
pub struct Producer {
    stream: BufReader<Timed<UnixStream>>,
}

impl Producer {
    /// Connects to the server's events socket.
    #[track_caller]
    pub fn connect(server: &Server) -> Self {
        Self::connect_to(server.socket())
    }

    /// Connects to this events socket.
    #[track_caller]
    pub fn connect_to(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the server accepts producers");
        Self { stream: BufReader::new(Timed::new(stream)) }
    }

    /// Writes these bytes as they are.
    #[track_caller]
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().begin_wait();
        self.stream.get_mut().write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Writes these bytes; `false` if the server has ended the connection.
    #[track_caller]
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().begin_wait();
        match self.stream.get_mut().write_all(bytes) {
            Err(error) if error.kind() == ErrorKind::TimedOut => panic!("the server does not read: {error}"),
            result => result.is_ok(),
        }
    }

    /// Writes one line.
    #[track_caller]
    pub fn line(&mut self, line: &str) {
        self.write(format!("{line}\n"));
    }

    /// The next answer, without its line end.
    #[track_caller]
    pub fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stream.get_mut().begin_wait();
        if let Err(error) = self.stream.read_line(&mut line) {
            let waited = self.stream.get_ref().waited();
            panic!("{}", failure("an answer to a producer", waited, &format!("{line:?}"), &error));
        }
        assert!(line.ends_with('\n'), "awaited an answer; the server ended the connection after {line:?}");
        line.truncate(line.len() - 1);
        line
    }

    /// Writes one event and waits until it is queued for its subscribers. Returns their number.
    #[track_caller]
    pub fn publish(&mut self, event: &str) -> u64 {
        let open = event.strip_suffix('}').expect("an event is a JSON object");
        self.line(&format!(r#"{open},"ack":"publish"}}"#));
        let answer = self.answer();
        let parsed: Value = serde_json::from_str(&answer).expect("an answer is JSON");
        let subscribers = parsed["subscribers"].as_u64().unwrap_or_else(|| panic!("no Ok: {answer}"));
        assert_eq!(
            answer,
            format!(
                r#"{{"ack":"publish","status":200,"message":"Ok","code":0,"subscribers":{subscribers}}}"#
            )
        );
        subscribers
    }

    /// Writes one event and returns the number of subscribers it was queued for; `None` if the server ends the connection
    /// instead of answering.
    #[track_caller]
    pub fn try_publish(&mut self, event: &str) -> Option<u64> {
        let open = event.strip_suffix('}').expect("an event is a JSON object");
        self.try_write(format!("{open},\"ack\":1}}\n").as_bytes()).then_some(())?;
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                panic!("awaited an answer or the end: {error}")
            }
            result => result.ok().filter(|&length| length > 0)?,
        };
        serde_json::from_str::<Value>(&line).expect("an answer is JSON")["subscribers"].as_u64()
    }

    /// Waits until every line written so far has been handled: until one more line is answered.
    #[track_caller]
    pub fn settle(&mut self) {
        assert_eq!(self.publish(r#"{"type":"notification","users":[],"data":null}"#), 0);
    }

    /// Takes the next answer, which must refuse line `number`.
    #[track_caller]
    pub fn expect_refusal(&mut self, number: u64) -> Refusal {
        let answer = self.answer();
        let parsed: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("no JSON: {answer}"));
        let message = parsed["message"].as_str().unwrap_or_else(|| panic!("no message: {answer}")).to_owned();
        assert!(!message.is_empty() && !message.contains('\n'), "{answer}");
        assert_eq!((&parsed["status"], &parsed["code"]), (&400.into(), &5.into()), "{answer}");
        assert_eq!(parsed["line"], number, "{answer}");
        Refusal { message, ack: parsed.get("ack").cloned() }
    }

    /// Shuts down the writing side and returns everything the server writes before it ends its own.
    #[track_caller]
    pub fn end(mut self) -> String {
        self.stream.get_ref().get_ref().shutdown(Shutdown::Write).expect("the connection is open");
        let mut rest = String::new();
        self.stream.get_mut().begin_wait();
        if let Err(error) = self.stream.read_to_string(&mut rest) {
            let waited = self.stream.get_ref().waited();
            panic!("{}", failure("the end after a half-close", waited, &format!("{rest:?}"), &error));
        }
        rest
    }
}

/// The answer to a refused line.
#[derive(Debug)]
pub struct Refusal {
    /// What is wrong, and where.
    pub message: String,
    /// The line's own `ack`, if it could be read.
    pub ack: Option<Value>,
}
