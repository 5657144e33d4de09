//! One episode: the driver, its sockets played, its clients and producers, and the oracle that watches all of it.
//!
//! [`World::turn`] does what the event loop does: waits for as long as the driver says, reports readiness, and lets it do a
//! turn. What came of it is read from the tape (`following.rs`); what the wait means is judged in `waiting.rs`.

mod following;
mod life;
mod service;
mod setup;
mod waiting;

pub(crate) use setup::{
    CLOSE, FRAMES, HANDSHAKE, MESSAGE, PING, PONG, QUEUE, QUEUE_SOFT, QUEUE_UNAUTHENTICATED, SOFT_TIME,
};

use crate::clients::Client;
use crate::faults::{Fault, Faults};
use crate::ledger::{Ledger, Stamp};
use crate::listener::{Phase, Verdict};
use crate::names::USERS;
use crate::net::{Net, Ready};
use crate::producers::Producer;
use crate::random::Random;
use crate::tape::Tape;
use crate::tokens::{self, KEY_SETS, START};
use crate::witness::Witness;
use airlay::driver::Driver;
use airlay::peers::PeerId;
use airlay::time::{Monotonic, Now, Wall};
use service::AccessService;
use setup::{Setup, Sizes};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

/// What an episode is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) clients: usize,
    pub(crate) producers: usize,
    /// How often clients and producers do something of their own.
    pub(crate) moments: u32,
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
    /// Turns that left something to read, and real waits.
    pub(crate) unfinished_reads: usize,
    pub(crate) waits: usize,
    pub(crate) turns: usize,
}

/// How far stopping has come, by what was done to the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    Draining,
    Closing,
}

