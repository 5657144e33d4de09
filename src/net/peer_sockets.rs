//! The WebSocket clients' sockets: the system calls on them and on their listener.

use super::readiness::Source;
use crate::driver::NotAccepted;
use crate::peers::{PeerId, Sockets};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr};

/// Connections that the kernel queues until they are accepted; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// The listener and the sockets of the peers it has accepted.
#[derive(Debug)]
pub(super) struct PeerSockets {
    listener: Option<TcpListener>,
    registry: Registry,
    /// Accepted but neither adopted nor refused yet.
    accepted: Option<TcpStream>,
    /// By the peer's slot.
    sockets: Vec<Option<PeerSocket>>,
}

/// A peer's socket. Eight bytes, for there may be a million of these.
#[derive(Debug)]
struct PeerSocket {
    stream: TcpStream,
    /// The poll also reports when the socket is writable; set once the socket has been full.
    tells_writable: bool,
}

impl PeerSockets {
    /// Listens on `address`.
    pub(super) fn bind(address: SocketAddr, registry: &Registry) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        // Accepted sockets inherit this, which saves a system call for each.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::new(socket.into(), registry)
    }

    /// Takes over a listener that the service manager passed.
    pub(super) fn inherit(listener: std::net::TcpListener, registry: &Registry) -> io::Result<Self> {
        SockRef::from(&listener).set_tcp_nodelay(true)?;
        Self::new(listener, registry)
    }

    fn new(listener: std::net::TcpListener, registry: &Registry) -> io::Result<Self> {
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, Source::PeerListener.into(), Interest::READABLE)?;
        let registry = registry.try_clone()?;
        Ok(Self { listener: Some(listener), registry, accepted: None, sockets: Vec::new() })
    }

    /// The bound address, with the actual port if the configured one was 0.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// Stops accepting. Clients queued at an inherited socket wait for the next server.
    pub(super) fn stop_accepting(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            // Closing alone does not remove the socket from the poll while the service manager has it open.
            let _ = self.registry.deregister(&mut listener);
        }
    }

    /// Accepts one client and keeps its socket for [`adopt`](Self::adopt) or [`refuse`](Self::refuse).
    pub(super) fn accept(&mut self, is_first: bool) -> Result<IpAddr, NotAccepted> {
        let listener = self.listener.as_ref().ok_or(NotAccepted::NoneWaiting)?;
        if !is_first && !has_waiting(listener) {
            return Err(NotAccepted::NoneWaiting);
        }
        match listener.accept() {
            Ok((stream, address)) => {
                self.accepted = Some(stream);
                Ok(address.ip().to_canonical())
            }
            Err(error) => Err(not_accepted(&error, "connection")),
        }
    }

    pub(super) fn adopt(&mut self, peer: PeerId) -> io::Result<()> {
        let Some(mut stream) = self.accepted.take() else { return Ok(()) };
        // A new socket is writable; registering for that would cost every connection an event.
        let registered = self.registry.register(&mut stream, Source::Peer(peer).into(), Interest::READABLE);
        if self.sockets.len() <= peer.index() {
            self.sockets.resize_with(peer.index() + 1, || None);
        }
        self.sockets[peer.index()] = Some(PeerSocket { stream, tells_writable: false });
        registered
    }

    pub(super) fn refuse(&mut self) {
        self.accepted = None;
    }

    pub(super) fn read(&mut self, peer: PeerId, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket(peer).read(buffer)
    }

    /// Closes a peer's socket, which removes it from the poll too.
    pub(super) fn close(&mut self, peer: PeerId) {
        self.sockets[peer.index()] = None;
    }
}

impl Sockets for PeerSockets {
    type Socket = TcpStream;

    fn socket(&mut self, peer: PeerId) -> &mut TcpStream {
        let socket = self.sockets[peer.index()].as_mut();
        &mut socket.expect("a peer has its socket until it is reaped").stream
    }

    fn await_writable(&mut self, peer: PeerId) -> io::Result<()> {
        let Some(socket) = &mut self.sockets[peer.index()] else { return Ok(()) };
        if !socket.tells_writable {
            // If the socket is writable by now, that is reported at once.
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.registry.reregister(&mut socket.stream, Source::Peer(peer).into(), interest)?;
            socket.tells_writable = true;
        }
        Ok(())
    }

    fn shut(&mut self, peer: PeerId) {
        // If the peer has disconnected, the next read reports it.
        let _ = self.socket(peer).shutdown(Shutdown::Write);
    }
}

/// Whether a client waits to be accepted. This takes 0.2 µs; an accept that finds none takes 2.6 µs, since the kernel
/// allocates a file for it, and nearly every turn that accepts would end with one.
fn has_waiting(listener: &TcpListener) -> bool {
    let mut listener = [PollFd::new(listener, PollFlags::IN)];
    // If poll(2) fails, accept(2) decides.
    poll(&mut listener, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
}

/// Classifies a failure of accept(2).
pub(super) fn not_accepted(error: &io::Error, what: &str) -> NotAccepted {
    match error.kind() {
        io::ErrorKind::WouldBlock => NotAccepted::NoneWaiting,
        // The connection was aborted before it was accepted, or a signal interrupted the call. Others may wait.
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => NotAccepted::Lost,
        _ if is_exhaustion(error) => {
            log::warn!(error:%, what; "cannot accept, trying again shortly");
            NotAccepted::Exhausted
        }
        _ => {
            log::debug!(error:%, what; "lost before it was accepted");
            NotAccepted::Lost
        }
    }
}

/// Whether the process or the system is out of descriptors or memory, so that an immediate retry would fail.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error)
        .is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&errno))
}
