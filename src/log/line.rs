//! One record → one line of logfmt or JSON.
//!
//! The result is always one line of printable text: control characters are escaped and long values are cut, so that a
//! value can neither forge a line nor control a terminal.

use std::fmt::{self, Write as _};

use log::kv;

use super::{Format, Timestamp};
use crate::time::Wall;

/// The longest value, in bytes before escaping; a longer value is cut and ends with `…`.
const VALUE_BYTES: usize = 256;

/// The longest line, including its newline: `PIPE_BUF`, up to which writes to a pipe are atomic (pipe(7)).
pub(super) const LINE_BYTES: usize = 4096;

/// Space reserved at the end of a line for `cut`, `dropped` and the line's end.
const CLOSING_BYTES: usize = 64;

/// Appends the record's line, including its newline: at most [`LINE_BYTES`]. `dropped` is the number of lines to report as
/// lost.
pub(super) fn write(out: &mut String, format: Format, ts: Wall, record: &log::Record<'_>, dropped: u64) {
    let mut line = Line { out, format, scratch: String::new(), cut: false };
    line.text("ts", &Timestamp(ts));
    line.text("level", &level_name(record.level()));
    line.text("msg", record.args());
    // The visitor below never fails.
    let _ = record.key_values().visit(&mut line);
    if line.cut {
        line.bare("cut", &true);
    }
    if dropped > 0 {
        line.bare("dropped", &dropped);
    }
    line.end();
}

const fn level_name(level: log::Level) -> &'static str {
    match level {
        log::Level::Error => "error",
        log::Level::Warn => "warn",
        log::Level::Info => "info",
        log::Level::Debug => "debug",
        log::Level::Trace => "trace",
    }
}

struct Line<'a> {
    out: &'a mut String,
    format: Format,
    /// A buffer for a value, cut but not yet escaped.
    scratch: String,
    /// Whether members were left out because the line was full.
    cut: bool,
}

impl Line<'_> {
    /// Appends a member whose value may be any text.
    fn text(&mut self, key: &str, value: &dyn fmt::Display) {
        self.scratch.clear();
        let mut limited = Limited { text: &mut self.scratch };
        if write!(limited, "{value}").is_err() {
            self.scratch.push('…');
        }
        let start = self.out.len();
        self.key(key);
        if self.format == Format::Logfmt && is_bare(&self.scratch) {
            self.out.push_str(&self.scratch);
        } else {
            quote(self.out, &self.scratch);
        }
        self.leave_room(start);
    }

    /// Appends a member whose value is a number or a boolean.
    fn bare(&mut self, key: &str, value: &dyn fmt::Display) {
        self.key(key);
        let _ = write!(self.out, "{value}");
    }

    fn key(&mut self, key: &str) {
        match self.format {
            Format::Logfmt => {
                let separator = if self.out.is_empty() { "" } else { " " };
                let _ = write!(self.out, "{separator}{key}=");
            }
            Format::Json => {
                self.out.push(if self.out.is_empty() { '{' } else { ',' });
                quote(self.out, key);
                self.out.push(':');
            }
        }
    }

    /// Removes the member that begins at `start` if it leaves no room for the end of the line.
    fn leave_room(&mut self, start: usize) {
        if self.out.len() > LINE_BYTES - CLOSING_BYTES {
            self.out.truncate(start);
            self.cut = true;
        }
    }

    fn end(self) {
        self.out.push_str(match self.format {
            Format::Logfmt => "\n",
            Format::Json => "}\n",
        });
    }
}

impl<'kvs> kv::VisitSource<'kvs> for Line<'_> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let start = self.out.len();
        if let Some(number) = value.to_u64() {
            self.bare(key.as_str(), &number);
        } else if let Some(number) = value.to_i64() {
            self.bare(key.as_str(), &number);
        } else if let Some(truth) = value.to_bool() {
            self.bare(key.as_str(), &truth);
        } else {
            self.text(key.as_str(), &value);
        }
        self.leave_room(start);
        Ok(())
    }
}

/// Takes up to [`VALUE_BYTES`] in whole characters, then fails, so that the rest is not formatted at all.
struct Limited<'a> {
    text: &'a mut String,
}

