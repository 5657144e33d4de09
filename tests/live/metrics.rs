//! The metrics endpoint: the metrics, whether the server is alive and ready, and how bad requests are handled.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use rustix::process::Signal;

use crate::support::http::{self, exchange};
use crate::support::wait::Timed;
use crate::support::{
    Client, DATASET, ISSUE, Metrics, OTHER_USER, Producer, Server, Setup, USER, event, good_token, reply,
    request,
};

#[test]
fn the_numbers_follow_what_happens() {
    let server = Setup::with_metrics().start();
    let fresh = Metrics::of(&server);
    for zero in
        ["airlay_connections_accepted_total", "airlay_users", "airlay_producers", "airlay_sent_bytes_total"]
    {
        assert_eq!(fresh.get(zero), 0.0, "{zero}");
    }
    assert!(fresh.get("process_start_time_seconds") > 1.7e9);
    assert_eq!(fresh.get(&format!("airlay_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);

    let mut client = Client::connect(&server);
    let mut other = Client::connect(&server);
    let token = good_token(USER);
    client.attach(&token, "issueUpdate", ISSUE);
    client.attach(&token, "uploadFile", DATASET);
    other.attach(&good_token(OTHER_USER), "issueUpdate", ISSUE);
    assert_eq!(other.ask("{}"), reply(1));
    assert_eq!(other.ask(&request("attach", "bad", "issueUpdate", ISSUE)), reply(2));
    let mut producer = Producer::connect(&server);
    for data in ["1", "2", "3"] {
        assert_eq!(producer.publish(&event("issueUpdate", ISSUE, data)), 2);
        client.expect(&event("issueUpdate", ISSUE, data));
        other.expect(&event("issueUpdate", ISSUE, data));
    }
    producer.line("{}");
    producer.expect_refusal(4);
    producer.line(&format!(r#"{{"control":"revoke","user":"{USER}"}}"#));
    client.next_text();
    client.next_text();
    let metrics = Metrics::of(&server);
    for (line, value) in [
        ("airlay_connections_accepted_total", 2.0),
        ("airlay_upgrades_total", 2.0),
        (r#"airlay_connections{phase="open"}"#, 2.0),
        (r#"airlay_connections{phase="connecting"}"#, 0.0),
        ("airlay_users", 1.0),
        (r#"airlay_subscriptions{type="issueUpdate"}"#, 1.0),
        (r#"airlay_subscriptions{type="uploadFile"}"#, 0.0),
        (r#"airlay_subscriptions_lost_total{code="3"}"#, 2.0),
        (r#"airlay_replies_total{code="0"}"#, 3.0),
        (r#"airlay_replies_total{code="1"}"#, 1.0),
        (r#"airlay_replies_total{code="2"}"#, 1.0),
        ("airlay_messages_received_total", 5.0),
        (r#"airlay_events_total{type="issueUpdate"}"#, 3.0),
        (r#"airlay_deliveries_total{type="issueUpdate"}"#, 6.0),
        (r#"airlay_deliveries_total{type="uploadFile"}"#, 0.0),
        ("airlay_revocations_total", 1.0),
        ("airlay_producer_lines_refused_total", 1.0),
        ("airlay_producers", 1.0),
        ("airlay_producers_connected_total", 1.0),
        ("airlay_token_cache_hits_total", 1.0),
        ("airlay_token_cache_misses_total", 2.0),
        ("airlay_token_cache_entries", 2.0),
        (r#"airlay_tokens_refused_total{cause="content"}"#, 1.0),
        ("airlay_token_verification_seconds_count", 2.0),
        ("airlay_queue_bytes", 0.0),
        ("airlay_log_lines_dropped_total", 0.0),
        ("airlay_draining", 0.0),
    ] {
        assert_eq!(metrics.get(line), value, "{line}");
    }
    assert!(metrics.get("airlay_token_verification_seconds_sum") > 0.0);
    assert!(metrics.get("airlay_loop_turn_seconds_count") > fresh.get("airlay_loop_turn_seconds_count"));
    assert!(metrics.get("airlay_fan_out_seconds_count") >= 1.0);
    let (received, sent) =
        (metrics.get("airlay_received_bytes_total"), metrics.get("airlay_sent_bytes_total"));
    assert!(
        received > 1000.0 && sent > 6.0 * event("issueUpdate", ISSUE, "1").len() as f64,
        "{received} {sent}"
    );
}

#[test]
fn every_connection_is_accounted_for() {
    let server = Setup::with_metrics().start();
    let clients: Vec<Client> = (0..3).map(|_| Client::connect(&server)).collect();
    for client in clients {
        client.close();
    }
    let mut violator = Client::connect(&server);
    violator.send(&"x".repeat(16_385));
    violator.expect_close(1009);
    drop(violator);
    let mut bad = Client::connect(&server);
    for _ in 0..5 {
        bad.ask(&request("attach", "bad", "issueUpdate", ISSUE));
    }
    bad.expect_close(1008);
    drop(bad);
    drop(Client::connect(&server));
    let open = Client::connect(&server);
    assert_eq!(exchange(server.address(), &http::upgrade("/elsewhere", "")).status, 404);
    assert_eq!(exchange(server.address(), "POST /ws HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
    drop(TcpStream::connect(server.address()).unwrap());

    let metrics = Metrics::wait_for(&server, |metrics| {
        metrics.get(r#"airlay_closings_total{reason="connection_lost"}"#) == 1.0
            && metrics.get("airlay_connections_abandoned_total") == 1.0
            && metrics.get(r#"airlay_connections{phase="closing"}"#) == 0.0
    });
    for (line, value) in [
        (r#"airlay_closings_total{reason="client"}"#, 3.0),
        (r#"airlay_closings_total{reason="message_too_big"}"#, 1.0),
        (r#"airlay_closings_total{reason="too_many_bad_tokens"}"#, 1.0),
        (r#"airlay_upgrades_refused_total{status="404"}"#, 1.0),
        (r#"airlay_upgrades_refused_total{status="405"}"#, 1.0),
        (r#"airlay_connections{phase="open"}"#, 1.0),
        (r#"airlay_connections{phase="connecting"}"#, 0.0),
    ] {
        assert_eq!(metrics.get(line), value, "{line}");
    }
    let opened = metrics.get("airlay_upgrades_total");
    assert_eq!(opened, 7.0);
    assert_eq!(opened, metrics.sum("airlay_closings_total") + 1.0);
    assert_eq!(
        metrics.get("airlay_connections_accepted_total"),
        opened
            + metrics.sum("airlay_upgrades_refused_total")
            + metrics.get("airlay_connections_abandoned_total")
    );
    drop(open);
}

#[test]
fn reloads_are_counted_by_their_result() {
    let server = Setup::with_access_file(r#"{"users":{}}"#).set("metrics.address", "127.0.0.1:0").start();
    server.process().signal(Signal::HUP);
    let count = |file, result| format!(r#"airlay_reloads_total{{file="{file}",result="{result}"}}"#);
    Metrics::wait_for(&server, |metrics| {
        metrics.get(&count("keys", "taken")) == 1.0 && metrics.get(&count("access", "taken")) == 1.0
    });
    server.setup().write_file("live-2048.pub.pem", "no key");
    server.setup().write_file("access.json", "no JSON");
    server.process().signal(Signal::HUP);
    let metrics = Metrics::wait_for(&server, |metrics| metrics.get(&count("keys", "refused")) == 1.0);
    assert!(metrics.get(&count("access", "refused")) >= 1.0);
    assert_eq!(metrics.get(&count("keys", "taken")), 1.0);
}

#[test]
fn the_server_says_that_it_is_alive_and_ready() {
    let server = Setup::with_metrics().start();
    let get =
        |path: &str| exchange(server.metrics_address(), &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let health = get("/healthz");
    assert_eq!((health.status, health.body.as_str()), (200, "alive\n"));
    let ready = get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    let metrics = get("/metrics");
    assert!(metrics.head.contains("Content-Type: text/plain; version=0.0.4"), "{}", metrics.head);
    let head = exchange(server.metrics_address(), "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn bad_requests_are_refused() {
    let server = Setup::with_metrics().set("metrics.headBytes", 256).start();
    let long = format!("GET /metrics HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(300));
    for (status, request) in [
        (404, "GET / HTTP/1.1\r\n\r\n"),
        (405, "POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\n1"),
        (400, "metrics\r\n\r\n"),
        (431, &long),
        (505, "GET /metrics HTTP/2.0\r\n\r\n"),
    ] {
        assert_eq!(exchange(server.metrics_address(), request).status, status, "{request:?}");
    }
}

#[test]
fn one_connection_too_many_is_refused_at_once() {
    let server = Setup::with_metrics().set("metrics.connections", 2).set("metrics.seconds", 3600).start();
    let unfinished = [connect(&server), connect(&server)].map(|mut stream| {
        stream.write_all(b"GET /metr").unwrap();
        stream
    });
    let over = rest_of(connect(&server));
    assert!(over.starts_with("HTTP/1.1 503 "), "{over}");
    // Clients are not affected.
    Client::connect(&server).attach(&good_token(USER), "issueUpdate", ISSUE);
    for stream in unfinished {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest_of(stream), "");
    }
    assert_eq!(exchange(server.metrics_address(), "GET /healthz HTTP/1.1\r\n\r\n").status, 200);
}

#[test]
fn a_slow_request_is_answered_with_408() {
    let server = Setup::with_metrics().set("metrics.seconds", 1).start();
    let mut slow = connect(&server);
    slow.write_all(b"GET /metr").unwrap();
    let answer = rest_of(slow);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[test]
fn a_request_in_single_bytes_and_half_closed_is_answered() {
    let server = Setup::with_metrics().start();
    let mut stream = connect(&server);
    stream.set_nodelay(true).unwrap();
    for byte in b"GET /healthz HTTP/1.1\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = rest_of(stream);
    assert!(answer.ends_with("\r\n\r\nalive\n"), "{answer}");
}

#[test]
fn without_an_address_there_is_no_endpoint() {
    let log = Server::start().stop().stderr;
    assert!(!log.contains("msg=metrics"), "{log}");
}

#[test]
fn a_taken_address_is_an_error_at_the_start() {
    let first = Setup::with_metrics().start();
    let second = Setup::new().set("metrics.address", first.metrics_address());
    second.fail().expect_code(1).expect_named(&["[metrics] address"]);
    assert!(!second.path("events.sock").exists(), "half-started");
}

/// A connection to the metrics endpoint.
fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.metrics_address()).expect("the endpoint accepts")
}

/// Everything up to the end of the connection.
fn rest_of(stream: TcpStream) -> String {
    let rest = Timed::new(stream).read_to_the_end("the end of the connection");
    String::from_utf8(rest).expect("a text")
}
