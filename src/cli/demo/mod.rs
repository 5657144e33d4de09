//! `demo`: the server with all it needs made up, and a page to try it with.
//!
//! Key, users and configuration are written into a private folder and read from there as any server reads them, so what
//! the demo shows is what the server does.

mod commands;
mod folder;
mod front;
mod page;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::failure::{Exit, Failure};
use super::output::print;
use super::token::{now, payload};
use crate::api::UserId;
use crate::config::Config;
use crate::log;
use crate::net::Listening;
use crate::token::SigningKey;
use commands::Commands;
use folder::Folder;
use front::Front;

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
    /// The port of the page; 0 takes any free one
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
}

/// Who the token is for.
const USER: &str = "5dad615eae019570fb4647ed";

/// What the commands are about; as a dataset, the one that the user may see.
const ISSUE: &str = "610217e481f6fc54736209e0";

/// The data of the events that the commands publish; a single quote would end it.
const DATA: &str = r#"[{"state":"closed"}]"#;

/// How long the token is good, in seconds: a day.
const TOKEN_SECONDS: u64 = 86_400;

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("The demo cannot run: {what}: {error}."))
    };
    let front = Front::bind(arguments.port).map_err(|error| {
        failed(
            &format!("port {} of 127.0.0.1 cannot be had, choose another with --port", arguments.port),
            &error,
        )
    })?;
    let page = front.address().map_err(|error| failed("its port", &error))?;
    let folder = Folder::new().map_err(|error| failed("a private folder", &error))?;
    let (key, public_key) = SigningKey::generate().map_err(|_| failed("a key", &"no random numbers"))?;
    let config = furnish(folder.path(), &public_key).map_err(|error| failed("its folder", &error))?;
    let config = Config::load(&config, []).map_err(|mistakes| Failure::each(Exit::Failed, &mistakes))?;
    log::init(config.log.level, config.log.format).map_err(|error| failed("standard error", &error))?;
    let listening = Listening::bind(&config).map_err(|error| failed("the server", &error))?;

    let user: UserId = USER.parse().map_err(|error| failed("its user", &error))?;
    let token = key.sign(&payload(user, Some("demo"), None, TOKEN_SECONDS, now()).to_string());
    let commands = Commands::new(&config.events.socket);
    front.serve(page::response(&token, &commands), listening.address());
    introduce(page, &token, &commands)?;
    listening.serve().map_err(|error| failed("the server", &error))
}

/// Writes what the server reads into `folder`. Returns the configuration's path.
fn furnish(folder: &Path, public_key: &str) -> io::Result<std::path::PathBuf> {
    fs::write(folder.join("public.pem"), public_key)?;
    fs::write(
        folder.join("access.json"),
        format!("{{\"users\":{{\"{USER}\":{{\"datasets\":[\"{ISSUE}\"]}}}}}}\n"),
    )?;
    let config = folder.join("config.ini");
    fs::write(
        &config,
        "[webSocketEvents]\naddress = 127.0.0.1\nport = 0\n[events]\nsocket = events.sock\nsocketMode = 0600\n\
         [token]\npublicKey = public.pem\n[access]\nmode = file\nfile = access.json\n[log]\nlevel = warn\n",
    )?;
    Ok(config)
}

/// Says what there is to see and to type.
fn introduce(page: SocketAddr, token: &str, commands: &Commands) -> Result<(), Failure> {
    let (publish, listen) = (commands.publish(), commands.listen(page, token));
    print(format_args!(
        "Open this page:\n\n  http://{page}/\n\n\
         Publish an event from another terminal:\n\n  {publish}\n\n\
         Listen without a browser:\n\n  {listen}\n\n\
         The token, good for a day:\n\n  {token}\n\n\
         Ctrl-C ends the demo and removes what it made."
    ))
}
