//! What stands in the files and lists that the configuration names: keys, who may see what, origins, proxies.
//!
//! All of it is looked at when the configuration is loaded; keys and access are read again when the server is told to.

use super::mistake::Place;
use super::{AccessMode, Config, Mistake};
use crate::access::{Access, AccessFile, Service, ServiceSettings};
use crate::forwarded::{ProxyError, TrustedProxies};
use crate::origins::{OriginError, Origins};
use crate::token::KeySet;
use std::fmt::Display;
use std::fs;
use std::path::Path;

impl Config {
    /// The keys of all files in `[token] publicKey` and `jwks`.
    ///
    /// # Errors
    /// Every file that cannot be read or holds something else.
    pub fn read_keys(&self) -> Result<KeySet, Vec<Mistake>> {
        let mut keys = KeySet::new();
        let mut mistakes = Vec::new();
        for path in &self.token.public_key {
            let added = read(path, "token", "publicKey", |file| keys.add_pem(file));
            mistakes.extend(added.err());
        }
        if let Some(path) = &self.token.jwks {
            let added = read(path, "token", "jwks", |file| keys.add_jwks(file));
            mistakes.extend(added.err());
        }
        if mistakes.is_empty() { Ok(keys) } else { Err(mistakes) }
    }

    /// Who may see what, as `[access]` says.
    ///
    /// # Errors
    /// The access file cannot be read or is not as it should be.
    pub fn read_access(&self) -> Result<Access, Mistake> {
        Ok(match &self.access.mode {
            AccessMode::Token => Access::Token,
            AccessMode::File(path) => Access::File {
                dataset_events: self.access.dataset_events.clone(),
                file: read(path, "access", "file", AccessFile::parse)?,
            },
            AccessMode::Socket(_) => Access::Service(Box::new(Service::new(ServiceSettings {
                keep: self.access.cache_seconds,
                timeout: self.access.timeout_ms,
            }))),
        })
    }

    /// The pages that may connect.
    ///
    /// # Errors
    /// An entry of the list is no origin.
    pub fn origins(&self) -> Result<Origins, OriginError> {
        match self.web_socket_events.origins.as_slice() {
            [] => Ok(Origins::any()),
            origins => Origins::only(origins.iter().map(String::as_str)),
        }
    }

    /// The proxies whose word is taken.
    ///
    /// # Errors
    /// An entry of the list is no address and no network.
    pub fn trusted_proxies(&self) -> Result<TrustedProxies, ProxyError> {
        TrustedProxies::parse(self.web_socket_events.trusted_proxies.iter().map(String::as_str))
    }
}

/// What `parse` makes of the file at `path`, which this key names.
fn read<T, E: Display>(
    path: &Path,
    section: &str,
    key: &str,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<T, Mistake> {
    let mistake = |what| Mistake::with_key(Place::File(path.to_owned(), None), section, key, what);
    let file = fs::read(path).map_err(|error| mistake(error.to_string()))?;
    parse(&file).map_err(|error| mistake(error.to_string()))
}
