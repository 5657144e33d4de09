//! Writing whole lines to a stream without blocking.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Writes each line completely or not at all.
pub(super) struct Sink<W> {
    out: W,
    /// The remainder of the last line after a short write; written before anything else.
    rest: Vec<u8>,
}

impl<W: Write> Sink<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, rest: Vec::new() }
    }

    /// Writes a line, buffering what a short write leaves of it.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room, or another error of the stream; no byte of the line was written then.
    pub(super) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.rest.is_empty() {
            let written = write_some(&mut self.out, &self.rest)?;
            self.rest.drain(..written);
            if !self.rest.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        let written = write_some(&mut self.out, line)?;
        self.rest.extend_from_slice(&line[written..]);
        Ok(())
    }
}

/// One write, repeated if a signal interrupts it.
///
/// # Errors
/// Those of the stream; `WouldBlock` if it took nothing.
fn write_some(out: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Standard error (or a substitute in tests), written without blocking.
pub(super) struct Stream {
    file: File,
    /// Whether writes may block, so that poll(2) must be asked first. If it reports room, a pipe has room for `PIPE_BUF`
    /// bytes (pipe(7)), unless another process fills it in between.
    may_block: bool,
}

impl Stream {
    /// Duplicates `stream`. Pipes and terminals are reopened with `O_NONBLOCK`: setting it on `stream` itself would affect
    /// all processes that share it, such as the shell. What cannot be reopened (a socket of the journal, a pipe of another
    /// user) is polled before each write. Files always have room.
    ///
    /// # Errors
    /// Those of dup(2) and fstat(2).
    pub(super) fn open(stream: impl AsFd) -> io::Result<Self> {
        let shared = File::from(stream.as_fd().try_clone_to_owned()?);
        let kind = shared.metadata()?.file_type();
        if kind.is_fifo() || kind.is_char_device() {
            let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
            let path = format!("/proc/self/fd/{}", shared.as_raw_fd());
            if let Ok(file) = OpenOptions::new().write(true).custom_flags(flags).open(path) {
                return Ok(Self { file, may_block: false });
            }
        }
        Ok(Self { file: shared, may_block: true })
    }

    fn has_room(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.file, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut descriptors, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.may_block && !self.has_room() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Takes `room` bytes, then blocks.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let length = bytes.len().min(self.room);
            self.taken.extend_from_slice(&bytes[..length]);
            self.room -= length;
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_started_line_is_finished_before_the_next() {
        for first_room in 0..=12 {
            let mut sink = Sink::new(Narrow { taken: Vec::new(), room: first_room });
            let mut expected = Vec::new();
            for line in [b"first\n", b"other\n"] {
                if sink.write_line(line).is_ok() {
                    expected.extend_from_slice(line);
                }
            }
            sink.out.room = 100;
            sink.write_line(b"last\n").unwrap();
            expected.extend_from_slice(b"last\n");
            assert_eq!(sink.out.taken, expected, "room for {first_room}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_types, reason = "the journal gives services a socket as standard error")]
    fn a_full_socket_does_not_block() {
        let (stream, mut reader) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut stream = Stream::open(stream).unwrap();
        let mut written = 0;
        while let Ok(length) = stream.write(&[b'.'; 1000]) {
            written += length;
        }
        let mut read = vec![0; written];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(stream.write(b"again").unwrap(), 5);
    }

    #[test]
    fn a_file_is_appended_to_at_its_position() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before\n").unwrap();
        Stream::open(&file).unwrap().write_all(b"line\n").unwrap();
        file.write_all(b"after\n").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 18);
    }
}
