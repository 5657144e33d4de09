//! Target `server`: the script, and the driver that plays the event loop.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use arbitrary::{Result, Unstructured};

use super::client::{Client, Published, check_answer};
use crate::access::{Access, AccessFile, Service, ServiceSettings};
use crate::api::{Action, Code, EventType, Line, ObjectId, Request, Subject, UserId};
use crate::forwarded::TrustedProxies;
use crate::hub::{Admission, Hub, HubLimits};
use crate::origins::Origins;
use crate::peers::{PeerId, PeerLimits, Peers, Sockets};
use crate::producers::{ProducerId, ProducerLimits, Producers};
use crate::server::Server;
use crate::subscriptions::Topic;
use crate::time::{Monotonic, Now, Wall};
use crate::token::{KeySet, Rules, SigningKey, Tokens};
use crate::websocket::frame::{OpCode, encode};
use crate::websocket::message::Limits;

/// A script: clients that connect, ask, read, stall and leave; producers that publish and revoke; an access service that
/// answers or does not; time that passes.
///
/// Every request has one reply, in order. A client hears each event of its subscriptions once, in order, without a hole,
/// and no other; or its connection is ended. Every line with `ack` has one answer, and so has every bad one.
///
/// # Panics
///
/// When this does not hold.
pub fn server(data: &[u8]) {
    let mut script = Unstructured::new(data);
    // A script that ends amid a step is a shorter script.
    let _ = play(&mut script);
}

fn play(script: &mut Unstructured<'_>) -> Result<()> {
    let mut world = World::new(script.int_in_range(0..=2)?, script.arbitrary()?);
    for _ in 0..MOST_STEPS {
        if script.is_empty() {
            break;
        }
        world.step(script)?;
        world.turn();
    }
    world.end();
    Ok(())
}

/// The server and all around it.
struct World {
    server: Server<Hub>,
    sockets: Wires,
    clients: BTreeMap<PeerId, Client>,
    producers: Vec<Producer>,
    published: Published,
    now: Now,
}

struct Producer {
    id: ProducerId,
    /// What was written of a line whose end was not.
    line: Vec<u8>,
    /// Answers owed.
    owed: usize,
    answers: Vec<u8>,
}

/// The sockets' other ends: what has been written, and how much more is taken.
#[derive(Default)]
struct Wires(BTreeMap<PeerId, Wire>);

#[derive(Default)]
struct Wire {
    written: Vec<u8>,
    room: usize,
    is_shut: bool,
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

    fn shut(&mut self, peer: PeerId) {
        self.socket(peer).is_shut = true;
    }
}

