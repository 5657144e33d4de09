//! The bodies of the fuzz targets, one file each. `fuzz/README.md` describes how to run them.
//!
//! Each body compares a part of the server with a reference that is simple, slow and used nowhere else.
//!
//! A body accepts any bytes and panics when a property does not hold. `fuzz/` runs the bodies under libFuzzer; the
//! tests below run them over the committed corpus. Release builds contain none of this.

mod cuts;
mod frame_decoder;
mod inflate;
mod json;
mod messages;
mod producer_lines;
mod request;
mod request_head;
#[cfg(test)]
mod seeds;
mod server;
mod subject;
mod token;

pub use frame_decoder::frame_decoder;
pub use messages::messages;
pub use producer_lines::producer_lines;
pub use request::request;
pub use request_head::request_head;
pub use server::server;
pub use token::token;

/// Every target's name and body.
pub const TARGETS: [(&str, Body); 7] = [
    ("request_head", request_head),
    ("frame_decoder", frame_decoder),
    ("messages", messages),
    ("request", request),
    ("producer_lines", producer_lines),
    ("token", token),
    ("server", server),
];

/// The body of a target: takes one input.
pub type Body = fn(&[u8]);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn corpus(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
    }

    /// Runs every input of the corpus through its body. The last name printed is the input that failed.
    #[test]
    fn the_corpus_holds() {
        for (target, body) in TARGETS {
            let folder = corpus(target);
            let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
            files.sort();
            for file in files {
                println!("{}", file.display());
                body(&fs::read(&file).unwrap());
            }
        }
    }

    /// With `UPDATE_CORPUS=1`, writes the seeds; other files in the corpus are kept.
    #[test]
    fn the_corpus_has_every_seed() {
        let is_update = std::env::var_os("UPDATE_CORPUS").is_some();
        for (target, name, bytes) in seeds::seeds() {
            let file = corpus(target).join(name);
            if is_update {
                fs::create_dir_all(corpus(target)).unwrap();
                fs::write(&file, &bytes).unwrap();
            }
            let is_there = fs::read(&file).is_ok_and(|found| found == bytes);
            assert!(is_there, "{} differs from its seed; UPDATE_CORPUS=1 writes it", file.display());
        }
    }

    #[test]
    fn every_target_has_its_program() {
        let manifest = include_str!("../../fuzz/Cargo.toml");
        let programs: Vec<&str> =
            manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")).collect();
        assert_eq!(programs, TARGETS.map(|(target, _)| format!("{target}.rs\"")));
    }
}
