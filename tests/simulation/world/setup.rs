//! The server of an episode, with limits small enough to be reached, and the oracle's knowledge of how it stands at first.

use super::Plan;
use crate::faults::Fault;
use crate::ledger::{AccessTable, Epoch, KEEP, Ledger, TIMEOUT, access_file};
use crate::names::{OBJECTS, USERS};
use crate::producers::{ANSWERS, LINE};
use crate::random::Random;
use crate::rate::{BURST, PER_SECOND};
use crate::tape::Tape;
use crate::tokens::{self, ISSUER, KEY_SETS, OF_USER, START};
use crate::witness::Witness;
use airlay::access::{Access, AccessFile, AccessService, ServiceSettings};
use airlay::api::EventType;
use airlay::forwarded::TrustedProxies;
use airlay::hub::{Admission, Hub, HubLimits};
use airlay::origins::Origins;
use airlay::peers::{PeerLimits, Peers};
use airlay::producers::{ProducerLimits, Producers};
use airlay::server::Server;
use airlay::token::{Rules, Tokens};
use airlay::websocket::message::Limits;
use std::time::Duration;

/// Times in milliseconds.
pub(crate) const HANDSHAKE: u64 = 3000;
pub(crate) const MESSAGE: u64 = 3000;
pub(crate) const PING: u64 = 4000;
pub(crate) const PONG: u64 = 2000;
pub(crate) const CLOSE: u64 = 2000;
pub(crate) const SOFT_TIME: u64 = 3000;
/// Frames without a message in one second.
pub(crate) const FRAMES: u32 = 150;
/// Sizes in bytes.
const MESSAGE_BYTES: usize = 4096;
pub(crate) const QUEUE: usize = 6 << 10;
pub(crate) const QUEUE_SOFT: usize = 3 << 10;
pub(crate) const QUEUE_UNAUTHENTICATED: usize = 1 << 10;
const SUBSCRIPTIONS: usize = 8;

/// A server, and what the oracle knows of it.
pub(super) struct Setup {
    pub(super) server: Server<Witness>,
    pub(super) ledger: Ledger,
    /// The most connections that may be open.
    pub(super) peers_allowed: usize,
    pub(super) sizes: Sizes,
}

/// What differs from episode to episode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// What a turn may take, in microseconds.
    pub(super) turn: u64,
    /// What may be held for all peers, in bytes.
    pub(super) queue_total: usize,
    /// Producers that may be connected, and what may be held for them, in bytes.
    pub(super) producers: usize,
    pub(super) producers_total: usize,
    /// Over how many milliseconds the closings are spread at a stop.
    pub(super) drain: u64,
}

impl Sizes {
    fn new(plan: Plan, random: &mut Random) -> Self {
        Self {
            turn: *random.pick(&[20, 50, 200, 1000, 10_000, 10_000]),
            queue_total: *random.pick(&[24 << 10, 256 << 10, 1 << 20, 4 << 20]),
            producers: if random.chance(300) { plan.producers - 3 } else { 100 },
            producers_total: *random.pick(&[8 << 10, 64 << 10, 1 << 20]),
            drain: random.below(3000) as u64,
        }
    }

    /// The bound on bytes that were read from producers and not offered to all subscribers, and on the bytes of one of them.
    pub(super) const fn backlog() -> (usize, usize) {
        (QUEUE / 2, QUEUE / 4)
    }

    /// Whether what is held for all peers is likely to become too much.
    pub(super) const fn is_tight(&self) -> bool {
        self.queue_total < 1 << 20
    }
}

