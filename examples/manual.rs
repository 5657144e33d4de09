//! Writes the manual pages and shell completions of `airlay-cli`, generated from its command line, into a folder:
//!
//!     cargo run --example manual -- target/manual
//!
//! The Debian package includes them.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use clap_complete::{Shell, generate_to};

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1) else {
        eprintln!("manual: name the folder to write to");
        return ExitCode::from(2);
    };
    match write_to(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: {}: {error}", Path::new(&folder).display());
            ExitCode::FAILURE
        }
    }
}

/// Writes a page for each command into `man1/`, and completions for bash, zsh and fish into `completions/`, named as each
/// shell expects.
///
/// # Errors
/// A folder or file cannot be written.
fn write_to(folder: &Path) -> io::Result<()> {
    let pages = folder.join("man1");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(airlay::cli::command(), pages)?;

    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let path = generate_to(shell, &mut airlay::cli::command(), "airlay-cli", &completions)?;
        // clap_complete 4.6 spells a name with a hyphen in two ways in its bash script, which then finds no subcommand.
        let script = fs::read_to_string(&path)?.replace("airlay__subcmd__cli", "airlay__cli");
        fs::write(&path, script)?;
    }
    Ok(())
}
