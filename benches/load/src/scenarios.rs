//! The scenarios: each starts a server, loads it, and notes figures in the report.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};

use crate::Result;
use crate::clients::{Clients, Watch, expect_upgrade, open};
use crate::process::{Cost, Process};
use crate::report::{Goal, Report};
use crate::servers::{Kind, Server, Starter, topics};
use crate::tokens::attach;

/// Deliveries a second in the paced scenarios.
const PACE: f64 = 50_000.0;

/// Subscribers connected before measuring, so that one-time costs are not counted.
const WARM: usize = 100;

/// The sizes of all scenarios.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Numbers of subscribers in the fan-outs, each a row.
    pub(crate) subscribers: &'static [usize],
    /// Deliveries in one burst.
    pub(crate) burst: usize,
    /// Measured bursts.
    pub(crate) bursts: usize,
    pub(crate) paced: Duration,
    /// Connections, and as many topics, of the scenario with many topics.
    pub(crate) topics: usize,
    /// Events to the single subscriber.
    pub(crate) singles: usize,
    /// Requests with one cached token.
    pub(crate) known: usize,
    /// New tokens.
    pub(crate) fresh: usize,
    /// Idle connections, each with a user and a topic of its own.
    pub(crate) idle: usize,
    pub(crate) starts: usize,
}

impl Size {
    pub(crate) const FULL: Self = Self {
        subscribers: &[1_000, 10_000, 19_000],
        burst: 1_000_000,
        bursts: 5,
        paced: Duration::from_secs(10),
        topics: 10_000,
        singles: 3_000,
        known: 300_000,
        fresh: 4_000,
        idle: 19_000,
        starts: 20,
    };
    pub(crate) const QUICK: Self = Self {
        subscribers: &[1_000, 10_000],
        burst: 200_000,
        bursts: 3,
        paced: Duration::from_secs(2),
        topics: 1_000,
        singles: 500,
        known: 50_000,
        fresh: 500,
        idle: 1_000,
        starts: 5,
    };
}

/// One round of one scenario with one server.
pub(crate) struct Round<'r> {
    pub(crate) starter: Starter<'r>,
    pub(crate) kind: Kind,
    pub(crate) size: Size,
    pub(crate) report: &'r mut Report,
}

/// Connects subscribers to one topic: handshake and memory.
pub(crate) fn connect(round: &mut Round<'_>, subscribers: usize) -> Result<(Server, Clients)> {
    let server = round.starter.start(round.kind, 0)?;
    let mut clients = Clients::new(&server)?;
    let token = round.starter.tokens.of_user(0);
    let request = |_| vec![attach(&token, 0)];
    clients.connect(WARM, |_| 0, request)?;
    let bytes = server.process.anonymous_bytes()?;
    let cost = server.process.cost()?;
    clients.connect(subscribers - WARM, |_| 0, request)?;
    let connected = (subscribers - WARM) as f64;
    let handshakes = since(&server, cost)?;
    let bytes = server.process.anonymous_bytes()?.saturating_sub(bytes) as f64 / connected;

    let n = thousands(subscribers);
    let row = format!("upgrade and attach, {n} connections");
    let each = |nanoseconds: u64| nanoseconds as f64 / connected / 1e3;
    round.note(&row, "µs CPU each", Goal::Floor(1.1), each(handshakes.cpu));
    round.note(&row, "µs CPU each in user space", Goal::None, each(handshakes.user));
    round.note(&format!("memory a connection, {n} on one topic"), "bytes in user space", Goal::None, bytes);
    Ok((server, clients))
}

