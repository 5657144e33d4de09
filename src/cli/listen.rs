//! `listen`: attaches to events as a browser does, and prints them.

use std::io::{self, Read as _};
use std::net::TcpStream;

use serde::Deserialize;
use serde_json::json;

use super::event::{describe, parse_subjects};
use super::failure::{Exit, Failure};
use super::output::print;
use super::random::random;
use super::settings::Settings;
use super::token::read_token;
use super::url::Url;
use crate::api::{EventType, Subject};
use crate::config::WebSocketEvents;
use crate::websocket::connection::{Connection, Ended, Step};
use crate::websocket::deflate::Codec;
use crate::websocket::frame::OpCode;
use crate::websocket::handshake::UpgradeRequest;
use crate::websocket::message::{Limits, Message};
use crate::websocket::outgoing::Outgoing;

/// Limits for what the server sends; far above what any server should need.
const LIMITS: Limits = Limits { head_bytes: 1 << 16, message_bytes: 1 << 28, fragments: u32::MAX };

/// Subscribes to events and prints each as one line of JSON
///
/// Runs until the server closes the connection, refuses a subscription, or ends the last one. It does not reconnect.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  airlay-cli web_socket listen --auth \"$TOKEN\" issueUpdate 610217e481f6fc54736209e0
  airlay-cli web_socket listen --auth - notification datasetUpdate 610217e481f6fc54736209e0 < token.txt
  airlay-cli web_socket listen --auth \"$TOKEN\" --url ws://10.0.0.5:8081/ws notification")]
pub(super) struct Arguments {
    /// The access token; - reads it from standard input
    #[arg(long, value_name = "TOKEN")]
    auth: String,
    #[arg(value_name = "TYPE [ID]", required = true, help = subjects_help())]
    subjects: Vec<String>,
    /// The server's URL [default: this machine, with port and path from the configuration]
    #[arg(long, value_name = "ws://HOST:PORT/PATH")]
    url: Option<Url>,
    #[command(flatten)]
    settings: Settings,
}

/// The help of `TYPE [ID]`.
fn subjects_help() -> String {
    format!(
        "What to attach to: event types ({}), each followed by the id of its object; {} needs none",
        EventType::names(|_| true),
        EventType::names(EventType::id_optional)
    )
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let subjects = parse_subjects(&arguments.subjects)
        .map_err(|wrong| Failure::new(Exit::Wrong, format!("Cannot tell what to attach to: {wrong}.")))?;
    let url = arguments.url()?;
    let token = read_token(&arguments.auth)?;
    let stream = TcpStream::connect((url.host.as_str(), url.port)).map_err(|error| {
        let sentence = format!("Cannot connect to {}: {error}; is the server running there?", url.authority);
        Failure::new(Exit::Failed, sentence)
    })?;
    Subscriber::new(subjects).run(stream, &url, &token, print)
}

impl Arguments {
    fn url(&self) -> Result<Url, Failure> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let config = self.settings.load_section(WebSocketEvents::load)?;
        Url::of_server(&config).ok_or_else(|| {
            let sentence = "[webSocketEvents] port is 0, so the port is unknown; give it with --url (the server's log has it).";
            Failure::new(Exit::Wrong, sentence)
        })
    }
}

/// The client: one attach request for each subject, and the replies so far.
struct Subscriber {
    subjects: Vec<Subject>,
    /// Requests answered, counted from the first: replies come in the order of the requests.
    answered: usize,
    /// Subscriptions that the server has ended.
    lost: usize,
}

impl Subscriber {
    const fn new(subjects: Vec<Subject>) -> Self {
        Self { subjects, answered: 0, lost: 0 }
    }

