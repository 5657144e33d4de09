//! The server of an episode, with limits small enough to be reached, and the oracle's knowledge of how it stands at first.

use super::Plan;
use crate::faults::Fault;
use crate::ledger::{AccessTable, Epoch, KEEP, Ledger, TIMEOUT, access_file};
use crate::names::{DATASET_KINDS, KINDS, OBJECTS, USERS};
use crate::producers::{ANSWERS, LINE};
use crate::random::Random;
use crate::rate::{BURST, PER_SECOND};
use crate::tokens::{self, ISSUER, KEY_SETS, OF_USER, START};
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
pub(super) const HANDSHAKE: u64 = 3000;
pub(crate) const MESSAGE: u64 = 3000;
const PING: u64 = 4000;
pub(crate) const PONG: u64 = 2000;
pub(crate) const CLOSE: u64 = 2000;
pub(crate) const SOFT_TIME: u64 = 3000;
/// Frames without a message in one second.
pub(crate) const FRAMES: u32 = 150;
/// Sizes in bytes.
const MESSAGE_BYTES: usize = 4096;
pub(crate) const QUEUE: usize = 6 << 10;
const QUEUE_SOFT: usize = 3 << 10;
const QUEUE_UNAUTHENTICATED: usize = 1 << 10;
const QUEUE_TOTAL: usize = 24 << 10;
const SUBSCRIPTIONS: usize = 8;

/// The server, and the oracle's books at the start.
pub(super) struct Setup {
    pub(super) server: Server<Hub>,
    pub(super) ledger: Ledger,
    /// The most connections that may be open.
    pub(super) peers_allowed: usize,
}

impl Setup {
    pub(super) fn new(plan: Plan, random: &mut Random) -> Self {
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
        };
        let access = if asks_service { service() } else { access(&table) };
        let tokens = Tokens::new(tokens::key_set(keys), rules, cache);
        let hub = Hub::new(admission, tokens, access, hub_limits, ledger.enforce_expiry);
        let messages = Limits { message_bytes: MESSAGE_BYTES, ..Limits::default() };
        let peers = Peers::new(peer_limits(peers_allowed + PEERS_OVER), messages);
        let producers = Producers::new(ProducerLimits { line: LINE, answers: ANSWERS });
        Self { server: Server::new(peers, producers, hub, QUEUE), ledger, peers_allowed }
    }
}

fn peer_limits(peers: usize) -> PeerLimits {
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
        queue_total: QUEUE_TOTAL,
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
    let dataset_events = DATASET_KINDS.map(|kind| EventType::from_name(KINDS[kind]).expect("a type")).into();
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
