//! The text of every value and where it was written: lines of the INI file, overridden by environment variables.
//!
//! It knows sections and keys by name only; [`kind`](super::kind) parses the values.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use ini::{Ini, ParseOption};

use super::key::Key;
use super::kind::Kind;
use super::mistake::{FileError, Mistake, Place};

/// What a line of the file may be.
const LINES: &str = "[section], key = value, a comment after # or ;";

/// The values found so far, and the mistakes noted so far.
pub(super) struct Source {
    file: PathBuf,
    /// All keys there are.
    keys: Vec<Key>,
    /// By section and key.
    values: HashMap<(&'static str, String), Value>,
    mistakes: Vec<Mistake>,
}

/// The text of a value, and where it was written.
struct Value {
    text: String,
    place: Place,
}

impl Source {
    /// No values yet. Relative paths will start at the folder of `file`, which need not exist.
    pub(super) fn new(file: &Path, keys: Vec<Key>) -> Self {
        Self { file: file.to_owned(), keys, values: HashMap::new(), mistakes: Vec::new() }
    }

    /// Reads the values of the INI file. `None` if it cannot be read, which is noted as a mistake.
    pub(super) fn read_file(&mut self) -> Option<()> {
        let read = fs::read(&self.file).map_err(|error| error.to_string());
        let text =
            read.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()));
        match text {
            Ok(text) => {
                self.read_ini(&text);
                Some(())
            }
            Err(error) => {
                self.note_text(None, format!("the configuration cannot be read: {error}"));
                None
            }
        }
    }

    /// Parses line by line, so that each mistake has its line number, none hides the next, and a line without `=` does
    /// not swallow the one after it.
    fn read_ini(&mut self, text: &str) {
        let mut section = CurrentSection::None;
        for (line, number) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().zip(1..) {
            let line = line.trim();
            // No escapes, so that paths and names may contain backslashes.
            let options = ParseOption { enabled_escape: false, ..ParseOption::default() };
            let Ok(parsed) = Ini::load_from_str_opt(line, options) else {
                self.note_text(Some(number), format!("{line:?} is not a valid line; allowed: {LINES}"));
                continue;
            };
            for (name, properties) in &parsed {
                if let Some(name) = name {
                    section = self.open_section(name, number);
                }
                for (key, text) in properties {
                    self.add(section, key, text, number);
                }
            }
        }
    }

    fn open_section(&mut self, name: &str, line: usize) -> CurrentSection {
        if let Some(key) = self.keys.iter().find(|key| key.section == name) {
            return CurrentSection::Known(key.section);
        }
        let mut sections: Vec<_> = self.keys.iter().map(|key| key.section).collect();
        sections.dedup();
        let hint = did_you_mean(name, &sections);
        let what = format!("there is no such section{hint}; allowed: {}", sections.join(", "));
        self.mistakes.push(Mistake::with_section(self.place(Some(line)), name, what));
        CurrentSection::Unknown
    }

    fn add(&mut self, section: CurrentSection, key: &str, text: &str, line: usize) {
        let section = match section {
            CurrentSection::Known(section) => section,
            CurrentSection::Unknown => return,
            CurrentSection::None => {
                return self.note_text(Some(line), format!("{key:?} comes before the first [section]"));
            }
        };
        let place = self.place(Some(line));
        if !self.keys.iter().any(|known| known.section == section && known.name == key) {
            let what = self.unknown_key(section, key);
            self.mistakes.push(Mistake::with_key(place, section, key, what));
        } else if text.contains(" #") || text.contains(" ;") {
            let what = "a comment is not allowed after a value; allowed: one on a line of its own";
            self.mistakes.push(Mistake::with_key(place, section, key, what));
        } else if let Some(first) = self.value(section, key) {
            let what = format!("set twice, first at {}; allowed: once", first.place);
            self.mistakes.push(Mistake::with_key(place, section, key, what));
        } else {
            self.values.insert((section, key.to_owned()), Value { text: text.to_owned(), place });
        }
    }

    fn unknown_key(&self, section: &str, name: &str) -> String {
        if let Some(key) = self.keys.iter().find(|key| key.name == name) {
            return format!("there is no such key here; it belongs to [{}]", key.section);
        }
        let names: Vec<_> =
            self.keys.iter().filter(|key| key.section == section).map(|key| key.name.as_str()).collect();
        let hint = did_you_mean(name, &names);
        format!("there is no such key{hint}; allowed: {}", names.join(", "))
    }

    /// Overrides values with the variables named `AIRLAY_<SECTION>_<KEY>`. An unknown variable is a mistake only if it
    /// begins with `AIRLAY_` and a known section: other programs may use `AIRLAY_` too.
    pub(super) fn read_environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        for (name, text) in variables {
            let Some(name) = name.to_str() else { continue };
            let place = Place::Variable(name.to_owned());
            if let Some(key) = self.keys.iter().find(|key| key.variable() == name) {
                match text.into_string() {
                    Ok(text) => {
                        let value = Value { text: text.trim().to_owned(), place };
                        self.values.insert((key.section, key.name.clone()), value);
                    }
                    Err(_) => {
                        self.mistakes.push(Mistake::with_key(place, key.section, &key.name, "not UTF-8 text"))
                    }
                }
            } else if self.keys.iter().any(|key| name.starts_with(&key.variable_prefix())) {
                let variables: Vec<_> = self.keys.iter().map(Key::variable).collect();
                let variables: Vec<_> = variables.iter().map(String::as_str).collect();
                let what = format!("there is no such key{}", did_you_mean(name, &variables));
                self.mistakes.push(Mistake::with_text(place, what));
            }
        }
    }

    /// The value of one key, or its default if it is not set. `None` if it is invalid, which is noted as a mistake.
    pub(super) fn take<T: 'static>(
        &mut self,
        section: &'static str,
        key: &str,
        default: &str,
        kind: &Kind<T>,
    ) -> Option<T> {
        let text = self.value(section, key).map_or(default, |value| &value.text);
        let folder = self.file.parent().unwrap_or_else(|| Path::new(""));
        let wrong = match kind.read(text, folder) {
            Ok(value) => return Some(value),
            Err(_) if text.is_empty() => "not set".to_owned(),
            Err(wrong) => wrong,
        };
        self.note(section, key, format!("{wrong}; allowed: {}", kind.allowed));
        None
    }

    /// Notes a mistake in the value of a key, at the place where the value was written.
    pub(super) fn note(&mut self, section: &'static str, key: &str, what: impl Into<String>) {
        let place = self.value(section, key).map_or_else(|| self.place(None), |value| value.place.clone());
        self.mistakes.push(Mistake::with_key(place, section, key, what));
    }

    /// Notes a mistake in a file that a value names.
    pub(super) fn note_file(&mut self, error: &FileError) {
        let what = format!("{}: {}", error.path.display(), error.what);
        self.note(error.section, error.key, what);
    }

    /// All mistakes, in the order of the file's lines, then those without a line.
    pub(super) fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(Mistake::line);
        self.mistakes
    }

    fn note_text(&mut self, line: Option<usize>, what: impl Into<String>) {
        self.mistakes.push(Mistake::with_text(self.place(line), what));
    }

    fn value(&self, section: &'static str, key: &str) -> Option<&Value> {
        self.values.get(&(section, key.to_owned()))
    }

    fn place(&self, line: Option<usize>) -> Place {
        Place::File(self.file.clone(), line)
    }
}

/// The section that a line belongs to.
#[derive(Clone, Copy)]
enum CurrentSection {
    /// Before the first section.
    None,
    Known(&'static str),
    /// Noted as one mistake; its keys are skipped.
    Unknown,
}

/// `, did you mean NAME?` with the known name most similar to `unknown`, or nothing if none is similar.
fn did_you_mean(unknown: &str, known: &[&str]) -> String {
    let unknown = unknown.to_lowercase();
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&unknown, &name.to_lowercase()), name))
        .min()
        .filter(|&(changes, name)| changes * 3 <= name.len())
        .map_or_else(String::new, |(_, name)| format!(", did you mean {name}?"))
}
