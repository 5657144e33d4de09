//! Standard output, which may be closed at any time.

use std::fmt::Display;
use std::io::{self, Write as _};

use super::failure::{Exit, Failure};

/// Prints a line.
///
/// # Errors
/// Standard output cannot be written; silent if its reader has closed it.
pub(super) fn print(line: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|error| match error.kind() {
        // The reader closed the pipe, as `head` does: not an error to report.
        io::ErrorKind::BrokenPipe => Failure::silent(Exit::Failed),
        _ => Failure::new(Exit::Failed, format!("Cannot write to standard output: {error}.")),
    })
}
