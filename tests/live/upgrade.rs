//! The upgrade from HTTP to WebSocket and the life of a connection: refusals with their status, ping, close, origins.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::RangeInclusive;

use tungstenite::Message;

use crate::support::http::{exchange, upgrade};
use crate::support::wait::Timed;
use crate::support::{Client, ISSUE, Server, Setup, USER, good_token, reply, request};

/// Asserts that each of these heads is refused with one of the statuses, and that what follows the head is ignored.
#[track_caller]
fn expect_refusals<const N: usize>(cases: [(&str, String, RangeInclusive<u16>); N]) {
    let server = Server::start();
    for (what, head, statuses) in cases {
        let answer = exchange(server.address(), &head);
        assert!(statuses.contains(&answer.status), "{what}: {answer:?}");
        let lower = answer.head.to_lowercase();
        assert!(lower.contains("connection: close"), "{what}: {answer:?}");
        if answer.status == 426 {
            assert!(lower.contains("sec-websocket-version: 13"), "{what}: {answer:?}");
        }
        let with_more = exchange(server.address(), &(head + &upgrade("/ws", "")));
        assert_eq!(with_more.status, answer.status, "{what}: {with_more:?}");
        assert_eq!(with_more.body, answer.body, "{what}: what follows the head was answered");
    }
    Client::connect(&server).attach(&good_token(USER), "issueUpdate", ISSUE);
}

#[test]
fn s01_a_head_that_is_too_large_is_refused() {
    expect_refusals([
        ("too many headers", upgrade("/ws", &"X: y\r\n".repeat(101)), 431..=431),
        ("too large a head", upgrade("/ws", &format!("X: {}\r\n", "y".repeat(17_000))), 431..=431),
    ]);
}

#[test]
fn s03_a_key_that_is_missing_short_or_repeated_is_refused() {
    let good = upgrade("/ws", "");
    expect_refusals([
        ("no key", good.replace("Sec-WebSocket-Key", "X-Key"), 400..=400),
        ("a short key", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="), 400..=400),
        ("a key twice", upgrade("/ws", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400..=400),
    ]);
}

#[test]
fn s04_a_request_that_is_not_an_upgrade_to_the_path_is_refused() {
    let good = upgrade("/ws", "");
    expect_refusals([
        ("a plain request", "GET /ws HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400..=426),
        ("another path", upgrade("/", ""), 404..=404),
        ("a longer path", upgrade("/ws/", ""), 404..=404),
        ("POST", good.replace("GET", "POST"), 400..=405),
        ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0"), 400..=505),
        ("no Host", good.replace("Host", "X-Host"), 400..=400),
        ("two Hosts", upgrade("/ws", "Host: other.example\r\n"), 400..=400),
        ("a body", upgrade("/ws", "Content-Length: 4\r\n"), 400..=413),
        ("chunks", upgrade("/ws", "Transfer-Encoding: chunked\r\n"), 400..=501),
        ("another version", good.replace("Version: 13", "Version: 8"), 426..=426),
    ]);
}

#[test]
fn s09_a_malformed_extension_is_refused() {
    expect_refusals([(
        "a malformed extension",
        upgrade("/ws", "Sec-WebSocket-Extensions: a; =;;\r\n"),
        400..=400,
    )]);
}

#[test]
fn the_path_can_be_set_and_a_query_does_not_matter() {
    let server = Setup::new().set("webSocketEvents.path", "/events/ws").start();
    Client::connect_to(server.address(), "/events/ws").attach(&good_token(USER), "issueUpdate", ISSUE);
    Client::connect_to(server.address(), "/events/ws?a=b").attach(&good_token(USER), "issueUpdate", ISSUE);
    assert_eq!(exchange(server.address(), &upgrade("/ws", "")).status, 404);
}

#[test]
fn s05_a_request_in_the_same_segment_as_the_head_is_answered() {
    let server = Server::start();
    let text = request("attach", &good_token(USER), "issueUpdate", ISSUE);
    let length = u16::try_from(text.len()).expect("a short request");
    let mut bytes = upgrade("/ws", "").into_bytes();
    // One masked text frame, its mask all zeros.
    bytes.extend([0x81, 0x80 | 126]);
    bytes.extend(length.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(text.as_bytes());
    let mut stream = Timed::new(TcpStream::connect(server.address()).expect("the server accepts"));
    stream.write_all(&bytes).expect("the server reads");
    let expected = reply(0);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(expected.as_bytes()) {
        let length = stream.read(&mut buffer).expect("the server answers");
        assert_ne!(length, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&buffer[..length]);
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    // The answer to this key is in RFC 6455 §1.3.
    assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
}

#[test]
fn s06_only_listed_origins_may_open_the_socket() {
    let server =
        Setup::new().set("webSocketEvents.origins", "https://airlay.example, http://localhost:3000").start();
    for (origin, status) in [
        ("https://airlay.example", 101),
        ("HTTPS://Airlay.Example", 101),
        ("https://airlay.example:443", 101),
        ("http://localhost:3000", 101),
        ("http://airlay.example", 403),
        ("https://airlay.example:8443", 403),
        ("https://airlay.example.evil.example", 403),
        ("https://www.airlay.example", 403),
        ("http://localhost", 403),
        ("null", 403),
    ] {
        assert_eq!(status_of(&server, &format!("Origin: {origin}\r\n")), status, "{origin}");
    }
    // A client that is not a browser sends no Origin.
    Client::connect(&server).attach(&good_token(USER), "issueUpdate", ISSUE);
}

/// The status of the answer to an upgrade with these headers.
#[track_caller]
fn status_of(server: &Server, headers: &str) -> u16 {
    let mut stream = Timed::new(TcpStream::connect(server.address()).expect("the server accepts"));
    stream.write_all(upgrade("/ws", headers).as_bytes()).expect("the server reads");
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("the server answers");
    let start = std::str::from_utf8(&start).expect("a status line");
    start.strip_prefix("HTTP/1.1 ").and_then(|status| status.parse().ok()).expect("a status line")
}

#[test]
fn a_ping_is_answered_with_a_pong() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    for payload in ["", "ping", &"x".repeat(125)] {
        client.send_message(Message::Ping(payload.to_owned().into()));
        assert_eq!(client.next_message(), Message::Pong(payload.to_owned().into()));
    }
}

#[test]
fn a_close_is_answered_and_the_connection_ends() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    client.close();
}

#[test]
fn s12_an_unmasked_frame_ends_its_connection_only() {
    let server = Server::start();
    let mut other = Client::connect(&server);
    let mut client = Client::connect(&server);
    client.stream().write_all(b"\x81\x02{}").expect("the connection is open");
    client.expect_close(1002);
    other.attach(&good_token(USER), "issueUpdate", ISSUE);
}

#[test]
fn s13_a_message_over_the_limit_is_closed_with_1009() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.send(&" ".repeat(16 * 1024));
    client.expect(&reply(5));
    client.send(&" ".repeat(16 * 1024 + 1));
    client.expect_close(1009);
}

#[test]
fn s19_bad_utf_8_is_closed_with_1007() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.stream().write_all(b"\x81\x82\0\0\0\0\xc3\x28").expect("the connection is open");
    client.expect_close(1007);
}
