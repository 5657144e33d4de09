//! Whole lines to a stream that must not be waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Where lines go; each goes whole or not at all.
pub(super) struct Sink<W> {
    out: W,
    /// What a short write left of the last line that was taken. Nothing else is written before it.
    rest: Vec<u8>,
}

impl<W: Write> Sink<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, rest: Vec::new() }
    }

    /// Takes a line.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room, or whatever else the stream says; no byte of the line was written then.
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

fn write_some(out: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Standard error, or what stands for it in a test, written without waiting.
pub(super) struct Stream {
    file: File,
    /// The file waits when it has no room, so it is asked first. It has room for a whole line then (pipe(7): for
    /// `PIPE_BUF` bytes), if nobody else takes it in between.
    waits: bool,
}

impl Stream {
    /// Pipes and terminals are opened anew for the flag `O_NONBLOCK`: it cannot be set on `stream` itself, where it
    /// would belong to all processes that share it, the shell among them. What cannot be opened anew (a socket of the
    /// journal, a pipe of another user) is asked before each line. Files always have room.
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
                return Ok(Self { file, waits: false });
            }
        }
        Ok(Self { file: shared, waits: true })
    }

    fn has_room(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.file, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut descriptors, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.waits && !self.has_room() {
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
    fn a_line_that_was_begun_is_finished_before_another() {
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
    fn a_socket_without_room_is_not_waited_for() {
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
    fn a_file_is_written_where_it_was() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before\n").unwrap();
        Stream::open(&file).unwrap().write_all(b"line\n").unwrap();
        file.write_all(b"after\n").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 18);
    }
}
