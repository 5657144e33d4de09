//! What no single value shows: keys that need each other, and files that have to be there.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::sections::{AccessKeys, Limits, Mode, Token};
use super::source::Source;
use super::{Access, AccessMode};

impl Token {
    /// Whether there are keys, and their files can be read; notes what is not so.
    pub(super) fn check(&self, source: &mut Source) -> bool {
        let mut good = true;
        if self.public_key.is_empty() && self.jwks.is_none() {
            source.note(Self::SECTION, "publicKey", "not set, nor is jwks; no token could be verified");
            good = false;
        }
        for path in &self.public_key {
            good &= check_file(source, Self::SECTION, "publicKey", path);
        }
        if let Some(path) = &self.jwks {
            good &= check_file(source, Self::SECTION, "jwks", path);
        }
        good
    }
}

impl AccessKeys {
    /// What the keys mean, if the mode's path is there; else that is noted.
    pub(super) fn check(self, source: &mut Source) -> Option<Access> {
        let mode = match self.mode {
            Mode::Token => AccessMode::Token,
            Mode::File => {
                let path = needed(source, "file", self.file)?;
                check_file(source, Self::SECTION, "file", &path).then_some(AccessMode::File(path))?
            }
            // The service may come up after the server does.
            Mode::Socket => AccessMode::Socket(needed(source, "socket", self.socket)?),
        };
        Some(Access {
            mode,
            cache_seconds: self.cache_seconds,
            timeout_ms: self.timeout_ms,
            dataset_events: self.dataset_events,
        })
    }
}

fn needed(source: &mut Source, key: &str, path: Option<PathBuf>) -> Option<PathBuf> {
    if path.is_none() {
        source.note(AccessKeys::SECTION, key, format!("not set; mode = {key} needs its path"));
    }
    path
}

impl Limits {
    /// Whether no limit makes another one unreachable; notes what is not so.
    pub(super) fn check(&self, source: &mut Source) -> bool {
        let pairs = [
            ("queueSoftBytes", self.queue_soft_bytes, "queueBytes", self.queue_bytes),
            ("queueUnauthenticatedBytes", self.queue_unauthenticated_bytes, "queueBytes", self.queue_bytes),
            ("queueBytes", self.queue_bytes, "queueTotalBytes", self.queue_total_bytes),
            ("tokenBytes", self.token_bytes, "messageBytes", self.message_bytes),
        ];
        let mut good = true;
        for (small, small_bytes, large, large_bytes) in pairs {
            if small_bytes > large_bytes {
                let what =
                    format!("{small_bytes} is not allowed; allowed: at most {large}, which is {large_bytes}");
                source.note(Self::SECTION, small, what);
                good = false;
            }
        }
        good
    }
}

/// Whether there is a file at `path` that can be read; notes if not. What is in it is looked at by who uses it.
fn check_file(source: &mut Source, section: &'static str, key: &str, path: &Path) -> bool {
    match read_some(path) {
        Ok(()) => true,
        Err(error) => {
            source.note(section, key, format!("{} cannot be read: {error}", path.display()));
            false
        }
    }
}

/// Opening a folder succeeds; reading from it tells.
fn read_some(path: &Path) -> io::Result<()> {
    File::open(path)?.read(&mut [0]).map(drop)
}
