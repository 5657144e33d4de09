//! How the server ends: SIGTERM, what it still reads and sends, what it leaves behind.

use crate::support::{Client, ISSUE, Producer, Server, Setup, USER, event, good_token};
use rustix::process::Signal;

#[test]
fn sigterm_and_sigint_end_it_with_exit_code_0_and_take_the_socket_away() {
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
fn s27_clients_are_told_that_the_server_goes_away() {
    let mut server = Server::start();
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(&server)).collect();
    server.process().signal(Signal::TERM);
    for client in &mut clients {
        client.expect_close(1001);
    }
    server.expect_stop();
}

#[test]
fn s27_all_that_producers_had_written_is_read_and_sent_first() {
    let mut server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    let mut producer = Producer::connect(&server);
    // Connected and known to the server before the end.
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
fn s27_producers_that_had_not_been_accepted_are_read_too() {
    let mut server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    // Connections, lines and the signal are all there when the server goes on.
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
fn a_client_that_does_not_answer_the_close_does_not_hold_the_end_up() {
    let mut server = Setup::new().set("limits.closeSeconds", 1).start();
    let silent = Client::connect(&server);
    server.stop();
    drop(silent);
}