impl Setup {
    pub(super) fn new(plan: Plan, tape: &Tape, random: &mut Random) -> Self {
        let sizes = Sizes::new(plan, random);
        let asks_service = plan.focus.contains(&Fault::ServiceSilent) || random.chance(200);
        let uses_file = plan.focus.contains(&Fault::AccessChange) || random.chance(600);
        let table: AccessTable = (asks_service || uses_file).then(|| {
            (0..USERS).map(|_| if random.chance(50) { None } else { Some(datasets(random)) }).collect()
        });
        let keys = KEY_SETS[0];
        let first = Epoch { stamp: 0, monotonic: 0, wall: START, keys, access: 0, turn: 0 };
        let mut ledger = Ledger::new(USERS * OF_USER, first, table.clone());
        ledger.leeway = *random.pick(&[0, 1000, 30_000]);
        ledger.enforce_expiry = random.chance(900);
        ledger.subscriptions = SUBSCRIPTIONS;
        ledger.asks_service = asks_service;
        let cache = if random.chance(60) { 0 } else { 100_000 };
        ledger.remembers = cache > 0;
        let peers_allowed =
            if random.chance(300) { plan.clients - plan.clients / 8 } else { 2 * plan.clients };
        let rules = Rules {
            issuers: vec![ISSUER.into()],
            audience: None,
            leeway: Duration::from_millis(ledger.leeway),
            token_bytes: 8192,
        };
        let admission = Admission {
            path: "/ws".into(),
            origins: Origins::any(),
            trusted_proxies: TrustedProxies::default(),
            connections: peers_allowed,
            connections_per_address: 0,
            page: None,
        };
        let hub_limits = HubLimits {
            subscriptions: SUBSCRIPTIONS,
            connections_per_user: 0,
            requests_per_second: PER_SECOND,
            request_burst: BURST,
            line: LINE,
            producers_total: sizes.producers_total,
        };
        let access = if asks_service { service() } else { access(&table) };
        let tokens = Tokens::new(tokens::key_set(keys), rules, cache);
        let hub = Hub::new(admission, tokens, access, hub_limits, ledger.enforce_expiry);
        let messages = Limits { message_bytes: MESSAGE_BYTES, ..Limits::default() };
        let peers = Peers::new(peer_limits(peers_allowed + PEERS_OVER, sizes.queue_total), messages);
        let producers = Producers::new(ProducerLimits {
            producers: sizes.producers,
            line: LINE,
            answers: ANSWERS,
            total: sizes.producers_total,
        });
        let witness = Witness { hub, tape: tape.clone() };
        let turn = Duration::from_micros(sizes.turn);
        let server = Server::new(peers, producers, witness, turn, QUEUE, sizes.queue_total);
        Self { server, ledger, peers_allowed, sizes }
    }
}

fn peer_limits(peers: usize, queue_total: usize) -> PeerLimits {
    let milliseconds = Duration::from_millis;
    PeerLimits {
        peers,
        handshake: milliseconds(HANDSHAKE),
        message: milliseconds(MESSAGE),
        frames_per_second: FRAMES,
        ping: milliseconds(PING),
        pong: milliseconds(PONG),
        close: milliseconds(CLOSE),
        queue: QUEUE,
        queue_soft: QUEUE_SOFT,
        queue_soft_time: milliseconds(SOFT_TIME),
        queue_unauthenticated: QUEUE_UNAUTHENTICATED,
        queue_total,
    }
}

/// Any set of datasets.
pub(super) fn datasets(random: &mut Random) -> u32 {
    let [a, b, c, d, ..] = random.next().to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) & ((1 << OBJECTS) - 1)
}

/// The access that a table stands for.
pub(super) fn access(table: &AccessTable) -> Access {
    let Some(table) = table else { return Access::Token };
    let file = AccessFile::parse(access_file(table).as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let dataset_events = vec![EventType::DatasetUpdate, EventType::UploadFile, EventType::DownloadFile];
    Access::File { dataset_events, file }
}

/// A service that is not connected yet.
fn service() -> Access {
    Access::Service(Box::new(AccessService::new(ServiceSettings {
        keep: Duration::from_millis(KEEP),
        timeout: Duration::from_millis(TIMEOUT),
        questions: usize::MAX,
    })))
}

/// Peers beyond those whose connections may be open: they are told so, or are on their way out.
pub(super) const PEERS_OVER: usize = 8;
