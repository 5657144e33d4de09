//! How a command fails: an exit code, and sentences on standard error.

use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    /// One line each on standard error.
    sentences: Vec<String>,
}

/// The exit codes of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// An error while running.
    Failed = 1,
    /// Wrong usage or configuration; nothing was done.
    Wrong = 2,
    /// `publish`: the server refused an event.
    Refused = 3,
    /// `publish`: there is no server at the socket.
    NoServer = 4,
}

impl Failure {
    pub(super) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, sentences: vec![sentence.into()] }
    }

    /// A failure with one line for each error.
    pub(super) fn each(exit: Exit, errors: &[impl ToString]) -> Self {
        Self { exit, sentences: errors.iter().map(ToString::to_string).collect() }
    }

    /// A failure that has been reported already.
    pub(super) const fn silent(exit: Exit) -> Self {
        Self { exit, sentences: Vec::new() }
    }

    #[cfg(test)]
    pub(super) const fn exit(&self) -> Exit {
        self.exit
    }

    #[cfg(test)]
    pub(super) fn sentences(&self) -> &[String] {
        &self.sentences
    }

    /// Writes the sentences to standard error and returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        for sentence in self.sentences {
            eprintln!("{sentence}");
        }
        ExitCode::from(self.exit as u8)
    }
}
