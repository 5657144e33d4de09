//! The command `airlay-cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    airlay::cli::run()
}
