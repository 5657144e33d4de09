//! The table of all metrics: names (by the conventions of Prometheus), meanings, and where the values come from.

use super::Facts;
use super::figures::Histogram;
use crate::api::{Code, EventType};
use crate::log;
use crate::peers::{Ending, Slowness};
use crate::websocket::handshake::Rejection;

/// The HTTP statuses of refused requests, with their label values.
const STATUSES: [(u16, &str); Rejection::STATUSES.len()] = [
    (400, "400"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (426, "426"),
    (431, "431"),
    (503, "503"),
    (505, "505"),
];

/// The label values of the codes, by number.
const CODES: [&str; Code::ALL.len()] = ["0", "1", "2", "3", "4", "5", "6", "7", "8"];

/// The codes with which the server may end a subscription.
const LOSS_CODES: [Code; 3] = [Code::InvalidToken, Code::UserNotExists, Code::NoAccess];

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name, ending in the unit.
    pub name: &'static str,
    /// The type of the metric.
    pub kind: Kind,
    /// The names of the labels; empty for most metrics.
    pub labels: &'static [&'static str],
    /// The meaning: one sentence.
    pub help: &'static str,
    pub(super) read: for<'a> fn(Facts<'a>) -> Vec<Sample<'a>>,
}

/// The types of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations, counted in buckets.
    Histogram,
    /// A count of durations and their sum, without quantiles.
    Summary,
}

/// One value, with its labels.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    pub(super) labels: Vec<(&'static str, &'a str)>,
    pub(super) value: Value<'a>,
}

#[derive(Debug)]
pub(super) enum Value<'a> {
    Number(f64),
    Durations(&'a Histogram),
    Total { count: u64, seconds: f64 },
}

/// All metrics, in the order of the output.
#[must_use]
pub const fn table() -> &'static [Metric] {
    TABLE
}

macro_rules! table {
    ($($kind:ident $name:literal [$($label:literal),*] $help:literal, $read:expr;)*) => {
        const TABLE: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
            read: $read,
        }),*];
    };
}

