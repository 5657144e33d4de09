//! The service behind its server, on a clock and with a socket of the tests' own.

use super::rate::RateLimit;
use super::*;
use crate::access::{AccessService, ServiceSettings};
use crate::api::{EventType, Subject, UserId};
use crate::peers::{PeerLimits, Sockets};
use crate::producers::{ProducerLimits, Producers};
use crate::server::Server;
use crate::subscriptions::{Lease, Topic};
use crate::token::{KeyId, KeySet, Rules, SigningKey};
use crate::websocket::frame::{OpCode, encode};
use crate::websocket::message::Limits;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

const ID: &str = "610217e481f6fc54736209e0";

/// The socket of the only peer; it accepts every byte.
struct Socket(Vec<u8>);

impl Sockets for Socket {
    type Socket = Vec<u8>;

    fn socket(&mut self, _: PeerId) -> &mut Vec<u8> {
        &mut self.0
    }

    fn await_writable(&mut self, _: PeerId) -> io::Result<()> {
        Ok(())
    }

    fn shut(&mut self, _: PeerId) {}
}

fn server(keys: KeySet) -> Server<Hub> {
    server_with(keys, Access::Token)
}

fn server_with(keys: KeySet, access: Access) -> Server<Hub> {
    let (limits, size) = (PeerLimits::default(), 1 << 20);
    let admission = Admission {
        path: "/".into(),
        origins: crate::origins::Origins::any(),
        trusted_proxies: crate::forwarded::TrustedProxies::default(),
        connections: 1_000,
        connections_per_address: 0,
        page: None,
    };
    let rules = Rules { issuers: Vec::new(), audience: None, leeway: Duration::ZERO, token_bytes: 8192 };
    let hub_limits = HubLimits {
        subscriptions: 1,
        connections_per_user: 0,
        requests_per_second: 0,
        request_burst: 1,
        line: size,
        producers_total: size,
    };
    let hub = Hub::new(admission, Tokens::new(keys, rules, 1), access, hub_limits, true);
    let producers =
        Producers::new(ProducerLimits { producers: 3, line: size, answers: size, total: 4 * size });
    Server::new(Peers::new(limits, Limits::default()), producers, hub, Duration::from_secs(1), size, size)
}

/// A peer whose connection is open.
fn open(server: &mut Server<Hub>, now: Now) -> PeerId {
    let peer = server.connect(Ipv4Addr::LOCALHOST.into(), now).unwrap();
    let mut head = *b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    server.receive(peer, &mut head, now, &mut Budget::unlimited());
    peer
}

/// Subscribes a peer, whatever its rights.
fn attach(server: &mut Server<Hub>, peer: PeerId, user: UserId, topic: Topic, now: Now) {
    let lease = Lease { ends: Wall::NEVER, key: KeyId::of_no_key(0) };
    server.act(now, |hub, _| hub.subscriptions.attach(peer, user, topic, lease));
}

#[test]
fn s55_topics_that_a_line_is_compared_with_are_charged() {
    let mut server = server(KeySet::new());
    let now = Now::default();
    let peer = open(&mut server, now);
    for user in 0..1000 {
        let user: UserId = format!("{user:024x}").parse().unwrap();
        let id = Some(ID.parse().unwrap());
        attach(&mut server, peer, user, Topic::Personal(EventType::Notification, user, id), now);
    }
    let producer = server.connect_producer().unwrap();
    // For everyone who wants an id that no subscription is about.
    let line = r#"{"type":"notification","users":"*","id":"000000000000000000000000","data":1}"#;
    let lines = [line, "\n"].concat().repeat(100);
    server.receive_lines(producer, lines.as_bytes(), now, &mut Budget::new(200_000));
    assert!(server.has_leftover_lines(producer), "two milliseconds of comparing");
}

