//! The laws of `ARCHITECTURE.md`, read from the source: which module may import which, who may touch the world
//! outside, and how long a file may be.
//!
//! The source is read by tokens, not by a compiler: comments and literals are taken out, and every path with a `::`
//! counts as an import, wherever it stands. Unit tests are exempt. What this cannot see (a method that reaches a
//! socket through another type) is clippy's part: `clippy.toml` has the same fence.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One row for each module: a file, or a folder with all in it that has no row of its own. It may import what its row
/// lists, which stands above it, and use of the outside world what the last column lists.
const TABLE: &str = "
    module                | may import                                                | outside
    time                  |                                                           |
    slots                 |                                                           |
    cost                  |                                                           |
    ndjson                |                                                           |
    log                   | time                                                      | descriptors clocks system
    origins               |                                                           |
    forwarded             |                                                           |
    websocket/frame       |                                                           |
    websocket/close       | websocket/frame                                           |
    websocket/utf8        |                                                           |
    websocket/deflate     | websocket/frame websocket/close                           |
    websocket/handshake   | websocket/deflate                                         |
    websocket/message     | websocket/close websocket/deflate websocket/frame websocket/utf8 |
    websocket/outgoing    | websocket/frame websocket/close                           |
    websocket             | websocket/frame websocket/close websocket/deflate websocket/handshake websocket/message websocket/outgoing websocket/utf8 |
    json                  |                                                           |
    api                   | json                                                      |
    token                 | api json time                                             |
    access                | api time                                                  |
    peers                 | cost slots time websocket                                 |
    subscriptions         | api time token peers                                      |
    producers             | ndjson slots                                              |
    server                | cost peers producers time                                 |
    driver                | cost peers producers server time                          |
    hub                   | api access cost forwarded origins peers producers server subscriptions time token websocket |
    fuzzing               | access api cost forwarded hub ndjson origins peers producers server subscriptions time token websocket websocket/close websocket/deflate websocket/frame websocket/handshake websocket/message websocket/outgoing |
    metrics               | api hub log peers server time websocket                   |
    config                | api access forwarded log origins peers token              | system
    assembly              | access config hub peers producers server token websocket  |
    net                   | access api assembly config cost driver forwarded hub log metrics ndjson origins peers producers server slots subscriptions time token websocket | sockets descriptors clocks system
    cli                   | access api assembly config log ndjson net time token websocket | sockets descriptors clocks system
    main                  | cli                                                       | system
";

/// The kinds of outside world, and the paths that lead there.
const OUTSIDE: [(&str, &[&str]); 4] = [
    (
        "sockets",
        &[
            "listenfd",
            "mio",
            "signal_hook",
            "signal_hook_mio",
            "socket2",
            "rustix::net",
            "std::net::TcpListener",
            "std::net::TcpStream",
            "std::net::UdpSocket",
            "std::os::unix::net",
        ],
    ),
    ("descriptors", &["rustix::event", "rustix::io", "rustix::pipe", "std::os::fd"]),
    (
        "clocks",
        &[
            "std::time::Instant",
            "std::time::SystemTime",
            "std::time::UNIX_EPOCH",
            "std::thread",
            "rustix::time",
        ],
    ),
    (
        "system",
        &[
            "std::env",
            "std::fs",
            "std::io::stderr",
            "std::io::stdin",
            "std::io::stdout",
            "std::os::unix::fs",
            "std::process",
            "rustix::fs",
            "rustix::process",
            "rustix::rand",
        ],
    ),
];

/// How many lines a file may have before its unit tests.
const MOST_LINES: usize = 500;