table! {
    Gauge "airlay_build_info" ["version"]
        "Always 1; the label is the version of the running server.",
        |_| vec![labelled([("version", env!("CARGO_PKG_VERSION"))], 1)];
    Gauge "process_start_time_seconds" []
        "When the server started, in seconds since 1970-01-01 UTC.",
        |facts| one_f64(seconds_of(facts.figures.started.0));
    Gauge "airlay_draining" []
        "1 while the server is stopping, otherwise 0.",
        |facts| one(u64::from(facts.figures.draining));

    Counter "airlay_connections_accepted_total" []
        "Client connections accepted.",
        |facts| one(facts.server.peers().counters().accepted);
    Counter "airlay_connections_turned_away_total" []
        "Connections closed without an answer: there were too many even for a 503.",
        |facts| one(facts.server.peers().counters().turned_away);
    Counter "airlay_connections_abandoned_total" []
        "Connections lost before their HTTP request was answered.",
        |facts| one(facts.server.peers().counters().abandoned);
    Counter "airlay_upgrades_total" []
        "Connections upgraded to WebSockets.",
        |facts| one(facts.server.peers().counters().opened);
    Counter "airlay_upgrades_refused_total" ["status"]
        "HTTP requests refused, by status.",
        |facts| STATUSES.map(|(status, name)| {
            labelled([("status", name)], facts.server.peers().counters().refused(status))
        }).into();
    Gauge "airlay_connections" ["phase"]
        "Current connections, by phase: connecting (not yet answered), open, closing.",
        connections;
    Counter "airlay_closings_total" ["reason"]
        "WebSockets closed, by reason.",
        |facts| Ending::ALL.map(|ending| {
            labelled([("reason", ending.name())], facts.server.peers().counters().ended(ending))
        }).into();
    Counter "airlay_slow_consumers_total" ["limit"]
        "Connections closed because the client did not read, by the limit that was exceeded.",
        |facts| Slowness::ALL.map(|slowness| {
            labelled([("limit", slowness.name())], facts.server.peers().counters().slow(slowness))
        }).into();
    Counter "airlay_accept_pauses_total" []
        "How often accepting connections paused because descriptors or memory had run out.",
        |facts| one(facts.figures.accept_pauses);

    Counter "airlay_received_bytes_total" []
        "Bytes received from clients, including HTTP heads.",
        |facts| one(facts.server.peers().counters().bytes_received);
    Counter "airlay_sent_bytes_total" []
        "Bytes sent to clients, including HTTP answers.",
        |facts| one(facts.server.peers().counters().bytes_sent);
    Counter "airlay_messages_received_total" []
        "Messages received from clients.",
        |facts| one(facts.server.peers().counters().messages);
    Counter "airlay_other_frames_received_total" []
        "Frames received that completed no message: pings, pongs, fragments.",
        |facts| one(facts.server.peers().counters().other_frames);
    Gauge "airlay_queue_bytes" []
        "Bytes queued for clients; shared bytes count once for each client.",
        |facts| one(facts.server.peers().queued().0 as u64);
    Gauge "airlay_queued_connections" []
        "Connections with queued bytes.",
        |facts| one(facts.server.peers().queued().1 as u64);

    Gauge "airlay_users" []
        "Users with at least one subscription.",
        |facts| one(facts.server.service().subscriptions().users() as u64);
    Gauge "airlay_subscriptions" ["type"]
        "Current subscriptions, by event type.",
        |facts| EventType::ALL.map(|kind| {
            labelled([("type", kind.as_str())], facts.server.service().subscriptions().count_of_kind(kind) as u64)
        }).into();
    Counter "airlay_subscriptions_lost_total" ["code"]
        "Subscriptions that ended because their token or access right did, by the code sent to the client.",
        |facts| by_code(&facts.server.service().counters().lost_subscriptions, &LOSS_CODES);
    Counter "airlay_replies_total" ["code"]
        "Replies to requests, by code; 0 is Ok.",
        |facts| by_code(&facts.server.service().counters().replies, &Code::ALL);

    Gauge "airlay_producers" []
        "Producers connected to the events socket.",
        |facts| one(facts.server.producers().len() as u64);
    Counter "airlay_producers_connected_total" []
        "Connections of producers accepted.",
        |facts| one(facts.server.producers().counters().connected);
    Counter "airlay_producer_received_bytes_total" []
        "Bytes read from producers.",
        |facts| one(facts.server.producers().counters().bytes);
    Gauge "airlay_producer_backlog_bytes" []
        "Bytes read from producers and not yet offered to every subscriber's socket.",
        |facts| one(facts.server.backlog_bytes() as u64);
    Gauge "airlay_producer_held_bytes" []
        "Memory held for producers: unfinished lines, lines not yet handled, and unread answers.",
        |facts| one(facts.server.producers().held() as u64);
    Counter "airlay_events_total" ["type"]
        "Events accepted from producers, by type.",
        |facts| by_type(&facts.server.service().counters().events);
    Counter "airlay_deliveries_total" ["type"]
        "Events queued for subscribers, counted once for each subscriber, by type.",
        |facts| by_type(&facts.server.service().counters().deliveries);
    Counter "airlay_revocations_total" []
        "Revoke lines accepted from producers.",
        |facts| one(facts.server.service().counters().revocations);
    Counter "airlay_producer_lines_refused_total" []
        "Lines from producers that were refused.",
        |facts| one(facts.server.service().counters().refused_lines);
    Counter "airlay_producer_lines_cut_total" []
        "Incomplete lines dropped because the producer's connection broke.",
        |facts| one(facts.server.producers().counters().cut_lines);
    Counter "airlay_producer_answers_lost_total" []
        "Answers lost because the producer did not read them, counted when it disconnects.",
        |facts| one(facts.server.producers().counters().lost_answers);

    Counter "airlay_token_cache_hits_total" []
        "Tokens found in the cache of verified tokens.",
        |facts| one(facts.server.service().tokens().counters().cached);
    Counter "airlay_token_cache_misses_total" []
        "Tokens whose signature had to be checked.",
        |facts| one(signatures(facts));
    Gauge "airlay_token_cache_entries" []
        "Verified tokens in the cache.",
        |facts| one(facts.server.service().tokens().cached() as u64);
    Counter "airlay_tokens_refused_total" ["cause"]
        "Tokens refused, by cause: content (no signature check needed) or signature.",
        |facts| {
            let counters = facts.server.service().tokens().counters();
            vec![labelled([("cause", "content")], counters.refused), labelled([("cause", "signature")], counters.bad_signatures)]
        };
    Summary "airlay_token_verification_seconds" []
        "Time spent checking signatures.",
        |facts| {
            let (count, seconds) = (signatures(facts), facts.figures.verification.as_secs_f64());
            vec![Sample { labels: Vec::new(), value: Value::Total { count, seconds } }]
        };

    Histogram "airlay_loop_turn_seconds" []
        "Duration of a turn of the event loop, without its wait for readiness.",
        |facts| durations(&facts.figures.turns);
    Gauge "airlay_loop_turn_max_seconds" []
        "The longest turn of the event loop since the server started.",
        |facts| one_f64(facts.figures.turns.longest().as_secs_f64());
    Histogram "airlay_fan_out_seconds" []
        "Time from reading producers' lines to offering the events to every subscriber's socket.",
        |facts| durations(&facts.figures.fan_outs);

    Counter "airlay_reloads_total" ["file", "result"]
        "Reloads of the key files (keys) or the access file (access), taken or refused.",
        reloads;
    Counter "airlay_log_lines_dropped_total" []
        "Log lines dropped because standard error could not take them.",
        |_| one(log::dropped());
}

