//! `check-config`: reports every mistake in a configuration without starting anything.

use super::failure::Failure;
use super::output::print;
use super::settings::Settings;

/// Checks the configuration and reports every mistake
///
/// Checks all sections and keys, the environment variables, and the files they name (public keys, the access file).
/// Starts nothing. Exits with 0 if the server would accept the configuration, else with 2.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  airlay-cli web_socket check-config
  airlay-cli web_socket check-config --config /etc/airlay/config.ini")]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (_, path) = arguments.settings.load()?;
    print(format_args!("{}: configuration OK", path.display()))
}