#[test]
fn a_module_imports_only_what_its_row_allows() {
    let rows = table();
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(own) = row_of(&rows, &file.module) else {
            wrong.push(format!("{}: the table has no row for it", file.path.display()));
            continue;
        };
        for path in file.paths() {
            let Some(target) = file.resolve(&path).filter(|target| *target != file.module) else { continue };
            let Some(imported) = row_of(&rows, &target) else { continue };
            let mut allowed = own.may_import.iter().chain([&own.module]);
            if !allowed.any(|allowed| imported.is(allowed)) {
                wrong.push(format!(
                    "{}: {} may not import {} ({})",
                    file.path.display(),
                    own.module,
                    imported.module,
                    path.join("::")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the table:\n{}", wrong.join("\n"));
}

#[test]
fn the_world_outside_is_touched_only_where_the_table_says() {
    let rows = table();
    let mut wrong = Vec::new();
    for file in sources() {
        let own = row_of(&rows, &file.module);
        for path in file.paths() {
            let text = path.join("::");
            for (kind, forbidden) in OUTSIDE {
                let is_allowed = own.is_some_and(|row| row.outside.contains(kind));
                if !is_allowed && forbidden.iter().any(|path| is_or_is_below(&text, path, "::")) {
                    wrong.push(format!("{}: {text} ({kind})", file.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "uses of the world outside against the table:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_circles_and_gives_sockets_and_clocks_to_net_and_the_command_line() {
    let rows = table();
    let mut above = BTreeSet::new();
    for row in &rows {
        for imported in &row.may_import {
            assert!(
                above.contains(imported),
                "{} imports {imported}, which does not stand above it",
                row.module
            );
        }
        above.insert(row.module.clone());
        for (kind, rows) in [("sockets", ["net", "cli"].as_slice()), ("clocks", &["net", "cli", "log"])] {
            assert_eq!(row.outside.contains(kind), rows.contains(&row.module.as_str()), "{}", row.module);
        }
    }
}

/// What a native engineer would not write, and what it is called instead.
const BANNED: [(&str, &str); 14] = [
    ("See the module", "say what the item is"),
    ("whoever", "name who"),
    ("somebody", "name who"),
    ("nobody", "no client, no process, no one"),
    ("take back", "revoke"),
    ("takes back", "revokes"),
    ("taken back", "revoked"),
    ("taking back", "revoking"),
    ("looked at", "checked, read, ignored"),
    ("so many", "the number, or which"),
    ("is to be", "must, has to, will"),
    ("are to be", "must, have to, will"),
    ("for want of", "because there is no"),
    ("in vain", "without success"),
];

#[test]
fn comments_and_pages_are_plain_english() {
    let mut found = Vec::new();
    for (path, text) in texts() {
        for (number, line) in (1..).zip(text.lines()) {
            let lower = line.to_lowercase();
            for (phrase, instead) in BANNED {
                if contains_words(&lower, &phrase.to_lowercase()) {
                    found.push(format!("{}:{number}: \"{phrase}\": {instead}", path.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "write it as a native engineer would:\n{}", found.join("\n"));
}

#[test]
fn banned_phrases_are_found_as_words() {
    assert!(contains_words("// whoever reads", "whoever"));
    assert!(contains_words("it is to be read", "is to be"));
    assert!(!contains_words("this to behold", "is to be"));
    assert!(!contains_words("wholeheartedly", "whoever"));
}

#[test]
fn no_file_is_longer_than_500_lines_before_its_tests() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|file| file.text.lines().count() > MOST_LINES)
        .map(|file| format!("{}: {} lines", file.path.display(), file.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "files with two jobs?\n{}", long.join("\n"));
}

#[test]
fn paths_are_read_wherever_they_stand() {
    let file = Source {
        path: PathBuf::new(),
        module: "hub/rate".to_owned(),
        text: r##"
            use crate::api::{Code, event::{self, Event as E}, *};
            // use crate::no::comment;
            /* nor::this /* nor::that */ */
            pub use super::topic::Topic;
            pub(in super::super) struct S;
            fn f<'a>(x: &'a str) -> self::inner::X { mio::Poll::new("a::b", 'c', '"', r#"d::"e"#, b"\"f::g"); }
        "##
        .to_owned(),
    };
    let paths: Vec<String> = file.paths().iter().map(|path| path.join("::")).collect();
    assert_eq!(
        paths,
        [
            "crate::api::Code",
            "crate::api::event",
            "crate::api::event::Event",
            "crate::api::*",
            "super::topic::Topic",
            "self::inner::X",
            "mio::Poll::new",
        ]
    );
    let resolved: Vec<Option<String>> = file.paths().iter().map(|path| file.resolve(path)).collect();
    assert_eq!(resolved[1].as_deref(), Some("api/event"));
    assert_eq!(resolved[4].as_deref(), Some("hub/topic/Topic"));
    assert_eq!(resolved[5].as_deref(), Some("hub/rate/inner/X"));
    assert_eq!(resolved[6], None);
}

/// A row of [`TABLE`].
struct Row {
    module: String,
    may_import: BTreeSet<String>,
    outside: BTreeSet<String>,
}

impl Row {
    /// Whether this is the row of `module` or of something in it.
    fn is(&self, module: &str) -> bool {
        is_or_is_below(&self.module, module, "/")
    }
}

/// A source file without its unit tests.
struct Source {
    path: PathBuf,
    /// The module's path below the crate, with `/` between its parts.
    module: String,
    text: String,
}

fn table() -> Vec<Row> {
    let words = |cell: &str| cell.split_whitespace().map(str::to_owned).collect();
    TABLE
        .lines()
        .filter(|line| !line.trim().is_empty())
        .skip(1)
        .map(|line| {
            let mut cells = line.split('|');
            let module = cells.next().expect("a line has a cell").trim().to_owned();
            Row {
                module,
                may_import: words(cells.next().unwrap_or("")),
                outside: words(cells.next().unwrap_or("")),
            }
        })
        .collect()
}

/// The row of a module, or of the nearest folder above it that has one.
fn row_of<'r>(rows: &'r [Row], module: &str) -> Option<&'r Row> {
    rows.iter().filter(|row| is_or_is_below(module, &row.module, "/")).max_by_key(|row| row.module.len())
}

fn is_or_is_below(path: &str, above: &str, separator: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(separator))
}

/// Whether the text contains the phrase, not as parts of longer words.
fn contains_words(text: &str, phrase: &str) -> bool {
    text.match_indices(phrase).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + phrase.len()..].chars().next();
        ![before, after].into_iter().flatten().any(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Every page in English, and every Rust file with nothing left but its comments.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> =
        ["src", "tests", "benches", "examples", "fuzz", "docs", "clients", "deploy", ".github"]
            .iter()
            .map(|folder| root.join(folder))
            .collect();
    let mut files: Vec<PathBuf> = entries(root).into_iter().filter(|path| path.is_file()).collect();
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match path.is_dir() {
                // What is built or installed there, and the Russian pages.
                true if ["target", "node_modules", "ru", "corpus", ".venv"].contains(&name) => {}
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    let mut texts = Vec::new();
    for path in files {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !["rs", "md"].contains(&extension) || path.ends_with("tests/architecture.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("the project's files are text");
        let text = match extension {
            "rs" => text
                .lines()
                .map(|line| line.split_once("//").map_or("", |(_, comment)| comment))
                .collect::<Vec<_>>()
                .join("\n"),
            _ => text,
        };
        texts.push((path, text));
    }
    texts
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("a folder of the project can be read").path()).collect()
}

/// Every file of `src/` but `lib.rs`, which only names the modules, and files of unit tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the source can be read") {
            let path = entry.expect("the source can be read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path.strip_prefix(&root).expect("a file of the folder").with_extension("");
            let below = below.to_str().expect("a name in UTF-8");
            let module = below.strip_suffix("/mod").unwrap_or(below).to_owned();
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            if is_rust && module != "lib" && !module.ends_with("/tests") {
                let text = fs::read_to_string(&path).expect("the source can be read");
                let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or("").to_owned();
                sources.push(Source { path, module, text: code });
            }
        }
    }
    sources.sort_by(|a, b| a.module.cmp(&b.module));
    assert!(sources.len() > 2, "there is no source to read");
    sources
}

impl Source {
    /// Every path with at least one `::`, and every name that a `use` brings in, in the order of the text; the groups
    /// of a `use` are spelt out.
    fn paths(&self) -> Vec<Vec<String>> {
        let tokens = tokens(&without_comments_and_literals(&self.text));
        let mut paths = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            if tokens[at..].starts_with(&["pub".to_owned(), "(".to_owned()]) {
                // `pub(in path)` says who may see, not what is imported.
                at += tokens[at..].iter().position(|token| token == ")").unwrap_or(1);
            } else if is_name(&tokens[at]) {
                let before = paths.len();
                at = read_path(&tokens, at, &mut Vec::new(), &mut paths);
                let new = paths.split_off(before);
                paths.extend(new.into_iter().filter(|path| path.len() > 1));
            } else {
                at += 1;
            }
        }
        paths
    }

    /// The module path below this crate that the path leads to (the item's own name may be its last part); `None` when
    /// it leads elsewhere.
    fn resolve(&self, path: &[String]) -> Option<String> {
        let mut base: Vec<&str> = match path[0].as_str() {
            "crate" | "airlay" => Vec::new(),
            "self" | "super" => self.module.split('/').collect(),
            _ => return None,
        };
        for part in path.iter().filter(|part| !["crate", "airlay", "self"].contains(&part.as_str())) {
            if part == "super" {
                base.pop();
            } else {
                base.push(part);
            }
        }
        Some(base.join("/"))
    }
}

/// Reads one path, the groups of a `use` included, from the token `at` on; adds it to `paths` behind `before` and
/// returns the token after it.
fn read_path(
    tokens: &[String],
    mut at: usize,
    before: &mut Vec<String>,
    paths: &mut Vec<Vec<String>>,
) -> usize {
    let depth = before.len();
    loop {
        let token = tokens.get(at).map_or("", String::as_str);
        if token == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|token| token != "}") {
                at = if tokens[at] == "," { at + 1 } else { read_path(tokens, at, before, paths) };
            }
            at += 1;
            break;
        }
        if !is_name(token) && token != "*" {
            // The end of a turbofish's path, as in `Vec::<u8>`, or a token that no path begins with.
            paths.push(before.clone());
            at += usize::from(before.len() == depth);
            break;
        }
        // `self` at the end of a group names the module before it.
        if !(token == "self" && depth > 0) {
            before.push(token.to_owned());
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            paths.push(before.clone());
            if depth > 0 && tokens.get(at).is_some_and(|token| token == "as") {
                at += 2;
            }
            break;
        }
        at += 1;
    }
    before.truncate(depth);
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::`, and every other character by itself.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_name(rest) || first.is_ascii_digit() {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The code with a space for every comment and every literal text or character.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = literal_or_comment(rest);
        if skipped == 0 {
            // A name is taken whole, so that the `r` or `b` at its end begins no literal.
            let length = if is_name(rest) {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            code.push_str(&rest[..length]);
            rest = &rest[length..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of the comment or literal that the text begins with; 0 when it begins with neither.
fn literal_or_comment(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    let literal = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - literal.len();
    if prefix > 1 {
        return 0;
    }
    if let Some(raw) = literal.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let Some(inside) = raw[hashes..].strip_prefix('"') else { return 0 };
        let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
        return prefix + 1 + hashes + 1 + length;
    }
    match literal.chars().next() {
        Some('"') => prefix + quoted(literal, '"'),
        // A lifetime has no second quote two characters on; an escape has a backslash.
        Some('\'') if literal[1..].starts_with('\\') || literal.chars().nth(2) == Some('\'') => {
            prefix + quoted(literal, '\'')
        }
        _ => 0,
    }
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of a literal with this quote at both ends, escapes minded.
fn quoted(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return at + 1;
        }
    }
    text.len()
}
