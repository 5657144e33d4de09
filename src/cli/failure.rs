//! How a command fails: with an exit code, and with sentences for who typed it.

use std::process::ExitCode;

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    /// Each is one line on standard error.
    sentences: Vec<String>,
}

/// The exit codes of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// Something went wrong while running.
    Failed = 1,
    /// Wrong usage or a wrong configuration; nothing was done.
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

    /// One sentence for each error.
    pub(super) fn each(exit: Exit, errors: &[impl ToString]) -> Self {
        Self { exit, sentences: errors.iter().map(ToString::to_string).collect() }
    }

    /// It has been said already.
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

    /// Says why, and gives the code to exit with.
    pub(super) fn report(self) -> ExitCode {
        for sentence in self.sentences {
            eprintln!("{sentence}");
        }
        ExitCode::from(self.exit as u8)
    }
}
