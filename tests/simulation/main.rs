//! The whole server without its sockets, played from a seed on a fake clock, and judged by an oracle of its own.
//!
//! What is simulated, what the oracle knows, and how a seed is replayed: `README.md` beside this file.

mod books;
mod clients;
#[path = "../support/event_types.rs"]
mod event_types;
mod faults;
mod frames;
mod ledger;
mod listener;
mod names;
mod net;
mod producers;
mod random;
mod rate;
mod subscription;
mod tape;
mod tokens;
mod wires;
mod witness;
mod world;

use faults::{ALL, Fault};
use std::env;
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use world::{Outcome, Plan, World};

/// Seeds that are played unless the environment says how many (`SEEDS`), from which on (`FROM`), or which one (`SEED`).
const SEEDS: u64 = 500;

/// Seeds played for a row of faults.
const SEEDS_A_ROW: u64 = 12;

#[test]
fn every_subscriber_hears_what_is_for_it_and_nothing_else() {
    let seeds = match (number("SEED"), number("FROM"), number("SEEDS")) {
        (Some(seed), ..) => seed..seed + 1,
        (None, from, seeds) => from.unwrap_or(0)..from.unwrap_or(0) + seeds.unwrap_or(SEEDS),
    };
    let outcome = play_all(seeds.clone(), &[]);
    report(&outcome, &seeds);
    if seeds == (0..SEEDS) {
        let missing: Vec<_> = ALL.into_iter().filter(|&fault| outcome.faults[fault as usize] == 0).collect();
        assert!(missing.is_empty(), "these faults never happened: {missing:?}");
    }
}

#[test]
fn a_seed_gives_the_same_bytes_each_time() {
    for seed in 0..8 {
        assert_eq!(play(Plan::of(seed)).unwrap(), play(Plan::of(seed)).unwrap(), "seed {seed}");
    }
}

#[test]
fn s13_fragments_without_end_or_measure_close_their_sender_only() {
    row(&[
        Fault::TooManyFragments,
        Fault::OversizedMessage,
        Fault::UnfinishedMessage,
        Fault::EmptyFrameFlood,
    ]);
}

#[test]
fn s14_a_flood_of_pings_or_empty_frames_closes_its_sender() {
    row(&[Fault::PingFlood, Fault::EmptyFrameFlood, Fault::FrameFlood]);
}

#[test]
fn s16_of_pongs_that_are_not_read_only_the_latest_is_kept() {
    row(&[Fault::PingFlood, Fault::BlockedWriter, Fault::SpuriousBlock, Fault::UnreadPongs]);
}

#[test]
fn s18_closes_are_answered_and_a_client_that_does_not_answer_one_is_dropped() {
    row(&[Fault::BadClose, Fault::UnansweredClose]);
}

#[test]
fn s20_a_secret_never_reaches_another_peer() {
    let outcome = row(&[Fault::ShortWrite, Fault::SpuriousBlock, Fault::SlotReuse, Fault::Reset]);
    assert!(outcome.secrets > 0, "no client heard its own secret either");
}

#[test]
fn s21_a_client_that_does_not_read_is_closed() {
    row(&[Fault::BlockedWriter, Fault::QueueFull, Fault::NothingRead]);
}

#[test]
fn s23_the_fullest_are_closed_when_all_queues_together_are_full() {
    row(&[Fault::BlockedWriter, Fault::BudgetReached]);
}

#[test]
fn s28_closed_in_its_own_fan_out_and_the_slot_given_to_another() {
    row(&[Fault::CloseInFanOut, Fault::WriteError, Fault::SlotReuse, Fault::StaleEvent]);
}

#[test]
fn s29_every_event_read_after_an_attach_was_answered_is_delivered() {
    assert!(row(&[Fault::CutInput]).races > 0, "no attach raced with an event");
}

#[test]
fn s34_the_wall_clock_ends_tokens_and_the_monotonic_clock_rules_timers() {
    row(&[Fault::WallForward, Fault::WallBack, Fault::LateWake, Fault::TokenExpiry]);
}

#[test]
fn an_access_service_that_is_late_silent_gone_or_wrong_grants_nothing() {
    row(&[Fault::ServiceSilent, Fault::ServiceLate, Fault::ServiceLost, Fault::ServiceGarbage]);
}

#[test]
fn s37_bad_tokens_in_a_row_close_their_sender() {
    row(&[Fault::BadTokenFlood]);
}

