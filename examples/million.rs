//! A million peers in the core, without sockets: the memory of each, the time of an event for all of them, and the time to
//! check every subscription after a key was removed.
//!
//! Each peer sends what a client would: an upgrade request, and requests with a verified token that attach to a topic of
//! its own and to a shared one. `cargo run --release --example million [PEERS]`.

#[path = "../benches/core/service.rs"]
mod service;

use std::error::Error;
use std::time::Duration;

use service::Service;

/// Users with a token. Signing takes longer than everything else together, so peers share tokens.
const USERS: usize = 1000;

/// Events published to all peers.
const EVENTS: usize = 11;

fn main() -> Result<(), Box<dyn Error>> {
    let peers = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    let mut service = Service::new(USERS.min(peers));

    let before = (memory()?, cpu()?);
    (0..peers).for_each(|_| service.connect());
    let (bytes, time) = (memory()? - before.0, cpu()? - before.1);
    println!(
        "{peers} peers, 2 subscriptions each: {} bytes each, {} MB in all; {:.1} µs to open and attach twice",
        bytes / peers,
        bytes / 1_000_000,
        time.as_secs_f64() * 1e6 / peers as f64
    );

    let mut times = Vec::new();
    for _ in 0..EVENTS {
        let before = cpu()?;
        let written = service.publish();
        times.push(cpu()? - before);
        assert_eq!(written.writes, peers, "each peer gets one write");
    }
    times.sort_unstable();
    let median = times[times.len() / 2].as_secs_f64();
    println!(
        "one event to all of them: {:.1} ms of processor time, {:.0} ns a delivery",
        median * 1e3,
        median * 1e9 / peers as f64
    );

    let before = cpu()?;
    let written = service.lose_key();
    assert_eq!(written.writes, 0, "no subscription has ended");
    println!("removing a key: {:.1} ms of processor time", (cpu()? - before).as_secs_f64() * 1e3);
    Ok(())
}

/// Resident bytes of heap and stack.
fn memory() -> Result<usize, Box<dyn Error>> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).ok_or("no such line")?;
    Ok(line.split_ascii_whitespace().next().ok_or("no number")?.parse::<usize>()? * 1024)
}

/// Processor time used so far.
fn cpu() -> Result<Duration, Box<dyn Error>> {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(Duration::from_nanos(schedstat.split(' ').next().ok_or("no number")?.parse()?))
}