impl fmt::Write for Limited<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = text.floor_char_boundary(VALUE_BYTES - self.text.len());
        self.text.push_str(&text[..room]);
        if room < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Whether logfmt needs no quotes around this value.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"=\\".contains(&byte))
}

/// Appends a JSON string (RFC 8259), escaping all control characters of Unicode, including C1, and those that separate
/// lines or change the writing direction.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character.is_control()
                || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use log::{Level, Record};
    use serde_json::{Value, json};

    use super::*;

    fn line(format: Format, message: &str, pairs: &[(&str, kv::Value<'_>)], dropped: u64) -> String {
        let mut out = String::new();
        let mut record = Record::builder();
        let source: &dyn kv::Source = &pairs;
        let record = record.level(Level::Warn).key_values(&source);
        let ts = Wall(1_711_709_116_007);
        write(&mut out, format, ts, &record.args(format_args!("{message}")).build(), dropped);
        assert!(out.len() <= LINE_BYTES);
        out
    }

    #[test]
    fn logfmt_quotes_only_what_needs_it() {
        let pairs = [
            ("user", kv::Value::from("5dad615eae019570fb4647ed")),
            ("bytes", kv::Value::from(1_048_576)),
            ("below", kv::Value::from(-1)),
            ("clean", kv::Value::from(false)),
            ("reason", kv::Value::from("slow consumer")),
            ("path", kv::Value::from("/a=b")),
            ("none", kv::Value::from("")),
            ("имя", kv::Value::from("ы")),
        ];
        assert_eq!(
            line(Format::Logfmt, "closed a \"client\"", &pairs, 0),
            "ts=2024-03-29T10:45:16.007Z level=warn msg=\"closed a \\\"client\\\"\" user=5dad615eae019570fb4647ed \
             bytes=1048576 below=-1 clean=false reason=\"slow consumer\" path=\"/a=b\" none=\"\" имя=\"ы\"\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let pairs = [
            ("user", kv::Value::from("a\\b")),
            ("bytes", kv::Value::from(7)),
            ("ratio", kv::Value::from(0.5)),
        ];
        let line = line(Format::Json, "closed", &pairs, 12);
        let value: Value = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
        let expected = json!({
            "ts": "2024-03-29T10:45:16.007Z", "level": "warn", "msg": "closed",
            "user": "a\\b", "bytes": 7, "ratio": "0.5", "dropped": 12
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn s40_control_bytes_are_escaped() {
        let every_control: String = ('\0'..='\u{ff}').filter(|character| character.is_control()).collect();
        let value = every_control.clone() + "\u{202e}\u{2028}";
        for format in [Format::Logfmt, Format::Json] {
            let line = line(format, &every_control, &[("value", kv::Value::from(value.as_str()))], 0);
            let inner = line.strip_suffix('\n').unwrap();
            assert!(!inner.chars().any(char::is_control), "{inner:?}");
            assert!(inner.contains("\\u0000") && inner.contains("\\u001b") && inner.contains("\\u007f"));
            assert!(
                inner.contains("\\u009b") && inner.contains("\\u202e\\u2028") && inner.contains("\\n\\u000b")
            );
            if format == Format::Json {
                let read: Value = serde_json::from_str(inner).unwrap();
                assert_eq!(read["value"], value);
            }
        }
    }

    #[test]
    fn s40_values_are_cut_at_256_bytes() {
        let value = "x".repeat(255) + "ы and more";
        let exact = "x".repeat(256);
        let pairs = [("a", kv::Value::from(value.as_str())), ("b", kv::Value::from(exact.as_str()))];
        let line = line(Format::Json, "m", &pairs, 0);
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["a"], "x".repeat(255) + "…");
        assert_eq!(read["b"], exact);
    }

    #[test]
    fn a_line_ends_within_its_limit_whatever_the_values() {
        let value = "\u{7f}".repeat(1000);
        let pairs: Vec<_> = (0..50).map(|_| ("key", kv::Value::from(value.as_str()))).collect();
        for format in [Format::Logfmt, Format::Json] {
            let line = line(format, &value, &pairs, u64::MAX);
            assert!(line.contains("cut") && line.contains("18446744073709551615"), "{line}");
        }
    }
}
