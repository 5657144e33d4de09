//! `demo`: the server with all it needs made up, and a page to try it with.
//!
//! What the server would have files for is made in memory; the rest of it is as with `server`. Only the page is the
//! demo's own: the server has none unless it is given one.

mod commands;
mod folder;
mod page;

use std::net::{Ipv4Addr, SocketAddr};

use super::failure::{Exit, Failure};
use super::output::print;
use super::token::{now, payload};
use crate::access::{Access, AccessFile};
use crate::api::EventType;
use crate::assembly::Embedded;
use crate::config::Config;
use crate::log;
use crate::net::{Listening, ServeError};
use crate::token::{KeySet, SigningKey};
use commands::Commands;
use folder::Folder;

/// Runs the server with a page to try it in the browser
///
/// Everything is made up at the start and gone at the end (Ctrl-C): a key, a user with one dataset, an events socket in
/// a private folder. It listens on 127.0.0.1 only, and prints the page's address, a token, and the commands to copy.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  airlay-cli web_socket demo
  airlay-cli web_socket demo --port 0")]
pub(super) struct Arguments {
    /// The port of the page and of the server; 0 takes any free one
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder =
        Folder::new().map_err(|error| failed(format!("a private folder cannot be made: {error}")))?;
    let config = config(arguments.port, &folder);
    log::init(config.log.level, config.log.format)
        .map_err(|error| failed(format!("standard error cannot be written: {error}")))?;
    let (keys, token) = keys_and_token()?;
    let commands = Commands::new(&config.events.socket);
    let access = access(&config.access.dataset_events);
    let page = page::response(&token, &commands).into();
    let embedded = Embedded { keys, access, page: Some(page) };
    let listening = Listening::bind_embedded(&config, embedded).map_err(|error| match error {
        ServeError::Address { address, error } => {
            failed(format!("{address} cannot be had ({error}); choose another port with --port"))
        }
        error => failed(error.to_string()),
    })?;
    introduce(listening.address(), &token, &commands)?;
    listening.serve().map_err(|error| failed(error.to_string()))
}

fn failed(why: impl AsRef<str>) -> Failure {
    Failure::new(Exit::Failed, format!("The demo cannot run: {}.", why.as_ref()))
}

/// The server's defaults, on this machine and for its user only.
fn config(port: u16, folder: &Folder) -> Config {
    let mut config = Config::without_files();
    config.web_socket_events.address = Ipv4Addr::LOCALHOST.into();
    config.web_socket_events.port = port;
    config.events.socket = folder.path().join("events.sock");
    config.events.socket_mode = 0o600;
    config.log.level = ::log::LevelFilter::Warn;
    // Whoever ends the demo does not want to wait for its few clients.
    config.limits.drain_seconds = std::time::Duration::ZERO;
    config
}

/// The public half of a key that nobody else has, and a token signed with the private one.
fn keys_and_token() -> Result<(KeySet, String), Failure> {
    let (key, public_key) =
        SigningKey::generate().map_err(|_| failed("a key cannot be made: there are no random numbers"))?;
    let mut keys = KeySet::new();
    keys.add_pem(public_key.as_bytes()).expect("the public half of a key is a key");
    let user = USER.parse().expect("the id of a user");
    let payload = payload(user, Some("demo"), None, TOKEN_SECONDS, now());
    Ok((keys, key.sign(&payload.to_string())))
}

/// The user and the dataset, as an access file says it.
fn access(dataset_events: &[EventType]) -> Access {
    let file = format!(r#"{{"users":{{"{USER}":{{"datasets":["{ISSUE}"]}}}}}}"#);
    let file = AccessFile::parse(file.as_bytes()).expect("an access file");
    Access::File { dataset_events: dataset_events.to_vec(), file }
}

/// Says what there is to see and to type.
fn introduce(address: SocketAddr, token: &str, commands: &Commands) -> Result<(), Failure> {
    let (publish, listen) = (commands.publish(), commands.listen(address, token));
    print(format_args!(
        "Open this page:\n\n  http://{address}/\n\n\
         Publish an event from another terminal:\n\n  {publish}\n\n\
         Listen without a browser:\n\n  {listen}\n\n\
         The token, good for a day:\n\n  {token}\n\n\
         Ctrl-C ends the demo and removes what it made."
    ))
}

/// Who the token is for.
const USER: &str = "5dad615eae019570fb4647ed";

/// What the commands are about; as a dataset, the one that the user may see.
const ISSUE: &str = "610217e481f6fc54736209e0";

/// The data of the events that the commands publish; a single quote would end it.
const DATA: &str = r#"[{"state":"closed"}]"#;

/// How long the token is good, in seconds: a day.
const TOKEN_SECONDS: u64 = 86_400;
