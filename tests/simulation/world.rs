//! One episode: a whole server, its sockets played, its clients and producers, and the oracle that looks at everything.
//!
//! [`World::turn`] does what a turn of the event loop does, in its order; only the system calls are played.

use crate::clients::{Client, End, Sent};
use crate::faults::{Fault, Faults};
use crate::ledger::{AccessTable, Epoch, Ledger, access_file};
use crate::listener::{BURST, PER_SECOND, Phase, Verdict};
use crate::names::{DATASET_KINDS, OBJECTS, Topic, USERS};
use crate::producers::{ANSWERS, Answer, LINE, Line, Producer};
use crate::random::Random;
use crate::tokens::{self, ISSUER, KEY_SETS, OF_USER, START};
use crate::wires::{Wire, Wires};
use airlay::access::{Access, AccessFile};
use airlay::api::EventType;
use airlay::hub::{Admission, Hub, HubLimits};
use airlay::peers::{PeerId, PeerLimits, Peers};
use airlay::producers::{Loss, ProducerLimits, Producers};
use airlay::server::{Server, Service as _};
use airlay::time::{Monotonic, Now, Wall};
use airlay::token::{Rules, Tokens};
use airlay::websocket::close::CloseCode;
use airlay::websocket::handshake::Rejection;
use airlay::websocket::message::Limits;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher as _};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// The limits of the server, small enough to be reached.
const HANDSHAKE: u64 = 3000;
const MESSAGE: u64 = 3000;
const PING: u64 = 4000;
const PONG: u64 = 2000;
const CLOSE: u64 = 2000;
const SOFT_TIME: u64 = 3000;
const MESSAGE_BYTES: usize = 4096;
const QUEUE: usize = 16 << 10;
const QUEUE_SOFT: usize = 8 << 10;
const QUEUE_UNAUTHENTICATED: usize = 2 << 10;
const QUEUE_TOTAL: usize = 96 << 10;
const SUBSCRIPTIONS: usize = 8;

/// How late the server's deadlines may be.
const LATE: u64 = 1500;

/// What an episode is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) clients: usize,
    pub(crate) producers: usize,
    pub(crate) turns: u32,
    /// A fault that is to happen more often than usual.
    pub(crate) focus: Option<Fault>,
    pub(crate) trace: bool,
}

/// What came of an episode.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) counts: [u64; Fault::COUNT],
    /// Of all that the server wrote.
    pub(crate) hash: u64,
    pub(crate) events: usize,
    pub(crate) turns: u32,
}

/// How far stopping has come, as in the event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    Draining,
    Closing,
}

/// See the module.
pub(crate) struct World {
    plan: Plan,
    random: Random,
    faults: Faults,
    server: Server<Hub>,
    wires: Wires,
    /// In the order they came; those that are gone are taken out.
    clients: Vec<Client>,
    connected: usize,
    /// The most peers the server takes.
    peers_allowed: usize,
    producers: Vec<Producer>,
    producers_connected: usize,
    ledger: Ledger,
    now: Now,
    turn: u32,
    /// The readiness list of the event loop: those to read from, and by slot whether they are in it and whether only an
    /// empty read will do.
    readable: VecDeque<PeerId>,
    marks: Vec<(bool, bool)>,
    answerable: Vec<usize>,
    buffer: Vec<u8>,
    /// Peers that are gone, for events that come too late.
    ghosts: Vec<PeerId>,
    stage: Stage,
    /// Whether faults still happen.
    is_rough: bool,
    /// How far the wall clock was stepped, and the time that passed.
    wall_offset: i64,
    elapsed: u64,
    hasher: DefaultHasher,
    events: usize,
}

macro_rules! trace {
    ($world:expr, $($text:tt)*) => {
        if $world.plan.trace {
            println!("{:4} {:>8} {}", $world.turn, $world.now.monotonic.0, format_args!($($text)*));
        }
    };
}

