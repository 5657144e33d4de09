//! Reloads keys and the access file on SIGHUP, and the access file also when it changes.
//!
//! An unreadable or malformed file is reported, and the previous version stays in force.

use crate::access::Access;
use crate::config::{AccessMode, Config, read_access_file};
use crate::hub::Hub;
use crate::metrics::Reloads;
use crate::server::Server;
use crate::time::Now;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// Watches and reloads the configured files.
#[derive(Debug)]
pub(super) struct Reload {
    config: Config,
    access_file: Option<Version>,
    reloads: Reloads,
}

/// Identifies a file's version: device and inode, length, and the times of its last changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Reload {
    pub(super) fn new(config: Config) -> Self {
        let mut reload = Self { config, access_file: None, reloads: Reloads::default() };
        reload.access_file = reload.access_file_version();
        reload
    }

    /// Reloads the access file if it has changed.
    pub(super) fn look(&mut self, server: &mut Server<Hub>, now: Now) {
        let version = self.access_file_version();
        // A missing file is not a change yet: it may be about to be replaced.
        if version.is_some() && version != self.access_file {
            self.access_file = version;
            self.reload_access(server, now);
        }
    }

    /// Reloads all files.
    pub(super) fn reload(&mut self, server: &mut Server<Hub>, now: Now) {
        self.access_file = self.access_file_version();
        self.reload_access(server, now);
        self.reload_keys(server, now);
    }

    fn access_file_version(&self) -> Option<Version> {
        let AccessMode::File(path) = &self.config.access.mode else { return None };
        let metadata = fs::metadata(path).ok()?;
        Some(Version {
            file: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Counters of reloads since the start.
    pub(super) const fn counters(&self) -> Reloads {
        self.reloads
    }

    fn reload_access(&mut self, server: &mut Server<Hub>, now: Now) {
        if let AccessMode::File(path) = &self.config.access.mode {
            match read_access_file(path) {
                Ok(file) => {
                    let dataset_events = self.config.access.dataset_events.clone();
                    let access = Access::File { dataset_events, file };
                    server.act(now, |hub, peers| hub.replace_access(peers, access, now));
                    self.reloads.access_taken += 1;
                    log::info!("access file read again");
                }
                Err(error) => {
                    self.reloads.access_refused += 1;
                    log::error!(error:%; "access file not taken, the old one stays in force");
                }
            }
        }
    }

    fn reload_keys(&mut self, server: &mut Server<Hub>, now: Now) {
        match self.config.token.read_keys() {
            Ok(keys) => {
                server.act(now, |hub, peers| hub.replace_keys(peers, keys, now));
                self.reloads.keys_taken += 1;
                log::info!("keys read again");
            }
            Err(errors) => {
                self.reloads.keys_refused += 1;
                for error in errors {
                    log::error!(error:%; "keys not taken, the old ones stay in force");
                }
            }
        }
    }
}