#[test]
fn s57_requests_that_came_during_a_stop_are_within_the_rate() {
    let mut server = server(KeySet::new());
    server.act(Now::default(), |hub, _| hub.rate = RateLimit::new(20, 256));
    let peer = open(&mut server, Now::default());
    let mut frame = Vec::new();
    encode(OpCode::Text, b"{}", Some([1, 2, 3, 4]), &mut frame);
    let send = |server: &mut Server<Hub>, count| {
        server.receive(peer, &mut frame.repeat(count), Now::default(), &mut Budget::unlimited());
        server.flush(&mut Socket(Vec::new()), Now::default());
        while server.has_leftover(peer) {
            server.receive_leftover(peer, Now::default(), &mut Budget::unlimited());
            server.flush(&mut Socket(Vec::new()), Now::default());
        }
    };
    server.set_catching_up(true);
    send(&mut server, 1200);
    server.set_catching_up(false);
    let refused = |server: &Server<Hub>| server.service().counters().replies[7];
    assert_eq!((refused(&server), server.peers().open()), (0, 1));
    send(&mut server, 300);
    assert_eq!(refused(&server), 44);
}

#[test]
fn events_of_kept_lines_are_backlog_until_they_are_offered() {
    let mut server = server(KeySet::new());
    let now = Now::default();
    let peer = open(&mut server, now);
    let topic = Topic::Object(EventType::IssueUpdate, ID.parse().unwrap());
    attach(&mut server, peer, ID.parse().unwrap(), topic, now);
    let producer = server.connect_producer().unwrap();
    let lines = format!("{{\"type\":\"issueUpdate\",\"id\":\"{ID}\",\"data\":1}}\n").repeat(2);
    server.receive_lines(producer, lines.as_bytes(), now, &mut Budget::new(1));
    let mut socket = Socket(Vec::new());
    server.flush(&mut socket, now);
    server.receive_leftover_lines(producer, now, &mut Budget::unlimited());
    server.advance(now);
    assert!(!server.has_leftover_lines(producer) && server.has_backlog());
    server.flush(&mut socket, now);
    assert!(!server.has_backlog());
}

#[test]
fn one_producer_fills_its_part_of_the_backlog_in_bytes_and_another_is_still_read() {
    let mut server = server(KeySet::new());
    let now = Now::default();
    let [first, second, third] = [(); 3].map(|()| server.connect_producer().unwrap());
    for (producer, next) in [(first, second), (second, third)] {
        while server.wants_lines(producer) {
            server.receive_lines(producer, &[b' '; 4096], now, &mut Budget::unlimited());
        }
        assert_eq!(server.producers().backlog(producer), 256 << 10);
        assert_eq!(server.wants_lines(next), producer == first, "two of them fill all of it");
    }
    server.flush(&mut Socket(Vec::new()), now);
    assert!([first, second, third].into_iter().all(|producer| server.wants_lines(producer)));
}

#[test]
fn one_producer_fills_its_part_of_the_backlog_in_deliveries_and_another_is_still_read() {
    let mut server = server(KeySet::new());
    let now = Now::default();
    let ids = [ID, "610217e481f6fc54736209e1"];
    for _ in 0..200 {
        let peer = open(&mut server, now);
        for id in ids {
            let topic = Topic::Object(EventType::IssueUpdate, id.parse().unwrap());
            attach(&mut server, peer, ID.parse().unwrap(), topic, now);
        }
    }
    let [first, second, third] = [(); 3].map(|()| server.connect_producer().unwrap());
    // 1 MiB / 8 / 32 bytes are 4,096 deliveries in all. Lines for different topics are not sent together.
    let mut lines =
        ids.iter().cycle().map(|id| format!("{{\"type\":\"issueUpdate\",\"id\":\"{id}\",\"data\":1}}\n"));
    for (producer, next) in [(first, second), (second, third)] {
        let mut written = 0;
        while server.wants_lines(producer) {
            assert!(written < 100, "it goes on for ever");
            server.receive_lines(producer, lines.next().unwrap().as_bytes(), now, &mut Budget::unlimited());
            written += 1;
        }
        assert_eq!(server.wants_lines(next), producer == first, "two of them cause all there may be");
    }
    assert!(server.backlog_bytes() < 10_000, "it is not the bytes");
    while server.has_backlog() {
        server.advance(now);
        server.flush(&mut Socket(Vec::new()), now);
    }
    assert!([first, second, third].into_iter().all(|producer| server.wants_lines(producer)));
}

