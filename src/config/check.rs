//! Checks across values: keys that depend on each other, and named files that must be readable and well-formed.

use std::path::PathBuf;

use super::files::read_access_file;
use super::sections::{Access, AccessMode, AccessSection, Limits, ModeWord, Token};
use super::source::Source;

impl Token {
    /// The section, if it names keys and all their files are usable; otherwise notes the mistakes.
    pub(super) fn take_checked(source: &mut Source) -> Option<Self> {
        Self::take(source).filter(|token| token.has_keys(source))
    }

    fn has_keys(&self, source: &mut Source) -> bool {
        if self.public_key.is_empty() && self.jwks.is_none() {
            let what = "not set, and neither is jwks; without a key no token can be verified";
            source.note(Self::SECTION, "publicKey", what);
            return false;
        }
        let errors = self.read_keys().err().unwrap_or_default();
        errors.iter().for_each(|error| source.note_file(error));
        errors.is_empty()
    }
}

impl AccessSection {
    /// The section's meaning, if the path its mode needs is set and the access file is valid; otherwise notes the
    /// mistakes.
    pub(super) fn take_checked(source: &mut Source) -> Option<Access> {
        let keys = Self::take(source)?;
        let mode = match keys.mode {
            ModeWord::Token => AccessMode::Token,
            ModeWord::File => {
                let path = needed(source, "file", keys.file)?;
                read_access_file(&path).map_err(|error| source.note_file(&error)).ok()?;
                AccessMode::File(path)
            }
            // Not checked further: the service may start after the server.
            ModeWord::Socket => AccessMode::Socket(needed(source, "socket", keys.socket)?),
        };
        Some(Access {
            mode,
            cache_seconds: keys.cache_seconds,
            timeout_ms: keys.timeout_ms,
            questions: keys.questions,
            dataset_events: keys.dataset_events,
        })
    }
}

/// The path that `mode = {key}` needs, which is the key of the same name; `None` and a mistake if it is not set.
fn needed(source: &mut Source, key: &str, path: Option<PathBuf>) -> Option<PathBuf> {
    if path.is_none() {
        source.note(AccessSection::SECTION, key, format!("not set; mode = {key} needs its path"));
    }
    path
}

impl Limits {
    /// The section, if no limit contradicts another; otherwise notes the mistakes.
    pub(super) fn take_checked(source: &mut Source) -> Option<Self> {
        Self::take(source).filter(|limits| limits.are_consistent(source))
    }

    fn are_consistent(&self, source: &mut Source) -> bool {
        let mut consistent = true;
        let mut at_most = |small, small_bytes, large, large_bytes| {
            if small_bytes > large_bytes {
                let what =
                    format!("{small_bytes} is not allowed; allowed: at most {large}, which is {large_bytes}");
                source.note(Self::SECTION, small, what);
                consistent = false;
            }
        };
        at_most("queueSoftBytes", self.queue_soft_bytes, "queueBytes", self.queue_bytes);
        let unauthenticated = self.queue_unauthenticated_bytes;
        at_most("queueUnauthenticatedBytes", unauthenticated, "queueBytes", self.queue_bytes);
        at_most("queueBytes", self.queue_bytes, "queueTotalBytes", self.queue_total_bytes);
        at_most("tokenBytes", self.token_bytes, "messageBytes", self.message_bytes);
        if self.pong_seconds >= self.ping_seconds {
            let ping = self.ping_seconds.as_secs();
            let what = format!("not allowed; allowed: less than pingSeconds, which is {ping}");
            source.note(Self::SECTION, "pongSeconds", what);
            consistent = false;
        }
        consistent
    }
}