/// Fan-out to the subscribers of one topic: what [`connect`] measures, then a steady pace, then bursts.
pub(crate) fn fan_out(round: &mut Round<'_>, subscribers: usize) -> Result<()> {
    let (server, mut clients) = connect(round, subscribers)?;
    let n = thousands(subscribers);
    // The pace first: bursts leave the kernel's sockets in a state that differs between servers.
    let mut expected = 0;
    let interval = Duration::from_secs_f64(subscribers as f64 / PACE);
    let (cost, watch) = (server.process.cost()?, Watch::start()?);
    let start = Instant::now();
    let mut due = start;
    while due < start + round.size.paced {
        clients.run_until(due)?;
        clients.publish(0);
        expected += subscribers;
        due += interval;
    }
    clients.run_until(due)?;
    let busy = watch.busy()?;
    let cpu = since(&server, cost)?.cpu;
    let mut lost = clients.wait_for(expected)?;
    let latencies = clients.take_latencies();
    let row = format!("{PACE} deliveries a second, {n} subscribers");
    round.note(&row, "ns CPU a delivery", Goal::Floors(1.05), cpu as f64 / latencies.len() as f64);
    round.note(&row, "p50, ms", Goal::None, quantile(&latencies, 0.5) / 1e6);
    round.note(&row, "p99, ms", Goal::Floor(1.1), quantile(&latencies, 0.99) / 1e6);
    round.note(&row, "the load's core busy", Goal::None, busy);

    let events = (round.size.burst / subscribers).max(1);
    clients.time_only(|_| false);
    let burst = |clients: &mut Clients, expected: &mut usize| {
        (0..events).for_each(|_| clients.publish(0));
        *expected += events * subscribers;
        clients.wait_for(*expected)
    };
    lost += burst(&mut clients, &mut expected)?;
    let (cost, watch) = (server.process.cost()?, Watch::start()?);
    for _ in 0..round.size.bursts {
        lost += burst(&mut clients, &mut expected)?;
    }
    let deliveries = (events * subscribers * round.size.bursts) as f64;
    let cpu = since(&server, cost)?.cpu as f64 / deliveries;
    let rate = deliveries / watch.elapsed().as_secs_f64() / 1e6;
    let row = format!("burst of {events} events, {n} subscribers");
    round.note(&row, "ns CPU a delivery", Goal::FloorJoined(1.1), cpu);
    round.note(&row, "million deliveries a second", Goal::None, rate);
    round.note(&row, "the load's core busy", Goal::None, watch.busy()?);
    round.note(&format!("lost, {n} subscribers"), "events", Goal::AtMost(0.0), lost as f64);
    Ok(())
}

/// One event at a time to one subscriber.
pub(crate) fn single(round: &mut Round<'_>) -> Result<()> {
    let server = round.starter.start(round.kind, 0)?;
    let mut clients = Clients::new(&server)?;
    let token = round.starter.tokens.of_user(0);
    clients.connect(1, |_| 0, |_| vec![attach(&token, 0)])?;
    for number in 1..=round.size.singles {
        clients.publish(0);
        if clients.wait_for(number)? > 0 {
            return Err("an event was lost".into());
        }
        clients.run_until(Instant::now() + Duration::from_millis(1))?;
    }
    let latencies = clients.take_latencies();
    round.note("one event to one subscriber", "p50, µs", Goal::Floor(1.1), quantile(&latencies, 0.5) / 1e3);
    round.note("one event to one subscriber", "p99, µs", Goal::Floor(1.1), quantile(&latencies, 0.99) / 1e3);
    Ok(())
}