impl World {
    fn new(access: u8, has_tight_limits: bool) -> Self {
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
                let mut service = Service::new(settings);
                service.handle_connected();
                Access::Service(Box::new(service))
            }
        };
        let seconds = Duration::from_secs;
        let pick = |limit, tight| if has_tight_limits { tight } else { limit };
        let small = |limit, tight| if has_tight_limits { tight } else { limit };
        let peers = PeerLimits {
            peers: 8,
            handshake: seconds(5),
            message: seconds(10),
            ping: seconds(25),
            pong: seconds(10),
            close: seconds(5),
            queue: small(1 << 20, 600),
            queue_soft: small(256 << 10, 300),
            queue_soft_time: seconds(10),
            queue_unauthenticated: small(16 << 10, 300),
            queue_total: small(256 << 20, 1500),
        };
        let limits = HubLimits {
            subscriptions: small(128, 2),
            connections_per_user: small(32, 2),
            requests_per_second: pick(0, 5),
            request_burst: pick(256, 4),
            line: LINE_BYTES,
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
        let producers = Producers::new(ProducerLimits { line: LINE_BYTES, answers: 1 << 20 });
        let queue = peers.queue;
        Self {
            server: Server::new(
                Peers::new(peers, LIMITS).with_compression_from(small(64, 1)),
                producers,
                hub,
                queue,
            ),
            sockets: Wires::default(),
            clients: BTreeMap::new(),
            producers: Vec::new(),
            published: Vec::new(),
            now: Now { monotonic: Monotonic(1_000_000), wall: START },
        }
    }

    /// One step of the script.
    fn step(&mut self, script: &mut Unstructured<'_>) -> Result<()> {
        match script.int_in_range(0..=15)? {
            0 => {
                let offer = script.int_in_range(0..=2)?;
                self.connect(OFFERS[offer]);
            }
            1..=4 => {
                let client = self.client(script)?;
                let own = self.clients.keys().nth(client).map_or(0, |id| id.generation() as usize % 2);
                let request = request(script, own)?;
                self.send(client, &frame(OpCode::Text, &request), usize::from(script.arbitrary::<u8>()?));
            }
            5 => {
                let client = self.client(script)?;
                let opcode = *script.choose(&[OpCode::Text, OpCode::Binary, OpCode::Ping, OpCode::Close])?;
                let length = script.int_in_range(0..=16)?;
                let bytes = frame(opcode, script.bytes(length)?);
                self.send(client, &bytes, 0);
            }
            6 => {
                let client = self.client(script)?;
                let length = script.int_in_range(0..=16)?;
                let bytes = script.bytes(length)?.to_vec();
                self.send(client, &bytes, 0);
            }
            7..=9 => self.publish(script)?,
            10 => {
                let user = script.int_in_range(0..=1)?;
                let event = match script.arbitrary()? {
                    true => format!(",\"event\":{}", event(*script.choose(&SUBJECTS)?)),
                    false => String::new(),
                };
                let line = format!("{{\"control\":\"revoke\",\"user\":\"{}\"{event}}}\n", USERS[user]);
                self.write(script, line.as_bytes())?;
            }
            11 => {
                let length = script.int_in_range(0..=40)?;
                let mut bytes = script.bytes(length)?.to_vec();
                // An event of its own making would have no number.
                bytes.iter_mut().filter(|byte| **byte == b'{').for_each(|byte| *byte = b'[');
                self.write(script, &bytes)?;
            }
            12 => {
                // A client reads some.
                let room = [1, 10, 100, 1 << 20][script.int_in_range(0..=3)?];
                let client = self.client(script)?;
                if let Some((id, wire)) = self.sockets.0.iter_mut().nth(client) {
                    wire.room += room;
                    let id = *id;
                    self.server.peers.writable(id);
                }
            }
            13 => {
                let milliseconds = [1, 999, 5_000, 10_000, 25_000, 60_000][script.int_in_range(0..=5)?];
                self.now.monotonic.0 += milliseconds;
                // The wall clock may step.
                self.now.wall.0 = match script.int_in_range(0..=7)? {
                    0 => self.now.wall.0.saturating_sub(3_600_000),
                    1 => self.now.wall.0 + 3_600_000,
                    _ => self.now.wall.0 + milliseconds,
                };
            }
            14 if script.ratio(1, 8)? => {
                let Server { service: hub, peers, .. } = &mut self.server;
                match hub.access_attempt() {
                    Some(_) => hub.access_connected(),
                    None => hub.access_disconnected(peers, self.now, script.arbitrary()?),
                }
            }
            14 => {
                let code = *script.choose(&[Code::Ok, Code::Ok, Code::UserNotExists, Code::NoAccess])?;
                self.answer(code);
            }
            _ => {
                let client = self.client(script)?;
                if let Some((&id, _)) = self.clients.iter().nth(client) {
                    self.server.disconnect(id);
                    self.clients.remove(&id);
                }
            }
        }
        Ok(())
    }

    /// The place of a client among those there are.
    fn client(&self, script: &mut Unstructured<'_>) -> Result<usize> {
        script.int_in_range(0..=self.clients.len().max(1) - 1)
    }

    fn connect(&mut self, offer: &str) {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let Some(id) = self.server.peers.connect(address, self.now.monotonic) else { return };
        self.sockets.0.insert(id, Wire { room: 1000, ..Wire::default() });
        self.clients.insert(id, Client::new());
        self.send_to(id, format!("{UPGRADE}{offer}\r\n").as_bytes(), 0);
    }

    /// Sends to the server what a client writes, in two pieces cut at `cut`.
    fn send(&mut self, client: usize, bytes: &[u8], cut: usize) {
        if let Some((&id, _)) = self.clients.iter().nth(client) {
            self.send_to(id, bytes, cut);
        }
    }

    fn send_to(&mut self, id: PeerId, bytes: &[u8], cut: usize) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        // What is not read waits in the socket; here it is not written.
        if !self.server.peers.wants_input(id) {
            return;
        }
        client.sends(bytes, &LIMITS, topic);
        let (head, tail) = bytes.split_at(cut.min(bytes.len()));
        for piece in [head, tail] {
            self.server.receive(id, &mut piece.to_vec(), self.now);
        }
    }

    fn publish(&mut self, script: &mut Unstructured<'_>) -> Result<()> {
        let subject = *script.choose(&SUBJECTS)?;
        let mut users = String::new();
        if subject.kind == EventType::Notification {
            users = match script.int_in_range(0..=2)? {
                0 => ",\"users\":\"*\"".to_owned(),
                user => format!(",\"users\":[\"{}\"]", USERS[user - 1]),
            };
        }
        let number = self.published.len();
        let ack = if script.arbitrary()? { ",\"ack\":7" } else { "" };
        let event = event(subject);
        let event = event.trim_end_matches('}');
        let line = format!("{event}{users},\"data\":{number}{ack}}}\n");
        self.write(script, line.as_bytes())
    }

    /// Writes to one of two producers' sockets; notes what is published and what is owed for it.
    fn write(&mut self, script: &mut Unstructured<'_>, bytes: &[u8]) -> Result<()> {
        while self.producers.len() < 2 {
            let id = self.server.producers.connect();
            self.producers.push(Producer { id, line: Vec::new(), owed: 0, answers: Vec::new() });
        }
        let producer = script.int_in_range(0..=1)?;
        let producer = &mut self.producers[producer];
        if !self.server.wants_lines(producer.id) {
            return Ok(());
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
                    let topics = USERS.map(|user| user.parse::<UserId>().expect("an id"));
                    let is_for = |user: &UserId| match &event.audience {
                        crate::api::Audience::Users(users) => users.contains(user),
                        _ => true,
                    };
                    let with_id = event.subject.id.map(Some);
                    self.published.push(match event.subject {
                        Subject { kind: EventType::Notification, .. } => topics
                            .into_iter()
                            .filter(is_for)
                            .flat_map(|user| {
                                [None].into_iter().chain(with_id).map(move |id| Topic::Notification(user, id))
                            })
                            .collect(),
                        Subject { kind, id } => vec![Topic::Object(kind, id.expect("an object's id"))],
                    });
                }
                Ok(Line::Revoke { ack, .. }) => producer.owed += usize::from(ack.is_some()),
                Err(_) => producer.owed += 1,
            }
        }
        let id = producer.id;
        self.server.receive_lines(id, bytes, self.now);
        Ok(())
    }

    /// Lets the access service answer all its questions.
    fn answer(&mut self, code: Code) {
        let Server { service: hub, peers, .. } = &mut self.server;
        while let Some(question) = hub.next_access_question() {
            let line = format!("{{\"ref\":{},\"code\":{}}}", question.reference, code.number());
            hub.access_line(peers, line.as_bytes(), self.now).expect("a good answer");
        }
    }

    /// A turn of the event loop.
    fn turn(&mut self) {
        self.server.advance(self.now);
        self.server.flush(&mut self.sockets, self.now);
        for (id, wire) in &mut self.sockets.0 {
            let written = std::mem::take(&mut wire.written);
            if let Some(client) = self.clients.get_mut(id) {
                client.reads(&written, &self.published);
            }
        }
        for producer in &mut self.producers {
            let is_all = self.server.producers.write_answers(producer.id, &mut producer.answers);
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
            self.send_to(id, &frame(OpCode::Pong, b""), 0);
        }
    }

    /// Lets everything come to rest, and looks whether everybody has what they are owed.
    fn end(&mut self) {
        self.answer(Code::Ok);
        for _ in 0..MOST_TURNS {
            for (&id, wire) in &mut self.sockets.0 {
                wire.room = 1 << 30;
                self.server.peers.writable(id);
            }
            self.turn();
            self.answer(Code::Ok);
            if !self.server.has_work() {
                break;
            }
        }
        self.turn();
        assert!(!self.server.has_work(), "the server comes to rest");
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

/// A request of a client that listens to the notifications of this user.
fn request(script: &mut Unstructured<'_>, own: usize) -> Result<Vec<u8>> {
    let mut subject = *script.choose(&SUBJECTS)?;
    let token = script.int_in_range(0..=3)?;
    if subject.kind == EventType::Notification && token % 2 != own {
        // The message of a loss does not say whose notifications.
        subject = SUBJECTS[0];
    }
    let action = if script.ratio(3, 4)? { Action::Attach } else { Action::Detach };
    let mut request = Vec::new();
    let auth = tokens()[token].as_str().into();
    Request { auth, action, subject }.encode(&mut request);
    Ok(request)
}

/// The `event` of a request.
fn event(subject: Subject) -> String {
    let id = subject.id.map(|id| id.to_string()).unwrap_or_default();
    format!("{{\"type\":\"{}\",\"id\":\"{id}\"}}", subject.kind.as_str())
}

/// What a subject means with this token.
fn topic(auth: &str, subject: Subject) -> Topic {
    let user = tokens().iter().position(|token| token == auth).unwrap_or_default() % 2;
    Topic::new(USERS[user].parse().expect("an id"), subject).expect("a well-formed request")
}

fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(opcode, payload, Some([0; 4]), &mut bytes);
    bytes
}

