//! What is wrong with a configuration, said so that it can be mended.

use std::fmt;
use std::path::PathBuf;

/// One mistake in the configuration; its text names the place, the section and the key, and says what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    place: Place,
    /// `[section] key`, or as much of it as is known.
    about: String,
    what: String,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file, on a line counted from 1; a key that was left out has no line.
    File(PathBuf, Option<usize>),
    /// In an environment variable of this name.
    Variable(String),
}

impl Mistake {
    /// A mistake with one key of one section.
    pub(super) fn with_key(place: Place, section: &str, key: &str, what: impl Into<String>) -> Self {
        Self { place, about: format!("[{section}] {key}"), what: what.into() }
    }

    /// A mistake with a section as a whole.
    pub(super) fn with_section(place: Place, section: &str, what: impl Into<String>) -> Self {
        Self { place, about: format!("[{section}]"), what: what.into() }
    }

    /// A mistake with a line that is neither section nor key, or with the file itself.
    pub(super) fn with_text(place: Place, what: impl Into<String>) -> Self {
        Self { place, about: String::new(), what: what.into() }
    }

    /// The line in the file; what has none counts as after the last.
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
