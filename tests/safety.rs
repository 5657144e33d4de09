//! What can go wrong, and the tests that show what the server does then: `tests/SAFETY.md`, written from this table and from
//! the names of the tests.
//!
//! A test belongs to a row when its name begins with the row's number: `s12_…`, `s06_s07_…` for two. Each row must have
//! one. `UPDATE_SAFETY=1 cargo test --test safety` writes the file anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The rows, numbered from 1.
const ROWS: [&str; 68] = [
    "an HTTP head that is too large, or arrives byte by byte",
    "thousands of heads that never end",
    "a key that is absent, repeated, or not 16 bytes",
    "requests smuggled behind an invalid upgrade",
    "frames in one segment with the head",
    "a page of a foreign origin",
    "a forged client address",
    "too many connections: in total, per address, per user",
    "malformed headers for extensions and protocols",
    "lengths of 64 bits that overflow",
    "memory claimed by a length, without the bytes",
    "non-minimal lengths, unmasked frames, unknown opcodes, reserved bits",
    "fragments without end",
    "floods of frames that complete no message",
    "fragments out of order, control frames too long or fragmented",
    "pings whose pongs are not read",
    "unsolicited pongs",
    "a close that is malformed or never answered",
    "invalid UTF-8, split anywhere",
    "one peer's data reaching another",
    "a subscriber that reads too slowly",
    "a peer without a valid token that does not read",
    "many slow peers at once",
    "a busy topic beside a quiet one",
    "a client whose packets are all lost",
    "the idle limit of a proxy",
    "a restart with all clients connected",
    "a peer that closes during its own fan-out, and the reuse of its slot",
    "an attach that races with an event",
    "producers faster than the clients",
    "tokens with another algorithm than RS256",
    "tokens that carry or name a key",
    "tokens with odd times",
    "clocks that step",
    "tokens too long, or of too many parts",
    "a cached token mistaken for another, or valid for too long",
    "floods of bad tokens",
    "JSON too deep, too large, ambiguous",
    "too many requests",
    "peer data and tokens in the log",
    "a log that is not read",
    "another user of the machine at the events socket",
    "a stale socket file; two servers at one path",
    "a producer that dies in the middle of a line",
    "a line that is too long",
    "lines that are not events",
    "no descriptors left",
    "errors of system calls",
    "connections aborted at every stage",
    "edge-triggered readiness",
    "a server killed under load",
    "a loop that hangs",
    "an invalid configuration, at startup and at reload",
    "ids that wrap: slots reused after 2^30 connections",
    "messages that cost far more than their bytes",
    "slow consumers closed in the middle of a large frame that many share",
    "a process that was stopped: clients judged for the time it was away",
    "floods of requests that are refused, and frames after a Close",
    "small bursts of events for many subscribers",
    "clients that keep producers from being read",
    "connections without a request that take every slot of an address",
    "memory that no limit counts: unread replies, half heads and messages",
    "too many producers, and lines that never end",
    "events written after a token's end",
    "questions of one user that crowd out those of others",
    "FIFOs, devices and links in place of files",
    "two forwarding headers that contradict each other",
    "half-open connections to the metrics endpoint",
];

/// The folders with tests.
const FOLDERS: [&str; 5] = ["src", "tests", "fuzz", "benches", "clients"];

/// What a test whose file's name begins so is made of; the first that fits counts.
const LEVELS: [(&str, &str); 9] = [
    ("src/", "unit"),
    ("fuzz/", "fuzz"),
    ("tests/differential", "differential"),
    ("tests/simulation", "simulation"),
    ("tests/attacks", "attack"),
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
    assert!(beyond.is_empty(), "tests named after rows that are none: {beyond:?}");

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
fn names_of_tests_are_read_in_both_languages() {
    let rust = "    fn s12_a() {}\n// fn s13_no\nasync fn s14_c() {}\nfn s06_s07_b<T>() {}\nfn s1_short() {}\nfn sum() {}";
    let found: Vec<_> = names(rust, "rs").collect();
    assert_eq!(found, [(vec![12], "s12_a"), (vec![14], "s14_c"), (vec![6, 7], "s06_s07_b")]);
    let python = "def test_s25_x(start):\n    def test_s26_y():\nasync def test_s27_z(a):\ndef helper_s28():";
    let found: Vec<_> = names(python, "py").collect();
    assert_eq!(found, [(vec![25], "test_s25_x"), (vec![26], "test_s26_y"), (vec![27], "test_s27_z")]);
}

/// The tests of each row: the file, and the names in it.
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

/// The tests in this source that are named after rows: the rows, and the name.
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
        "# Faults and attacks, and their tests\n\n\
         Generated by `UPDATE_SAFETY=1 cargo test --test safety` from the test names. Fuzz targets (`fuzz/`) and the simulation\n\
         (`tests/simulation/`) exercise many of these at once, beyond the tests listed.\n\n\
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
