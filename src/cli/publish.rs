//! `publish`: writes events to the events socket, as a backend process does, and reports the server's answers.

use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::event::parse_type;
use super::failure::{Exit, Failure};
use super::output::print;
use super::settings::Settings;
use crate::api::{EventType, Line, ObjectId, UserId};
use crate::config::Events;

const UNANSWERED: &str = "The server ended the connection before answering.";

/// Publishes one event, or many from standard input
///
/// Writes to the events socket, as backend processes do. Without --wait, prints only what the server refuses.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  airlay-cli web_socket publish issueUpdate 610217e481f6fc54736209e0
  airlay-cli web_socket publish datasetUpdate 610217e481f6fc54736209e0 --data '[{\"rows\":17}]' --wait
  airlay-cli web_socket publish notification --users 5dad615eae019570fb4647ed --data '[{\"text\":\"Hello\"}]'
  airlay-cli web_socket publish notification --users '*'
  airlay-cli web_socket publish - < events.ndjson
  echo '{\"control\":\"revoke\",\"user\":\"5dad615eae019570fb4647ed\"}' | airlay-cli web_socket publish -

Exit codes: 3 if the server refused an event, 4 if no server listens on the socket.")]
pub(super) struct Arguments {
    #[arg(value_name = "TYPE", value_parser = parse_target, help = target_help())]
    target: Target,
    /// The id of the event's object: 24 hexadecimal digits
    id: Option<ObjectId>,
    /// The event's data: any JSON value [default: []]
    #[arg(long, value_name = "JSON", value_parser = parse_data)]
    data: Option<Data>,
    /// For a notification: the ids of its users, separated by commas, or '*' for everyone
    #[arg(long, value_name = "ID,ID", value_parser = parse_users)]
    users: Option<Users>,
    /// Wait until the server has queued the event for its subscribers, and print how many there are. With -, print the
    /// server's answer to each line
    #[arg(long)]
    wait: bool,
    /// The events socket [default: [events] socket of the configuration]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// The help of `TYPE`.
fn target_help() -> String {
    format!(
        "The event's type, one of {}; or - to read events from standard input, one JSON object a line, as the events \
         socket takes them",
        EventType::names(|_| true)
    )
}

/// What to publish.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// One event of this type.
    Event(EventType),
    /// Lines from standard input.
    Lines,
}

/// `--users`.
#[derive(Clone, Debug)]
enum Users {
    Everyone,
    These(Vec<UserId>),
}

/// `--data`: a JSON text.
type Data = std::sync::Arc<RawValue>;

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match arguments.target {
        Target::Event(kind) => {
            let line = arguments.line(kind);
            publish_one(&arguments.connect()?, &line, arguments.wait)
        }
        Target::Lines if arguments.id.is_some() || arguments.data.is_some() || arguments.users.is_some() => {
            let sentence =
                "With -, events come from standard input; an id, --data and --users are not allowed.";
            Err(Failure::new(Exit::Wrong, sentence))
        }
        Target::Lines => publish_lines(&arguments.connect()?, io::stdin().lock(), arguments.wait),
    }
}

/// Writes one event and prints its answer, if any: without `wait`, only a refused event gets one.
///
/// # Errors
/// The connection failed, the event was refused, or `wait` got no answer.
fn publish_one(mut stream: &UnixStream, line: &str, wait: bool) -> Result<(), Failure> {
    stream.write_all(line.as_bytes()).and_then(|()| stream.shutdown(Shutdown::Write)).map_err(cut_off)?;
    match answers(stream).next().transpose().map_err(cut_off)? {
        Some((_, Answer { status: 200, subscribers, .. })) => match subscribers {
            Some(1) => print("Accepted, queued for 1 subscriber."),
            subscribers => {
                print(format_args!("Accepted, queued for {} subscribers.", subscribers.unwrap_or(0)))
            }
        },
        Some((_, Answer { message, .. })) => {
            Err(Failure::new(Exit::Refused, format!("The server refused the event: {message}.")))
        }
        None if wait => Err(Failure::new(Exit::Failed, UNANSWERED)),
        None => Ok(()),
    }
}

/// Writes all lines of `input`, printing the answers as they come.
///
/// # Errors
/// `input` or the connection failed, a line was refused, or `wait` and some answers did not come.
fn publish_lines(stream: &UnixStream, input: impl BufRead, wait: bool) -> Result<(), Failure> {
    let (wanted, answered) = thread::scope(|scope| {
        let answered = scope.spawn(|| print_answers(stream));
        let wanted = write_lines(stream, input, wait);
        // After an error, too: it lets the server end the answers. A failure means that the connection is gone.
        let _ = stream.shutdown(Shutdown::Write);
        (wanted, answered.join().expect("printing does not panic"))
    });
    let (wanted, Answered { taken, refused }) = (wanted?, answered?);
    if refused > 0 {
        Err(Failure::silent(Exit::Refused))
    } else if taken < wanted {
        Err(Failure::new(Exit::Failed, UNANSWERED))
    } else {
        Ok(())
    }
}

