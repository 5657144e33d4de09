//! What can go wrong, and the tests that show what the server does then: `tests/SAFETY.md`, generated from this table and the
//! names of the tests.
//!
//! The name of a test begins with the number of its row: `s12_…`, or `s06_s07_…` for two rows. Each row must have a test.
//! `UPDATE_SAFETY=1 cargo test --test safety` generates the file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The rows, numbered from 1.
const ROWS: [&str; 53] = [
    "a head that is too large, or arrives byte by byte",
    "thousands of heads that never end",
    "a key that is absent, repeated or not 16 bytes",
    "requests smuggled behind a refused upgrade",
    "frames in one segment with the head",
    "a page of a foreign origin",
    "an address that the client made up",
    "too many connections: in all, from one address, of one user",
    "malformed headers for extensions and protocols",
    "lengths of 64 bits that overflow",
    "memory claimed by a length, without the bytes",
    "lengths not minimal, frames not masked, unknown opcodes, reserved bits",
    "fragments without end",
    "floods of frames without a message",
    "fragments out of order, control frames too long or fragmented",
    "pings whose pongs are not read",
    "unsolicited pongs",
    "a close that is malformed or never answered",
    "invalid UTF-8, split anywhere",
    "one client's messages reaching another",
    "a subscriber that reads too slowly",
    "a peer without a good token that does not read",
    "many slow ones at once",
    "a busy topic beside a quiet one",
    "a client whose packets are all lost",
    "the idle limit of a proxy",
    "a restart with all clients connected",
    "a peer that disconnects during its own fan-out, and its slot",
    "an attach that races with an event",
    "producers faster than the clients",
    "tokens with another algorithm than RS256",
    "tokens that bring a key along or name one",
    "tokens with odd times",
    "clocks that step",
    "tokens too long, or of too many parts",
    "a cached token mistaken for another, or valid too long",
    "floods of bad tokens",
    "JSON too deep, too large, ambiguous",
    "too many requests",
    "what a peer wrote, and tokens, in the log",
    "a log that is not read",
    "another user of the machine at the events socket",
    "a socket's file left behind; two servers at one path",
    "a producer that dies in the middle of a line",
    "a line that is too long",
    "lines that are not events",
    "no descriptors left",
    "errors of system calls",
    "connections aborted at every stage",
    "readiness that is reported only once",
    "a server killed under load",
    "a loop that hangs",
    "a wrong configuration, at the start and later",
];

/// The folders that are searched for tests.
const FOLDERS: [&str; 5] = ["src", "tests", "fuzz", "benches", "clients"];

/// The kind of a test by the beginning of its path; the first match counts.
const LEVELS: [(&str, &str); 8] = [
    ("src/", "unit"),
    ("fuzz/", "fuzz"),
    ("tests/differential", "differential"),
    ("tests/simulation", "simulation"),
    ("tests/python/test_syscalls", "system calls"),
    ("tests/python/test_network", "network"),
    ("tests/python/test_nginx", "nginx"),
    ("", "live"),
];

#[test]
fn each_row_has_a_test_and_safety_md_names_them() {
    let tests = tests();
    let without: Vec<usize> = (1..=ROWS.len()).filter(|row| !tests.contains_key(row)).collect();
    assert!(without.is_empty(), "rows without a test: {without:?}");
    let beyond: Vec<&usize> = tests.keys().filter(|row| !(1..=ROWS.len()).contains(*row)).collect();
    assert!(beyond.is_empty(), "tests named after rows that do not exist: {beyond:?}");

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("tests/SAFETY.md");
    let text = document(&tests);
    if std::env::var_os("UPDATE_SAFETY").is_some() {
        fs::write(&path, &text).expect("the file can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "tests/SAFETY.md is not up to date: UPDATE_SAFETY=1 cargo test --test safety");
}

#[test]
fn test_names_are_found_in_rust_and_python() {
    let rust = "    fn s12_a() {}\n// fn s13_no\nasync fn s14_c() {}\nfn s06_s07_b<T>() {}\nfn s1_short() {}\nfn sum() {}";
    let found: Vec<_> = names(rust, "rs").collect();
    assert_eq!(found, [(vec![12], "s12_a"), (vec![14], "s14_c"), (vec![6, 7], "s06_s07_b")]);
    let python = "def test_s25_x(start):\n    def test_s26_y():\nasync def test_s27_z(a):\ndef helper_s28():";
    let found: Vec<_> = names(python, "py").collect();
    assert_eq!(found, [(vec![25], "test_s25_x"), (vec![26], "test_s26_y"), (vec![27], "test_s27_z")]);
}

/// The tests of each row, by file.
type Tests = BTreeMap<usize, BTreeMap<String, Vec<String>>>;

fn tests() -> Tests {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = Tests::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the source can be read").path();
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            if path.is_dir() && !["target", "node_modules"].contains(&name) {
                folders.push(path);
            } else if path.is_file() && ["rs", "py"].contains(&extension) && name != "safety.rs" {
                let text = fs::read_to_string(&path).expect("the source can be read");
                let file = path.strip_prefix(root).expect("a file of the project").display().to_string();
                for (rows, test) in names(&text, extension) {
                    for row in rows {
                        tests.entry(row).or_default().entry(file.clone()).or_default().push(test.to_owned());
                    }
                }
            }
        }
    }
    tests
}

/// The tests in this source that are named after rows, with the rows.
fn names<'t>(text: &'t str, extension: &str) -> impl Iterator<Item = (Vec<usize>, &'t str)> {
    let (keyword, prefix) = if extension == "py" { ("def ", "test_") } else { ("fn ", "") };
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix(keyword)?;
        let name = &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_')?];
        let rows: Vec<usize> = name.strip_prefix(prefix)?.split('_').map_while(row).collect();
        (!rows.is_empty()).then_some((rows, name))
    })
}

/// The number in `s12`.
fn row(word: &str) -> Option<usize> {
    word.strip_prefix('s').filter(|digits| digits.len() == 2)?.parse().ok()
}

fn document(tests: &Tests) -> String {
    let mut text = String::from(
        "# What can go wrong, and its tests\n\n\
         Generated by `UPDATE_SAFETY=1 cargo test --test safety` from the names of the tests. The fuzz targets (`fuzz/`) and the\n\
         simulation (`tests/simulation/`) combine many of these, beyond the tests named here.\n\n\
         | # | what | tests |\n|---|---|---|\n",
    );
    for (number, what) in (1..).zip(ROWS) {
        let files = tests.get(&number).into_iter().flatten();
        let files: Vec<String> = files
            .map(|(file, names)| {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                format!("{}: {} in {file}", level(file), names.join(", "))
            })
            .collect();
        writeln!(text, "| {number} | {what} | {} |", files.join("<br>")).expect("a text grows");
    }
    text
}

fn level(file: &str) -> &'static str {
    LEVELS.iter().find(|(begin, _)| file.starts_with(begin)).expect("the last fits").1
}
