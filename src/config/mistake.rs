//! Mistakes in a configuration and in the files it names, worded so that they can be fixed.

use std::fmt;
use std::path::PathBuf;

/// A file that cannot be used; the text names the key, the file and the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[{section}] {key}: {}: {what}", path.display())]
pub struct FileError {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) path: PathBuf,
    pub(super) what: String,
}

/// One mistake in the configuration; the text names the place, the section and the key, and says what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    place: Place,
    /// `[section] key`, `[section]`, or empty.
    about: String,
    what: String,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file, on a line counted from 1; `None` for a key that is not set.
    File(PathBuf, Option<usize>),
    /// In an environment variable of this name.
    Variable(String),
}

impl Mistake {
    /// A mistake in one key.
    pub(super) fn with_key(place: Place, section: &str, key: &str, what: impl Into<String>) -> Self {
        Self { place, about: format!("[{section}] {key}"), what: what.into() }
    }

    /// A mistake in a section as a whole.
    pub(super) fn with_section(place: Place, section: &str, what: impl Into<String>) -> Self {
        Self { place, about: format!("[{section}]"), what: what.into() }
    }

    /// A mistake in a line that is neither section nor key, or in the file itself.
    pub(super) fn with_text(place: Place, what: impl Into<String>) -> Self {
        Self { place, about: String::new(), what: what.into() }
    }

    /// The line in the file; `usize::MAX` if there is none, to sort last.
    pub(super) fn line(&self) -> usize {
        match self.place {
            Place::File(_, Some(line)) => line,
            Place::File(_, None) | Place::Variable(_) => usize::MAX,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.about.is_empty() {
            write!(f, "{}: ", self.about)?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for Mistake {}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}
