//! Writes the manual pages and the shells' completions of `airlay-cli`, made from its own command line, into a folder:
//!
//!     cargo run --example manual -- target/manual
//!
//! The package for Debian takes them from there.

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

/// One page for each command, in `man1/`; completions for bash, zsh and fish, under the names by which each finds them, in `completions/`.
fn write_to(folder: &Path) -> io::Result<()> {
    let pages = folder.join("man1");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(airlay::cli::command(), pages)?;

    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let path = generate_to(shell, &mut airlay::cli::command(), "airlay-cli", &completions)?;
        // For bash, clap_complete 4.6 spells a program's name with a hyphen in two ways, and finds no subcommand.
        let script = fs::read_to_string(&path)?.replace("airlay__subcmd__cli", "airlay__cli");
        fs::write(&path, script)?;
    }
    Ok(())
}
