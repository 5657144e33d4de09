//! `server`: the service itself, until it is told to stop.

use super::failure::{Exit, Failure};
use super::settings::Settings;
use crate::config::Config;
use crate::log;
use crate::net::{Listening, ServeError};
use std::io::{self, Write as _};

/// Runs the server
///
/// It serves WebSocket clients and reads events from the events socket until it is told to stop (SIGTERM or SIGINT).
/// When it is ready it says so in one log line that names both addresses. Everything that is wrong with the
/// configuration is said before anything is started.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  airlay-cli web_socket server
  airlay-cli web_socket server --config /etc/airlay/config.ini
  AIRLAY_WEBSOCKETEVENTS_PORT=8082 airlay-cli web_socket server")]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (config, _) = arguments.settings.load()?;
    log::init(config.log.level, config.log.format)
        .map_err(|error| Failure::new(Exit::Failed, format!("Standard error cannot be written: {error}.")))?;
    warn_of(&config);
    let failed = |error: ServeError| Failure::new(Exit::Failed, format!("The server cannot run: {error}."));
    let listening = Listening::bind(&config).map_err(failed)?;
    if let Some(address) = listening.metrics_address() {
        ::log::info!(address:%; "metrics");
    }
    ::log::info!(address:% = listening.address(), socket:% = listening.events_path().display(); "ready");
    if config.web_socket_events.port == 0 {
        // Whoever left the choice to the system may want to read it. The log has it too, so a server serves without.
        let _ = writeln!(io::stdout(), "{}", listening.address());
    }
    listening.serve().map_err(failed)
}

/// Says in the log what of a good configuration may not be what was meant.
fn warn_of(config: &Config) {
    if config.web_socket_events.origins.admit_any() {
        ::log::warn!("[webSocketEvents] origins is not set: pages of any origin may connect");
    }
}