/// An episode under way.
pub(crate) struct World {
    plan: Plan,
    sizes: Sizes,
    random: Random,
    faults: Faults,
    driver: Driver<Witness>,
    net: Net,
    tape: Tape,
    /// In the order they came; those that are gone are taken out.
    clients: Vec<Client>,
    /// The most peers whose connections may be open, and how many are.
    peers_allowed: usize,
    open: usize,
    producers: Vec<Producer>,
    ledger: Ledger,
    /// What the clocks show, and the time that counts, as the driver said at the begin of the turn.
    real: Now,
    now: Now,
    /// When the turn began by the clock.
    began_at: u64,
    /// What the wall clock has shown in this turn, and how often it was set.
    walls: Vec<u64>,
    wall_steps: u32,
    turn: u32,
    /// When clients and producers do something next.
    next_moment: u64,
    moments: u32,
    /// The process was stopped, and the driver has not said since that it has nothing to do.
    is_catching_up: bool,
    /// The time that did not count, at most.
    excused: u64,
    /// Since when descriptors have been short, and when that was last noticed.
    exhausted_until: u64,
    exhausted_at: u64,
    /// The client of each peer that there ever was.
    numbers: BTreeMap<PeerId, usize>,
    /// Bytes of producers' lines that the service was given, how many of them have been offered to everyone, and where each
    /// event was that may not have been.
    taken: usize,
    offered: usize,
    positions: Vec<(Stamp, usize)>,
    most_events: usize,
    /// Peers that are gone, for calls that come too late.
    ghosts: Vec<PeerId>,
    service: AccessService,
    stage: Stage,
    stopped_at: u64,
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
    /// What the seed makes of it: half of the episodes have 200 peers or more.
    pub(crate) const fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let clients = match random.below(8) {
            0..4 => random.between(8, 48),
            4 => random.between(290, 330),
            _ => random.between(200, 230),
        };
        let producers = random.between(10, 14);
        let moments = if clients < 200 { 60 } else { 20 };
        Self { seed, clients, producers, moments, focus: &[], trace: false }
    }

    /// A smaller one, in which these faults are frequent.
    pub(crate) const fn of_row(seed: u64, focus: &'static [Fault]) -> Self {
        let mut random = Random::new(seed);
        Self { clients: random.between(30, 60), producers: 10, moments: 60, focus, ..Self::of(seed) }
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
        self.waits += other.waits;
        self.turns += other.turns;
    }
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        // The plan has drawn from the seed already.
        let mut random = Random::new(plan.seed ^ u64::from(u32::MAX));
        let faults = Faults::new(&mut random, plan.focus);
        let tape = Tape::default();
        let Setup { server, ledger, peers_allowed, sizes } = Setup::new(plan, &tape, &mut random);
        let mut net = Net::new(tape.clone(), random.fork());
        let rate = |fault, rate, random: &mut Random| if faults.strikes(fault, random) { rate } else { 0 };
        net.lost = rate(Fault::Interrupted, 100, &mut random);
        net.unwatchable = rate(Fault::Unwatchable, 3, &mut random);
        net.hurry = *random.pick(&[0, 0, 100]);
        let monotonic = Monotonic(1_000_000 + (random.next() >> 30));
        let now = Now { monotonic, wall: Wall(START) };
        Self {
            plan,
            sizes,
            random,
            faults,
            driver: Driver::new(server, Duration::from_millis(sizes.drain)),
            net,
            tape,
            clients: Vec::new(),
            peers_allowed,
            open: 0,
            producers: Vec::new(),
            ledger,
            real: now,
            now,
            began_at: monotonic.0,
            walls: Vec::new(),
            wall_steps: 0,
            turn: 0,
            next_moment: monotonic.0,
            moments: 0,
            is_catching_up: false,
            excused: 0,
            exhausted_until: 0,
            exhausted_at: 0,
            numbers: BTreeMap::new(),
            taken: 0,
            offered: 0,
            positions: Vec::new(),
            most_events: *random_events(plan.seed),
            ghosts: Vec::new(),
            service: AccessService::default(),
            stage: Stage::Serving,
            stopped_at: 0,
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
        self.play().map_err(|error| format!("turn {}: {error}", self.turn))?;
        self.outcome.faults = self.faults.counts.to_vec();
        self.outcome.hash = self.hasher.finish();
        self.outcome.turns = self.turn as usize;
        Ok(self.outcome)
    }

    fn play(&mut self) -> Verdict {
        let stops = self.random.chance(250) || self.plan.focus.contains(&Fault::Drain);
        while self.moments < self.plan.moments {
            self.turn()?;
        }
        self.calm();
        if stops {
            self.stop()?;
        }
        // Long enough for what was begun to be late.
        let end = self.real.monotonic.0 + *self.random.pick(&[500, 500, 9000]);
        let abort = self.random.chance(200).then(|| self.turn as usize + self.random.between(1, 6));
        for _ in 0..100_000 {
            if self.stage != Stage::Serving && Some(self.turn as usize) == abort {
                self.abort()?;
            }
            let has_waited = self.turn()?;
            if self.driver.is_over() {
                return self.check_end();
            }
            if self.stage == Stage::Serving && has_waited && self.real.monotonic.0 >= end && self.is_at_rest()
            {
                return self.check_end();
            }
        }
        Err(format!("it does not come to rest, stage {:?}", self.stage))
    }

    /// Nothing is under way: all that was sent is read and answered.
    fn is_at_rest(&mut self) -> bool {
        // Those beyond the limit wait.
        let mut producers = self.producers.iter().filter(|producer| producer.id.is_some());
        let producers_rest = producers.all(|producer| producer.given == producer.out.len());
        let net = &mut self.net;
        producers_rest
            && self.clients.iter().all(|client| {
                let is_refused = net.clients.wire(client.number).is_some_and(|wire| wire.is_refused);
                let is_done = client.given == client.out.len() && client.unread == 0 && !is_refused;
                is_done && !client.listener.is_waiting() || client.listener.phase != Phase::Open
            })
    }

    fn check_end(&mut self) -> Verdict {
        if self.stage == Stage::Serving {
            return Ok(());
        }
        match self.clients.iter().find(|client| client.peer.is_some()) {
            Some(client) => Err(format!("it is over, and client {} has its socket", client.number)),
            None => Ok(()),
        }
    }

    /// A turn of the event loop. Returns whether it began with a wait that was one.
    fn turn(&mut self) -> Result<bool, String> {
        let has_waited = self.wait()?;
        self.turn += 1;
        let most = self.most_events;
        let ready = self.net.poll(most);
        self.begin(ready.len() < most)?;
        for event in ready {
            self.dispatch(event);
        }
        if self.is_rough {
            self.housekeeping()?;
        }
        let now = self.now;
        self.driver.read(&mut self.net, now);
        self.driver.advance(now);
        self.follow()?;
        self.consult()?;
        let random = self.random.next();
        self.driver.write(&mut self.net, || random, now);
        self.follow()?;
        self.driver.server().peers().check_invariants();
        self.end_turn()?;
        Ok(has_waited)
    }

    /// Begins a turn, and holds the time that is to count against what it may be.
    fn begin(&mut self, is_all_reported: bool) -> Verdict {
        let former = self.now.monotonic.0;
        self.began_at = self.real.monotonic.0;
        self.now = self.driver.begin(self.real, is_all_reported);
        let (real, now) = (self.real.monotonic.0, self.now.monotonic.0);
        trace!(self, "turn at {real}");
        if now < former || now > real || self.now.wall != self.real.wall {
            return Err(format!("at {:?} after {former} the time {:?} counts", self.real, self.now));
        }
        if real - now > self.excused {
            return Err(format!("at {real} the time {now} counts, and only {} were lost", self.excused));
        }
        if self.is_catching_up
            && now > former
            && let Some(number) = self.unread_from_stop()
        {
            return Err(format!(
                "time counts again, and what client {number} sent during the stop is not read"
            ));
        }
        self.net.wall = self.now.wall.0;
        self.walls = vec![self.now.wall.0];
        self.ledger.begin_turn(now, self.now.wall.0);
        Ok(())
    }

    fn dispatch(&mut self, event: Ready) {
        match event {
            Ready::PeerListener => self.driver.peers_wait(),
            Ready::ProducerListener => self.driver.producers_wait(),
            Ready::Peer(peer, edges) => {
                if edges.readable || edges.end {
                    self.driver.peer_readable(peer, edges.end);
                }
                if edges.writable {
                    self.driver.peer_writable(peer);
                }
            }
            Ready::Producer(producer, edges) => {
                if edges.readable || edges.end {
                    self.driver.producer_readable(producer);
                }
                if edges.writable {
                    self.driver.producer_writable(producer);
                }
            }
        }
    }

    /// No more faults, and clients want nothing new.
    fn calm(&mut self) {
        self.is_rough = false;
        self.faults.end();
        self.net.is_exhausted = false;
        for client in &mut self.clients {
            client.stalled = 0;
        }
        for producer in &mut self.producers {
            producer.stalled = 0;
        }
    }

    /// The first signal.
    fn stop(&mut self) -> Verdict {
        trace!(self, "the server is told to stop");
        self.faults.happened(Fault::Drain);
        self.stage = Stage::Draining;
        self.stopped_at = self.now.monotonic.0;
        for producer in &mut self.producers {
            // Those beyond the limit are not waited for.
            producer.owes = if producer.id.is_some() { producer.arrived } else { 0 };
            producer.owes_end = producer.id.is_some() && producer.end_has_arrived;
            // What the system says there is to read can be read.
            if let Some(wire) = self.net.producers.wire(producer.number) {
                wire.rates.empty_read = 0;
            }
        }
        let now = self.now;
        self.driver.stop(&mut self.net, now);
        self.follow()
    }

    /// The second signal.
    fn abort(&mut self) -> Verdict {
        trace!(self, "the server is told to stop at once");
        self.faults.happened(Fault::SecondStop);
        self.is_aborted = true;
        self.stage = Stage::Closing;
        let now = self.now;
        self.driver.stop(&mut self.net, now);
        self.follow()
    }

    /// The operator changes keys and access.
    fn housekeeping(&mut self) -> Verdict {
        // With short turns there are many of them.
        let is_time = (self.random.below(10_000) as u64) < self.sizes.turn.max(200);
        if !is_time {
            return Ok(());
        }
        self.follow()?;
        if self.faults.strikes(Fault::KeyChange, &mut self.random) {
            let set = *self.random.pick(&KEY_SETS);
            trace!(self, "keys become {set:#b}");
            self.ledger.change_keys(set);
            self.hub(|hub, peers, now| hub.replace_keys(peers, tokens::key_set(set), now));
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
                self.hub(|hub, peers, now| hub.replace_access(peers, access, now));
            }
        }
        self.follow()
    }
}

/// How many events one poll reports at most.
fn random_events(seed: u64) -> &'static usize {
    Random::new(seed).pick(&[1024, 1024, 64, 8])
}

/// An hour in milliseconds.
const HOUR: i64 = 3_600_000;
