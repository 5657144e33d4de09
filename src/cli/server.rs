//! `server`: runs the service until a signal stops it.

use std::io::{self, Write as _};

use super::failure::{Exit, Failure};
use super::settings::Settings;
use crate::config::Config;
use crate::log;
use crate::net::{Listening, ServeError};

/// Runs the server
///
/// Serves WebSocket clients and reads events from the events socket. Once it accepts connections it logs one line,
/// "ready", with both addresses. Mistakes in the configuration are reported, all at once, before anything starts.
///
/// SIGTERM and SIGINT stop the server, spreading the closing of connections over [limits] drainSeconds; a second one
/// stops it at once. SIGHUP reloads the key files and the access file, not the configuration file.
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
        .map_err(|error| Failure::new(Exit::Failed, format!("Cannot write to standard error: {error}.")))?;
    warn_about(&config);
    let failed = |error: ServeError| Failure::new(Exit::Failed, format!("Cannot run the server: {error}."));
    let listening = Listening::bind(&config).map_err(failed)?;
    if let Some(address) = listening.metrics_address() {
        ::log::info!(address:%; "metrics");
    }
    ::log::info!(address:% = listening.address(), socket:% = listening.events_path().display(); "ready");
    if config.web_socket_events.port == 0 {
        // For scripts that let the system choose the port. A failure is ignored: the log has the address too.
        let _ = writeln!(io::stdout(), "{}", listening.address());
    }
    listening.serve().map_err(failed)
}

/// Logs what is valid in a configuration but may not be intended.
fn warn_about(config: &Config) {
    if config.web_socket_events.origins.admit_any() {
        ::log::warn!("[webSocketEvents] origins is not set: pages of any origin may connect");
    }
}
