//! Standard output.

use std::fmt::Display;
use std::io::{self, Write as _};

use super::failure::{Exit, Failure};

/// Prints a line.
pub(super) fn print(line: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|error| match error.kind() {
        // Whoever reads us has enough, and knows.
        io::ErrorKind::BrokenPipe => Failure::silent(Exit::Failed),
        _ => Failure::new(Exit::Failed, format!("Standard output cannot be written: {error}.")),
    })
}
