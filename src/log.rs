//! What the service writes about itself: the backend of the `log` crate, one line an event on standard error.
//!
//! Writing never waits: a line that standard error has no room for is dropped and counted, and the next line that
//! gets through says how many were. Callers pass values as the record's key-values, never formatted into the message;
//! no token, nor a part of one, is ever passed.

mod line;
mod sink;
mod timestamp;

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

pub use timestamp::Timestamp;

use crate::time::Wall;
use sink::{Sink, Stream};

/// How a log line is written: `[log] format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `ts=… level=info msg="…" key=value …`
    #[default]
    Logfmt,
    /// One JSON object a line, with the same members.
    Json,
}

/// Writes what is logged from now on to standard error: records of `level` and above, as `format` says.
/// The first call counts; a later one changes only the level.
///
/// # Errors
/// Standard error cannot be made ready for it: no descriptor is left.
pub fn init(level: log::LevelFilter, format: Format) -> io::Result<()> {
    let logger = Logger::new(format, Stream::open(io::stderr())?);
    log::set_max_level(level);
    // It fails if a logger was set before, which then is this one.
    let _ = log::set_logger(LOGGER.get_or_init(|| logger));
    Ok(())
}

/// How many lines have been dropped since the start.
#[must_use]
pub fn dropped() -> u64 {
    LOGGER.get().map_or(0, |logger| logger.state.lock().unwrap_or_else(PoisonError::into_inner).dropped)
}

static LOGGER: OnceLock<Logger<Stream>> = OnceLock::new();

struct Logger<W> {
    format: Format,
    state: Mutex<State<W>>,
}

struct State<W> {
    sink: Sink<W>,
    /// The line being written; kept for its memory.
    line: String,
    dropped: u64,
    /// As many of the dropped lines have been told of.
    told: u64,
}

impl<W: io::Write> Logger<W> {
    fn new(format: Format, out: W) -> Self {
        let state = State { sink: Sink::new(out), line: String::new(), dropped: 0, told: 0 };
        Self { format, state: Mutex::new(state) }
    }
}

impl<W: io::Write + Send> log::Log for Logger<W> {
    /// Only the service speaks: what its libraries tell each other (mio, of every socket) is no event of the service.
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
        line::write(&mut state.line, self.format, now(), record, state.dropped - state.told);
        match state.sink.write_line(state.line.as_bytes()) {
            Ok(()) => state.told = state.dropped,
            Err(_) => state.dropped += 1,
        }
    }

    fn flush(&self) {}
}

/// The log is told no time, since anyone may write to it; its time stamps are only ever read by people.
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the time stamp of a log line decides nothing"
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
    fn a_reader_that_is_gone_ends_nothing() {
        let (reader, writer) = io::pipe().unwrap();
        let logger = Logger::new(Format::Logfmt, Stream::open(writer).unwrap());
        drop(reader);
        log(&logger, "nobody reads this");
        assert_eq!(logger.state.lock().unwrap().dropped, 1);
    }
}