#[test]
fn s39_too_many_requests_are_refused_and_then_close_their_sender() {
    row(&[Fault::RequestFlood]);
}

#[test]
fn s44_a_cut_line_is_dropped_and_a_last_line_without_its_end_is_taken() {
    row(&[Fault::CutLine, Fault::LastLineUnended, Fault::CutJson, Fault::CutInput]);
}

#[test]
fn s50_what_was_not_read_or_written_to_the_end_is_not_forgotten() {
    let outcome = row(&[Fault::CutInput, Fault::ShortWrite, Fault::SpuriousBlock, Fault::BlockedWriter]);
    assert!(outcome.unfinished_reads > 0, "every read emptied its socket");
}

#[test]
fn s47_without_descriptors_accepting_pauses_and_goes_on() {
    row(&[Fault::NoDescriptors, Fault::Interrupted]);
}

#[test]
fn s57_a_stop_of_the_process_ends_no_client_that_did_its_part() {
    let outcome = row(&[Fault::ProcessStopped, Fault::UnansweredPing, Fault::FrameFlood, Fault::PingFlood]);
    assert!(outcome.faults[Fault::SlowHead as usize] + outcome.faults[Fault::BadHead as usize] > 0);
}

#[test]
fn s63_producers_beyond_the_limits_wait_or_are_answered() {
    row(&[Fault::TooManyProducers, Fault::NoRoomForLine, Fault::UnreadAnswers]);
}

/// Plays some small episodes in which these faults are frequent, and sees to it that each of them happened.
fn row(faults: &'static [Fault]) -> Outcome {
    let first = 1_000_000 * (1 + faults[0] as u64);
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("SEEDS").unwrap_or(SEEDS_A_ROW),
    };
    let outcome = play_all(seeds, faults);
    for &fault in faults {
        assert!(outcome.faults[fault as usize] > 0, "{fault:?} never happened");
    }
    outcome
}

/// Plays these seeds on all processors, and sums up what came of them.
fn play_all(seeds: Range<u64>, focus: &'static [Fault]) -> Outcome {
    let test = thread::current().name().unwrap_or_default().to_owned();
    let trace = env::var_os("TRACE").is_some();
    let plan =
        |seed| Plan { trace, ..if focus.is_empty() { Plan::of(seed) } else { Plan::of_row(seed, focus) } };
    let next = AtomicU64::new(seeds.start);
    let (plays_on, failures) = (env::var_os("ALL").is_some(), AtomicU64::new(0));
    let play_some = || {
        let mut sum = Outcome { faults: vec![0; Fault::COUNT], ..Outcome::default() };
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok::<_, String>(sum);
            }
            match play(plan(seed)) {
                Ok(outcome) => sum.add(&outcome),
                Err(error) if plays_on => {
                    println!("seed {seed}: {error}");
                    failures.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    return Err(format!(
                        "seed {seed}: {error}\nonce more, step by step: SEED={seed} TRACE=1 cargo test --test \
                         simulation {test} -- --nocapture"
                    ));
                }
            }
        }
    };
    let mut sum = Outcome { faults: vec![0; Fault::COUNT], ..Outcome::default() };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let players: Vec<_> = (0..threads).map(|_| scope.spawn(play_some)).collect();
        for player in players {
            match player.join().expect("a panic of an episode is an outcome") {
                Ok(outcome) => sum.add(&outcome),
                Err(error) => panic!("{error}"),
            }
        }
    });
    let failures = failures.into_inner();
    assert!(failures == 0, "{failures} seeds failed");
    sum
}

/// Plays one episode. A panic of the server is a finding like any other.
fn play(plan: Plan) -> Result<Outcome, String> {
    catch_unwind(AssertUnwindSafe(|| World::new(plan).run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("of another kind")))
    })
}

/// Says what was played.
fn report(outcome: &Outcome, seeds: &Range<u64>) {
    let large = seeds.clone().filter(|&seed| Plan::of(seed).clients >= 200).count();
    let Outcome { events, races, secrets, turns, waits, clients, .. } = outcome;
    println!(
        "{} seeds, {large} of them with 200 clients or more (at once: up to {clients}), {turns} turns, {waits} waits, \
         {events} events heard, {races} attachments in a race, {secrets} secrets heard",
        seeds.end - seeds.start
    );
    for fault in ALL {
        println!("{:>9}  {fault:?}", outcome.faults[fault as usize]);
    }
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")))
}