/// As many topics as connections, ten connections on each topic, events to all topics in turn.
pub(crate) fn many_topics(round: &mut Round<'_>) -> Result<()> {
    const EACH: usize = 10;
    if matches!(round.kind, Kind::Nchan | Kind::FloorJoined) {
        // nchan has one subscription per connection at this endpoint, and a floor that joined events by topic would need
        // subscriptions.
        return Ok(());
    }
    let count = round.size.topics;
    let server = round.starter.start(round.kind, EACH)?;
    let mut clients = Clients::new(&server)?;
    let token = round.starter.tokens.of_user(0);
    clients.connect(
        count,
        |_| 0,
        |number| topics(number, count, EACH).map(|topic| attach(&token, topic)).collect(),
    )?;
    clients.time_only(|_| false);
    let mut expected = 0;
    let mut lost = 0;
    let mut cost = Cost::default();
    for pass in 0..=round.size.bursts {
        if pass == 1 {
            cost = server.process.cost()?;
        }
        (0..count).for_each(|topic| clients.publish(topic));
        expected += count * EACH;
        lost += clients.wait_for(expected)?;
    }
    let deliveries = (count * EACH * round.size.bursts) as f64;
    let row = format!("{} topics in turn, {EACH} subscribers each", thousands(count));
    round.note(&row, "ns CPU a delivery", Goal::Floor(1.15), since(&server, cost)?.cpu as f64 / deliveries);
    round.note(&row, "events lost", Goal::AtMost(0.0), lost as f64);
    Ok(())
}

/// The latency of a topic with one subscriber beside a topic with many, published to at the usual pace.
pub(crate) fn quiet_topic(round: &mut Round<'_>) -> Result<()> {
    let subscribers = round.size.subscribers.iter().copied().max().unwrap_or_default();
    let server = round.starter.start(round.kind, 0)?;
    if round.kind.is_floor() {
        // A floor has no topics.
        return Ok(());
    }
    let mut clients = Clients::new(&server)?;
    let token = round.starter.tokens.of_user(0);
    let topic = |number| usize::from(number == 0);
    clients.connect(subscribers, topic, |number| vec![attach(&token, topic(number))])?;
    clients.time_only(|number| number == 0);
    let interval = Duration::from_secs_f64(subscribers as f64 / PACE);
    let start = Instant::now();
    let (mut due, mut hot) = (start, start);
    let mut expected = 0;
    while due < start + round.size.paced {
        clients.run_until(due)?;
        if hot <= due {
            clients.publish(0);
            expected += subscribers - 1;
            hot += interval;
        }
        clients.publish(1);
        expected += 1;
        due += Duration::from_millis(7);
    }
    let lost = clients.wait_for(expected)?;
    let latencies = clients.take_latencies();
    let row = format!("a quiet topic beside {} subscribers", thousands(subscribers));
    round.note(&row, "p50, ms", Goal::None, quantile(&latencies, 0.5) / 1e6);
    round.note(&row, "p99, ms", Goal::AtMost(5.0), quantile(&latencies, 0.99) / 1e6);
    round.note(&row, "events lost", Goal::AtMost(0.0), lost as f64);
    Ok(())
}

/// Memory of idle connections, each attached to a topic of its own: of many users with a token each, and of one user.
pub(crate) fn idle(round: &mut Round<'_>, tokens: &[String]) -> Result<()> {
    let n = thousands(round.size.idle);
    for (users, what) in [
        (tokens.len(), "with a user, a token and a topic of its own"),
        (1, "of one user, with a topic of its own"),
    ] {
        let server = round.starter.start(round.kind, 0)?;
        let mut clients = Clients::new(&server)?;
        let request = |number: usize| vec![attach(&tokens[number % users], number)];
        clients.connect(WARM, |number| number, request)?;
        let bytes = server.process.anonymous_bytes()?;
        clients.connect(round.size.idle - WARM, |number| number, request)?;
        let bytes = server.process.anonymous_bytes()?.saturating_sub(bytes) as f64;
        let each = bytes / (clients.count() - WARM) as f64;
        round.note(
            &format!("memory a connection, {n}, {what}"),
            "bytes in user space",
            Goal::AtMost(256.0),
            each,
        );
    }
    Ok(())
}

