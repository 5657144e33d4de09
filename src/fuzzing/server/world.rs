//! The server of a script and everything around it: clients, producers, the access service and both clocks.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::cast::{ACCESS_FILE, START, keys, topic, topics};
use super::client::{Bucket, Client, Published, check_answer};
use crate::access::{Access, AccessFile, AccessService, ServiceSettings};
use crate::api::{Code, EventType, Line};
use crate::cost::Budget;
use crate::forwarded::TrustedProxies;
use crate::hub::{Admission, Hub, HubLimits};
use crate::origins::Origins;
use crate::peers::{PeerId, PeerLimits, Peers, Sockets};
use crate::producers::{ProducerId, ProducerLimits, Producers};
use crate::server::Server;
use crate::time::{Monotonic, Now};
use crate::token::{Rules, Tokens};
use crate::websocket::frame::{OpCode, encode};
use crate::websocket::message::Limits;

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const LIMITS: Limits = Limits { head_bytes: 1024, message_bytes: 4096, fragments: 4 };

const LINE_BYTES: usize = 1024;

/// Requests per second, and the burst, with tight limits.
const TIGHT_RATE: u32 = 5;
const TIGHT_BURST: u32 = 4;

/// More bytes than two producers can have buffered, so the limit is never reached.
const PRODUCERS_TOTAL: usize = 4 << 20;

/// More turns than the server needs to become idle.
const MOST_TURNS: usize = 100;

/// The server and its surroundings; acts as the event loop.
pub(super) struct World {
    pub(super) server: Server<Hub>,
    sockets: Wires,
    clients: BTreeMap<PeerId, Client>,
    producers: [Producer; 2],
    pub(super) published: Published,
    pub(super) now: Now,
    is_tight: bool,
}

struct Producer {
    id: ProducerId,
    /// The unfinished line it has written.
    line: Vec<u8>,
    /// Number of answers owed.
    owed: usize,
    answers: Vec<u8>,
}

/// The sockets: what the server has written, and how much more they accept.
#[derive(Default)]
struct Wires(BTreeMap<PeerId, Wire>);

#[derive(Default)]
struct Wire {
    written: Vec<u8>,
    room: usize,
    is_shut: bool,
    /// Whether the server waits until it is writable.
    is_awaited: bool,
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.is_shut);
        let taken = bytes.len().min(self.room);
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= taken;
        self.written.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sockets for Wires {
    type Socket = Wire;

    fn socket(&mut self, peer: PeerId) -> &mut Wire {
        self.0.get_mut(&peer).expect("a peer that is connected")
    }

    fn await_writable(&mut self, peer: PeerId) -> io::Result<()> {
        self.socket(peer).is_awaited = true;
        Ok(())
    }

    fn shut(&mut self, peer: PeerId) {
        self.socket(peer).is_shut = true;
    }
}

