//! A million peers in the core, without sockets: what each costs, how long an event for all of them takes, and how long it
//! takes to look at every subscription because a key is gone.
//!
//! Each peer opens its WebSocket and attaches to a topic of its own and to one that all share, with the bytes a client
//! would send, and a token that is verified. `cargo run --release --example million [PEERS]`.

#[path = "../benches/core/service.rs"]
mod service;

use service::Service;
use std::error::Error;
use std::time::Duration;

/// Tokens take longer to sign than everything else together, so that each is used by several peers.
const USERS: usize = 1000;

/// Events for all peers.
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
        assert_eq!(written.writes, peers, "everybody is written to, once");
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
    assert_eq!(written.writes, 0, "nobody has lost anything");
    println!("a key that goes: {:.1} ms of processor time", (cpu()? - before).as_secs_f64() * 1e3);
    Ok(())
}

/// Bytes of heap and stack in memory.
fn memory() -> Result<usize, Box<dyn Error>> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).ok_or("no such line")?;
    Ok(line.split_ascii_whitespace().next().ok_or("no number")?.parse::<usize>()? * 1024)
}

/// Processor time so far.
fn cpu() -> Result<Duration, Box<dyn Error>> {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(Duration::from_nanos(schedstat.split(' ').next().ok_or("no number")?.parse()?))
}
