//! The fuzz targets: which there are, and where their bodies are. See `fuzz/README.md`.
//!
//! A body takes any bytes and panics when a property does not hold. `fuzz/` runs them under libFuzzer; the test here runs
//! them over the committed corpus. None of it is in a build for use.

pub(crate) mod cuts;
pub(crate) mod json;

/// Every target's name and body.
pub const TARGETS: [(&str, fn(&[u8])); 7] = [
    ("request_head", crate::websocket::fuzzing::request_head),
    ("frame_decoder", crate::websocket::fuzzing::frame_decoder),
    ("messages", crate::websocket::fuzzing::messages),
    ("request", crate::api::fuzzing::request),
    ("producer_lines", crate::api::fuzzing::producer_lines),
    ("token", crate::token::fuzzing::token),
    ("server", crate::hub::fuzzing::server),
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Every input of the corpus through its body. A file's name is printed when it fails.
    #[test]
    fn the_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (target, body) in TARGETS {
            let folder = corpus.join(target);
            let mut files: Vec<_> = fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
                .map(|entry| entry.unwrap().path())
                .collect();
            files.sort();
            assert!(files.len() >= 10, "{} has hardly any input", folder.display());
            for file in files {
                println!("{}", file.display());
                body(&fs::read(&file).unwrap());
            }
        }
    }
}
