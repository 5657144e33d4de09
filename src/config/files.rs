//! The files that values name: public keys and the access file. They are read when the server starts, and again when
//! it is told to; a file that cannot be used is reported, and what was in force stays so.

use std::fs;
use std::path::{Path, PathBuf};

use super::sections::{AccessKeys, Limits, Token};
use crate::access::AccessFile;
use crate::token::{KeySet, Rules};

/// A file that cannot be used; its text names the key, the file and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[{section}] {key}: {}: {what}", path.display())]
pub struct FileError {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) path: PathBuf,
    pub(super) what: String,
}

impl Token {
    /// The keys in all the files of `publicKey` and `jwks`, as the files are now.
    ///
    /// # Errors
    /// Every file that cannot be read or holds no usable key; then no key counts.
    pub fn read_keys(&self) -> Result<KeySet, Vec<FileError>> {
        let mut keys = KeySet::new();
        let mut errors = Vec::new();
        for path in &self.public_key {
            let result = read(Self::SECTION, "publicKey", path, |file| keys.add_pem(file));
            errors.extend(result.err());
        }
        if let Some(path) = &self.jwks {
            let result = read(Self::SECTION, "jwks", path, |file| keys.add_jwks(file));
            errors.extend(result.err());
        }
        if errors.is_empty() { Ok(keys) } else { Err(errors) }
    }

    /// What a token has to be besides well signed.
    #[must_use]
    pub fn rules(&self, limits: &Limits) -> Rules {
        Rules {
            issuers: self.issuer.clone(),
            audience: self.audience.clone(),
            leeway: self.leeway_seconds,
            token_bytes: limits.token_bytes,
        }
    }
}

/// The users and datasets in the file of `[access] file`, as the file is now.
///
/// # Errors
/// It cannot be read, or is not as it should be; then nothing in it counts.
pub fn read_access_file(path: &Path) -> Result<AccessFile, FileError> {
    read(AccessKeys::SECTION, "file", path, AccessFile::parse)
}

fn read<T, E: ToString>(
    section: &'static str,
    key: &'static str,
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<T, FileError> {
    fs::read(path)
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(|file| parse(&file).map_err(|error| error.to_string()))
        .map_err(|what| FileError { section, key, path: path.to_owned(), what })
}