impl Plan {
    /// What the seed makes of it: seven of eight episodes have 200 peers or more.
    pub(crate) const fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let clients = match random.below(8) {
            0 => random.between(8, 48),
            1 => random.between(290, 330),
            _ => random.between(200, 230),
        };
        let producers = random.between(10, 14);
        let turns = if clients < 200 { 80 } else { 24 };
        Self { seed, clients, producers, turns, focus: None, trace: false }
    }
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed ^ 0x0a17_1a7);
        let faults = Faults::new(&mut random, plan.focus);
        let uses_file = plan.focus == Some(Fault::AccessChange) || random.chance(600);
        let table: AccessTable = uses_file.then(|| {
            (0..USERS).map(|_| if random.chance(50) { None } else { Some(bits(&mut random)) }).collect()
        });
        let keys = KEY_SETS[0];
        let first = Epoch { stamp: 0, wall: START, keys, access: 0, turn: 0 };
        let mut ledger = Ledger::new(USERS * OF_USER, first, table.clone());
        ledger.leeway = *random.pick(&[0, 1000, 30_000]);
        ledger.enforce_expiry = random.chance(900);
        ledger.subscriptions = SUBSCRIPTIONS;
        let cache = *random.pick(&[100_000, 100_000, 100_000, 100_000, 0]);
        ledger.remembers = cache > 0;
        let peers_allowed =
            if random.chance(300) { plan.clients - plan.clients / 8 } else { 2 * plan.clients };
        let rules = Rules {
            issuers: vec![ISSUER.into()],
            audience: None,
            leeway: Duration::from_millis(ledger.leeway),
            token_bytes: 8192,
        };
        let hub = Hub::new(
            Admission {
                path: "/ws".into(),
                origins: Default::default(),
                trusted_proxies: Default::default(),
                connections: peers_allowed,
                connections_per_address: 0,
                page: None,
            },
            Tokens::new(tokens::key_set(keys), rules, cache),
            access(&table),
            HubLimits {
                subscriptions: SUBSCRIPTIONS,
                connections_per_user: 0,
                requests_per_second: PER_SECOND,
                request_burst: BURST,
                line: LINE,
            },
            ledger.enforce_expiry,
        );
        let milliseconds = Duration::from_millis;
        let limits = PeerLimits {
            peers: peers_allowed + 8,
            handshake: milliseconds(HANDSHAKE),
            message: milliseconds(MESSAGE),
            ping: milliseconds(PING),
            pong: milliseconds(PONG),
            close: milliseconds(CLOSE),
            queue: QUEUE,
            queue_soft: QUEUE_SOFT,
            queue_soft_time: milliseconds(SOFT_TIME),
            queue_unauthenticated: QUEUE_UNAUTHENTICATED,
            queue_total: QUEUE_TOTAL,
        };
        let messages = Limits { message_bytes: MESSAGE_BYTES, ..Limits::default() };
        let producer_limits = ProducerLimits { line: LINE, answers: ANSWERS };
        let server =
            Server::new(Peers::new(limits, messages), Producers::new(producer_limits), hub, QUEUE);
        let buffer = vec![0; *random.pick(&[512, 4096, 65536])];
        let monotonic = Monotonic(random.next() >> 30);
        Self {
            plan,
            random,
            faults,
            server,
            wires: Wires::default(),
            clients: Vec::new(),
            connected: 0,
            peers_allowed,
            producers: Vec::new(),
            producers_connected: 0,
            ledger,
            now: Now { monotonic, wall: Wall(START) },
            turn: 0,
            readable: VecDeque::new(),
            marks: Vec::new(),
            answerable: Vec::new(),
            buffer,
            ghosts: Vec::new(),
            stage: Stage::Serving,
            is_rough: true,
            wall_offset: 0,
            elapsed: 0,
            hasher: DefaultHasher::new(),
            events: 0,
        }
    }

    /// Plays the episode to its end.
    ///
    /// # Errors
    /// What the oracle complains of.
    pub(crate) fn run(mut self) -> Result<Outcome, String> {
        let stops = self.faults.strikes(Fault::Drain, &mut self.random.fork())
            || self.random.chance(250);
        for turn in 0..self.plan.turns {
            // A third of all at first, the others by and by.
            let share = if turn == 0 { self.plan.clients / 3 } else { self.plan.clients / 12 };
            for _ in 0..share {
                if self.clients.len() < self.plan.clients {
                    self.connect()?;
                }
            }
            while self.producers.len() < self.plan.producers {
                self.connect_producer();
            }
            self.turn().map_err(|error| format!("turn {}: {error}", self.turn))?;
        }
        if stops {
            self.stop();
        } else {
            self.calm();
        }
        self.settle().map_err(|error| format!("turn {}, at the end: {error}", self.turn))?;
        Ok(Outcome { counts: self.faults.counts, hash: self.hasher.finish(), events: self.events, turns: self.turn })
    }

    /// No more faults, and nobody wants anything new.
    fn calm(&mut self) {
        self.is_rough = false;
        self.faults.end();
        for client in &mut self.clients {
            client.stalled = 0;
        }
        for producer in &mut self.producers {
            producer.stalled = 0;
        }
    }

    /// The first signal, as the event loop takes it.
    fn stop(&mut self) {
        trace!(self, "the server is told to stop");
        self.faults.happened(Fault::Drain);
        self.calm();
        self.stage = Stage::Draining;
        for at in 0..self.producers.len() {
            self.producers[at].arrived = self.producers[at].out.len();
            self.producers[at].is_readable = true;
        }
    }

    /// Turns until nothing moves any more; then everything that is due must have come.
    fn settle(&mut self) -> Verdict {
        for _ in 0..2000 {
            self.turn()?;
            if self.stage == Stage::Closing {
                if self.server.peers.is_empty() {
                    return Ok(());
                }
                continue;
            }
            let clients_rest = self.clients.iter().all(|client| {
                client.given == client.out.len() && client.unread == 0 && !client.listener.is_waiting()
                    || client.listener.phase != Phase::Open
            });
            let producers_rest = self.producers.iter().all(|producer| producer.given == producer.out.len());
            if clients_rest && producers_rest && !self.server.has_work() && self.stage == Stage::Serving {
                return self.check_end();
            }
        }
        let waiting = self.clients.iter().filter(|client| client.listener.is_waiting()).count();
        Err(format!("it does not come to rest: {waiting} clients wait, stage {:?}", self.stage))
    }

    fn check_end(&mut self) -> Verdict {
        for client in &mut self.clients {
            let about = |error| format!("client {}: {error}", client.number);
            client.listener.check_nothing_is_missing(&self.ledger).map_err(about)?;
        }
        Ok(())
    }

    /// A client connects, if the server takes it.
    fn connect(&mut self) -> Verdict {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
        let number = self.connected;
        self.connected += 1;
        let Some(peer) = self.server.peers.connect(address, self.now.monotonic) else {
            if self.clients.len() < self.peers_allowed + 8 {
                return Err("a peer was turned away though there was room".into());
            }
            return Ok(());
        };
        let is_slow = self.faults.strikes(Fault::BlockedWriter, &mut self.random);
        let capacity = if is_slow { self.random.between(600, 6000) } else { 1 << 20 };
        let mut wire = Wire::new(number, capacity, self.random.fork());
        if self.faults.strikes(Fault::ShortWrite, &mut self.random) {
            wire.short = 500;
        }
        if self.faults.strikes(Fault::SpuriousBlock, &mut self.random) {
            wire.spurious = 100;
        }
        self.wires.put(peer, wire);
        if self.marks.len() <= peer.index() {
            self.marks.resize(peer.index() + 1, (false, false));
        }
        self.marks[peer.index()] = (false, false);
        let mut client = Client::new(number, peer, capacity, self.now.monotonic.0, self.random.fork());
        if self.faults.strike(Fault::UnansweredPing, &mut self.random) {
            client.answers_pings = false;
        }
        client.knock(&mut self.faults);
        trace!(self, "client {number} connects as {peer:?}");
        self.ghosts(peer)?;
        self.clients.push(client);
        Ok(())
    }

    /// Events for peers that had this slot before come too late, and must not touch the new one.
    fn ghosts(&mut self, peer: PeerId) -> Verdict {
        let Some(at) = self.ghosts.iter().rposition(|ghost| ghost.index() == peer.index()) else {
            return Ok(());
        };
        self.faults.happened(Fault::SlotReuse);
        let ghost = self.ghosts.swap_remove(at);
        if ghost.generation() == peer.generation() {
            return Err(format!("{peer:?} is called like one before it"));
        }
        if self.faults.strike(Fault::StaleEvent, &mut self.random) {
            trace!(self, "an event for {ghost:?} comes too late");
            self.server.peers.writable(ghost);
            self.server.receive(ghost, &mut b"GET / HTTP/1.1\r\n\r\n".to_vec(), self.now);
            self.server.disconnect(ghost);
        }
        Ok(())
    }

    fn connect_producer(&mut self) {
        let number = self.producers_connected;
        self.producers_connected += 1;
        let id = self.server.producers.connect();
        let mut answers = Wire::new(number, 1 << 20, self.random.fork());
        if self.faults.strikes(Fault::ShortWrite, &mut self.random) {
            answers.short = 500;
        }
        trace!(self, "producer {number} connects");
        self.producers.push(Producer::new(number, id, answers, self.random.fork()));
    }

    /// A turn of the event loop, and what happens around it.
    fn turn(&mut self) -> Verdict {
        self.turn += 1;
        self.tick();
        self.act();
        self.arrive();
        self.housekeeping()?;
        self.read_producers()?;
        self.read_peers()?;
        self.server.advance(self.now);
        self.drain();
        self.server.flush(&mut self.wires, self.now);
        self.listen()?;
        self.write_answers()?;
        self.reap()?;
        self.check()
    }

    fn tick(&mut self) {
        let mut step = self.random.between(1, 60) as u64;
        if !self.is_rough || self.turn % 8 == 0 {
            // Nothing happens until something is due.
            let due = self.server.next_deadline(self.now).filter(|_| !self.server.has_work());
            step = due.map_or(step, |due| due.0.saturating_sub(self.now.monotonic.0).clamp(1, 500));
        }
        if self.faults.strike(Fault::MonotonicJump, &mut self.random) {
            step = self.random.between(500, 20_000) as u64;
        }
        if self.wall_offset < 3 * HOUR && self.faults.strike(Fault::WallForward, &mut self.random) {
            self.wall_offset += HOUR;
        }
        if self.wall_offset > -3 * HOUR && self.faults.strike(Fault::WallBack, &mut self.random) {
            self.wall_offset -= HOUR;
        }
        self.now.monotonic.0 += step;
        self.elapsed += step;
        self.now.wall = Wall((START + self.elapsed).saturating_add_signed(self.wall_offset));
        self.ledger.begin_turn(self.now.wall.0);
    }

    /// Clients and producers do something.
    fn act(&mut self) {
        for client in &mut self.clients {
            let wire = self.wires.of(client.peer);
            let is_slow = client.capacity < 1 << 20;
            if self.is_rough && is_slow && client.stalled == 0 && client.random.chance(100) {
                client.stalled = client.random.between(1, 60);
            }
            wire.room += client.read();
            if wire.is_shut && client.answers_closes && client.end.is_none() {
                client.end = Some(End::EndOfStream);
            }
            if !self.is_rough {
                continue;
            }
            if client.random.chance(80) {
                client.act(&mut self.faults);
            }
            if self.faults.strike(Fault::EndOfStream, &mut client.random) && client.end.is_none() {
                client.cut();
                client.end = Some(End::EndOfStream);
            } else if self.faults.strike(Fault::Reset, &mut client.random) {
                client.end = Some(End::Reset);
            } else if self.faults.strike(Fault::WriteError, &mut client.random) {
                wire.is_broken = true;
            }
        }
        if !self.is_rough {
            return;
        }
        for producer in &mut self.producers {
            if producer.random.chance(350) {
                producer.act(&mut self.ledger, &mut self.faults);
            }
            if producer.stalled == 0 && self.faults.strikes(Fault::UnreadAnswers, &mut producer.random) {
                producer.stalled = producer.random.between(5, 30);
                producer.answers.room = producer.random.below(200);
            }
        }
        if self.faults.strikes(Fault::CloseInFanOut, &mut self.random) {
            self.break_in_fan_out();
        }
    }

    /// Some of those whom an event goes to are gone when it is written.
    fn break_in_fan_out(&mut self) {
        let subject = (0, Some(0));
        let at = self.random.below(self.producers.len());
        if self.producers[at].end.is_some() {
            return;
        }
        self.producers[at].event(subject, &mut self.ledger);
        let topic = Topic::of(0, subject);
        let hears: Vec<PeerId> = self
            .clients
            .iter()
            .filter(|client| client.listener.topics().any(|other| other == topic))
            .map(|client| client.peer)
            .collect();
        for peer in hears.into_iter().take(3) {
            self.wires.of(peer).is_broken = true;
            self.faults.happened(Fault::CloseInFanOut);
        }
    }

    /// What was sent comes to the server's sockets: all of it, or a piece.
    fn arrive(&mut self) {
        let begin = self.random.below(self.clients.len().max(1));
        for at in (begin..self.clients.len()).chain(0..begin) {
            let client = &mut self.clients[at];
            let peer = client.peer;
            let pending = client.out.len() - client.arrived;
            if pending > 0 {
                let cut = self.faults.strikes(Fault::CutInput, &mut client.random) && pending > 1;
                let piece = if cut { client.random.between(1, pending.min(200)) } else { pending };
                if cut && piece < pending {
                    self.faults.happened(Fault::CutInput);
                }
                client.arrived += piece;
            }
            let is_end = client.end.is_some_and(|end| end == End::Reset || client.arrived == client.out.len())
                && !client.end_has_arrived;
            client.end_has_arrived |= is_end;
            if pending > 0 || is_end {
                self.make_readable(peer, is_end);
            }
            let wire = self.wires.of(peer);
            if wire.owes_event && wire.room > 0 {
                wire.owes_event = false;
                self.server.peers.writable(peer);
            }
        }
        for (at, producer) in self.producers.iter_mut().enumerate() {
            let pending = producer.out.len() - producer.arrived;
            if pending > 0 {
                let cut = self.faults.strike(Fault::CutInput, &mut producer.random);
                producer.arrived += if cut { producer.random.between(1, pending) } else { pending };
            }
            let is_end = producer.end.is_some() && producer.arrived == producer.out.len() && !producer.end_has_arrived;
            producer.end_has_arrived |= is_end;
            producer.is_readable |= pending > 0 || is_end;
            if producer.answers.owes_event && producer.answers.room > 0 {
                producer.answers.owes_event = false;
                self.answerable.push(at);
            }
        }
    }

    fn make_readable(&mut self, peer: PeerId, to_the_end: bool) {
        let (is_queued, only_empty) = &mut self.marks[peer.index()];
        *only_empty |= to_the_end;
        if !std::mem::replace(is_queued, true) {
            self.readable.push_back(peer);
        }
    }

    /// The operator changes keys and access.
    fn housekeeping(&mut self) -> Verdict {
        if self.faults.strike(Fault::KeyChange, &mut self.random) {
            let set = *self.random.pick(&KEY_SETS);
            trace!(self, "keys become {set:#b}");
            self.ledger.change_keys(set);
            self.server.service.replace_keys(&mut self.server.peers, tokens::key_set(set), self.now);
        }
        if let Some(former) = self.ledger.tables[self.ledger.epoch().access].clone()
            && self.faults.strike(Fault::AccessChange, &mut self.random)
        {
            let mut table = former;
            for _ in 0..self.random.between(1, 30) {
                let user = self.random.below(USERS);
                table[user] = if self.random.chance(200) { None } else { Some(bits(&mut self.random)) };
            }
            trace!(self, "access changes");
            let table = Some(table);
            let access = access(&table);
            self.ledger.change_access(table);
            self.server.service.replace_access(&mut self.server.peers, access, self.now);
        }
        self.server.peers.settle(&mut self.server.service);
        Ok(())
    }

    fn read_producers(&mut self) -> Verdict {
        let begin = self.turn as usize % self.producers.len().max(1);
        let order: Vec<usize> = (begin..self.producers.len()).chain(0..begin).collect();
        let mut gone = Vec::new();
        for at in order {
            if !self.producers[at].is_readable {
                continue;
            }
            self.answerable.push(at);
            loop {
                let producer = &mut self.producers[at];
                if !self.server.wants_lines(producer.id) {
                    self.faults.happened(Fault::ProducerWaits);
                    break;
                }
                let available = producer.arrived - producer.given;
                match (available, producer.end.filter(|_| producer.end_has_arrived)) {
                    (0, None) => producer.is_readable = false,
                    (0, Some(End::Reset)) => {
                        producer.is_readable = false;
                        gone.push(at);
                    }
                    (0, Some(End::EndOfStream)) => {
                        producer.is_readable = false;
                        producer.is_ended = true;
                        let id = producer.id;
                        trace!(self, "producer {} ends", producer.number);
                        self.take_lines(at, true)?;
                        self.server.finish_lines(id, self.now);
                    }
                    (available, _) => {
                        let piece = available.min(self.buffer.len());
                        producer.given += piece;
                        let (id, given) = (producer.id, producer.given);
                        self.take_lines(at, false)?;
                        let producer = &self.producers[at];
                        self.server.receive_lines(id, &producer.out[given - piece..given], self.now);
                        continue;
                    }
                }
                break;
            }
        }
        gone.sort_unstable();
        gone.into_iter().rev().try_for_each(|at| self.lose_producer(at))
    }

    /// Writes into the oracle's books the lines that the server is about to see whole.
    fn take_lines(&mut self, at: usize, is_end: bool) -> Verdict {
        loop {
            let producer = &mut self.producers[at];
            // A line without its end is one only when the stream has ended in order.
            let Producer { lines, out, given, .. } = producer;
            let is_whole =
                |end: usize| end <= *given && (is_end || end < out.len() || out.ends_with(b"\n"));
            let Some((_, line)) = lines.pop_front_if(|(end, _)| is_whole(*end)) else { return Ok(()) };
            let number = producer.number;
            trace!(self, "producer {number} has {line:?} read");
            match line {
                Line::Bad(number) => self.producers[at].expect(Answer::Refused(number)),
                Line::Event { number, ack } => {
                    let topics = self.ledger.topics(number);
                    self.ledger.read_event(number);
                    if let Some(ack) = ack {
                        let (least, most) = self.audience(&topics);
                        if self.plan.trace { for c in &mut self.clients { println!("   {ack} {} {:?}", c.number, c.listener.hears(&topics, &self.ledger)); } }
                        self.producers[at].expect(Answer::Taken { ack, least, most });
                    }
                }
                Line::Revoke { user, subject, ack } => {
                    self.ledger.revoke(user, subject);
                    if let Some(ack) = ack {
                        self.producers[at].expect(Answer::Taken { ack, least: 0, most: usize::MAX });
                    }
                }
            }
        }
    }

    /// How many hear an event to these topics, at least and at most.
    fn audience(&mut self, topics: &[Topic]) -> (usize, usize) {
        let mut audience = (0, 0);
        for client in &mut self.clients {
            let wire = self.wires.of(client.peer);
            // Whether the server has closed it may not have been heard yet.
            let is_certain = wire.blocks == 0 && client.listener.sins.is_empty() && client.listener.closed_by_client.is_none();
            let (certainly, possibly) = client.listener.hears(topics, &self.ledger);
            audience.0 += usize::from(certainly && is_certain);
            audience.1 += usize::from(possibly);
        }
        audience
    }

    fn read_peers(&mut self) -> Verdict {
        for resumed in self.server.peers.take_resumed().collect::<Vec<_>>() {
            if self.wires.at(resumed.index()).is_some() {
                self.make_readable(resumed, true);
            }
        }
        for _ in 0..self.readable.len().min(256) {
            let Some(peer) = self.readable.pop_front() else { break };
            let Some(wire) = self.wires.at(peer.index()) else { continue };
            let (number, blocked) = (wire.client, wire.is_blocked.then_some(wire.blocks));
            self.marks[peer.index()].0 = false;
            if !self.server.peers.wants_input(peer) {
                continue;
            }
            let at = self.client(number);
            let client = &mut self.clients[at];
            let available = client.arrived - client.given;
            let end = client.end.filter(|_| client.end_has_arrived);
            if end == Some(End::Reset) || available == 0 && end.is_some() {
                trace!(self, "client {number} ends: {end:?}");
                client.end_is_given = true;
                self.server.disconnect(peer);
            } else if available == 0 {
                self.marks[peer.index()].1 = false;
            } else {
                let piece = available.min(self.buffer.len());
                self.buffer[..piece].copy_from_slice(&client.out[client.given..client.given + piece]);
                client.given += piece;
                client.heard_of = self.now.monotonic.0;
                client.note_unfinished(self.now.monotonic.0);
                self.give(at, blocked);
                self.server.receive(peer, &mut self.buffer[..piece], self.now);
                if self.marks[peer.index()].1 || piece == self.buffer.len() {
                    self.make_readable(peer, false);
                }
            }
        }
        Ok(())
    }

    /// Writes into the oracle's books what the server is about to be given of a client.
    fn give(&mut self, at: usize, blocked: Option<u64>) {
        let is_full = self.server.peers.open() >= self.peers_allowed;
        let client = &mut self.clients[at];
        let Client { listener, sent, given, .. } = client;
        while let Some((_, what)) = sent.pop_front_if(|(end, _)| *end <= *given) {
            trace!(self, "client {} has {what:?} read", client.number);
            match what {
                Sent::Head(_) if is_full => {
                    self.faults.happened(Fault::SlotsFull);
                    listener.statuses.push(503);
                }
                Sent::Head(statuses) => listener.statuses.extend_from_slice(statuses),
                Sent::Request(request) => listener.ask(&mut self.ledger, request, self.now.monotonic.0),
                Sent::Ping(payload) => {
                    if blocked.is_some() {
                        self.faults.happened(Fault::UnreadPongs);
                    }
                    listener.ping(payload, blocked);
                }
                Sent::Close(code) => listener.closed_by_client = Some(code),
                Sent::Sin(code) => listener.sins.push(code),
            }
        }
    }

    /// The producers' lines are read to the end: everybody is closed, as the event loop does it.
    fn drain(&mut self) {
        if self.stage != Stage::Draining || self.producers.iter().any(|producer| producer.is_readable) {
            return;
        }
        trace!(self, "the producers are drained");
        self.stage = Stage::Closing;
        self.ledger.closing = Some(self.ledger.next());
        let Server { peers, service, .. } = &mut self.server;
        service.queue_held_back(peers, self.now);
        for client in &mut self.clients {
            client.listener.statuses.push(503);
        }
        for peer in peers.ids().collect::<Vec<_>>() {
            peers.close(peer, CloseCode::GOING_AWAY, "server is stopping", self.now.monotonic);
            peers.reject(peer, Rejection::Unavailable { retry_after: 1 }, self.now.monotonic);
        }
        peers.settle(service);
    }

    /// The oracle hears what has been written to the peers.
    fn listen(&mut self) -> Verdict {
        let mut touched = std::mem::take(&mut self.wires.touched);
        touched.sort_unstable();
        touched.dedup();
        for slot in touched.drain(..) {
            let Some(wire) = self.wires.at(slot).filter(|wire| !wire.written.is_empty()) else { continue };
            let (number, was_blocked) = (wire.client, wire.blocks > 0);
            let bytes = std::mem::take(&mut wire.written);
            self.hasher.write_usize(number);
            self.hasher.write(&bytes);
            let at = self.client(number);
            let client = &mut self.clients[at];
            if self.now.monotonic.0 - client.connected_at >= HANDSHAKE {
                client.listener.statuses.push(408);
            }
            if client.unfinished_since.is_some_and(|since| self.now.monotonic.0 - since >= MESSAGE) {
                client.listener.sins.push(1008);
            }
            client.unread += bytes.len();
            let events = client.listener.events;
            let said = client.listener.said.len();
            let verdict = client.listener.hear(&bytes, &mut self.ledger, was_blocked);
            self.events += client.listener.events - events;
            for what in client.listener.said[said..].to_vec() {
                trace!(self, "client {number} hears {what:?}");
                client.react_at_once(what, self.now.monotonic.0, &mut self.faults);
            }
            verdict.map_err(|error| format!("client {number}: {error}"))?;
        }
        self.wires.touched = touched;
        Ok(())
    }

    fn write_answers(&mut self) -> Verdict {
        let mut answerable = std::mem::take(&mut self.answerable);
        answerable.sort_unstable();
        answerable.dedup();
        let mut ended = Vec::new();
        for at in answerable {
            // Those behind one that is lost have moved up, and come again.
            let Some(producer) = self.producers.get_mut(at) else { continue };
            match self.server.producers.write_answers(producer.id, &mut producer.answers) {
                Ok(true) if producer.is_ended => ended.push(at),
                Ok(_) => {}
                Err(error) => return Err(format!("producer {}: {error}", producer.number)),
            }
        }
        for producer in &mut self.producers {
            if producer.stalled > 0 {
                producer.stalled -= 1;
                continue;
            }
            self.hasher.write(&producer.answers.written);
            producer.answers.room += producer.answers.written.len();
            producer.answers.room = producer.answers.room.max(1 << 16);
            producer.hear().map_err(|error| format!("producer {}: {error}", producer.number))?;
        }
        ended.into_iter().rev().try_for_each(|at| self.lose_producer(at))
    }

    /// A producer is gone.
    fn lose_producer(&mut self, at: usize) -> Verdict {
        let mut producer = self.producers.remove(at);
        self.answerable.clear();
        self.answerable.extend(0..self.producers.len());
        let Loss { cut_line, answers } = self.server.producers.disconnect(producer.id);
        trace!(self, "producer {} is gone", producer.number);
        let given = &producer.out[..producer.given];
        let is_inside = !producer.is_ended && given.last().is_some_and(|&byte| byte != b'\n');
        let number = producer.number;
        let about = |error: String| Err(format!("producer {number}: {error}"));
        if cut_line != is_inside {
            return about(format!("its last line was cut: {cut_line}, not {is_inside}"));
        }
        if producer.is_ended {
            producer.hear()?;
            let missing = producer.lost + producer.missing() as u64;
            if missing != answers {
                return about(format!("{answers} answers are said to be lost, and {missing} are"));
            }
        }
        if answers > 0 {
            self.faults.happened(Fault::UnreadAnswers);
        }
        Ok(())
    }

    /// The slots of peers that are gone are given back.
    fn reap(&mut self) -> Verdict {
        let mut gone = Vec::new();
        self.server.reap(|peer| gone.push(peer));
        for peer in gone {
            let wire = self.wires.take(peer);
            let at = self.client(wire.client);
            let client = self.clients.remove(at);
            trace!(self, "client {} is gone", client.number);
            if wire.shorts > 0 {
                self.faults.happened(Fault::ShortWrite);
            }
            if wire.spurious_blocks > 0 {
                self.faults.happened(Fault::SpuriousBlock);
            }
            if wire.blocks > wire.spurious_blocks {
                self.faults.happened(Fault::BlockedWriter);
            }
            self.ghosts.push(peer);
            let is_right = client.end_is_given
                || wire.has_failed
                || wire.is_blocked
                || wire.blocks > 0 && client.closing_since.is_some()
                || client.was_to_be_dropped(self.now.monotonic.0, PONG, CLOSE);
            if !is_right {
                return Err(format!("client {} was dropped without a reason", client.number));
            }
        }
        Ok(())
    }

    /// What holds after every turn.
    fn check(&mut self) -> Verdict {
        let Server { peers, producers, .. } = &self.server;
        if peers.len() != self.clients.len() || producers.len() != self.producers.len() {
            return Err(format!(
                "{} peers for {} clients, {} producers for {}",
                peers.len(),
                self.clients.len(),
                producers.len(),
                self.producers.len()
            ));
        }
        let open = self.clients.iter().filter(|client| peers.is_open(client.peer)).count();
        if peers.open() != open || open > self.peers_allowed {
            return Err(format!("{open} of {} allowed are open, counted are {}", self.peers_allowed, peers.open()));
        }
        let due = self.server.next_deadline(self.now).map(|due| due.0);
        if !self.server.has_work() && due.is_some_and(|due| due <= self.now.monotonic.0) {
            return Err(format!("{due:?} is due and was not done at {}", self.now.monotonic.0));
        }
        let is_flushed = !peers.has_unflushed();
        for client in &mut self.clients {
            let wire = self.wires.of(client.peer);
            if !peers.is_open(client.peer) {
                continue;
            }
            let about = |error| format!("client {}: {error}; {:?}", client.number, (wire.room, wire.blocks, wire.owes_event, wire.is_blocked, wire.shorts, client.unread, client.stalled));
            if wire.is_blocked {
                let owed = client.listener.owed(&self.ledger);
                if owed > QUEUE + LINE {
                    return Err(about(format!("{owed} bytes are queued, and it is not closed")));
                }
            } else if is_flushed {
                client.listener.check_nothing_is_missing(&self.ledger).map_err(about)?;
            }
        }
        Ok(())
    }

    /// The place of a client that is still there.
    fn client(&self, number: usize) -> usize {
        let found = self.clients.binary_search_by_key(&number, |client| client.number);
        found.unwrap_or_else(|_| panic!("client {number} is gone and has a wire"))
    }
}

/// Any set of objects.
fn bits(random: &mut Random) -> u32 {
    let [a, b, c, d, ..] = random.next().to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) & ((1 << OBJECTS) - 1)
}

/// The access that a table stands for.
fn access(table: &AccessTable) -> Access {
    let Some(table) = table else { return Access::Token };
    let kinds = [EventType::DatasetUpdate, EventType::UploadFile, EventType::DownloadFile];
    assert_eq!(kinds.len(), DATASET_KINDS.len());
    let file = AccessFile::parse(access_file(table).as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    Access::File { dataset_events: kinds.to_vec(), file }
}

/// An hour in milliseconds.
const HOUR: i64 = 3_600_000;