impl World {
    pub(super) fn new(access: u8, is_tight: bool) -> Self {
        let access = match access {
            0 => Access::Token,
            1 => Access::File {
                dataset_events: vec![EventType::DatasetUpdate],
                file: AccessFile::parse(ACCESS_FILE.as_bytes()).expect("a good file"),
            },
            _ => {
                let settings = ServiceSettings {
                    keep: Duration::from_secs(30),
                    timeout: Duration::from_secs(2),
                    questions: 4,
                };
                let mut service = AccessService::new(settings);
                service.handle_connected();
                Access::Service(Box::new(service))
            }
        };
        let peers = PeerLimits { peers: 8, frames_per_second: 0, ..PeerLimits::default() };
        let peers = match is_tight {
            false => peers,
            true => PeerLimits {
                frames_per_second: 5,
                queue: 600,
                queue_soft: 300,
                queue_unauthenticated: 300,
                queue_total: 1500,
                ..peers
            },
        };
        let limits = HubLimits {
            subscriptions: limit(is_tight, 128, 2),
            connections_per_user: limit(is_tight, 32, 2),
            requests_per_second: limit(is_tight, 0, TIGHT_RATE),
            request_burst: limit(is_tight, 256, TIGHT_BURST),
            line: LINE_BYTES,
            producers_total: PRODUCERS_TOTAL,
        };
        let admission = Admission {
            path: "/ws".to_owned(),
            origins: Origins::any(),
            trusted_proxies: TrustedProxies::default(),
            connections: 6,
            connections_per_address: 0,
            page: None,
        };
        let rules = Rules { issuers: Vec::new(), audience: None, leeway: Duration::ZERO, token_bytes: 8192 };
        let hub = Hub::new(admission, Tokens::new(keys(), rules, 2), access, limits, true);
        let producers = Producers::new(ProducerLimits {
            producers: 2,
            line: LINE_BYTES,
            answers: 1 << 20,
            total: PRODUCERS_TOTAL,
        });
        let (queue, queue_total) = (peers.queue, peers.queue_total);
        let peers = Peers::new(peers, LIMITS).with_compression_from(limit(is_tight, 64, 1));
        let mut server = Server::new(peers, producers, hub, Duration::from_millis(10), queue, queue_total);
        let producers = [(); 2].map(|()| Producer {
            id: server.connect_producer().expect("there is room for two"),
            line: Vec::new(),
            owed: 0,
            answers: Vec::new(),
        });
        Self {
            server,
            sockets: Wires::default(),
            clients: BTreeMap::new(),
            producers,
            published: Vec::new(),
            now: Now { monotonic: Monotonic(1_000_000), wall: START },
            is_tight,
        }
    }

    /// Number of clients.
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// The client at this index, if there is one.
    pub(super) fn client(&self, place: usize) -> Option<PeerId> {
        self.clients.keys().nth(place).copied()
    }

    /// Connects a client that requests the upgrade, with this additional header.
    pub(super) fn connect(&mut self, offer: &str) {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let Some(id) = self.server.connect(address, self.now) else { return };
        self.sockets.0.insert(id, Wire { room: 1000, ..Wire::default() });
        self.clients.insert(
            id,
            Client::new(self.is_tight.then(|| Bucket::new(TIGHT_RATE.into(), TIGHT_BURST.into()))),
        );
        self.send(id, format!("{UPGRADE}{offer}\r\n").as_bytes(), 0);
    }