/// Requests with a cached token, as fast as one connection can send them.
pub(crate) fn known_token(round: &mut Round<'_>) -> Result<()> {
    if round.kind != Kind::Airlay {
        return Ok(());
    }
    let server = round.starter.start(round.kind, 0)?;
    let mut clients = Clients::new(&server)?;
    let request = attach(&round.starter.tokens.of_user(0), 0);
    clients.connect(1, |_| 0, |_| vec![request.clone()])?;
    let requests = request.repeat(1000);
    let (cost, watch) = (server.process.cost()?, Watch::start()?);
    clients.begin_flood(requests, round.size.known / 1000)?;
    clients.wait_for_floods(round.size.known)?;
    let elapsed = watch.elapsed().as_secs_f64();
    let Cost { cpu, user } = since(&server, cost)?;
    let known = round.size.known as f64;
    round.note(
        "attach with a known token",
        "µs CPU in user space",
        Goal::AtMost(2.0),
        user as f64 / known / 1e3,
    );
    round.note("attach with a known token", "µs CPU", Goal::None, cpu as f64 / known / 1e3);
    round.note("attach with a known token", "requests a second", Goal::AtLeast(300_000.0), known / elapsed);
    round.note("attach with a known token", "the load's core busy", Goal::None, watch.busy()?);
    Ok(())
}

/// Requests with new tokens, compared with bare checks of the same signatures by the same library.
pub(crate) fn fresh_tokens(round: &mut Round<'_>, tokens: &[String]) -> Result<()> {
    if round.kind != Kind::Airlay {
        return Ok(());
    }
    let tokens = &tokens[..round.size.fresh];
    let server = round.starter.start(round.kind, 0)?;
    let mut clients = Clients::new(&server)?;
    // One topic for all: a connection may have only 128 subscriptions.
    let requests: Vec<u8> = tokens.iter().flat_map(|token| attach(token, 0)).collect();
    let cost = server.process.cost()?;
    clients.begin_flood(requests, 1)?;
    clients.wait_for_floods(tokens.len())?;
    let cpu = since(&server, cost)?.cpu as f64;
    drop(server);
    let bare = bare_verification(round.starter.tokens.public_numbers()?, tokens)?;
    let row = "attach with a new token (RSA-4096)";
    round.note(row, "µs CPU", Goal::None, cpu / tokens.len() as f64 / 1e3);
    round.note(row, "µs CPU of the bare check", Goal::None, bare / tokens.len() as f64 / 1e3);
    round.note(row, "of the bare check's rate", Goal::AtLeast(0.95), bare / cpu);
    Ok(())
}

/// Nanoseconds of processor time for checking the signatures alone, with a key parsed beforehand.
fn bare_verification(key: Vec<u8>, tokens: &[String]) -> Result<f64> {
    let parts: Vec<(&str, Vec<u8>)> = tokens
        .iter()
        .map(|token| {
            let (signed, signature) = token.rsplit_once('.').ok_or("a token has three parts")?;
            Ok((signed, crate::tokens::decode(signature)?))
        })
        .collect::<Result<_>>()?;
    let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).map_err(|error| error.to_string())?;
    crate::process::on_servers_core(|| {
        let before = crate::process::own_cost()?;
        for (signed, signature) in &parts {
            key.verify_sig(signed.as_bytes(), signature).map_err(|error| error.to_string())?;
        }
        Ok((crate::process::own_cost()?.cpu - before.cpu) as f64)
    })
}

