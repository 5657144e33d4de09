//! What one client may cost, without cost to the others. (`src/peers/tests.rs` tests each limit on a fake clock.)

use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::time::Instant;

use socket2::SockRef;
use tungstenite::Message;

use crate::support::http::{exchange, upgrade};
use crate::support::server::field;
use crate::support::wait::Timed;
use crate::support::{
    Client, Deadline, ISSUE, LONG_DEADLINE, Metrics, OBJECT, Producer, Setup, USER, event, good_token, reply,
    request,
};

#[test]
fn s14_a_flood_of_frames_without_a_message_ends_its_connection() {
    let server = Setup::with_metrics().set("limits.framesPerSecond", 500).start();
    let token = good_token(USER);
    let mut others: Vec<Client> = (0..3).map(|_| Client::connect(&server)).collect();
    for other in &mut others {
        other.attach(&token, "issueUpdate", ISSUE);
    }
    let mut producer = Producer::connect(&server);
    // Masked with zeros: an empty ping, an unasked pong, an empty continuation of a text that has begun.
    let floods = [b"\x89\x80\0\0\0\0".repeat(20_000), b"\x8a\x80\0\0\0\0".repeat(20_000)];
    for (flood, number) in floods.iter().zip(1..) {
        let mut flooding = Client::connect(&server);
        // The server may close the connection before it has read everything.
        let _ = flooding.stream().write_all(flood);
        let reason = expect_close_after_pongs(&mut flooding);
        assert_eq!(reason, "too many frames without a message");
        assert_eq!(producer.publish(&event("issueUpdate", ISSUE, &number.to_string())), 3);
    }
    for other in &mut others {
        other.expect(&event("issueUpdate", ISSUE, "1"));
        other.expect(&event("issueUpdate", ISSUE, "2"));
        other.expect_nothing();
    }
    let metrics = Metrics::of(&server);
    assert_eq!(metrics.get(r#"airlay_closings_total{reason="too_many_frames"}"#), 2.0);
    assert_eq!(metrics.get(r#"airlay_connections{phase="open"}"#), 3.0);
}

#[test]
fn s21_clients_that_stop_reading_are_closed_and_others_lose_nothing() {
    let server = Setup::with_metrics()
        .set("limits.queueBytes", 1 << 18)
        .set("limits.queueSoftBytes", 1 << 18)
        .set("limits.queueSoftSeconds", 3600)
        .start();
    let token = good_token(USER);
    let subscribe = || {
        let mut client = Client::connect(&server);
        client.attach(&token, "issueUpdate", ISSUE);
        client
    };
    let mut stopped: Vec<Client> = (0..3).map(|_| subscribe()).collect();
    for client in &mut stopped {
        // So that little fits into the buffers of a client that does not read.
        SockRef::from(&*client.stream()).set_recv_buffer_size(4096).expect("a smaller buffer");
    }
    let mut reading: Vec<Client> = (0..27).map(|_| subscribe()).collect();
    let mut producer = Producer::connect(&server);
    let data = format!("\"{}\"", ".".repeat(60_000));
    let mut published = 0;
    // Until the last of them is closed; the others get each event meanwhile.
    while producer.publish(&event("issueUpdate", ISSUE, &data)) > 27 {
        published += 1;
        assert!(published < 2000, "a socket holds less than 100 MB");
        for client in &mut reading {
            client.expect(&event("issueUpdate", ISSUE, &data));
        }
    }
    for client in &mut reading {
        client.expect(&event("issueUpdate", ISSUE, &data));
        client.expect_nothing();
    }
    let metrics = Metrics::of(&server);
    assert_eq!(metrics.sum("airlay_slow_consumers_total"), 3.0);
    assert_eq!(metrics.get(r#"airlay_closings_total{reason="slow_consumer"}"#), 3.0);
    assert_eq!(metrics.get(r#"airlay_connections{phase="open"}"#), 27.0);
    // The log is collected by another thread.
    let is_slow = |line: &&str| line.contains(r#"msg="slow consumer""#);
    let deadline = Deadline::new("three lines about slow consumers");
    let log = loop {
        let log = server.process().stderr().text();
        match log.lines().filter(is_slow).count() {
            0..3 => deadline.check(&log),
            _ => break log,
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    let slow: Vec<&str> = log.lines().filter(is_slow).collect();
    assert_eq!(slow.len(), 3, "{log}");
    for line in slow {
        assert_eq!(field(line, "user").as_deref(), Some(USER), "{line}");
        assert_eq!(field(line, "peer").as_deref(), Some("127.0.0.1"), "{line}");
        let queued: usize = field(line, "queued").and_then(|queued| queued.parse().ok()).unwrap();
        assert!(queued > 1 << 17, "{line}");
    }
    drop(stopped);
}

#[test]
fn s22_without_a_good_token_a_client_has_at_most_16_kib_queued() {
    expect_slow_consumer(Setup::with_metrics(), 16 * 1024);
}

#[test]
fn s22_the_limit_without_a_good_token_is_configurable() {
    let setup = Setup::with_metrics().set("limits.queueUnauthenticatedBytes", 2048);
    expect_slow_consumer(setup, 2048);
}

/// Sends requests without a token and reads no reply until the server closes the connection, with at most `limit` bytes queued
/// at any time.
#[track_caller]
fn expect_slow_consumer(setup: Setup, limit: u32) {
    // Without a rate, which would end the connection before its sockets are full.
    let server = &setup.set("limits.requestsPerSecond", 0).start();
    let mut client = Client::connect(server);
    SockRef::from(&*client.stream()).set_recv_buffer_size(4096).expect("a buffer can be small");
    let mut other = Client::connect(server);
    other.attach(&good_token(USER), "issueUpdate", ISSUE);
    // Each request gets a reply of some 50 bytes.
    let stream = client.stream();
    stream.set_nonblocking(true).expect("a socket can be non-blocking");
    let requests = b"\x81\x82\0\0\0\0{}".repeat(1000);
    let mut closed = Metrics::of(server);
    let deadline = Deadline::within(LONG_DEADLINE, "the slow consumer to be closed");
    while closed.sum("airlay_slow_consumers_total") == 0.0 {
        deadline.check(format_args!("{closed:#?}"));
        match stream.write(&requests) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("the server drops the connection before its Close: {error}"),
        }
        closed = Metrics::of(server);
        let queued = closed.get("airlay_queue_bytes");
        assert!(queued <= f64::from(limit), "{queued} bytes are queued");
    }
    assert_eq!(closed.get(r#"airlay_slow_consumers_total{limit="queue_full"}"#), 1.0);
    other.expect_nothing();
}

#[test]
fn s23_all_queues_share_a_budget_and_the_fullest_is_closed_first() {
    let server = Setup::with_metrics()
        .set("limits.queueBytes", 8 << 20)
        .set("limits.queueSoftBytes", 8 << 20)
        .set("limits.queueTotalBytes", 8 << 20)
        .set("limits.queueSoftSeconds", 3600)
        .start();
    let token = good_token(USER);
    let mut producer = Producer::connect(&server);
    // A topic each, so that no bytes are shared.
    let topics: Vec<String> = (0..8).map(|number| format!("{number:024x}")).collect();
    let stopped: Vec<Client> = topics
        .iter()
        .map(|topic| {
            let mut client = Client::connect(&server);
            client.attach(&token, "issueUpdate", topic);
            SockRef::from(&*client.stream()).set_recv_buffer_size(4096).expect("a smaller buffer");
            client
        })
        .collect();
    let mut reading = Client::connect(&server);
    reading.attach(&token, "issueUpdate", OBJECT);
    let data = format!("\"{}\"", ".".repeat(400_000));
    let fill = |producer: &mut Producer, topic: &str| producer.publish(&event("issueUpdate", topic, &data));
    // Fill every socket first, whatever the system's buffers hold.
    for (topic, full) in topics.iter().zip(1..) {
        let deadline = Deadline::new(format!("{full} sockets to be full"));
        while Metrics::of(&server).get("airlay_queued_connections") < f64::from(full) {
            deadline.check("one less");
            assert_eq!(fill(&mut producer, topic), 1);
        }
    }
    // Then the last client's queue grows until the budget is used up.
    let last = topics.last().unwrap();
    let deadline = Deadline::new("the last client to be closed");
    while fill(&mut producer, last) == 1 {
        deadline.check("its subscription");
    }
    let metrics = Metrics::of(&server);
    assert_eq!(metrics.get(r#"airlay_slow_consumers_total{limit="all_queues_full"}"#), 1.0);
    assert_eq!(metrics.sum("airlay_slow_consumers_total"), 1.0);
    assert!(metrics.get("airlay_queue_bytes") <= (8 << 20) as f64);
    assert_eq!(producer.publish(&event("issueUpdate", OBJECT, "1")), 1);
    reading.expect(&event("issueUpdate", OBJECT, "1"));
    assert_eq!(Metrics::of(&server).get(r#"airlay_connections{phase="open"}"#), 8.0);
    drop(stopped);
}

#[test]
fn s23_clients_that_do_not_read_fit_into_limited_memory() {
    const BUDGET: u64 = 8 << 20;
    const MEMORY: u64 = 64 << 20;
    let server = Setup::new()
        .set("limits.queueBytes", BUDGET)
        .set("limits.queueTotalBytes", BUDGET)
        .set("limits.queueSoftSeconds", 3600)
        .start();
    // The system limits the server's memory from here on; an allocation beyond it would abort the server.
    let pid = rustix::process::Pid::from_raw(server.process().id().cast_signed());
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process().id())).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("the status has VmSize");
    let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
    let limit = Some(size * 1024 + MEMORY);
    let limit = rustix::process::Rlimit { current: limit, maximum: limit };
    rustix::process::prlimit(pid, rustix::process::Resource::As, limit).expect("a limit can be lowered");
    let token = good_token(USER);
    let mut producer = Producer::connect(&server);
    let mut reading = Client::connect(&server);
    reading.attach(&token, "issueUpdate", OBJECT);
    let data = format!("\"{}\"", ".".repeat(400_000));
    let topics: Vec<String> = (0..8).map(|number| format!("{number:024x}")).collect();
    let mut stopped: Vec<Option<Client>> = topics.iter().map(|_| None).collect();
    let (mut offered, mut closed) = (0, 0);
    // A client that was closed reconnects, and again reads nothing.
    let deadline = Deadline::within(2 * LONG_DEADLINE, "four times the memory in events");
    for (topic, client) in topics.iter().zip(0..).cycle() {
        deadline.check(format_args!("{offered} bytes of events"));
        if producer.publish(&event("issueUpdate", topic, &data)) == 0 {
            closed += usize::from(stopped[client].is_some());
            let mut another = Client::connect(&server);
            another.attach(&token, "issueUpdate", topic);
            SockRef::from(&*another.stream()).set_recv_buffer_size(4096).expect("a smaller buffer");
            stopped[client] = Some(another);
        } else {
            offered += data.len() as u64;
        }
        if offered > 4 * MEMORY {
            break;
        }
    }
    assert!(closed > topics.len(), "{closed} closed");
    assert_eq!(producer.publish(&event("issueUpdate", OBJECT, "1")), 1);
    reading.expect(&event("issueUpdate", OBJECT, "1"));
}

#[test]
fn s24_an_event_of_a_quiet_topic_overtakes_a_hot_topics_backlog() {
    let server = Setup::new().set("limits.connectionsPerUser", 0).start();
    let token = good_token(USER);
    let subscribe = |topic| {
        let mut client = Client::connect(&server);
        client.attach(&token, "issueUpdate", topic);
        client
    };
    // Too many for the prompt lane: the fan-out is in the bulk lane, a share per turn.
    let mut hot: Vec<Client> = (0..150).map(|_| subscribe(ISSUE)).collect();
    let mut quiet = subscribe(OBJECT);
    let mut producer = Producer::connect(&server);
    let mut other = Producer::connect(&server);
    let data = format!("\"{}\"", ".".repeat(1000));
    let line = event("issueUpdate", ISSUE, &data);
    std::thread::scope(|scope| {
        // No client of the hot topic reads yet: the events fill their sockets and then their queues.
        let writer = scope.spawn(|| {
            for _ in 0..100 {
                producer.line(&line);
            }
        });
        for number in 0..50 {
            assert_eq!(other.publish(&event("issueUpdate", OBJECT, &number.to_string())), 1);
            quiet.expect(&event("issueUpdate", OBJECT, &number.to_string()));
        }
        writer.join().unwrap();
    });
    for client in &mut hot {
        for _ in 0..100 {
            client.expect(&line);
        }
    }
}

#[test]
fn the_head_of_a_request_is_limited_in_bytes_and_time() {
    let server = Setup::new().set("limits.headBytes", 1024).set("limits.handshakeSeconds", 1).start();
    let long = upgrade("/ws", &format!("X-Long: {}\r\n", "a".repeat(1000)));
    assert_eq!(exchange(server.address(), &long).status, 431);
    assert_eq!(exchange(server.address(), "GET /ws HTTP/1.1\r\n").status, 408);
}

#[test]
fn a_message_is_limited_in_bytes_fragments_and_time() {
    let server = Setup::new()
        .set("limits.messageBytes", 300)
        .set("limits.tokenBytes", 256)
        .set("limits.fragments", 2)
        .set("limits.messageSeconds", 1)
        .start();
    let mut client = Client::connect(&server);
    assert_eq!(client.ask(&".".repeat(300)), reply(5));
    client.send(&".".repeat(301));
    client.expect_close(1009);
    // Masked with zeros, and never final.
    let mut client = Client::connect(&server);
    client.stream().write_all(b"\x01\x81\0\0\0\0a\x00\x81\0\0\0\0b\x00\x81\0\0\0\0c").unwrap();
    client.expect_close(1008);
    let mut client = Client::connect(&server);
    client.stream().write_all(b"\x01\x81\0\0\0\0a").unwrap();
    assert_eq!(client.expect_close(1008), "message not finished in time");
}

#[test]
fn a_token_is_limited_in_bytes() {
    let token = good_token(USER);
    let ask = |token_bytes: usize| {
        let server = Setup::new().set("limits.tokenBytes", token_bytes).start();
        Client::connect(&server).ask(&request("attach", &token, "issueUpdate", ISSUE))
    };
    assert_eq!(ask(token.len()), reply(0));
    assert_eq!(ask(token.len() - 1), reply(2));
}

#[test]
fn a_client_that_does_not_answer_a_ping_is_dropped() {
    let server = Setup::new().set("limits.pingSeconds", 2).set("limits.pongSeconds", 1).start();
    let mut silent = Timed::new(Client::connect(&server).into_stream());
    let received = silent.read_to_the_end("one ping and the end of the connection");
    assert_eq!(received, b"\x89\x00");
}

#[test]
fn a_client_that_answers_pings_stays_and_gets_them_at_intervals() {
    const PING_SECONDS: u32 = 2;
    let server = Setup::new().set("limits.pingSeconds", PING_SECONDS).set("limits.pongSeconds", 1).start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    let begin = Instant::now();
    client.wait_for_pings(2);
    assert_eq!(Producer::connect(&server).publish(&event("issueUpdate", ISSUE, "1")), 1);
    client.expect(&event("issueUpdate", ISSUE, "1"));
    let most = begin.elapsed().as_secs() / u64::from(PING_SECONDS) + 1;
    assert!(u64::from(client.pings()) <= most, "{} pings, {most} at most", client.pings());
}

#[test]
fn connections_per_address_are_limited() {
    let server = Setup::new().set("limits.connectionsPerAddress", 2).start();
    let _two = [Client::connect(&server), Client::connect(&server)];
    let third = exchange(server.address(), &upgrade("/ws", ""));
    assert_eq!(third.status, 503);
    assert!(third.head.contains("\r\nRetry-After: "), "{}", third.head);
}

#[test]
fn a_client_of_ipv4_has_its_ipv4_address_on_a_socket_of_both_families() {
    let server = Setup::new()
        .set("webSocketEvents.address", "::")
        .set("limits.pingSeconds", 2)
        .set("limits.pongSeconds", 1)
        .start();
    let silent = Client::connect_to((Ipv4Addr::LOCALHOST, server.address().port()).into(), "/ws");
    let is_it = |line: &str| line.contains("no pong, connection dropped");
    let line = server.process().stderr().wait_for("line that says no pong", 0, is_it);
    assert_eq!(field(&line, "peer").as_deref(), Some("127.0.0.1"), "{line}");
    drop(silent);
}

#[test]
fn s21_a_slow_consumer_is_closed_before_its_queue_is_full() {
    let server =
        Setup::with_metrics().set("limits.queueSoftBytes", 1024).set("limits.queueSoftSeconds", 1).start();
    let mut stopped = Client::connect(&server);
    SockRef::from(&*stopped.stream()).set_recv_buffer_size(4096).unwrap();
    stopped.attach(&good_token(USER), "issueUpdate", ISSUE);
    let mut producer = Producer::connect(&server);
    let data = format!("\"{}\"", ".".repeat(60_000));
    // On a slow machine the client may be closed already, and then there is no subscriber.
    let deadline = Deadline::new("1024 bytes to be queued");
    while producer.publish(&event("issueUpdate", ISSUE, &data)) == 1
        && Metrics::of(&server).get("airlay_queue_bytes") <= 1024.0
    {
        deadline.check("room in the socket");
    }
    let metrics = Metrics::wait_for(&server, |metrics| metrics.sum("airlay_slow_consumers_total") == 1.0);
    assert_eq!(metrics.get(r#"airlay_slow_consumers_total{limit="queue_full"}"#), 0.0);
    drop(stopped);
}

/// Reads pongs up to the Close, which must be 1008, and returns its reason. A reset may follow, since the server does not read
/// the whole flood.
#[track_caller]
fn expect_close_after_pongs(client: &mut Client) -> String {
    loop {
        match client.next_message() {
            Message::Pong(_) => {}
            Message::Close(Some(frame)) => {
                assert_eq!(u16::from(frame.code), 1008);
                return frame.reason.to_string();
            }
            other => panic!("expected pongs or a close, got {other:?}"),
        }
    }
}