#[test]
fn what_was_decided_before_a_revocation_is_asked_again() {
    let (key, public) = SigningKey::generate().unwrap();
    let mut keys = KeySet::new();
    keys.add_pem(public.as_bytes()).unwrap();
    let settings =
        ServiceSettings { keep: Duration::from_secs(30), timeout: Duration::from_secs(2), questions: 8 };
    let mut server = server_with(keys, Access::Service(Box::new(AccessService::new(settings))));
    let now = Now::default();
    server.act(now, |hub, _| hub.access_connected());
    let token = key.sign(&format!(r#"{{"exp":10,"data":{{"id":"{ID}"}}}}"#));
    let attach = |server: &mut Server<Hub>, peer, id| {
        let event = format!(r#"{{"type":"issueUpdate","id":"{id}"}}"#);
        let mut frame = Vec::new();
        let request = format!(r#"{{"auth":"{token}","action":"attach","event":{event}}}"#);
        encode(OpCode::Text, request.as_bytes(), Some([1, 2, 3, 4]), &mut frame);
        server.receive(peer, &mut frame, now, &mut Budget::unlimited());
        server.advance(now);
    };
    let question = |server: &mut Server<Hub>| server.act(now, |hub, _| hub.next_access_question());
    let allow = |server: &mut Server<Hub>, reference| {
        let line = format!(r#"{{"ref":{reference},"code":0}}"#);
        server.act(now, |hub, peers| hub.access_line(peers, line.as_bytes(), now).unwrap());
    };
    let subscriptions =
        |server: &Server<Hub>| server.service().subscriptions.count_of_kind(EventType::IssueUpdate);

    // The answer about the first object is kept.
    let [other, peer] = [(); 2].map(|()| open(&mut server, now));
    attach(&mut server, other, ID);
    let asked = question(&mut server).expect("nothing is kept");
    allow(&mut server, asked.reference);
    assert_eq!(subscriptions(&server), 1);
    // The second request is decided by it, and waits behind the first.
    attach(&mut server, peer, "610217e481f6fc54736209e1");
    attach(&mut server, peer, ID);
    let first = question(&mut server).expect("the object is another one");
    assert!(question(&mut server).is_none());

    let subject = Subject { kind: EventType::IssueUpdate, id: Some(ID.parse().unwrap()) };
    server.act(now, |hub, peers| hub.revoke(peers, ID.parse().unwrap(), Some(subject), now));
    assert_eq!(subscriptions(&server), 0);
    allow(&mut server, first.reference);
    assert_eq!(subscriptions(&server), 1, "only what was asked about");
    assert_eq!(question(&mut server).expect("it is asked again").subject, Some(subject));
}

#[test]
fn an_event_read_in_the_turn_in_which_a_token_ends_is_not_delivered() {
    let (key, public) = SigningKey::generate().unwrap();
    let mut keys = KeySet::new();
    keys.add_pem(public.as_bytes()).unwrap();
    let mut server = server(keys);
    let at = |second: u64| Now { monotonic: Monotonic(1), wall: Wall(second * 1000) };
    let peer = open(&mut server, at(0));
    let token = key.sign(r#"{"exp":10,"data":{"id":"5dad615eae019570fb4647ed"}}"#);
    let request =
        format!(r#"{{"auth":"{token}","action":"attach","event":{{"type":"issueUpdate","id":"{ID}"}}}}"#);
    let mut frame = Vec::new();
    encode(OpCode::Text, request.as_bytes(), Some([1, 2, 3, 4]), &mut frame);
    server.receive(peer, &mut frame, at(0), &mut Budget::unlimited());
    server.advance(at(0));

    let producer = server.connect_producer().unwrap();
    let mut socket = Socket(Vec::new());
    for (second, data) in [(9, "\"before\""), (10, "\"at the end\"")] {
        let line = format!("{{\"type\":\"issueUpdate\",\"id\":\"{ID}\",\"data\":{data}}}\n");
        server.receive_lines(producer, line.as_bytes(), at(second), &mut Budget::unlimited());
        server.advance(at(second));
        server.flush(&mut socket, at(second));
    }
    let said = String::from_utf8_lossy(&socket.0);
    let ok = said.find(r#""code":0"#).expect("the request is answered");
    let before = said.find("before").expect("the event is delivered");
    let lost = said.find(r#""code":2"#).expect("the client is told of the lost subscription");
    assert!(ok < before && before < lost && !said.contains("at the end"), "{said}");
}
