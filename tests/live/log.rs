//! The log: one line per record at every level, written without ever blocking.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;

use crate::support::http::exchange;
use crate::support::process::command;
use crate::support::server::field;
use crate::support::{
    Client, Deadline, ISSUE, LONG_DEADLINE, Metrics, Producer, Setup, USER, event, good_token,
};

#[test]
fn s41_an_unread_log_blocks_nothing_and_later_says_what_was_dropped() {
    let setup = Setup::with_metrics().set("log.level", "debug");
    let mut command = command();
    command.args(["server", "--config"]).arg(setup.write_config());
    let mut server = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut address = |message: &str| -> SocketAddr {
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "the server ended");
            if field(line.trim_end(), "msg").is_some_and(|it| it == message) {
                return field(line.trim_end(), "address").unwrap().parse().unwrap();
            }
        }
    };
    let (metrics, clients) = (address("metrics"), address("ready"));

    let mut client = Client::connect_to(clients, "/ws");
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    let mut producer = Producer::connect_to(&setup.path("events.sock"));
    // Each refusal is a line of the log, which fills its pipe.
    let mut number = 0;
    let deadline = Deadline::within(LONG_DEADLINE, "10 dropped lines");
    while Metrics::at(metrics).get("airlay_log_lines_dropped_total") < 10.0 {
        deadline.check("no such line");
        for _ in 0..20 {
            assert_eq!(exchange(clients, "POST /ws HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
        }
        number += 1;
        assert_eq!(producer.publish(&event("issueUpdate", ISSUE, &number.to_string())), 1);
        client.expect(&event("issueUpdate", ISSUE, &number.to_string()));
    }
    let dropped = Metrics::at(metrics).get("airlay_log_lines_dropped_total");

    // After the reader has emptied the pipe, the next line says how many were dropped before it.
    let reader = std::thread::spawn(move || {
        let mut counts = log.lines().map(|line| {
            let line = line.unwrap();
            assert!(line.starts_with("ts="), "{line}");
            field(&line, "dropped")
        });
        counts.find_map(|dropped| dropped)
    });
    let deadline = Deadline::within(LONG_DEADLINE, "a line that says how many were dropped");
    while !reader.is_finished() {
        deadline.check("no such line");
        exchange(clients, "POST /ws HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let logged: f64 = reader.join().unwrap().expect("a line says how many were dropped").parse().unwrap();
    assert!(logged >= dropped, "{logged} of {dropped}");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn at_level_trace_libraries_log_nothing() {
    let mut server = Setup::new().set("log.level", "trace").start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    client.close();
    let log = server.stop().stderr;
    assert!(log.contains("level=debug"), "{log}");
    // mio logs each registration.
    assert!(!log.contains("register"), "{log}");
    assert!(log.lines().all(|line| line.starts_with("ts=")), "{log}");
}
