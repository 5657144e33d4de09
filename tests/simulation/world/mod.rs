//! One episode: a whole server, its sockets played, its clients and producers, and the oracle that looks at everything.
//!
//! [`World::turn`] does what a turn of the event loop does, in its order; only the system calls are played.

mod service;
mod setup;
mod sockets;

pub(crate) use setup::{CLOSE, FRAMES, MESSAGE, PONG, QUEUE, SOFT_TIME};

use crate::clients::{Client, End};
use crate::faults::{Fault, Faults};
use crate::ledger::Ledger;
use crate::listener::{Phase, Verdict};
use crate::names::{Topic, USERS};
use crate::producers::{LINE, Producer};
use crate::random::Random;
use crate::tokens::{self, KEY_SETS, START};
use crate::wires::{Wire, Wires};
use airlay::hub::Hub;
use airlay::peers::PeerId;
use airlay::server::Server;
use airlay::time::{Monotonic, Now, Wall};
use service::AccessService;
use setup::{PEERS_OVER, Setup};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher as _};
use std::net::{IpAddr, Ipv4Addr};

/// What an episode is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) clients: usize,
    pub(crate) producers: usize,
    pub(crate) turns: u32,
    /// Faults that are to happen more often than usual.
    pub(crate) focus: &'static [Fault],
    pub(crate) trace: bool,
}

/// What came of an episode, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How often each fault happened.
    pub(crate) faults: Vec<u64>,
    /// Of all that the server wrote.
    pub(crate) hash: u64,
    /// The most clients that were connected at once.
    pub(crate) clients: usize,
    /// Events that clients were told of.
    pub(crate) events: usize,
    /// Attachments of which only the stream can say which event was their first.
    pub(crate) races: usize,
    /// Secrets heard by those whom they are for.
    pub(crate) secrets: usize,
    /// Reads that did not empty a socket.
    pub(crate) unfinished_reads: usize,
    pub(crate) turns: usize,
}

/// How far stopping has come, as in the event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    Draining,
    Closing,
}

/// One episode: the server, its simulated sockets, clients and producers, and the oracle.
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
    service: AccessService,
    stage: Stage,
    /// Since when something waits to be written because a turn's share was used up.
    unflushed_since: Option<u64>,
    /// Whether faults still happen.
    is_rough: bool,
    /// Every connection was dropped at a second signal.
    is_aborted: bool,
    /// How far the wall clock was stepped, and the time that passed.
    wall_offset: i64,
    elapsed: u64,
    hasher: DefaultHasher,
    outcome: Outcome,
}

/// Says what happens, if that is wanted.
macro_rules! trace {
    ($world:expr, $($text:tt)*) => {
        if $world.plan.trace {
            println!("{:4} {:>8} {}", $world.turn, $world.now.monotonic.0, format_args!($($text)*));
        }
    };
}
use trace;

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
        let turns = if clients < 200 { 60 } else { 20 };
        Self { seed, clients, producers, turns, focus: &[], trace: false }
    }

    /// A smaller one, in which these faults are frequent.
    pub(crate) const fn of_row(seed: u64, focus: &'static [Fault]) -> Self {
        let mut random = Random::new(seed);
        Self { clients: random.between(30, 60), producers: 10, turns: 60, focus, ..Self::of(seed) }
    }
}

