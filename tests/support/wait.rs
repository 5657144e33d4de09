//! Deadlines: each wait of a test ends by an absolute one, however many reads it takes, and a wait that fails says what
//! was awaited and what came.

use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// The deadline of a loop that polls.
pub struct Deadline {
    awaited: String,
    until: Instant,
}

impl Deadline {
    /// [`DEADLINE`] from now. `awaited` completes the sentence "awaited …".
    pub fn new(awaited: impl Into<String>) -> Self {
        Self::within(DEADLINE, awaited)
    }

    /// The same with another length.
    pub fn within(time: Duration, awaited: impl Into<String>) -> Self {
        Self { awaited: awaited.into(), until: Instant::now() + time }
    }

    /// Fails once the deadline has passed; to be called in each round of the loop, with what is the case instead.
    #[track_caller]
    pub fn check(&self, came: impl Display) {
        assert!(Instant::now() < self.until, "awaited {}; there is still {came}", self.awaited);
    }
}

/// A socket whose reads and writes share one absolute deadline: that of the wait that [`Timed::begin_wait`] began last.
///
/// A read that a signal interrupts is repeated. With a timeout set, the system does not do so by itself, even if the
/// process was only stopped and continued (signal(7)).
pub struct Timed<S> {
    stream: S,
    began: Instant,
    until: Instant,
}

/// A socket that can time out.
pub trait Timeouts {
    /// Limits each read and each write that follows.
    fn set_timeouts(&self, time: Duration) -> io::Result<()>;
}

impl Timeouts for TcpStream {
    fn set_timeouts(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

impl Timeouts for UnixStream {
    fn set_timeouts(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

impl<S: Timeouts> Timed<S> {
    /// A socket whose first wait begins now.
    pub fn new(stream: S) -> Self {
        let began = Instant::now();
        Self { stream, began, until: began + DEADLINE }
    }

    /// Begins a wait: it ends after [`DEADLINE`].
    pub fn begin_wait(&mut self) {
        self.began = Instant::now();
        self.until = self.began + DEADLINE;
    }

    /// How long the wait has lasted.
    pub fn waited(&self) -> Duration {
        self.began.elapsed()
    }

    /// The socket itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The socket itself.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The socket alone; each of its reads and writes times out after [`DEADLINE`].
    pub fn into_inner(self) -> S {
        self.stream.set_timeouts(DEADLINE).expect("a timeout can be set");
        self.stream
    }

    /// Makes a call with what is left of the wait as its timeout.
    fn call(&mut self, mut call: impl FnMut(&mut S) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(ErrorKind::TimedOut, "the deadline"));
            }
            self.stream.set_timeouts(left)?;
            match call(&mut self.stream) {
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                result => return result,
            }
        }
    }
}

impl<S: Read + Timeouts> Timed<S> {
    /// Reads to the end of the connection, which `awaited` names.
    #[track_caller]
    pub fn read_to_the_end(&mut self, awaited: &str) -> Vec<u8> {
        self.begin_wait();
        let mut bytes = Vec::new();
        if let Err(error) = self.read_to_end(&mut bytes) {
            let came = format!("{:?}", String::from_utf8_lossy(&bytes));
            panic!("{}", failure(awaited, self.waited(), &came, &error));
        }
        bytes
    }
}

impl<S: Read + Timeouts> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(|stream| stream.read(buffer))
    }
}

impl<S: Write + Timeouts> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call(|stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The sentence of a wait that failed.
pub fn failure(awaited: &str, waited: Duration, came: &str, error: &dyn Display) -> String {
    format!(
        "awaited {}; in {:.1} s came {}, then {error}",
        excerpt(awaited),
        waited.as_secs_f64(),
        excerpt(came)
    )
}

/// The beginning of a text, short enough for a message.
pub fn excerpt(text: &str) -> String {
    const CHARACTERS: usize = 400;
    match text.char_indices().nth(CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

/// Raises a flag when it is dropped, so that threads that run until it is raised end with a test that fails, too.
pub struct RaisedOnDrop<'t>(pub &'t AtomicBool);

impl Drop for RaisedOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
