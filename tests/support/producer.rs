//! A backend process that writes events: a plain Unix-domain stream socket.

use super::{DEADLINE, Server};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One connection of one producer.
pub struct Producer {
    stream: BufReader<UnixStream>,
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
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
        stream.set_write_timeout(Some(DEADLINE)).expect("a deadline can be set");
        Self { stream: BufReader::new(stream) }
    }

    /// Writes these bytes as they are.
    #[track_caller]
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Writes these bytes; `false` if the server has ended the connection.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Writes one line.
    #[track_caller]
    pub fn line(&mut self, line: &str) {
        self.write(format!("{line}\n"));
    }

    /// The next line that the server writes back, without its end.
    #[track_caller]
    pub fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the server answers");
        assert!(line.ends_with('\n'), "the server ended the connection after {line:?}");
        line.truncate(line.len() - 1);
        line
    }

    /// Writes one event and waits until it has been queued for its subscribers, whose number is returned.
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

    /// Writes one event and returns how many subscribers it has been queued for; `None` if the server ends the connection
    /// instead of answering.
    pub fn try_publish(&mut self, event: &str) -> Option<u64> {
        let open = event.strip_suffix('}').expect("an event is a JSON object");
        self.try_write(format!("{open},\"ack\":1}}\n").as_bytes()).then_some(())?;
        let mut line = String::new();
        self.stream.read_line(&mut line).ok().filter(|&length| length > 0)?;
        serde_json::from_str::<Value>(&line).expect("an answer is JSON")["subscribers"].as_u64()
    }

    /// Waits until every line written before has been handled: a line of its own has its answer.
    #[track_caller]
    pub fn settle(&mut self) {
        assert_eq!(self.publish(r#"{"type":"notification","users":[],"data":null}"#), 0);
    }

    /// Takes the next answer, which must be the refusal of line `number`, and returns what is wrong with it.
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

    /// Ends the writing side in an orderly way and returns all that the server still writes until it ends its own.
    #[track_caller]
    pub fn end(mut self) -> String {
        self.stream.get_ref().shutdown(Shutdown::Write).expect("the connection is open");
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).expect("the server ends the connection");
        rest
    }
}

/// The answer to a line that could not be taken.
#[derive(Debug)]
pub struct Refusal {
    /// What is wrong, and where.
    pub message: String,
    /// The line's own `ack`, if it had one that could be read.
    pub ack: Option<Value>,
}
