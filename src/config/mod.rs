//! The configuration: an INI file and environment variables → a checked [`Config`] of plain structs.
//!
//! Everything that is wrong is reported at once, each as a [`Mistake`] with its place and what is allowed. The module
//! reads files but opens no socket, and what the values do is not its business.

mod accounts;
mod check;
mod kind;
mod mistake;
mod sections;
mod source;
mod table;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use mistake::Mistake;
pub use sections::{Events, Limits, Log, Metrics, Token, WebSocketEvents};
pub use table::{Key, keys};

use crate::api::EventType;
use sections::AccessKeys;
use source::Source;

/// A whole configuration, checked. Fields have the names of the sections and keys in `config.ini`, in snake_case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where and how clients connect.
    pub web_socket_events: WebSocketEvents,
    /// The socket that backend processes write events into.
    pub events: Events,
    /// Which access tokens are good.
    pub token: Token,
    /// Who exists and may see what.
    pub access: Access,
    /// What one peer, and all of them, may cost.
    pub limits: Limits,
    /// The numbers for monitoring.
    pub metrics: Metrics,
    /// The log on standard error.
    pub log: Log,
}

/// `[access]`: who exists and may see what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who is asked.
    pub mode: AccessMode,
    /// How long an answer of the access service is remembered; zero asks each time.
    pub cache_seconds: Duration,
    /// How long an answer of the access service may take.
    pub timeout_ms: Duration,
    /// The event types whose id is that of a dataset, which the user has to have access to.
    pub dataset_events: Vec<EventType>,
}

/// `[access] mode`, with the path that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// Nobody: every good token's user exists and may see everything.
    Token,
    /// The JSON file at this path.
    File(PathBuf),
    /// The service at this Unix-domain stream socket.
    Socket(PathBuf),
}

impl Config {
    /// Reads the INI file at `path`; the variables of `environment` named `AIRLAY_<SECTION>_<KEY>` override it.
    /// Relative paths are made relative to the file's folder. Files that the values name are looked at, too.
    ///
    /// # Errors
    /// Every mistake there is, in the order of the file's lines, then what has no line.
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut source = Source::new(path);
        source.read_file();
        source.read_environment(environment);
        let config = Self::take(&mut source);
        let mistakes = source.into_mistakes();
        if mistakes.is_empty() { config.ok_or(mistakes) } else { Err(mistakes) }
    }

    /// Every section is taken before the first missing one ends it, so that each can note its mistakes.
    fn take(source: &mut Source) -> Option<Self> {
        let web_socket_events = WebSocketEvents::take(source);
        let events = Events::take(source);
        let token = Token::take(source).filter(|token| token.check(source));
        let access = AccessKeys::take(source).and_then(|keys| keys.check(source));
        let limits = Limits::take(source).filter(|limits| limits.check(source));
        let metrics = Metrics::take(source);
        let log = Log::take(source);
        Some(Self {
            web_socket_events: web_socket_events?,
            events: events?,
            token: token?,
            access: access?,
            limits: limits?,
            metrics: metrics?,
            log: log?,
        })
    }
}
