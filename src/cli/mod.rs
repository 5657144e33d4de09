//! The command line of `airlay-cli`: arguments → a command → an exit code.
//!
//! Each command is a module. All but `server` and `demo` are small blocking programs: they talk to a server only through
//! its public interfaces.

mod check_config;
mod demo;
mod event;
mod failure;
#[expect(clippy::disallowed_types, reason = "a client of the server, which may block")]
mod listen;
mod output;
#[expect(clippy::disallowed_types, reason = "a client of the server, which may block")]
mod publish;
mod random;
mod server;
mod settings;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tokens are made and checked at the current time"
)]
mod token;
mod url;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Shown after the family's help.
const ENVIRONMENT: &str = "\
Environment:
  AIRLAY_<SECTION>_<KEY>, all in upper case, overrides a key of config.ini, as in
  AIRLAY_WEBSOCKETEVENTS_PORT=8082

Exit codes:
  0  done
  1  failed while running
  2  wrong usage or configuration
  3  publish: the server refused an event
  4  publish: no server at the socket";

/// Runs the command given on the command line and returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    // Exits here with 2 on wrong usage, and with 0 after `--help`.
    let Cli { command: Family::WebSocket { command } } = Cli::parse();
    let result = match command {
        Command::Server(arguments) => server::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Publish(arguments) => publish::run(&arguments),
        Command::Listen(arguments) => listen::run(&arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The definition of the command line, for generating manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The Airlay event service: browsers subscribe to events over WebSocket, backend processes write events to a
/// Unix-domain socket.
#[derive(Debug, Parser)]
#[command(name = "airlay-cli", version)]
struct Cli {
    #[command(subcommand)]
    command: Family,
}

#[derive(Debug, Subcommand)]
enum Family {
    /// The WebSocket event service
    #[command(name = "web_socket", after_help = ENVIRONMENT)]
    WebSocket {
        #[command(subcommand)]
        command: Command,
    },
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(server::Arguments),
    Demo(demo::Arguments),
    Publish(publish::Arguments),
    Listen(listen::Arguments),
    Token(token::Arguments),
    CheckConfig(check_config::Arguments),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        let mut family = Cli::command();
        let family = family.find_subcommand_mut("web_socket").unwrap();
        for command in family.get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            assert!(help.contains(&format!("airlay-cli web_socket {name}")), "{help}");
            assert!(help.contains("Example"), "{help}");
        }
    }

    #[test]
    fn the_lines_of_the_contract_are_parsed() {
        const ID: &str = "610217e481f6fc54736209e0";
        for line in [
            "server".to_owned(),
            "server --config /etc/airlay/other.ini".to_owned(),
            "demo --port 8090".to_owned(),
            format!("publish issueUpdate {ID}"),
            format!("publish issueUpdate {ID} --data [1]"),
            format!("publish notification --users {ID},{ID} --wait"),
            "publish notification --users *".to_owned(),
            "publish - --socket events.sock".to_owned(),
            format!("listen --auth abc issueUpdate {ID}"),
            format!(
                "listen --auth - notification datasetUpdate {ID} notification {ID} --url ws://localhost:1/ws"
            ),
            format!("token --key k.pem --user {ID} --name a.kalinin --issuer dev.airlay.ru --ttl 60"),
            "token --check -".to_owned(),
            "check-config --config config.ini".to_owned(),
        ] {
            let words = ["airlay-cli", "web_socket"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in [
            "".to_owned(),
            "publish".to_owned(),
            "publish issueupdate".to_owned(),
            format!("publish issueUpdate {ID}0"),
            format!("publish issueUpdate {ID} --data ["),
            format!("publish notification --users {ID},"),
            "listen issueUpdate".to_owned(),
            "listen --auth abc".to_owned(),
            "listen --auth abc notification --url wss://airlay.ru/ws".to_owned(),
            "token --key k.pem".to_owned(),
            format!("token --key k.pem --user {ID} --check abc"),
        ] {
            let words = ["airlay-cli", "web_socket"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
