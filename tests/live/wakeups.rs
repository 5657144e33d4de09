//! Readiness is reported once: a socket that the server forgets is never read again, and a wake-up that it forgets comes a
//! second later with the housekeeping. Since no test judges time, each that looks for a lost wake-up needs more wake-ups
//! than there are seconds before its deadline.

use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::http::upgrade;
use crate::support::token::{Key, claims, now, sign};
use crate::support::wait::{RaisedOnDrop, Timed};
use crate::support::{
    Client, Deadline, ISSUE, LONG_DEADLINE, Metrics, OBJECT, Producer, Server, Setup, USER, event,
    good_token, reply, request,
};

/// Lines that ask for an answer.
fn acknowledged(ack: &str) -> String {
    format!("{{\"type\":\"notification\",\"users\":[],\"ack\":\"{ack}\"}}\n")
}

#[test]
fn answers_that_a_full_socket_refused_follow_when_it_is_read() {
    const COUNT: usize = 3000;
    let server = Setup::with_metrics().start();
    let mut producer = Producer::connect(&server);
    let lines: String = (0..COUNT).map(|number| acknowledged(&format!("{number:0200}"))).collect();
    producer.write(&lines);
    let length = lines.len() as f64;
    let metrics =
        Metrics::wait_for(&server, |metrics| metrics.get("airlay_producer_received_bytes_total") == length);
    assert!(metrics.get("airlay_producer_held_bytes") > 100_000.0, "the socket is full: {metrics:#?}");
    for number in 0..COUNT {
        let answer = producer.answer();
        assert!(answer.starts_with(&format!("{{\"ack\":\"{number:0200}\",")), "{answer}");
    }
}

#[test]
fn a_producer_with_more_than_a_turns_share_is_read_on_at_once() {
    // Some hundred turns' work.
    const PRODUCERS: usize = 100;
    let server = Setup::new().set("limits.turnMs", 1).start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    // All readiness is reported before the first line is read.
    server.process().signal(Signal::STOP);
    let quiet = event("issueUpdate", OBJECT, "1") + "\n";
    let last = event("issueUpdate", ISSUE, "1");
    let lines = quiet.repeat(100_000 / quiet.len()) + &last + "\n";
    let producers: Vec<UnixStream> = (0..PRODUCERS)
        .map(|_| {
            let mut stream = UnixStream::connect(server.socket()).expect("the server's socket has room");
            stream.write_all(lines.as_bytes()).expect("a socket holds 100 KB");
            stream
        })
        .collect();
    server.process().signal(Signal::CONT);
    let deadline = Deadline::within(LONG_DEADLINE, "each producer's last line");
    for received in 0..PRODUCERS {
        deadline.check(format_args!("no more than {received}"));
        client.expect(&last);
    }
    drop(producers);
}

#[test]
fn a_client_that_waited_for_a_signature_check_is_read_on_at_once() {
    // A turn takes some twenty of them from one client.
    const REQUESTS: usize = 1000;
    let server = Setup::new().set("limits.turnMs", 1).set("limits.requestsPerSecond", 0).start();
    let mut client = Client::connect(&server);
    // No two tokens are the same: each has to be verified, and the next request waits for that.
    let requests: Vec<String> = (0..REQUESTS as u64)
        .map(|number| {
            let token = sign(&claims(USER, now() + 3600 + number), Key::Usual);
            request("attach", &token, "issueUpdate", ISSUE)
        })
        .collect();
    client.send_all(requests.iter().map(String::as_str));
    let deadline = Deadline::within(LONG_DEADLINE, "all replies");
    for received in 0..REQUESTS {
        deadline.check(format_args!("nothing after {received}"));
        client.expect(&reply(0));
    }
}

#[test]
fn all_clients_that_become_readable_at_once_are_read() {
    const CLIENTS: usize = 600;
    let server = Setup::new().set("limits.turnMs", 1).start();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(&server)).collect();
    server.process().signal(Signal::STOP);
    for client in &mut clients {
        client.send("{}");
    }
    server.process().signal(Signal::CONT);
    for client in &mut clients {
        client.expect(&reply(1));
    }
}