/// Tokens of the users by turns: two that last, one that ends within the minute, one with another's signature.
fn tokens() -> &'static [String; 4] {
    static TOKENS: std::sync::OnceLock<[String; 4]> = std::sync::OnceLock::new();
    TOKENS.get_or_init(|| {
        let private = include_bytes!("../../../tests/fixtures/keys/rsa2048.private.pem");
        let other = include_bytes!("../../../tests/fixtures/keys/rsa2048-other.private.pem");
        let [key, other] = [&private[..], other].map(|file| SigningKey::from_pem(file).expect("a good key"));
        let payload = |user: usize, seconds: u64| {
            let exp = START.0 / 1000 + seconds;
            format!("{{\"exp\":{exp},\"data\":{{\"id\":\"{}\"}}}}", USERS[user])
        };
        [
            key.sign(&payload(0, 1_000_000)),
            key.sign(&payload(1, 1_000_000)),
            key.sign(&payload(0, 60)),
            other.sign(&payload(1, 1_000_000)),
        ]
    })
}

fn keys() -> KeySet {
    let mut keys = KeySet::new();
    keys.add_pem(include_bytes!("../../../tests/fixtures/keys/rsa2048.spki.pem")).expect("a good key");
    keys
}

const USERS: [&str; 2] = ["5dad615eae019570fb4647ed", "5dad615eae019570fb4647ee"];

const fn subject(kind: EventType, id: Option<u8>) -> Subject {
    let id = match id {
        Some(id) => Some(ObjectId::from_bytes([id; 12])),
        None => None,
    };
    Subject { kind, id }
}

const SUBJECTS: [Subject; 5] = [
    subject(EventType::IssueUpdate, Some(1)),
    subject(EventType::DatasetUpdate, Some(1)),
    subject(EventType::DatasetUpdate, Some(2)),
    subject(EventType::Notification, None),
    subject(EventType::Notification, Some(1)),
];

/// The first user may see the first dataset; the second does not exist.
const ACCESS_FILE: &str =
    r#"{"users":{"5dad615eae019570fb4647ed":{"datasets":["010101010101010101010101"]}}}"#;

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What a client may offer besides.
const OFFERS: [&str; 3] = [
    "",
    "Sec-WebSocket-Extensions: permessage-deflate\r\n",
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n",
];

const LIMITS: Limits = Limits { head_bytes: 1024, message_bytes: 4096, fragments: 4 };

const LINE_BYTES: usize = 1024;

const START: Wall = Wall(1_711_709_200_000);

const MOST_STEPS: usize = 200;

/// More than it takes to come to rest.
const MOST_TURNS: usize = 100;
