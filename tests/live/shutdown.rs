//! Shutdown: SIGTERM, what the server still reads and sends, what it leaves behind.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use socket2::SockRef;
use tungstenite::Message;

use crate::support::http::exchange;
use crate::support::server::field;
use crate::support::wait::{RaisedOnDrop, Timed};
use crate::support::{Client, Deadline, ISSUE, Metrics, Producer, Server, Setup, USER, event, good_token};

#[test]
fn sigterm_and_sigint_exit_with_0_and_remove_the_socket() {
    for signal in [Signal::TERM, Signal::INT] {
        let setup = Setup::new();
        let mut process = setup.spawn();
        crate::support::server::ready(&process);
        assert!(setup.path("events.sock").exists());
        process.signal(signal);
        process.finish().expect_code(0);
        assert!(!setup.path("events.sock").exists(), "the socket was left behind");
    }
}

#[test]
fn s27_clients_are_closed_with_1001() {
    let mut server = Server::start();
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(&server)).collect();
    server.process().signal(Signal::TERM);
    for client in &mut clients {
        client.expect_close(1001);
    }
    server.expect_stop();
}

#[test]
fn s27_everything_producers_wrote_is_read_and_sent_first() {
    let mut server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    let mut producer = Producer::connect(&server);
    // The server has accepted it before the signal.
    producer.settle();
    let lines: Vec<String> =
        (0..1000).map(|number| event("issueUpdate", ISSUE, &number.to_string())).collect();
    producer.write(lines.join("\n") + "\n");
    server.process().signal(Signal::TERM);
    for line in &lines {
        client.expect(line);
    }
    client.expect_close(1001);
    server.expect_stop();
}

#[test]
fn s27_producers_not_accepted_yet_are_read_too() {
    let mut server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    // Connections, lines and the signal wait for the stopped server.
    server.process().signal(Signal::STOP);
    let mut lines: Vec<String> =
        (0..20).map(|number| event("issueUpdate", ISSUE, &number.to_string())).collect();
    let producers: Vec<Producer> = lines
        .iter()
        .map(|line| {
            let mut producer = Producer::connect(&server);
            producer.line(line);
            producer
        })
        .collect();
    server.process().signal(Signal::TERM);
    server.process().signal(Signal::CONT);
    let mut received: Vec<String> = lines.iter().map(|_| client.next_text()).collect();
    lines.sort();
    received.sort();
    assert_eq!(received, lines);
    client.expect_close(1001);
    server.expect_stop();
    drop(producers);
}

#[test]
fn s27_megabytes_of_producers_accepted_and_not_yet_accepted_reach_everyone() {
    expect_all_delivered_at_a_stop(8, 4);
}

#[test]
fn s27_megabytes_of_producers_not_yet_accepted_reach_everyone() {
    expect_all_delivered_at_a_stop(0, 4);
}

/// Stops a server when the sockets of this many producers are full, and checks that each subscriber gets every line
/// written, each producer's in order, and then its Close.
#[track_caller]
fn expect_all_delivered_at_a_stop(accepted: usize, not_accepted: usize) {
    let mut server = Setup::new()
        // All closings are due as soon as they may begin: a subscriber that is closed too early misses lines.
        .set("limits.drainSeconds", 0)
        // No subscriber is too slow, whatever this machine does meanwhile.
        .set("limits.queueBytes", 1 << 30)
        .set("limits.queueSoftBytes", 1 << 30)
        .set("limits.queueTotalBytes", 1_u64 << 40)
        .start();
    let token = good_token(USER);
    let subscribers: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = Client::connect(&server);
            client.attach(&token, "issueUpdate", ISSUE);
            client
        })
        .collect();
    let mut producers: Vec<FullProducer> = (0..accepted).map(|_| FullProducer::connect(&server)).collect();
    let mut last = Producer::connect(&server);
    // The server has accepted it, and so those before it.
    last.settle();
    server.process().signal(Signal::STOP);
    producers.extend((0..not_accepted).map(|_| FullProducer::connect(&server)));
    let written: Vec<usize> =
        producers.iter_mut().enumerate().map(|(number, producer)| producer.fill(number)).collect();
    server.process().signal(Signal::TERM);
    server.process().signal(Signal::CONT);
    thread::scope(|scope| {
        for mut client in subscribers {
            let written = &written;
            scope.spawn(move || {
                let mut received = vec![0; written.len()];
                for _ in 0..written.iter().sum() {
                    let text = match client.next_message() {
                        Message::Text(text) => text.to_string(),
                        other => panic!("of {written:?} lines came {received:?}, then {other:?}"),
                    };
                    let producer = FullProducer::of(&text);
                    assert_eq!(text, FullProducer::line(producer, received[producer]), "after {received:?}");
                    received[producer] += 1;
                }
                assert_eq!(&received, written);
                client.expect_close(1001);
            });
        }
    });
    server.expect_stop();
    drop(producers);
}

/// A producer whose socket holds as much as the system allows, up to [`FullProducer::BYTES`].
struct FullProducer(UnixStream);

impl FullProducer {
    const BYTES: usize = 2 << 20;

    #[track_caller]
    fn connect(server: &Server) -> Self {
        let stream = UnixStream::connect(server.socket()).expect("the server's socket has room");
        stream.set_nonblocking(true).expect("a socket can be told not to wait");
        SockRef::from(&stream).set_send_buffer_size(Self::BYTES).expect("the system limits the size itself");
        Self(stream)
    }

