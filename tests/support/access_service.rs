//! An access service that a test scripts, question by question.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use serde_json::Value;

use super::wait::{Timed, failure};
use super::{DEADLINE, Setup};

/// The service's socket.
pub struct AccessService {
    listener: UnixListener,
}

/// A server's connection to it.
pub struct Consultation {
    stream: BufReader<Timed<UnixStream>>,
}

/// A question of the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// `ref`, which its answer repeats.
    pub reference: u64,
    /// The user asked about.
    pub user: String,
    /// The type of event.
    pub kind: String,
    /// The event's id; absent in a question whether a user exists.
    pub id: Option<String>,
}

impl Setup {
    /// The server asks the service of [`AccessService::listen`] and caches no answer.
    pub fn with_access_service() -> Self {
        Self::new()
            .set("access.mode", "socket")
            .set("access.socket", "access.sock")
            .set("access.cacheSeconds", 0)
            .set("access.timeoutMs", 60_000)
    }
}

impl AccessService {
    /// Listens where the server of this setup asks.
    #[track_caller]
    pub fn listen(setup: &Setup) -> Self {
        Self::listen_at(&setup.path("access.sock"))
    }

    /// Listens at this path.
    #[track_caller]
    pub fn listen_at(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("the path is free");
        // It limits accepting, too (socket(7), SO_RCVTIMEO).
        socket2::SockRef::from(&listener).set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        Self { listener }
    }

    /// The server's next connection.
    #[track_caller]
    pub fn accept(&self) -> Consultation {
        let (stream, _) = self.listener.accept().expect("the server connects to its access service");
        Consultation { stream: BufReader::new(Timed::new(stream)) }
    }
}

impl Consultation {
    /// The server's next question.
    #[track_caller]
    pub fn question(&mut self) -> Question {
        self.next_question().expect("the server asks")
    }

    /// The server's next question; `None` when it has ended the connection.
    #[track_caller]
    pub fn next_question(&mut self) -> Option<Question> {
        let mut line = String::new();
        self.stream.get_mut().begin_wait();
        match self.stream.read_line(&mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => {
                let waited = self.stream.get_ref().waited();
                panic!("{}", failure("a question or the end", waited, &format!("{line:?}"), &error));
            }
        }
        let parsed: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line:?}"));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Question {
            reference: parsed["ref"].as_u64().expect("a ref"),
            user: text(&parsed["user"]).expect("a user"),
            kind: text(&parsed["event"]["type"]).expect("a type"),
            id: text(&parsed["event"]["id"]),
        })
    }

    /// Takes the next question, which must be this one, and returns its `ref`.
    #[track_caller]
    pub fn expect_question(&mut self, user: &str, kind: &str, id: &str) -> u64 {
        let Question { reference, user: asked_user, kind: asked_kind, id: asked_id } = self.question();
        let asked_id = asked_id.unwrap_or_default();
        assert_eq!((asked_user.as_str(), asked_kind.as_str(), asked_id.as_str()), (user, kind, id));
        reference
    }

    /// Answers a question.
    #[track_caller]
    pub fn answer(&mut self, reference: u64, code: u8) {
        self.write(format!("{{\"ref\":{reference},\"code\":{code}}}\n"));
    }

    /// Takes the next question, which must be this one, and answers it.
    #[track_caller]
    pub fn expect_and_answer(&mut self, user: &str, kind: &str, id: &str, code: u8) {
        let reference = self.expect_question(user, kind, id);
        self.answer(reference, code);
    }

    /// Writes these bytes as they are.
    #[track_caller]
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().begin_wait();
        self.stream.get_mut().write_all(bytes.as_ref()).expect("the server reads");
    }
}
