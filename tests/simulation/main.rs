//! The whole server without its sockets, played from a seed on a fake clock, and judged by an oracle of its own.
#![expect(clippy::unwrap_used, reason = "tests")]

mod clients;
mod faults;
mod frames;
mod ledger;
mod listener;
mod names;
mod producers;
mod random;
mod tokens;
mod wires;
mod world;

use faults::{ALL, Fault};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Outcome, Plan, World};

/// Plays one episode.
fn play(plan: Plan) -> Result<Outcome, String> {
    match catch_unwind(AssertUnwindSafe(|| World::new(plan).run())) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_heard_by_others() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let trace = number("TRACE").is_some();
    let mut counts = [0; Fault::COUNT];
    let (mut events, mut turns, mut failures) = (0, 0, 0);
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => number("FROM").unwrap_or(0)..number("FROM").unwrap_or(0) + number("SEEDS").unwrap_or(500),
    };
    let start = std::time::Instant::now();
    for seed in seeds.clone() {
        match play(Plan { trace, ..Plan::of(seed) }) {
            Ok(outcome) => {
                counts.iter_mut().zip(outcome.counts).for_each(|(sum, count)| *sum += count);
                events += outcome.events;
                turns += u64::from(outcome.turns);
            }
            Err(error) => {
                println!("seed {seed}: {error}\n  SEED={seed} TRACE=1 cargo test --test simulation -- --nocapture");
                failures += 1;
                if failures > 5 { break; }
            }
        }
    }
    println!("{} seeds, {events} events heard, {turns} turns, {:?}", seeds.end - seeds.start, start.elapsed());
    for fault in ALL {
        println!("{fault:?}: {}", counts[fault as usize]);
    }
    assert_eq!(failures, 0);
}