fn connections(facts: Facts<'_>) -> Vec<Sample<'_>> {
    let peers = facts.server.peers();
    let (all, open, connecting) = (peers.len() as u64, peers.open() as u64, peers.counters().connecting());
    [("connecting", connecting), ("open", open), ("closing", all - open - connecting)]
        .map(|(phase, count)| labelled([("phase", phase)], count))
        .into()
}

fn reloads(facts: Facts<'_>) -> Vec<Sample<'_>> {
    let reloads = facts.figures.reloads;
    [
        ("keys", "taken", reloads.keys_taken),
        ("keys", "refused", reloads.keys_refused),
        ("access", "taken", reloads.access_taken),
        ("access", "refused", reloads.access_refused),
    ]
    .map(|(file, result, count)| labelled([("file", file), ("result", result)], count))
    .into()
}

fn signatures(facts: Facts<'_>) -> u64 {
    let counters = facts.server.service().tokens().counters();
    counters.verified + counters.bad_signatures
}

fn by_type(counters: &[u64; EventType::ALL.len()]) -> Vec<Sample<'static>> {
    EventType::ALL.map(|kind| labelled([("type", kind.as_str())], counters[kind as usize])).into()
}

fn by_code(counters: &[u64; Code::ALL.len()], codes: &[Code]) -> Vec<Sample<'static>> {
    let sample = |code: &Code| {
        let number = usize::from(code.number());
        labelled([("code", CODES[number])], counters[number])
    };
    codes.iter().map(sample).collect()
}

fn one(number: u64) -> Vec<Sample<'static>> {
    vec![labelled([], number)]
}

fn one_f64(number: f64) -> Vec<Sample<'static>> {
    vec![Sample { labels: Vec::new(), value: Value::Number(number) }]
}

fn durations(histogram: &Histogram) -> Vec<Sample<'_>> {
    vec![Sample { labels: Vec::new(), value: Value::Durations(histogram) }]
}

#[expect(clippy::cast_precision_loss, reason = "the text format's numbers are f64: exact up to 2^53")]
fn labelled<const N: usize>(labels: [(&'static str, &'static str); N], number: u64) -> Sample<'static> {
    Sample { labels: labels.into(), value: Value::Number(number as f64) }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are below 2^53")]
fn seconds_of(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut names = HashSet::new();
        for metric in table() {
            let Metric { name, kind, help, .. } = *metric;
            assert!(names.insert(name), "{name} is in the table twice");
            assert!(name.starts_with("airlay_") || name == "process_start_time_seconds", "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            let has_time = matches!(kind, Kind::Histogram | Kind::Summary);
            assert!(!has_time || name.ends_with("_seconds"), "{name}");
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}");
        }
    }

    #[test]
    fn statuses_and_codes_are_complete() {
        assert_eq!(STATUSES.map(|(status, _)| status), Rejection::STATUSES);
        for (status, name) in STATUSES {
            assert_eq!(status.to_string(), name);
        }
        assert_eq!(CODES.map(str::to_owned), Code::ALL.map(|code| code.number().to_string()));
    }

    /// `UPDATE_METRICS_MD=1 cargo test metrics_md` rewrites `docs/metrics.md`.
    #[test]
    fn metrics_md_is_the_table() {
        let mut text = HEAD.to_owned();
        for Metric { name, kind, labels, help, .. } in table() {
            let kind = format!("{kind:?}").to_lowercase();
            let labels = labels.join(", ");
            writeln!(text, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE_METRICS_MD").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text);
    }

    const HEAD: &str = "\
# Metrics

The metrics that `GET /metrics` at `[metrics] address` returns, in the Prometheus text format. All counters start at 0 when the
server starts. Histogram buckets range from 50 µs to 2.5 s.

| name | type | labels | meaning |
|---|---|---|---|
";
}