/// Writes the lines, including empty ones, so that the server's line numbers match the input's. Returns how many answers
/// to expect.
///
/// # Errors
/// `input` cannot be read, or the connection failed.
fn write_lines(stream: &UnixStream, input: impl BufRead, wait: bool) -> Result<u64, Failure> {
    let unreadable = |error| Failure::new(Exit::Failed, format!("Cannot read standard input: {error}."));
    let mut input = BufReader::with_capacity(1 << 16, input);
    let mut out = BufWriter::with_capacity(1 << 16, stream);
    let mut line = Vec::new();
    let mut wanted = 0;
    for number in 1_u64.. {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        let text = line.trim_ascii_end();
        if wait && !text.is_empty() {
            wanted += 1;
            out.write_all(&with_ack(text, number)).map_err(cut_off)?;
        } else {
            out.write_all(text).map_err(cut_off)?;
        }
        out.write_all(b"\n").map_err(cut_off)?;
        // No more input is buffered: do not let this line wait for the next.
        if input.buffer().is_empty() {
            out.flush().map_err(cut_off)?;
        }
    }
    out.flush().map_err(cut_off)?;
    Ok(wanted)
}

/// The line with an `ack` added. A line that has its own, or will be refused, is answered anyway and stays as it is.
fn with_ack(line: &[u8], number: u64) -> Vec<u8> {
    let has_ack = match Line::parse(line) {
        Ok(Line::Event(event)) => event.ack.is_some(),
        Ok(Line::Revoke { ack, .. }) => ack.is_some(),
        Err(_) => true,
    };
    match line.iter().position(|&byte| byte == b'{') {
        Some(brace) if !has_ack => {
            [&line[..=brace], format!("\"ack\":{number},").as_bytes(), &line[brace + 1..]].concat()
        }
        _ => line.to_owned(),
    }
}

/// The server's answers, counted.
struct Answered {
    taken: u64,
    refused: u64,
}

/// Prints the server's answers up to the end: an acceptance verbatim on standard output, a refusal as a sentence on
/// standard error.
///
/// # Errors
/// The connection or standard output failed, or an answer is not valid.
fn print_answers(stream: &UnixStream) -> Result<Answered, Failure> {
    let mut answered = Answered { taken: 0, refused: 0 };
    for answer in answers(stream) {
        let (text, answer) = answer.map_err(cut_off)?;
        if answer.status == 200 {
            answered.taken += 1;
            print(text)?;
        } else {
            answered.refused += 1;
            let line = answer.line.map_or_else(String::new, |line| format!("Line {line}: "));
            eprintln!("{line}the server refused the event: {}.", answer.message);
        }
    }
    Ok(answered)
}

/// A line from the server.
#[derive(Deserialize)]
struct Answer {
    status: u16,
    message: String,
    /// The number of the refused line, counted from 1.
    line: Option<u64>,
    /// The number of subscribers an event was queued for.
    subscribers: Option<u64>,
}

/// The server's answers up to the end, each with its text.
///
/// # Errors
/// Of an item: the connection failed, or the answer is not valid.
fn answers(stream: &UnixStream) -> impl Iterator<Item = io::Result<(String, Answer)>> {
    BufReader::new(stream).lines().map(|line| {
        let line = line?;
        let answer = serde_json::from_str(&line)?;
        Ok((line, answer))
    })
}

fn cut_off(error: io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("The connection to the server failed: {error}."))
}

impl Arguments {
    fn connect(&self) -> Result<UnixStream, Failure> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => self.settings.load_section(Events::load)?.socket,
        };
        UnixStream::connect(&socket).map_err(|error| no_connection(&socket, &error))
    }

    /// The line of the one event.
    fn line(&self, kind: EventType) -> String {
        let line = EventLine {
            ack: self.wait.then_some(1),
            kind: kind.as_str(),
            id: self.id.map(|id| id.to_string()),
            users: self.users.as_ref(),
            data: self.data.as_deref(),
        };
        let line = serde_json::to_string(&line).expect("texts and numbers are always JSON");
        // The data may have line feeds between its tokens, which would end the line.
        line.replace('\n', " ") + "\n"
    }
}

