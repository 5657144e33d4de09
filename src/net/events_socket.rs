//! The listener of the events socket: created safely or inherited, and restricted to allowed users and groups.

use super::readiness::Source;
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry};
use rustix::fs::{FlockOperation, OFlags, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Connections that the kernel queues until they are accepted.
const BACKLOG: i32 = 1024;

/// The users and groups that may connect, if the file's mode permits; if both are empty, all. The server's own user always
/// may.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    pub(super) users: Vec<u32>,
    pub(super) groups: Vec<u32>,
}

/// The listener, and its file if the server created it.
#[derive(Debug)]
pub(super) struct EventsSocket {
    /// `None` for an inherited socket, whose file belongs to the service manager.
    _file: Option<SocketFile>,
    listener: UnixListener,
    path: PathBuf,
    allowed: Allowed,
}

/// The socket's file, and the lock that marks it as ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    _lock: File,
}

/// Why the events socket cannot be created or inherited.
#[derive(Debug, thiserror::Error)]
pub(super) enum EventsSocketError {
    #[error("the events socket {} is in use by another server", .0.display())]
    InUse(PathBuf),
    #[error("the events socket's path {} is taken by something that is not a socket; remove it or choose another", .0.display())]
    NoSocket(PathBuf),
    #[error("cannot create the events socket {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

impl EventsSocket {
    /// Listens at `path` with this file mode, replacing a socket file left by a server that no longer runs.
    ///
    /// The socket is created under another name and renamed when it is ready, so no client can connect before the mode is
    /// set, and replacing an old file leaves no gap. The lock file beside it excludes servers that start concurrently. It
    /// is never removed, since two servers could then lock different files of the same name.
    ///
    /// # Errors
    ///
    /// Another server uses the path, the path is not a socket, or a system call failed.
    pub(super) fn bind(
        path: &Path,
        mode: u32,
        allowed: Allowed,
        registry: &Registry,
    ) -> Result<Self, EventsSocketError> {
        let failed = |error| EventsSocketError::Io { path: path.to_owned(), error };
        let lock = lock(path)?;
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(EventsSocketError::NoSocket(path.to_owned()));
            }
            Ok(_) if is_answered(path).map_err(failed)? => {
                return Err(EventsSocketError::InUse(path.to_owned()));
            }
            Ok(_) => {}
        }
        let listener = listen(path, mode).map_err(failed)?;
        let file = SocketFile { path: path.to_owned(), _lock: lock };
        Self::new(Some(file), listener, path.to_owned(), allowed, registry).map_err(failed)
    }

    /// Takes over a listener that the service manager passed.
    ///
    /// # Errors
    ///
    /// The poll refuses the listener.
    pub(super) fn inherit(
        listener: std::os::unix::net::UnixListener,
        allowed: Allowed,
        registry: &Registry,
    ) -> Result<Self, EventsSocketError> {
        let address = listener.local_addr().ok();
        let path = address.and_then(|address| address.as_pathname().map(Path::to_owned)).unwrap_or_default();
        let listener = UnixListener::from_std(listener);
        Self::new(None, listener, path.clone(), allowed, registry)
            .map_err(|error| EventsSocketError::Io { path, error })
    }

    fn new(
        file: Option<SocketFile>,
        mut listener: UnixListener,
        path: PathBuf,
        allowed: Allowed,
        registry: &Registry,
    ) -> io::Result<Self> {
        registry.register(&mut listener, Source::ProducerListener.into(), Interest::READABLE)?;
        Ok(Self { _file: file, listener, path, allowed })
    }

    /// The path that producers connect to.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Stops accepting. Producers queued at an inherited socket wait for the next server.
    pub(super) fn close(mut self, registry: &Registry) {
        // Closing alone does not remove the socket from the poll while the service manager has it open.
        let _ = registry.deregister(&mut self.listener);
    }

    /// Accepts one producer; `None` if it is not allowed.
    pub(super) fn accept(&self) -> io::Result<Option<UnixStream>> {
        let (stream, _) = self.listener.accept()?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        let (user, group) = (peer.uid.as_raw(), peer.gid.as_raw());
        let Allowed { users, groups } = &self.allowed;
        let allowed = (users.is_empty() && groups.is_empty())
            || users.contains(&user)
            || groups.contains(&group)
            || user == rustix::process::geteuid().as_raw();
        if !allowed {
            log::warn!(user, group, pid = peer.pid.as_raw_nonzero().get(); "producer not allowed");
        }
        Ok(allowed.then_some(stream))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The file is ours while the lock is held. It may have been removed already.
        let _ = fs::remove_file(&self.path);
    }
}

/// Acquires the lock of the socket at `path` without waiting.
fn lock(path: &Path) -> Result<File, EventsSocketError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    // Do not follow links or block on a FIFO: another user may be able to write to the folder.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let options =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).custom_flags(flags).clone();
    let locked = options.open(&name).and_then(|file| {
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file; remove it"));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    });
    locked.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => EventsSocketError::InUse(path.to_owned()),
        _ => EventsSocketError::Io { path: PathBuf::from(name), error },
    })
}

/// Whether a server is listening at `path`.
fn is_answered(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(false),
            // The listener's queue is full, so there is one.
            io::ErrorKind::WouldBlock => Ok(true),
            _ => Err(error),
        },
    }
}

/// Creates a listener at `path` to which no client can connect before its mode is set.
fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SockAddr::unix(new)?)?;
    fs::set_permissions(new, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    fs::rename(new, path)?;
    Ok(UnixListener::from_std(socket.into()))
}
