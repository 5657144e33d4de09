//! Measures the Airlay event service beside two floors and other servers on this machine. All figures come from this
//! program, and ratios compare figures of the same round.
//!
//! The server under test runs on one core and the load on another. Each round runs all servers, one at a time.

mod clients;
mod event;
mod floor;
mod plot;
mod process;
mod report;
mod scenarios;
mod servers;
mod tokens;
mod tokio_peers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use report::Report;
use scenarios::{Round, Size};
use servers::{Kind, Starter};
use tokens::Tokens;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures airlay-cli beside floors and other servers
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Internal>,
    /// Smaller sizes and one round, for a rough impression
    #[arg(long)]
    quick: bool,
    /// The number of rounds [default: 3, or 1 with --quick]
    #[arg(long)]
    rounds: Option<usize>,
    /// The servers to measure, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// The scenarios to run, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// The release build of airlay-cli
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/release/airlay-cli"))]
    binary: PathBuf,
    /// Where to write the plot (SVG)
    #[arg(long)]
    plot: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Internal {
    /// Runs as one of the compared servers; started by this program itself
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        kind: Kind,
        #[arg(long)]
        each: usize,
        control: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// Only the first part of fan-out: handshake and memory
    Connect,
    /// One topic with many subscribers: handshake, memory, bursts, a steady pace
    FanOut,
    /// One event to one subscriber
    Single,
    /// Many topics with few subscribers
    Topics,
    /// A quiet topic beside a busy one
    Quiet,
    /// Memory of idle connections
    Idle,
    /// Requests with a token seen before
    Known,
    /// Requests with new tokens, and a flood of them
    Fresh,
    /// Start, resident memory, size on disk
    Start,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(Internal::Serve { kind, each, control }) => serve(kind, each, &control),
        None => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("airlay-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(kind: Kind, each: usize, control: &std::path::Path) -> Result<()> {
    match kind {
        Kind::Floor => floor::serve(floor::Sending { joined: false, each }, control),
        Kind::FloorJoined => floor::serve(floor::Sending { joined: true, each }, control),
        Kind::Tungstenite => tokio_peers::serve_tungstenite(control),
        Kind::Fastwebsockets => tokio_peers::serve_fastwebsockets(control),
        Kind::Airlay | Kind::Nchan => Err("this server is a separate program".into()),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    if !arguments.binary.exists() {
        return Err(format!("{} does not exist; benches/run builds it", arguments.binary.display()).into());
    }
    let size = if arguments.quick { Size::QUICK } else { Size::FULL };
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 3 });
    let mut kinds = if arguments.servers.is_empty() { Kind::ALL.to_vec() } else { arguments.servers.clone() };
    if kinds.contains(&Kind::Nchan) && !servers::has_nchan() {
        eprintln!("nchan is not installed (Debian: libnginx-mod-nchan); skipping it");
        kinds.retain(|&kind| kind != Kind::Nchan);
    }
    let wants = |scenario| arguments.scenarios.is_empty() || arguments.scenarios.contains(&scenario);
    let tokens = Tokens::new()?;
    let starter = Starter { binary: &arguments.binary, tokens: &tokens };

    let needed = match (wants(Scenario::Idle), wants(Scenario::Fresh)) {
        (true, _) => size.idle.max(size.fresh),
        (false, true) => size.fresh,
        (false, false) => 0,
    };
    eprintln!("signing {needed} tokens");
    let own_tokens: Vec<String> = (0..needed).map(|user| tokens.of_user(user)).collect();

    let mut report = Report::default();
    for number in 1..=rounds {
        for &kind in &kinds {
            let mut round = Round { starter, kind, size, report: &mut report };
            let tell = |what: &str| eprintln!("round {number} of {rounds}, {}: {what}", kind.name());
            if wants(Scenario::Connect) && !wants(Scenario::FanOut) {
                for &subscribers in size.subscribers {
                    tell(&format!("{subscribers} connections"));
                    scenarios::connect(&mut round, subscribers)?;
                }
            }
            if wants(Scenario::FanOut) {
                for &subscribers in size.subscribers {
                    tell(&format!("{subscribers} subscribers"));
                    // A compared server may fail under the load; it then has no figure.
                    match scenarios::fan_out(&mut round, subscribers) {
                        Err(error) if kind.is_other() => tell(&format!("failed: {error}")),
                        done => done?,
                    }
                }
            }
            if wants(Scenario::Single) {
                tell("one subscriber");
                scenarios::single(&mut round)?;
            }
            if wants(Scenario::Topics) {
                tell("many topics");
                scenarios::many_topics(&mut round)?;
            }
            if wants(Scenario::Quiet) {
                tell("a quiet topic");
                scenarios::quiet_topic(&mut round)?;
            }
            if wants(Scenario::Idle) {
                tell("idle connections");
                scenarios::idle(&mut round, &own_tokens)?;
            }
            if wants(Scenario::Known) {
                tell("known tokens");
                scenarios::known_token(&mut round)?;
            }
            if wants(Scenario::Fresh) {
                tell("new tokens");
                scenarios::fresh_tokens(&mut round, &own_tokens)?;
                scenarios::token_flood(&mut round, &own_tokens)?;
            }
            if wants(Scenario::Start) {
                tell("start");
                scenarios::start(&mut round)?;
            }
        }
    }
    println!("{}", report.table());
    if let Some(path) = &arguments.plot {
        std::fs::write(path, plot::draw(&report, size))?;
    }
    Ok(())
}