fn no_connection(socket: &Path, error: &io::Error) -> Failure {
    let socket = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::new(
            Exit::NoServer,
            format!("No server at {socket}; is it running, with this [events] socket?"),
        ),
        io::ErrorKind::PermissionDenied => {
            let sentence = format!(
                "No permission to write to {socket}: join its group, or see [events] socketMode and its folder's permissions."
            );
            Failure::new(Exit::Failed, sentence)
        }
        _ => Failure::new(Exit::Failed, format!("Cannot connect to {socket}: {error}.")),
    }
}

/// An event as a line of the events socket.
#[derive(Serialize)]
struct EventLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<u8>,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<&'a Users>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

impl Serialize for Users {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Everyone => serializer.serialize_str("*"),
            Self::These(users) => serializer.collect_seq(users.iter().map(ToString::to_string)),
        }
    }
}

fn parse_target(text: &str) -> Result<Target, String> {
    if text == "-" { Ok(Target::Lines) } else { parse_type(text).map(Target::Event) }
}

fn parse_data(text: &str) -> Result<Data, String> {
    let data: Box<RawValue> = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    Ok(data.into())
}

fn parse_users(text: &str) -> Result<Users, String> {
    if text == "*" {
        return Ok(Users::Everyone);
    }
    let users = text.split(',').map(|id| id.trim().parse().map_err(|error| format!("{id:?}: {error}")));
    users.collect::<Result<_, _>>().map(Users::These)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(words: &[&str]) -> Arguments {
        Program::parse_from(["publish"].iter().chain(words)).arguments
    }

    const ID: &str = "610217e481f6fc54736209e0";

    #[test]
    fn an_event_is_one_line() {
        let line = arguments(&["issueUpdate", ID, "--data", "[1,\n \"a\\n\"]"]).line(EventType::IssueUpdate);
        assert_eq!(line, format!("{{\"type\":\"issueUpdate\",\"id\":\"{ID}\",\"data\":[1,  \"a\\n\"]}}\n"));
        let line = arguments(&["notification", "--users", "*", "--wait"]).line(EventType::Notification);
        assert_eq!(line, "{\"ack\":1,\"type\":\"notification\",\"users\":\"*\"}\n");
        let users = format!("{ID},{ID}");
        let line = arguments(&["notification", "--users", &users]).line(EventType::Notification);
        assert_eq!(line, format!("{{\"type\":\"notification\",\"users\":[\"{ID}\",\"{ID}\"]}}\n"));
    }

    #[test]
    fn a_line_without_an_ack_gets_one() {
        let event = format!("{{\"type\":\"issueUpdate\",\"id\":\"{ID}\"}}");
        assert_eq!(with_ack(event.as_bytes(), 7), format!("{{\"ack\":7,{}", &event[1..]).as_bytes());
        let revoke = format!("{{\"control\":\"revoke\",\"user\":\"{ID}\"}}");
        assert_eq!(with_ack(revoke.as_bytes(), 7), format!("{{\"ack\":7,{}", &revoke[1..]).as_bytes());
        let own = format!("{{\"type\":\"issueUpdate\",\"id\":\"{ID}\",\"ack\":\"mine\"}}");
        for line in [own.as_bytes(), b"{}", b"not JSON", b"\xff"] {
            assert_eq!(with_ack(line, 7), line);
        }
    }

    #[test]
    fn the_servers_answers_decide_the_exit_code() {
        for (answer, exit) in [
            ("{\"ack\":2,\"status\":200,\"message\":\"Ok\",\"code\":0,\"subscribers\":0}\n", None),
            (
                "{\"status\":400,\"message\":\"type is missing, column 1\",\"code\":5,\"line\":2}\n",
                Some(Exit::Refused),
            ),
            ("", Some(Exit::Failed)),
        ] {
            let (stream, server) = UnixStream::pair().unwrap();
            let result = thread::scope(|scope| {
                scope.spawn(|| {
                    let lines: Vec<_> = BufReader::new(&server).lines().map(Result::unwrap).collect();
                    let event = format!("{{\"ack\":2,\"type\":\"issueUpdate\",\"id\":\"{ID}\"}}");
                    assert_eq!(lines, ["", event.as_str()]);
                    (&server).write_all(answer.as_bytes()).unwrap();
                    server.shutdown(Shutdown::Both).unwrap();
                });
                let input = format!("\r\n{{\"type\":\"issueUpdate\",\"id\":\"{ID}\"}}");
                publish_lines(&stream, input.as_bytes(), true)
            });
            assert_eq!(result.err().map(|failure| failure.exit()), exit);
        }
    }

    #[test]
    fn no_server_and_other_failures_have_different_exit_codes() {
        let connect = |socket: &str| arguments(&["-", "--socket", socket]).connect().unwrap_err().exit();
        assert_eq!(connect("/nowhere/events.sock"), Exit::NoServer);
        assert_eq!(connect(&"x".repeat(200)), Exit::Failed);
    }
}