impl Outcome {
    /// Adds what came of another episode.
    pub(crate) fn add(&mut self, other: &Self) {
        self.faults.iter_mut().zip(&other.faults).for_each(|(sum, count)| *sum += count);
        self.hash = self.hash.wrapping_add(other.hash);
        self.clients = self.clients.max(other.clients);
        self.events += other.events;
        self.races += other.races;
        self.secrets += other.secrets;
        self.unfinished_reads += other.unfinished_reads;
        self.turns += other.turns;
    }
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        // The plan has drawn from the seed already.
        let mut random = Random::new(plan.seed ^ u64::from(u32::MAX));
        let faults = Faults::new(&mut random, plan.focus);
        let Setup { server, ledger, peers_allowed } = Setup::new(plan, &mut random);
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
            service: AccessService::default(),
            stage: Stage::Serving,
            unflushed_since: None,
            is_rough: true,
            is_aborted: false,
            wall_offset: 0,
            elapsed: 0,
            hasher: DefaultHasher::new(),
            outcome: Outcome::default(),
        }
    }

    /// Plays the episode to its end.
    ///
    /// # Errors
    /// What the oracle complains of.
    pub(crate) fn run(mut self) -> Result<Outcome, String> {
        let stops = self.random.chance(250) || self.plan.focus.contains(&Fault::Drain);
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
        self.outcome.faults = self.faults.counts.to_vec();
        self.outcome.hash = self.hasher.finish();
        self.outcome.turns = self.turn as usize;
        Ok(self.outcome)
    }

    /// Ends the faults and all new activity.
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
            self.producers[at].owes = self.producers[at].out.len();
            self.producers[at].is_readable = true;
        }
    }

    /// The second signal, as the event loop takes it.
    fn abort(&mut self) {
        trace!(self, "the server is told to stop at once");
        self.faults.happened(Fault::SecondStop);
        self.is_aborted = true;
        self.stage = Stage::Closing;
        for peer in self.server.peers.ids().collect::<Vec<_>>() {
            self.server.disconnect(peer);
        }
    }

    /// Turns until nothing moves any more; then everything that is due must have come.
    fn settle(&mut self) -> Verdict {
        let abort = self.random.chance(200).then(|| self.random.between(1, 6));
        for turn in 0..2000 {
            if self.stage != Stage::Serving && Some(turn) == abort {
                self.abort();
            }
            self.turn()?;
            if self.stage == Stage::Closing {
                if self.server.peers.is_empty() {
                    return Ok(());
                }
                continue;
            }
            let clients_rest = self.clients.iter().all(|client| {
                let has_heard = client.unread == 0 && !self.wires.of(client.peer).is_blocked;
                client.given == client.out.len() && has_heard && !client.listener.is_waiting()
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
            if self.clients.len() < self.peers_allowed + PEERS_OVER {
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
        for client in &mut self.clients {
            client.note_lateness(self.wires.of(client.peer).is_blocked, self.now.monotonic.0);
        }
        self.server.advance(self.now);
        self.consult()?;
        self.server.flush(&mut self.wires, self.now);
        self.drain();
        self.listen()?;
        self.write_answers()?;
        self.reap()?;
        self.check()
    }

    fn tick(&mut self) {
        let mut step = self.random.between(1, 60) as u64;
        if !self.is_rough || self.turn.is_multiple_of(8) {
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
        self.ledger.begin_turn(self.now.monotonic.0, self.now.wall.0);
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
            if client.end.is_some() {
                continue;
            }
            if self.faults.strike(Fault::EndOfStream, &mut client.random) {
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

    /// The operator changes keys and access.
    fn housekeeping(&mut self) -> Verdict {
        if self.faults.strikes(Fault::KeyChange, &mut self.random) {
            let set = *self.random.pick(&KEY_SETS);
            trace!(self, "keys become {set:#b}");
            self.ledger.change_keys(set);
            self.server.service.replace_keys(&mut self.server.peers, tokens::key_set(set), self.now);
        }
        if let Some(former) = self.ledger.tables[self.ledger.epoch().access].clone()
            && self.faults.strikes(Fault::AccessChange, &mut self.random)
        {
            let mut table = former;
            for _ in 0..self.random.between(1, 30) {
                let user = self.random.below(USERS);
                table[user] =
                    if self.random.chance(200) { None } else { Some(setup::datasets(&mut self.random)) };
            }
            trace!(self, "access changes");
            let table = Some(table);
            let access = setup::access(&table);
            self.ledger.change_access(table);
            // A service just answers otherwise from now on.
            if !self.ledger.asks_service {
                self.server.service.replace_access(&mut self.server.peers, access, self.now);
            }
        }
        self.server.peers.settle(&mut self.server.service);
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
        self.outcome.clients = self.outcome.clients.max(self.clients.len());
        let open = self.clients.iter().filter(|client| peers.is_open(client.peer)).count();
        if peers.open() != open || open > self.peers_allowed {
            return Err(format!(
                "{open} of {} allowed are open, counted are {}",
                self.peers_allowed,
                peers.open()
            ));
        }
        let due = self.server.next_deadline(self.now).map(|due| due.0);
        if !self.server.has_work() && due.is_some_and(|due| due <= self.now.monotonic.0) {
            return Err(format!("{due:?} is due and was not done at {}", self.now.monotonic.0));
        }
        let is_flushed = !peers.has_unflushed();
        let now = self.now.monotonic.0;
        self.unflushed_since = (!is_flushed).then(|| self.unflushed_since.unwrap_or(now));
        for client in &mut self.clients {
            let wire = self.wires.of(client.peer);
            if !peers.is_open(client.peer) {
                continue;
            }
            if wire.is_blocked && !wire.owes_event && is_flushed {
                return Err(format!("client {}: there is room again, and nothing is written", client.number));
            }
            if wire.is_blocked {
                let owed = client.listener.owed(&self.ledger);
                client.owed = owed;
                if owed > QUEUE + LINE {
                    let number = client.number;
                    return Err(format!("client {number}: {owed} bytes are queued, and it is not closed"));
                }
            } else if is_flushed {
                let verdict = client.listener.check_nothing_is_missing(&self.ledger);
                verdict.map_err(|error| format!("client {}: {error}", client.number))?;
            }
        }
        Ok(())
    }
}

/// An hour in milliseconds.
const HOUR: i64 = 3_600_000;