#[test]
fn all_clients_that_connect_at_once_are_accepted() {
    const CLIENTS: usize = 600;
    let server = Setup::new().set("limits.turnMs", 1).start();
    server.process().signal(Signal::STOP);
    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).expect("the listener has room");
            stream.write_all(upgrade("/elsewhere", "").as_bytes()).expect("a socket holds a head");
            stream
        })
        .collect();
    server.process().signal(Signal::CONT);
    let deadline = Deadline::within(LONG_DEADLINE, "an answer to each client");
    for (stream, number) in clients.into_iter().zip(0..) {
        deadline.check(format_args!("none to client {number}"));
        let answer = Timed::new(stream).read_to_the_end("the answer");
        assert!(
            answer.starts_with(b"HTTP/1.1 404 "),
            "client {number}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[test]
fn more_than_one_read_of_requests_is_answered() {
    // More than the server reads at once, and within its share of a turn.
    const REQUESTS: usize = 20;
    let server = Setup::new().set("limits.turnMs", 1000).start();
    let mut client = Client::connect(&server);
    let request = format!("{{{:8000}}}", "");
    server.process().signal(Signal::STOP);
    client.send_all([request.as_str(); REQUESTS]);
    server.process().signal(Signal::CONT);
    for _ in 0..REQUESTS {
        client.expect(&reply(1));
    }
}

#[test]
fn the_end_of_a_stream_is_seen_behind_the_bytes_before_it() {
    let server = Server::start();
    let mut idle = Client::connect(&server);
    let mut upgrading = TcpStream::connect(server.address()).expect("the server accepts");
    let token = good_token(USER);
    let mut waiting = Client::connect(&server);
    // Bytes and the end are reported by one event.
    server.process().signal(Signal::STOP);
    idle.send("{}");
    waiting.send(&request("attach", &token, "issueUpdate", ISSUE));
    waiting.send(&request("attach", &token, "issueUpdate", OBJECT));
    upgrading.write_all(b"GET / HTTP/1.1\r\n").expect("a socket holds a line");
    for stream in [&*idle.stream(), &*waiting.stream(), &upgrading] {
        stream.shutdown(Shutdown::Write).expect("the connection is open");
    }
    server.process().signal(Signal::CONT);
    // The server ends its side, too; it sends no ping before its 25 s are over.
    for (stream, what) in [
        (idle.into_stream(), "the end behind a request"),
        (waiting.into_stream(), "the end behind requests that wait"),
        (upgrading, "the end behind half a head"),
    ] {
        Timed::new(stream).read_to_the_end(what);
    }
}

#[test]
fn a_client_whose_socket_was_full_is_still_read() {
    let server = Setup::with_metrics()
        .set("limits.queueBytes", 1 << 24)
        .set("limits.queueSoftBytes", 1 << 24)
        .set("limits.queueSoftSeconds", 3600)
        .set("limits.pingSeconds", 3600)
        .start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    let mut producer = Producer::connect(&server);
    let line = event("issueUpdate", ISSUE, &format!("\"{}\"", ".".repeat(60_000)));
    let mut published = 0;
    let deadline = Deadline::new("a full socket");
    while Metrics::of(&server).get("airlay_queue_bytes") == 0.0 {
        deadline.check(format_args!("room after {published} events"));
        assert_eq!(producer.publish(&line), 1);
        published += 1;
    }
    for _ in 0..published {
        client.expect(&line);
    }
    client.expect_nothing();
    client.expect_nothing();
}

#[test]
fn an_unfinished_line_does_not_count_when_the_connection_was_reset() {
    let server = Setup::with_metrics().start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    let mut producer = UnixStream::connect(server.socket()).expect("the server accepts producers");
    let unfinished = event("issueUpdate", ISSUE, "1");
    producer.write_all((acknowledged("unread") + &unfinished).as_bytes()).expect("the server reads");
    // With an answer unread, closing resets the connection (unix(7): ECONNRESET for the other end).
    let deadline = Deadline::new("an answer");
    producer.set_nonblocking(true).expect("a socket can be told not to wait");
    while let Err(error) = SockRef::from(&producer).peek(&mut [std::mem::MaybeUninit::uninit()]) {
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        deadline.check("none");
        thread::yield_now();
    }
    drop(producer);
    let metrics = Metrics::wait_for(&server, |metrics| metrics.get("airlay_producers") == 0.0);
    assert_eq!(metrics.get("airlay_producer_lines_cut_total"), 1.0);
    client.expect_nothing();
}

#[test]
fn producers_that_never_pause_do_not_starve_another() {
    let server = Setup::new()
        .set("limits.connectionsPerUser", 0)
        .set("limits.queueBytes", 1 << 30)
        .set("limits.queueSoftBytes", 1 << 30)
        .set("limits.queueTotalBytes", 1_u64 << 40)
        .start();
    let token = good_token(USER);
    // Enough of them that their events, not the producers' sockets, limit what is read.
    let clients: Vec<TcpStream> = (0..140)
        .map(|_| {
            let mut client = Client::connect(&server);
            client.attach(&token, "issueUpdate", ISSUE);
            client.into_stream()
        })
        .collect();
    let lines = (event("issueUpdate", ISSUE, &format!("\"{}\"", ".".repeat(4000))) + "\n").repeat(50);
    let is_over = AtomicBool::new(false);
    let deadline = Deadline::within(LONG_DEADLINE, "20 answers");
    thread::scope(|scope| {
        let _over = RaisedOnDrop(&is_over);
        for _ in 0..4 {
            scope.spawn(|| {
                let mut producer = Producer::connect(&server);
                let mut is_open = true;
                while is_open && !is_over.load(Ordering::Relaxed) {
                    is_open = producer.try_write(lines.as_bytes());
                }
            });
        }
        for mut client in &clients {
            // Reads until the end of the test, or until nothing has come for long.
            scope.spawn(move || std::io::copy(&mut client, &mut std::io::sink()));
        }
        let mut modest = Producer::connect(&server);
        for answered in 0..20 {
            deadline.check(format_args!("none after {answered}"));
            assert_eq!(modest.publish(&event("issueUpdate", OBJECT, "1")), 0);
        }
        is_over.store(true, Ordering::Relaxed);
        for client in &clients {
            client.shutdown(Shutdown::Both).expect("the connection is open");
        }
    });
}