    /// Writes lines of producer `number` until the socket is full. Returns how many it has taken whole.
    #[track_caller]
    fn fill(&mut self, number: usize) -> usize {
        let lines: Vec<String> =
            (0..Self::BYTES / 1000).map(|line| Self::line(number, line) + "\n").collect();
        let length = lines[0].len();
        let bytes = lines.concat();
        let mut written = 0;
        for piece in bytes.as_bytes().chunks(length) {
            match self.0.write(piece) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the server's socket takes lines: {error}"),
            }
            if written % length > 0 {
                break;
            }
        }
        assert!(written > 100 * length, "a socket holds more than {written} bytes");
        written / length
    }

    /// The number of the producer that has written this line.
    #[track_caller]
    fn of(line: &str) -> usize {
        let numbers = line.rsplit('.').next().and_then(|numbers| numbers.get(..2));
        let producer = numbers.and_then(|digits| digits.parse().ok());
        producer.unwrap_or_else(|| panic!("no line of these producers: {line}"))
    }

    /// A line; all have the same length.
    fn line(producer: usize, number: usize) -> String {
        event("issueUpdate", ISSUE, &format!("\"{:.<930}{producer:02}-{number:05}\"", ""))
    }
}

#[test]
fn s27_lines_written_during_the_drain_reach_the_clients_still_open() {
    let mut server = Setup::new().set("limits.closeSeconds", 1).start();
    let token = good_token(USER);
    let clients: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(&server);
            client.attach(&token, "issueUpdate", ISSUE);
            client
        })
        .collect();
    let mut producer = Producer::connect(&server);
    producer.settle();
    server.process().signal(Signal::TERM);
    let _ = server.process().stderr().wait_for(
        "line that says closing connections",
        0,
        says("closing connections"),
    );
    // The number of open clients at each event; the server exits when there are none.
    let mut subscribers = Vec::new();
    let deadline = Deadline::new("the server to exit");
    while let Some(count) = producer.try_publish(&event("issueUpdate", ISSUE, &subscribers.len().to_string()))
    {
        subscribers.push(count);
        deadline.check(format_args!("an answer to line {}", subscribers.len()));
    }
    assert!(subscribers.is_sorted_by(|earlier, later| earlier >= later));
    // Each client gets the events before its Close.
    let lengths: Vec<usize> = clients
        .into_iter()
        .map(|mut client| {
            for number in 0.. {
                match client.next_message() {
                    Message::Text(text) => {
                        assert_eq!(text, event("issueUpdate", ISSUE, &number.to_string()));
                    }
                    Message::Close(Some(frame)) => {
                        assert_eq!(u16::from(frame.code), 1001);
                        return number;
                    }
                    other => panic!("expected an event or a close, got {other:?}"),
                }
            }
            unreachable!("the events end")
        })
        .collect();
    for (number, count) in subscribers.into_iter().enumerate() {
        let received = lengths.iter().filter(|&&length| length > number).count();
        assert_eq!(received as u64, count, "clients that got event {number}");
    }
    server.expect_stop();
}

#[test]
fn s27_a_producer_that_never_stops_does_not_delay_the_exit() {
    let mut server = Server::start();
    let mut client = Client::connect(&server);
    let mut producer = Producer::connect(&server);
    producer.settle();
    let lines = (event("issueUpdate", ISSUE, "1") + "\n").repeat(100);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut is_open = true;
            while is_open && !is_over.load(Ordering::Relaxed) {
                is_open = producer.try_write(lines.as_bytes());
            }
        });
        // Raised after the end of the server, or by a failure.
        let _over = RaisedOnDrop(&is_over);
        server.process().signal(Signal::TERM);
        client.expect_close(1001);
        server.expect_stop();
    });
}

#[test]
fn s27_the_drain_accepts_no_one_and_a_second_signal_ends_it() {
    let mut server = Setup::with_metrics().set("limits.drainSeconds", 3600).start();
    // Enough clients that the first closing is due soon and the last one in an hour.
    let clients: Vec<Client> = (0..10).map(|_| Client::connect(&server)).collect();
    let connecting = TcpStream::connect(server.address()).unwrap();
    // A connection in the listener's queue does not count for the server.
    Metrics::wait_for(&server, |metrics| metrics.get("airlay_connections_accepted_total") == 11.0);
    server.process().signal(Signal::TERM);
    let _ = server.process().stderr().wait_for(
        "line that says closing connections",
        0,
        says("closing connections"),
    );
    assert!(rest_of(connecting).starts_with("HTTP/1.1 503 "));
    assert!(TcpStream::connect(server.address()).is_err(), "a client was accepted");
    assert!(UnixStream::connect(server.socket()).is_err(), "a producer was accepted");
    let metrics = server.metrics_address();
    let ready = exchange(metrics, "GET /readyz HTTP/1.1\r\n\r\n");
    assert_eq!((ready.status, ready.body.as_str()), (503, "stopping\n"));
    assert_eq!(exchange(metrics, "GET /healthz HTTP/1.1\r\n\r\n").status, 200);
    assert_eq!(Metrics::of(&server).get("airlay_draining"), 1.0);
    server.stop();
    drop(clients);
}

#[test]
fn a_client_that_does_not_answer_the_close_does_not_delay_the_exit() {
    let mut server = Setup::new().set("limits.closeSeconds", 1).start();
    let silent = Client::connect(&server);
    server.stop();
    drop(silent);
}

/// Whether a line of the log has this message.
fn says(message: &str) -> impl Fn(&str) -> bool {
    move |line| field(line, "msg").is_some_and(|it| it == message)
}

/// Everything up to the end of the connection.
fn rest_of(stream: TcpStream) -> String {
    let rest = Timed::new(stream).read_to_the_end("the end of the connection");
    String::from_utf8(rest).expect("a text")
}