    /// Opens the WebSocket, attaches, and passes each event to `print` as one line until the connection ends.
    ///
    /// # Errors
    /// Always, as only a failure ends it: of the connection, of a request, of the last subscription, or of `print`.
    fn run(
        mut self,
        mut stream: TcpStream,
        url: &Url,
        token: &str,
        mut print: impl FnMut(String) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let failed =
            |error: io::Error| Failure::new(Exit::Failed, format!("The connection failed: {error}."));
        let request = UpgradeRequest { host: &url.authority, target: &url.target, nonce: random() };
        let mut outgoing = Outgoing::default();
        let mut connection = Connection::client(&request, random, &mut outgoing);
        let mut codec = Codec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            flush(&mut outgoing, &mut stream).map_err(failed)?;
            let length = match stream.read(&mut buffer) {
                Ok(0) => {
                    return Err(Failure::new(
                        Exit::Failed,
                        "The server ended the connection without a Close.",
                    ));
                }
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            let mut input = &mut buffer[..length];
            loop {
                match connection.receive(&mut input, &mut outgoing, &LIMITS, &mut codec) {
                    Step::Starved => break,
                    Step::Opened => {
                        for &subject in &self.subjects {
                            connection.send(OpCode::Text, attach(token, subject).as_bytes(), &mut outgoing);
                        }
                    }
                    Step::Message(Message::Text(text)) => {
                        if let Some(event) = self.handle(&text)? {
                            print(event)?;
                        }
                    }
                    Step::Message(Message::Binary(_)) | Step::Frame(_) | Step::Upgrade(_) | Step::Page(_) => {
                    }
                    Step::Ended(ended) => {
                        // Answers the Close; the server may be gone already.
                        let _ = flush(&mut outgoing, &mut stream);
                        return Err(Failure::new(Exit::Failed, end(&ended)));
                    }
                }
            }
        }
    }

    /// Handles a message of the server. Returns the line to print if it is an event.
    ///
    /// # Errors
    /// The message is invalid, refuses a request, or ends the last subscription.
    fn handle(&mut self, text: &str) -> Result<Option<String>, Failure> {
        let failed = |sentence| Failure::new(Exit::Failed, sentence);
        let message: ServerMessage = serde_json::from_str(text)
            .map_err(|error| failed(format!("The server sent an invalid message: {error}.")))?;
        match message {
            ServerMessage { status: None, .. } => {
                // The data may have line breaks between its tokens.
                return Ok(Some(text.replace(['\n', '\r'], " ")));
            }
            ServerMessage { event: Some(event), message, .. } => {
                self.lost += 1;
                let EndedSubject { kind, id } = event;
                let separator = if id.is_empty() { "" } else { " " };
                let sentence = format!("The subscription to {kind}{separator}{id} has ended: {message}.");
                if self.lost >= self.subjects.len() {
                    return Err(failed(sentence));
                }
                eprintln!("{sentence}");
            }
            ServerMessage { status: Some(status), message, .. } => {
                let subject =
                    self.subjects.get(self.answered).map_or_else(String::new, |&subject| describe(subject));
                if status != 200 {
                    return Err(failed(format!("The server refused to attach to {subject}: {message}.")));
                }
                self.answered += 1;
                eprintln!("Attached to {subject}.");
            }
        }
        Ok(None)
    }
}

/// A message of the server: an event (no `status`), a reply, or the end of a subscription (with `event`).
#[derive(Deserialize)]
struct ServerMessage {
    status: Option<u16>,
    #[serde(default)]
    message: String,
    event: Option<EndedSubject>,
}

/// The subject of a subscription that the server has ended.
#[derive(Deserialize)]
struct EndedSubject {
    #[serde(rename = "type")]
    kind: String,
    id: String,
}

/// The request that attaches to `subject`.
fn attach(token: &str, subject: Subject) -> String {
    let id = subject.id.map_or_else(String::new, |id| id.to_string());
    json!({"auth": token, "action": "attach", "event": {"type": subject.kind.as_str(), "id": id}}).to_string()
}

