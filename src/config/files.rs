//! The files that values name: public keys and the access file, read at the start and at each reload.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use super::mistake::FileError;
use super::sections::{AccessSection, Limits, Token};
use crate::access::AccessFile;
use crate::token::{KeySet, Rules};

impl Token {
    /// Reads the keys from all files of `publicKey` and `jwks`.
    ///
    /// # Errors
    /// Every file that cannot be read or has no usable key; one such file discards the keys of all.
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

    /// What a token must satisfy besides its signature.
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

/// Reads the users and their datasets from the file of `[access] file`.
///
/// # Errors
/// The file cannot be read, or any part of it is invalid.
pub fn read_access_file(path: &Path) -> Result<AccessFile, FileError> {
    read(AccessSection::SECTION, "file", path, AccessFile::parse)
}

/// Reads a regular file. A FIFO would stop the event loop until it is written to, a device for ever.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    // Reading a directory fails with words of its own.
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read<T, E: ToString>(
    section: &'static str,
    key: &'static str,
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<T, FileError> {
    read_regular(path)
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(|file| parse(&file).map_err(|error| error.to_string()))
        .map_err(|what| FileError { section, key, path: path.to_owned(), what })
}
