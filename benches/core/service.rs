//! A complete service without sockets, for these benchmarks and the example `million`: peers connect and attach with the
//! bytes that clients send, and writes always succeed.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use airlay::access::Access;
use airlay::cost::Budget;
use airlay::forwarded::TrustedProxies;
use airlay::hub::{Admission, Hub, HubLimits};
use airlay::origins::Origins;
use airlay::peers::{PeerId, PeerLimits, Peers, Sockets};
use airlay::producers::{ProducerId, ProducerLimits, Producers};
use airlay::server::Server;
use airlay::time::{Monotonic, Now, Wall};
use airlay::token::{KeySet, Rules, SigningKey, Tokens};
use airlay::websocket::frame::{OpCode, encode};
use airlay::websocket::message::Limits;

/// The object of the topic that all peers share.
const COMMON: &str = "610217e481f6fc54736209e0";

pub(crate) const NOW: Now = Now { monotonic: Monotonic(1), wall: Wall(1_800_000_000_000) };

/// A service and its peers.
pub(crate) struct Service {
    pub(crate) server: Server<Hub>,
    tokens: Vec<String>,
    /// Public keys in PEM: the one that verifies the tokens, and an unused one.
    keys: [String; 2],
    pub(crate) producer: ProducerId,
    sink: Sink,
    peers: usize,
}

/// Sockets that accept every write and count it.
#[derive(Default)]
pub(crate) struct Sink {
    /// Calls of `write`.
    pub(crate) writes: usize,
    /// Bytes written.
    pub(crate) bytes: usize,
}

impl Service {
    /// A service without peers, with a token for each of `users` users.
    pub(crate) fn new(users: usize) -> Self {
        let [(key, public), (_, other)] =
            [(); 2].map(|()| SigningKey::generate().expect("the system has random numbers"));
        let mut server = server(key_set(&[&public]));
        let tokens = (0..users).map(|user| key.sign(&claims(user))).collect();
        let producer = server.connect_producer().expect("there is room");
        Self { server, tokens, keys: [public, other], producer, sink: Sink::default(), peers: 0 }
    }

    /// Connects one more peer, which attaches to the shared topic and to one of its own.
    pub(crate) fn connect(&mut self) {
        let peer = self.server.connect(Ipv4Addr::LOCALHOST.into(), NOW).expect("no limit");
        let mut upgrade =
            *b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        self.server.receive(peer, &mut upgrade, NOW, &mut Budget::unlimited());
        let token = &self.tokens[self.peers % self.tokens.len()];
        let own = format!("{:024x}", self.peers);
        let mut requests = Vec::new();
        for topic in [COMMON, &own] {
            let request = format!(
                r#"{{"auth":"{token}","action":"attach","event":{{"type":"issueUpdate","id":"{topic}"}}}}"#
            );
            encode(OpCode::Text, request.as_bytes(), Some([1, 2, 3, 4]), &mut requests);
        }
        self.server.receive(peer, &mut requests, NOW, &mut Budget::unlimited());
        self.peers += 1;
        self.turn();
    }

    /// Publishes an event of 128 bytes to all peers, up to the last write. Returns what was written.
    pub(crate) fn publish(&mut self) -> Sink {
        let line =
            format!("{{\"type\":\"issueUpdate\",\"id\":\"{COMMON}\",\"data\":\"{}\"}}\n", ".".repeat(64));
        self.server.receive_lines(self.producer, line.as_bytes(), NOW, &mut Budget::unlimited());
        self.turn()
    }

    /// Adds and removes an unused key: removing it checks every subscription, and none ends.
    pub(crate) fn lose_key(&mut self) -> Sink {
        let [used, other] = &self.keys;
        for pems in [&[used, other][..], &[used]] {
            self.server.act(NOW, |hub, peers| hub.replace_keys(peers, key_set(pems), NOW));
        }
        self.turn()
    }

    /// Runs turns until there is no more work. Returns what was written.
    pub(crate) fn turn(&mut self) -> Sink {
        loop {
            for resumed in self.server.take_resumed().collect::<Vec<_>>() {
                if self.server.has_leftover(resumed) {
                    self.server.receive_leftover(resumed, NOW, &mut Budget::unlimited());
                }
            }
            self.server.advance(NOW);
            self.server.flush(&mut self.sink, NOW);
            self.server.reap(|_| {});
            if !self.server.has_work() {
                return std::mem::take(&mut self.sink);
            }
        }
    }
}

/// A server with the default limits, except for the number of connections, which is unlimited.
fn server(keys: KeySet) -> Server<Hub> {
    let admission = Admission {
        path: "/ws".to_owned(),
        origins: Origins::default(),
        trusted_proxies: TrustedProxies::default(),
        connections: usize::MAX,
        connections_per_address: 0,
        page: None,
    };
    let hub_limits = HubLimits {
        subscriptions: 128,
        connections_per_user: 0,
        requests_per_second: 0,
        request_burst: 256,
        line: 1 << 20,
        producers_total: 64 << 20,
    };
    let rules =
        Rules { issuers: Vec::new(), audience: None, leeway: Duration::from_secs(30), token_bytes: 8192 };
    let tokens = Tokens::new(keys, rules, 100_000);
    let hub = Hub::new(admission, tokens, Access::Token, hub_limits, true);
    let limits = ProducerLimits { producers: 1, line: 1 << 20, answers: 1 << 20, total: 64 << 20 };
    let limits_of_peers = PeerLimits { queue_total: 1 << 40, frames_per_second: 0, ..PeerLimits::default() };
    let peers = Peers::new(limits_of_peers, Limits::default()).with_compression_from(128);
    Server::new(peers, Producers::new(limits), hub, Duration::from_millis(10), 1 << 20, 1 << 40)
}

fn key_set(pems: &[&String]) -> KeySet {
    let mut keys = KeySet::new();
    for pem in pems {
        keys.add_pem(pem.as_bytes()).expect("a public key");
    }
    keys
}

fn claims(user: usize) -> String {
    format!(r#"{{"exp":4000000000,"data":{{"name":"a.kalinin","id":"5dad615eae019570{user:08x}"}}}}"#)
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        self.bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sockets for Sink {
    type Socket = Self;

    fn socket(&mut self, _: PeerId) -> &mut Self {
        self
    }

    fn await_writable(&mut self, _: PeerId) -> io::Result<()> {
        Ok(())
    }

    fn shut(&mut self, _: PeerId) {}
}