/// The latency of a topic at the usual pace, with and without clients that keep the server checking signatures.
pub(crate) fn token_flood(round: &mut Round<'_>, tokens: &[String]) -> Result<()> {
    const FLOODS: usize = 8;
    if round.kind != Kind::Airlay {
        return Ok(());
    }
    let subscribers = 1000;
    // Without a cache every token is new, so a few are enough.
    let server = round.starter.start_airlay_with("[token]\ncacheEntries = 0\n")?;
    let mut clients = Clients::new(&server)?;
    clients.connect(subscribers, |_| 0, |number| vec![attach(&tokens[number % tokens.len()], 0)])?;
    let mut expected = 0;
    let interval = Duration::from_secs_f64(subscribers as f64 / PACE);
    let pace = |clients: &mut Clients, expected: &mut usize| -> Result<f64> {
        let start = Instant::now();
        let mut due = start;
        while due < start + round.size.paced {
            clients.run_until(due)?;
            clients.publish(0);
            *expected += subscribers;
            due += interval;
        }
        if clients.wait_for(*expected)? > 0 {
            return Err("events were lost".into());
        }
        Ok(quantile(&clients.take_latencies(), 0.99) / 1e6)
    };
    let calm = pace(&mut clients, &mut expected)?;
    let requests: Vec<u8> = tokens.iter().take(100).flat_map(|token| attach(token, 0)).collect();
    for _ in 0..FLOODS {
        clients.begin_flood(requests.clone(), usize::MAX)?;
    }
    let before = (clients.flood_replies(), Instant::now());
    let flooded = pace(&mut clients, &mut expected)?;
    let rate = (clients.flood_replies() - before.0) as f64 / before.1.elapsed().as_secs_f64();
    clients.end_floods();
    let row = "a topic's p99 under a flood of new tokens";
    round.note(row, "ms without it", Goal::None, calm);
    round.note(row, "ms", Goal::None, flooded);
    round.note(row, "times as long", Goal::AtMost(2.0), flooded / calm);
    round.note(row, "signatures a second meanwhile", Goal::None, rate);
    Ok(())
}

/// The time from starting the process to an open WebSocket, the resident memory then, and the size of the binary.
pub(crate) fn start(round: &mut Round<'_>) -> Result<()> {
    if round.kind != Kind::Airlay {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let mut times = Vec::new();
    let mut resident = 0;
    for _ in 0..round.size.starts {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (config, _) = round.starter.write_config(directory.path(), address.port(), "")?;
        let mut command = Command::new(round.starter.binary);
        command.args(["web_socket", "server", "--config"]).arg(config).stderr(Stdio::null());
        let begin = Instant::now();
        let process = Process::start(&mut command)?;
        let mut stream = loop {
            match open(address, 0) {
                Ok(stream) => break stream,
                Err(_) if begin.elapsed() < Duration::from_secs(10) => {}
                Err(error) => return Err(error),
            }
        };
        stream.write_all(round.kind.upgrade(0).as_bytes())?;
        expect_upgrade(&mut stream)?;
        times.push(u64::try_from(begin.elapsed().as_nanos())?);
        resident = process.resident_bytes()?;
    }
    times.sort_unstable();
    round.note("start to the first open WebSocket", "ms", Goal::AtMost(5.0), quantile(&times, 0.5) / 1e6);
    round.note("resident when idle", "MB", Goal::AtMost(6.0), resident as f64 / 1e6);
    let binary = std::fs::metadata(round.starter.binary)?.len();
    round.note("binary, stripped", "MB", Goal::AtMost(4.0), binary as f64 / 1e6);
    Ok(())
}

impl Round<'_> {
    fn note(&mut self, row: &str, unit: &'static str, goal: Goal, value: f64) {
        self.report.note(row, unit, goal, self.kind, value);
    }
}

/// The processor time of the server since `before`.
fn since(server: &Server, before: Cost) -> Result<Cost> {
    let now = server.process.cost()?;
    Ok(Cost { cpu: now.cpu - before.cpu, user: now.user - before.user })
}

/// A quantile of values in ascending order; NaN if there are none.
fn quantile(values: &[u64], share: f64) -> f64 {
    let place = (values.len() as f64 * share) as usize;
    values.get(place.min(values.len().saturating_sub(1))).map_or(f64::NAN, |&value| value as f64)
}

/// The number with commas between thousands.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_have_commas() {
        assert_eq!([1, 999, 1000, 1_234_567].map(thousands), ["1", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(
            (quantile(&values, 0.5), quantile(&values, 0.99), quantile(&values, 1.0)),
            (51.0, 100.0, 100.0)
        );
    }
}
