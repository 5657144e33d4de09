//! The command-line program `airlay-cli`; see [`airlay::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    airlay::cli::run()
}
