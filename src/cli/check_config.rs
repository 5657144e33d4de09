//! `check-config`: everything that is wrong with a configuration, without starting anything.

use super::failure::Failure;
use super::output::print;
use super::settings::Settings;

/// Says everything that is wrong with the configuration
///
/// It looks at all sections and keys, the environment, and the files they name (public keys, the access file).
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
    print(format_args!("{} is good.", path.display()))
}
