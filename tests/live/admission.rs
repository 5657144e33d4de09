//! Admission: limits on connections in total, per address and per user, and which proxies are trusted with the address.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::http::upgrade;
use crate::support::wait::Timed;
use crate::support::{Client, DEADLINE, ISSUE, Server, Setup, USER, good_token, reply, request};

/// An upgrade request's answer, and its connection.
struct Attempt {
    head: String,
    stream: Timed<TcpStream>,
}

impl Attempt {
    /// Asks for an upgrade with these headers, from this address.
    #[track_caller]
    fn from(source: &str, server: &Server, headers: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let source: SocketAddr = format!("{source}:0").parse().expect("an IP address");
        socket.bind(&source.into()).expect("127.0.0.0/8 is the loopback interface");
        socket.connect_timeout(&server.address().into(), DEADLINE).expect("the server accepts");
        let mut stream = Timed::new(TcpStream::from(socket));
        stream.write_all(upgrade("/ws", headers).as_bytes()).expect("the server reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the server answers");
            head.extend(byte);
        }
        Self { head: String::from_utf8(head).expect("an HTTP head"), stream }
    }

    fn status(&self) -> &str {
        &self.head["HTTP/1.1 ".len()..][..3]
    }

    /// Closes the connection and waits for the server to do so.
    #[track_caller]
    fn close(mut self) {
        // An empty Close, masked with zeros (RFC 6455 §5.2).
        self.stream.write_all(b"\x88\x80\0\0\0\0").expect("the connection is open");
        self.stream.read_to_the_end("the server's Close and the end of the connection");
        // Dropping it is not enough: while another test starts a server, the child holds it open between fork and exec.
        self.stream.get_ref().shutdown(Shutdown::Write).expect("the connection is ours");
    }
}

#[test]
fn s08_connections_are_limited_in_total_and_per_user() {
    let server = Setup::new().set("limits.connections", 3).set("limits.connectionsPerUser", 1).start();
    let token = good_token(USER);
    let mut first = Client::connect(&server);
    first.attach(&token, "issueUpdate", ISSUE);
    let mut second = Client::connect(&server);
    assert_eq!(second.ask(&request("attach", &token, "issueUpdate", ISSUE)), reply(7));
    let third = Client::connect(&server);
    let refused = Attempt::from("127.0.0.2", &server, "");
    assert_eq!(refused.status(), "503");
    assert!(refused.head.to_lowercase().contains("\r\nretry-after: "), "{}", refused.head);
    third.close();
    assert_eq!(Attempt::from("127.0.0.2", &server, "").status(), "101");
    first.attach(&token, "uploadFile", ISSUE);
    // The second connection may subscribe once the first has no subscription.
    first.close();
    second.attach(&token, "issueUpdate", ISSUE);
}

#[test]
fn s08_connections_are_limited_per_address() {
    let server = Setup::new().set("limits.connectionsPerAddress", 2).start();
    let connections = [(); 2].map(|()| Attempt::from("127.0.0.1", &server, ""));
    assert_eq!(connections.each_ref().map(Attempt::status), ["101"; 2]);
    for _ in 0..3 {
        let refused = Attempt::from("127.0.0.1", &server, "");
        assert_eq!(refused.status(), "503");
        assert!(refused.head.to_lowercase().contains("\r\nretry-after: "), "{}", refused.head);
    }
    let other = Attempt::from("127.0.0.2", &server, "");
    assert_eq!(other.status(), "101");
    let [first, _second] = connections;
    first.close();
    let _again = Attempt::from("127.0.0.1", &server, "");
    assert_eq!(_again.status(), "101");
    assert_eq!(Attempt::from("127.0.0.1", &server, "").status(), "503");
}

#[test]
fn s07_without_trusted_proxies_no_header_is_believed() {
    let server = Setup::new().set("limits.connectionsPerAddress", 1).start();
    let first = Attempt::from("127.0.0.1", &server, "X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(first.status(), "101");
    for headers in ["", "X-Forwarded-For: 192.0.2.2\r\n", "Forwarded: for=192.0.2.3\r\n"] {
        assert_eq!(Attempt::from("127.0.0.1", &server, headers).status(), "503", "{headers}");
    }
}

#[test]
fn s07_only_trusted_proxies_are_believed() {
    for (first, second, same) in [
        (
            "X-Forwarded-For: 192.0.2.1\r\n",
            "X-Forwarded-For: 192.0.2.2\r\n",
            "X-Forwarded-For: 9.9.9.9, 192.0.2.1\r\n",
        ),
        (
            "Forwarded: for=192.0.2.1\r\n",
            "Forwarded: for=192.0.2.2\r\n",
            "Forwarded: for=9.9.9.9, for=192.0.2.1\r\n",
        ),
        // Through a second trusted proxy, and in several header lines.
        (
            "X-Forwarded-For: 192.0.2.1, 10.1.2.3\r\n",
            "X-Forwarded-For: 192.0.2.2, 10.1.2.3\r\n",
            "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.1.2.3\r\n",
        ),
    ] {
        let server = Setup::new()
            .set("limits.connectionsPerAddress", 1)
            .set("webSocketEvents.trustedProxies", "127.0.0.1, 10.0.0.0/8")
            .start();
        let client = Attempt::from("127.0.0.1", &server, first);
        assert_eq!(client.status(), "101", "{first}");
        let other = Attempt::from("127.0.0.1", &server, second);
        assert_eq!(other.status(), "101", "{second}");
        assert_eq!(Attempt::from("127.0.0.1", &server, first).status(), "503", "{first}");
        // The part that the client wrote itself is not believed.
        assert_eq!(Attempt::from("127.0.0.1", &server, same).status(), "503", "{same}");
        // A client that is not a proxy counts by its own address.
        let direct = Attempt::from("127.0.0.2", &server, second.replace("192.0.2.2", "192.0.2.9").as_str());
        assert_eq!(direct.status(), "101");
        let forged = second.replace("192.0.2.2", "192.0.2.10");
        assert_eq!(Attempt::from("127.0.0.2", &server, &forged).status(), "503", "{forged}");
        client.close();
        assert_eq!(Attempt::from("127.0.0.1", &server, first).status(), "101", "{first}");
    }
}
