//! The configuration: an INI file and environment variables → a checked [`Config`] of plain structs.
//!
//! Every mistake is reported at once, each as a [`Mistake`] with its place and what is allowed. This module reads files.
//! It must not open sockets, nor know what the values are used for.

mod accounts;
mod check;
mod files;
mod key;
mod kind;
mod mistake;
mod sections;
mod source;

use std::ffi::OsString;
use std::path::Path;

use sections::AccessSection;
use source::Source;

pub use files::read_access_file;
pub use key::Key;
pub use mistake::{FileError, Mistake};
pub use sections::{Access, AccessMode, Events, Limits, Log, Metrics, Token, WebSocketEvents, keys};

/// A complete, checked configuration. Fields are named like the sections and keys of `config.ini`, in snake_case.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where and how clients connect.
    pub web_socket_events: WebSocketEvents,
    /// The socket that backend processes write events into.
    pub events: Events,
    /// Which access tokens are accepted.
    pub token: Token,
    /// What decides which users exist and what they may see.
    pub access: Access,
    /// What one client, and all of them together, may use.
    pub limits: Limits,
    /// The endpoint for monitoring.
    pub metrics: Metrics,
    /// The log on standard error.
    pub log: Log,
}

impl Config {
    /// Reads the INI file at `path`; the variables in `environment` named `AIRLAY_<SECTION>_<KEY>` override it.
    /// Relative paths are resolved against the file's folder. The key files and the access file are checked too.
    ///
    /// # Errors
    /// Every mistake, in the order of the file's lines, then those without a line.
    pub fn load(path: &Path, environment: impl Environment) -> Result<Self, Vec<Mistake>> {
        load(Some(path), environment, Self::take)
    }

    /// The defaults, naming no key file and no access file: for a server that gets keys and access rights directly.
    #[must_use]
    pub fn without_files() -> Self {
        let mut source = Source::new(Path::new(""), keys());
        source.read_environment([("AIRLAY_ACCESS_MODE".into(), "token".into())]);
        Self::take_with(Token::take, &mut source).expect("a default is an allowed value")
    }

    fn take(source: &mut Source) -> Option<Self> {
        Self::take_with(Token::take_checked, source)
    }