    /// Passes a client's bytes to the server, in two pieces split at `cut`.
    pub(super) fn send(&mut self, id: PeerId, bytes: &[u8], cut: usize) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        // The server would leave the bytes in the socket; here the client does not write them.
        if !self.server.wants_input(id) {
            return;
        }
        client.send(bytes, self.published.len(), &LIMITS, topic, self.now.monotonic);
        let (head, tail) = bytes.split_at(cut.min(bytes.len()));
        for piece in [head, tail] {
            self.server.receive(id, &mut piece.to_vec(), self.now, &mut Budget::unlimited());
        }
    }

    /// Lets a client read `bytes` more bytes.
    pub(super) fn read(&mut self, client: PeerId, bytes: usize) {
        if let Some(wire) = self.sockets.0.get_mut(&client) {
            wire.room += bytes;
            if std::mem::take(&mut wire.is_awaited) {
                self.server.writable(client);
            }
        }
    }

    /// Disconnects a client.
    pub(super) fn leave(&mut self, client: PeerId) {
        self.server.disconnect(client);
        self.clients.remove(&client);
    }

    /// Passes a producer's bytes to the server; records what is published and which answers are owed.
    pub(super) fn write(&mut self, producer: usize, bytes: &[u8]) {
        let producer = &mut self.producers[producer];
        if !self.server.wants_lines(producer.id) {
            return;
        }
        for &byte in bytes {
            if byte != b'\n' {
                producer.line.push(byte);
                producer.owed += usize::from(producer.line.len() == LINE_BYTES + 1);
                continue;
            }
            let line = std::mem::take(&mut producer.line);
            if line.len() > LINE_BYTES {
                continue;
            }
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                continue;
            }
            match Line::parse(line) {
                Ok(Line::Event(event)) => {
                    producer.owed += usize::from(event.ack.is_some());
                    self.published.push(topics(&event));
                }
                Ok(Line::Revoke { ack, .. }) => producer.owed += usize::from(ack.is_some()),
                Err(_) => producer.owed += 1,
            }
        }
        let id = producer.id;
        self.server.receive_lines(id, bytes, self.now, &mut Budget::unlimited());
    }

    /// Answers all questions to the access service with `code`.
    pub(super) fn answer(&mut self, code: Code) {
        let now = self.now;
        while let Some(question) = self.server.act(now, |hub, _| hub.next_access_question()) {
            let line = format!("{{\"ref\":{},\"code\":{}}}", question.reference, code.number());
            self.server
                .act(now, |hub, peers| hub.access_line(peers, line.as_bytes(), now).expect("a good answer"));
        }
    }

    /// Runs one turn of the event loop.
    pub(super) fn turn(&mut self) {
        for resumed in self.server.take_resumed().collect::<Vec<_>>() {
            if self.server.has_leftover(resumed) {
                self.server.receive_leftover(resumed, self.now, &mut Budget::unlimited());
            }
        }
        self.server.advance(self.now);
        self.server.peers().check_invariants();
        self.server.flush(&mut self.sockets, self.now);
        for (id, wire) in &mut self.sockets.0 {
            let written = std::mem::take(&mut wire.written);
            if let Some(client) = self.clients.get_mut(id) {
                client.receive(&written, &self.published);
            }
        }
        for producer in &mut self.producers {
            let is_all = self.server.write_answers(producer.id, &mut producer.answers);
            assert!(is_all.expect("memory takes every byte"));
        }
        let shut: Vec<PeerId> =
            self.sockets.0.iter().filter(|(_, wire)| wire.is_shut).map(|(id, _)| *id).collect();
        for id in shut {
            // The client closes its end too.
            self.server.disconnect(id);
        }
        let Self { sockets, clients, server, .. } = self;
        server.reap(|id| {
            sockets.0.remove(&id);
            clients.remove(&id);
        });
        let owing: Vec<PeerId> =
            clients.iter().filter(|(_, client)| client.owes_pong).map(|(id, _)| *id).collect();
        for id in owing {
            if let Some(client) = self.clients.get_mut(&id) {
                client.owes_pong = false;
            }
            self.send(id, &frame(OpCode::Pong, b""), 0);
        }
    }

    /// Runs the server until it is idle, then checks that every client and producer has received what it is owed.
    pub(super) fn end(&mut self) {
        self.answer(Code::Ok);
        for _ in 0..MOST_TURNS {
            for (&id, wire) in &mut self.sockets.0 {
                wire.room = 1 << 30;
                if std::mem::take(&mut wire.is_awaited) {
                    self.server.writable(id);
                }
            }
            self.turn();
            self.answer(Code::Ok);
            if !self.server.has_work() {
                break;
            }
        }
        self.turn();
        assert!(!self.server.has_work(), "the server becomes idle");
        for client in self.clients.values().filter(|client| client.is_open()) {
            client.check_complete(&self.published);
        }
        for producer in &self.producers {
            let answers = str::from_utf8(&producer.answers).expect("answers are text");
            assert_eq!(answers.lines().count(), producer.owed, "{answers}");
            answers.lines().for_each(check_answer);
        }
    }
}

/// Chooses between a limit that scripts hardly reach and one that they do.
fn limit<T>(is_tight: bool, wide: T, tight: T) -> T {
    if is_tight { tight } else { wide }
}

/// A client's frame.
pub(super) fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(opcode, payload, Some([0; 4]), &mut bytes);
    bytes
}
