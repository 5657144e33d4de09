//! The backend of the `log` crate: one line per record on standard error.
//!
//! Writing never blocks: a line that standard error cannot take is dropped and counted, and the next line that is written
//! reports the number. Callers pass values as key-values of the record, not formatted into the message, and never pass a
//! token or a part of one.

mod line;
mod sink;
mod timestamp;

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::time::Wall;
use sink::{Sink, Stream};

pub use timestamp::Timestamp;

/// The one logger, set by the first [`init`].
static LOGGER: OnceLock<Logger<Stream>> = OnceLock::new();

/// The format of a log line: `[log] format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `ts=… level=info msg="…" key=value …`
    #[default]
    Logfmt,
    /// One JSON object a line, with the same members.
    Json,
}

/// Starts logging to standard error: records of `level` and more severe, in `format`. A later call changes only the level.
///
/// # Errors
/// Standard error cannot be duplicated: no descriptor is left.
pub fn init(level: log::LevelFilter, format: Format) -> io::Result<()> {
    let logger = Logger::new(format, Stream::open(io::stderr())?);
    log::set_max_level(level);
    // Fails only if a logger is set already, which is this one.
    let _ = log::set_logger(LOGGER.get_or_init(|| logger));
    Ok(())
}

/// Lines dropped since the start.
#[must_use]
pub fn dropped() -> u64 {
    LOGGER.get().map_or(0, |logger| logger.state.lock().unwrap_or_else(PoisonError::into_inner).dropped)
}

struct Logger<W> {
    format: Format,
    state: Mutex<State<W>>,
}

struct State<W> {
    sink: Sink<W>,
    /// A buffer for the line being written, kept to reuse its memory.
    line: String,
    /// Lines dropped since the start.
    dropped: u64,
    /// How many of them have been reported.
    reported: u64,
}

impl<W: io::Write> Logger<W> {
    fn new(format: Format, out: W) -> Self {
        let state = State { sink: Sink::new(out), line: String::new(), dropped: 0, reported: 0 };
        Self { format, state: Mutex::new(state) }
    }
}

impl<W: io::Write + Send> log::Log for Logger<W> {
    /// Only records of this crate: libraries (mio, for every socket) log details of no use to an operator.
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        state.line.clear();
        line::write(&mut state.line, self.format, now(), record, state.dropped - state.reported);
        match state.sink.write_line(state.line.as_bytes()) {
            Ok(()) => state.reported = state.dropped,
            Err(_) => state.dropped += 1,
        }
    }

    fn flush(&self) {}
}

/// The log reads the clock itself, since every module may write to it without knowing the time.
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the time stamp of a log line affects nothing else"
)]
fn now() -> Wall {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use log::{Level, Log as _, Record};

    use super::*;

    fn log(logger: &Logger<Stream>, message: &str) {
        let mut record = Record::builder();
        let record = record.level(Level::Info).target(module_path!());
        logger.log(&record.args(format_args!("{message}")).build());
    }

    #[test]
    fn s41_a_full_pipe_drops_lines_and_the_next_line_says_how_many() {
        let (mut reader, writer) = io::pipe().unwrap();
        let logger = Logger::new(Format::Logfmt, Stream::open(writer).unwrap());
        let dropped = || logger.state.lock().unwrap().dropped;
        let mut written = 0;
        while dropped() < 3 {
            log(&logger, "a line of some length, so that the pipe is soon full");
            written += 1;
        }
        let mut text = vec![0; 1 << 20];
        let length = reader.read(&mut text).unwrap();
        let lines = text[..length].split_inclusive(|&byte| byte == b'\n');
        assert!(lines.clone().all(|line| line.starts_with(b"ts=") && line.ends_with(b"full\"\n")));
        assert_eq!(lines.count() + 3, written);

        log(&logger, "after");
        log(&logger, "later");
        drop(logger);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("msg=after dropped=3"), "{text}");
        assert!(lines[1].ends_with("msg=later"), "{text}");
    }

    #[test]
    fn a_closed_reader_is_no_error() {
        let (reader, writer) = io::pipe().unwrap();
        let logger = Logger::new(Format::Logfmt, Stream::open(writer).unwrap());
        drop(reader);
        log(&logger, "this is not read");
        assert_eq!(logger.state.lock().unwrap().dropped, 1);
    }
}