fn flush(outgoing: &mut Outgoing, stream: &mut TcpStream) -> io::Result<()> {
    while !outgoing.is_empty() {
        let _ = outgoing.write_to(stream, usize::MAX)?;
    }
    Ok(())
}

/// Why the connection has ended, as a sentence.
fn end(ended: &Ended) -> String {
    match ended {
        Ended::Refused(refusal) => format!("The server refused the connection: {refusal}."),
        Ended::Closed { code: None, .. } => "The server closed the connection.".to_owned(),
        Ended::Closed { code: Some(code), reason } if reason.is_empty() => {
            format!("The server closed the connection with code {}.", code.get())
        }
        Ended::Closed { code: Some(code), reason } => {
            format!("The server closed the connection with code {}: {reason}.", code.get())
        }
        Ended::Failed(violation) => format!("The server violated the WebSocket protocol: {violation}."),
        Ended::Rejected(_) => "The connection has ended.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use tungstenite::protocol::CloseFrame;
    use tungstenite::{Message, accept};

    use super::*;

    const ID: &str = "610217e481f6fc54736209e0";

    /// Runs a client against a server that sends `messages` after both requests, then closes. Returns the printed lines
    /// and the final sentences.
    fn listen(messages: &[&str]) -> (Vec<String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url: Url = format!("ws://{}/ws", listener.local_addr().unwrap()).parse().unwrap();
        let words = ["issueUpdate", ID, "notification"].map(str::to_owned);
        let subscriber = Subscriber::new(parse_subjects(&words).unwrap());
        let stream = TcpStream::connect((url.host.as_str(), url.port)).unwrap();
        let mut printed = Vec::new();
        let result = thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = accept(listener.accept().unwrap().0).unwrap();
                for event in
                    [json!({"type": "issueUpdate", "id": ID}), json!({"type": "notification", "id": ""})]
                {
                    let request: serde_json::Value =
                        serde_json::from_str(client.read().unwrap().to_text().unwrap()).unwrap();
                    assert_eq!(request, json!({"auth": "a token", "action": "attach", "event": event}));
                }
                for &message in messages {
                    client.send(Message::text(message)).unwrap();
                }
                let close = CloseFrame { code: 1001.into(), reason: "bye".into() };
                let _ = client.close(Some(close));
                while client.read().is_ok() {}
            });
            subscriber.run(stream, &url, "a token", |line| {
                printed.push(line);
                Ok(())
            })
        });
        (printed, result.unwrap_err().sentences().join("\n"))
    }

    const OK: &str = r#"{"status":200,"message":"Ok","code":0}"#;

    #[test]
    fn events_are_printed_up_to_the_close() {
        let event = r#"{"type":"issueUpdate","id":"610217e481f6fc54736209e0","data":[]}"#;
        let (printed, end) =
            listen(&[OK, event, OK, "{\"type\":\"notification\",\"id\":\"\",\"data\":{\n}}"]);
        assert_eq!(printed, [event, r#"{"type":"notification","id":"","data":{ }}"#]);
        assert_eq!(end, "The server closed the connection with code 1001: bye.");
    }

    #[test]
    fn a_refusal_names_what_was_refused() {
        let (printed, end) = listen(&[OK, r#"{"status":400,"message":"User not exists","code":3}"#]);
        assert!(printed.is_empty());
        assert_eq!(end, "The server refused to attach to notification: User not exists.");
    }

    #[test]
    fn the_end_of_the_last_subscription_ends_the_command() {
        let lost = |kind: &str, id: &str| {
            json!({"status": 400, "message": "Invalid token", "code": 2, "event": {"type": kind, "id": id}})
                .to_string()
        };
        let (_, end) = listen(&[OK, OK, &lost("issueUpdate", ID)]);
        assert_eq!(end, "The server closed the connection with code 1001: bye.");
        let (_, end) = listen(&[OK, OK, &lost("issueUpdate", ID), &lost("notification", "")]);
        assert_eq!(end, "The subscription to notification has ended: Invalid token.");
    }
}