    /// Takes every section before returning `None` for any, so that each can note its mistakes.
    fn take_with(take_token: fn(&mut Source) -> Option<Token>, source: &mut Source) -> Option<Self> {
        let web_socket_events = WebSocketEvents::take(source);
        let events = Events::take(source);
        let token = take_token(source);
        let access = AccessSection::take_checked(source);
        let limits = Limits::take_checked(source);
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

/// Loads one section without the others: a command that only needs the server's address need not be able to read its
/// key files.
macro_rules! load_section {
    ($($Section:ident: $take:ident),*) => {$(
        impl $Section {
            /// Reads this section only, as [`Config::load`] does; without a `path`, from the environment alone.
            ///
            /// # Errors
            /// The mistakes in this section, all malformed lines and all unknown names.
            pub fn load(path: Option<&Path>, environment: impl Environment) -> Result<Self, Vec<Mistake>> {
                load(path, environment, Self::$take)
            }
        }
    )*};
}
load_section! { WebSocketEvents: take, Events: take, Token: take_checked, Limits: take_checked }

/// Environment variables, as [`std::env::vars_os`] returns them.
pub trait Environment: IntoIterator<Item = (OsString, OsString)> {}

impl<I: IntoIterator<Item = (OsString, OsString)>> Environment for I {}

fn load<T>(
    path: Option<&Path>,
    environment: impl Environment,
    take: fn(&mut Source) -> Option<T>,
) -> Result<T, Vec<Mistake>> {
    let mut source = Source::new(path.unwrap_or_else(|| Path::new("config.ini")), keys());
    let read = if path.is_some() { source.read_file() } else { Some(()) };
    let taken = read.and_then(|()| {
        source.read_environment(environment);
        take(&mut source)
    });
    let mistakes = source.into_mistakes();
    if mistakes.is_empty() { taken.ok_or(mistakes) } else { Err(mistakes) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::api::EventType;

    /// A folder with a key file and a `config.ini` of this text.
    fn folder(config_ini: &str) -> TempDir {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("key.pem"), PUBLIC_KEY).unwrap();
        fs::write(folder.path().join("config.ini"), config_ini).unwrap();
        folder
    }

    fn load(folder: &TempDir, variables: &[(&str, &str)]) -> Result<Config, Vec<Mistake>> {
        Config::load(
            &folder.path().join("config.ini"),
            variables.iter().map(|&(name, text)| (name.into(), text.into())),
        )
    }

    /// The texts of all mistakes, without the folder's path.
    fn mistakes(folder: &TempDir, variables: &[(&str, &str)]) -> Vec<String> {
        let prefix = format!("{}/", folder.path().display());
        load(folder, variables)
            .unwrap_err()
            .iter()
            .map(|mistake| mistake.to_string().replace(&prefix, ""))
            .collect()
    }

    const PUBLIC_KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvoJvajKSPGkVmgW+HyM0
jnmaP+n1lFf7hwX4fl+y4s2n19lqfR59MXk1vILPPjE1VwoGTwTBwvOjv3nES3zL
Lfpt6oBdTS4EyXLInVet2cZqy9dPCeeAOUIkLuhiU4Yb0f7rzOY10BRuOGLfgGRp
4V3TMWSC0QHqFRqC8TIZYj/ieFzd3zMIbyRjHzF/4JECtveYOCmr1q4QwpvU+2xr
oVeql1CMwNweGnjabmqVfEgIRujurVtvyR4UrbcS1HypAYRBHtpMkINAV5qxBudW
TrRRXVIBAlh7JVPC1mFeLbSbnPmPivlLa9fCJB1hYflWKySl8XNG5umTNCnMCD9A
pwIDAQAB
-----END PUBLIC KEY-----
";

    const LEAST: &str = "[token]\npublicKey = key.pem\n[access]\nmode = token\n";

    #[test]
    fn unset_keys_have_the_defaults_of_the_contract() {
        let config = load(&folder(LEAST), &[]).unwrap();
        assert_eq!(config.web_socket_events.address, Ipv4Addr::UNSPECIFIED);
        assert_eq!(config.web_socket_events.port, 8081);
        assert_eq!(config.web_socket_events.path, "/ws");
        assert!(!config.web_socket_events.compression);
        assert_eq!(config.events.socket, Path::new("/run/airlay/events.sock"));
        assert_eq!(config.events.socket_mode, 0o660);
        assert_eq!(config.access.mode, AccessMode::Token);
        assert_eq!(config.access.timeout_ms, Duration::from_secs(2));
        assert_eq!(
            config.access.dataset_events,
            [EventType::DatasetUpdate, EventType::UploadFile, EventType::DownloadFile]
        );
        assert_eq!(config.limits.queue_bytes, 1 << 20);
        assert_eq!(config.limits.handshake_seconds, Duration::from_secs(5));
        assert_eq!(config.metrics.address, None);
        assert_eq!(config.log.level, ::log::LevelFilter::Info);
    }

    #[test]
    fn without_files_has_the_defaults() {
        let config = Config::without_files();
        let mut defaults = load(&folder(LEAST), &[]).unwrap();
        assert_eq!(config.token.read_keys().unwrap().len(), 0);
        defaults.token.public_key.clear();
        assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn the_shipped_file_lacks_a_mode_and_a_key_and_otherwise_has_the_defaults() {
        let shipped = folder(include_str!("../../config.ini"));
        let mistakes = mistakes(&shipped, &[]);
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert!(mistakes[0].contains("[token] publicKey: not set"), "{mistakes:?}");
        assert_eq!(mistakes[1], "config.ini: [access] mode: not set; allowed: token, file, socket");

        let variables = [("AIRLAY_ACCESS_MODE", "token"), ("AIRLAY_TOKEN_PUBLICKEY", "key.pem")];
        let config = load(&shipped, &variables).unwrap();
        assert_eq!(config.metrics.address, Some("127.0.0.1:9081".parse().unwrap()));
        let least = folder(LEAST);
        let mut defaults = load(&least, &[]).unwrap();
        defaults.metrics.address = config.metrics.address;
        defaults.token.public_key = config.token.public_key.clone();
        assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn s53_five_mistakes_are_reported_at_once() {
        let folder = folder(
            "[webSocketEvents]\nport = 80810\nadress = ::1\n[limit]\nfragments = 1\n\
             [token]\npublicKey = key.pem, lost.pem\n[access]\nmode = everyone\n",
        );
        assert_eq!(
            mistakes(&folder, &[]),
            [
                "config.ini:2: [webSocketEvents] port: \"80810\" is not allowed; \
                 allowed: a whole number from 0 to 65535",
                "config.ini:3: [webSocketEvents] adress: there is no such key, did you mean address?; \
                 allowed: address, port, path, origins, trustedProxies, compression, compressionMinBytes",
                "config.ini:4: [limit]: there is no such section, did you mean limits?; \
                 allowed: webSocketEvents, events, token, access, limits, metrics, log",
                "config.ini:7: [token] publicKey: lost.pem: cannot be read: No such file or directory (os error 2)",
                "config.ini:9: [access] mode: \"everyone\" is not allowed; allowed: token, file, socket",
            ]
        );
    }

    #[test]
    fn malformed_lines_are_mistakes() {
        let text = "port = 1\n".to_owned() + LEAST + "  fragments\n= 7\n[limits\n[events]\nsocket = 'a\n";
        let lines: Vec<_> = mistakes(&folder(&text), &[]);
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!(lines[0], "config.ini:1: \"port\" comes before the first [section]");
        for (line, number) in lines[1..].iter().zip([6, 7, 8, 10]) {
            assert!(line.starts_with(&format!("config.ini:{number}: ")), "{line}");
        }
    }

    #[test]
    fn a_key_set_twice_is_a_mistake_even_across_repeated_sections() {
        let folder = folder(
            &(LEAST.to_owned() + "[log]\nlevel = warn\n[limits]\n[log]\nformat = json\nlevel = info\n"),
        );
        assert_eq!(
            mistakes(&folder, &[]),
            ["config.ini:10: [log] level: set twice, first at config.ini:6; allowed: once"]
        );
    }

    #[test]
    fn comments_quotes_and_backslashes() {
        let text = "\u{feff}; one\r\n  # two\r\n".to_owned()
            + LEAST
            + "[events]\r\n socket = \"/run/a b\\c;d.sock\"\r\n[webSocketEvents]\r\nport : 1\r\npath = /a=b\r\n";
        let config = load(&folder(&text), &[]).unwrap();
        assert_eq!(config.events.socket, Path::new("/run/a b\\c;d.sock"));
        assert_eq!(config.web_socket_events.port, 1);
        assert_eq!(config.web_socket_events.path, "/a=b");
        let folder = folder(&(LEAST.to_owned() + "[log]\nlevel = warn ; not info\n"));
        assert_eq!(
            mistakes(&folder, &[]),
            [
                "config.ini:6: [log] level: a comment is not allowed after a value; allowed: one on a line of its own"
            ]
        );
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let folder = folder(&(LEAST.to_owned() + "[webSocketEvents]\nport = wrong\norigins = https://a\n"));
        let config = load(
            &folder,
            &[
                ("AIRLAY_WEBSOCKETEVENTS_PORT", "9000"),
                ("AIRLAY_WEBSOCKETEVENTS_ORIGINS", ""),
                ("AIRLAY_HOME", "/srv"),
                ("airlay_log_level", "warn"),
            ],
        );
        let config = config.unwrap();
        assert_eq!(config.web_socket_events.port, 9000);
        assert!(config.web_socket_events.origins.admit(Some(b"https://b")));
    }

    #[test]
    fn mistakes_in_the_environment_name_the_variable() {
        let folder = folder(LEAST);
        assert_eq!(
            mistakes(&folder, &[("AIRLAY_LOG_LEVEL", "loud"), ("AIRLAY_LIMITS_FRAGMENT", "3")]),
            [
                "environment variable AIRLAY_LIMITS_FRAGMENT: there is no such key, \
                 did you mean AIRLAY_LIMITS_FRAGMENTS?",
                "environment variable AIRLAY_LOG_LEVEL: [log] level: \"loud\" is not allowed; \
                 allowed: off, error, warn, info, debug, trace",
            ]
        );
    }

    #[test]
    fn relative_paths_start_at_the_folder_of_the_file() {
        let folder = folder("[token]\npublicKey = key.pem\n[access]\nmode = socket\nsocket = a/b.sock\n");
        let config = load(&folder, &[("AIRLAY_EVENTS_SOCKET", "events.sock")]).unwrap();
        assert_eq!(config.events.socket, folder.path().join("events.sock"));
        assert_eq!(config.access.mode, AccessMode::Socket(folder.path().join("a/b.sock")));
        assert_eq!(config.token.public_key, [folder.path().join("key.pem")]);
    }

    #[test]
    fn keys_that_need_each_other() {
        let text = "[token]\njwks = .\n[access]\nmode = file\n[limits]\nqueueBytes = 2048\nqueueSoftBytes = 2049\n\
                    queueUnauthenticatedBytes = 2048\n";
        assert_eq!(
            mistakes(&folder(text), &[]),
            [
                "config.ini:2: [token] jwks: .: cannot be read: Is a directory (os error 21)",
                "config.ini:7: [limits] queueSoftBytes: 2049 is not allowed; \
                 allowed: at most queueBytes, which is 2048",
                "config.ini: [access] file: not set; mode = file needs its path",
            ]
        );
    }

    #[test]
    fn named_files_must_be_usable() {
        let folder =
            folder("[token]\npublicKey = key.pem, config.ini\n[access]\nmode = file\nfile = access.json\n");
        let access = folder.path().join("access.json");
        fs::write(&access, r#"{"users":{"5dad615e":{"datasets":[]}}}"#).unwrap();
        let mistakes = mistakes(&folder, &[]);
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert!(mistakes[0].starts_with("config.ini:2: [token] publicKey: config.ini: "), "{mistakes:?}");
        assert!(mistakes[1].starts_with("config.ini:5: [access] file: access.json: "), "{mistakes:?}");
        fs::write(&access, r#"{"users":{"5dad615eae019570fb4647ed":{"datasets":"*"}}}"#).unwrap();
        let config = load(&folder, &[("AIRLAY_TOKEN_PUBLICKEY", "key.pem")]).unwrap();
        assert_eq!(config.token.read_keys().unwrap().len(), 1);
        assert_eq!(read_access_file(&access).unwrap().users(), 1);
    }

    #[test]
    fn a_missing_file_is_one_mistake() {
        let folder = folder("");
        fs::remove_file(folder.path().join("config.ini")).unwrap();
        let mistakes = mistakes(&folder, &[]);
        assert_eq!(
            mistakes,
            ["config.ini: the configuration cannot be read: No such file or directory (os error 2)"]
        );
    }
}
