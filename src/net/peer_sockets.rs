//! The WebSocket clients' sockets: accepting, reading, lending them for writing, closing.

use super::readiness::Source;
use crate::peers::{PeerId, Sockets};
use crate::server::{Server, Service};
use crate::time::Now;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// Connections accepted in one turn.
const ACCEPTS_A_TURN: usize = 256;

/// Peers read from in one turn.
const READS_A_TURN: usize = 256;

/// Bytes read in one turn, a little more or less: so many small messages or frames, with their answers, are a few
/// milliseconds' worth.
const BYTES_A_TURN: usize = 1 << 20;

/// Connections the kernel keeps for us until we accept them; it lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// Accepting pauses so long when the process or the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The listener and the sockets of the peers it has accepted.
#[derive(Debug)]
pub(super) struct PeerSockets {
    listener: Option<TcpListener>,
    registry: Registry,
    may_accept: bool,
    /// By the peer's slot.
    sockets: Vec<Option<PeerSocket>>,
    /// Peers whose sockets may have something to read, each once.
    readable: VecDeque<PeerId>,
}

/// Eight bytes, for there may be a million of these.
#[derive(Debug)]
struct PeerSocket {
    stream: TcpStream,
    /// The poll tells too when the socket can be written to: it has been full once.
    tells_writable: bool,
    /// The peer is in the queue of those to read from.
    queued: bool,
    /// What ends the stream has been seen coming, or events have been missed: only an empty read will do.
    to_the_end: bool,
}

/// Why [`PeerSockets::accept`] returned.
pub(super) enum Accepted {
    /// Nobody waits any more.
    All,
    /// The turn's budget is spent.
    Some,
    /// Nothing can be accepted for this long.
    PauseFor(Duration),
}

impl PeerSockets {
    /// Listens on `address`.
    pub(super) fn bind(address: SocketAddr, registry: &Registry) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        // Accepted sockets inherit it: one system call for all instead of one for each.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::new(socket.into(), registry)
    }

    /// Takes over a listener that the service manager holds open.
    pub(super) fn inherit(listener: std::net::TcpListener, registry: &Registry) -> io::Result<Self> {
        SockRef::from(&listener).set_tcp_nodelay(true)?;
        Self::new(listener, registry)
    }

    fn new(listener: std::net::TcpListener, registry: &Registry) -> io::Result<Self> {
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, Source::PeerListener.into(), Interest::READABLE)?;
        Ok(Self {
            listener: Some(listener),
            registry: registry.try_clone()?,
            may_accept: false,
            sockets: Vec::new(),
            readable: VecDeque::new(),
        })
    }

    /// The address listened on, with the port the system chose if it was to.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// Accepts no more. Who has connected to an inherited socket and was not accepted waits for the next server.
    pub(super) fn close_listener(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            // The service manager's descriptor would keep a mere closing from taking the socket out of the poll.
            let _ = self.registry.deregister(&mut listener);
        }
    }

    /// Whether somebody may be waiting to be accepted.
    pub(super) const fn may_accept(&self) -> bool {
        self.may_accept && self.listener.is_some()
    }

    /// Somebody may be waiting to be accepted.
    pub(super) const fn listener_ready(&mut self) {
        self.may_accept = true;
    }

    /// Accepts those who wait.
    pub(super) fn accept<S: Service>(&mut self, server: &mut Server<S>, now: Now) -> Accepted {
        if !self.may_accept {
            return Accepted::All;
        }
        for number in 0..ACCEPTS_A_TURN {
            let Some(listener) = &self.listener else { return Accepted::All };
            if number > 0 && !has_waiting(listener) {
                self.may_accept = false;
                return Accepted::All;
            }
            match listener.accept() {
                Ok((stream, address)) => {
                    // A peer over the limit is closed as it comes.
                    if let Some(peer) = server.peers.connect(address.ip().to_canonical(), now.monotonic) {
                        self.register(server, peer, stream);
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.may_accept = false;
                        return Accepted::All;
                    }
                    // The connection was gone before it was accepted, or a signal came: that one at most.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ if is_exhaustion(&error) => {
                        log::warn!(error:%; "cannot accept connections, trying again shortly");
                        return Accepted::PauseFor(ACCEPT_PAUSE);
                    }
                    _ => log::debug!(error:%; "connection failed before it was accepted"),
                },
            }
        }
        Accepted::Some
    }

    fn register<S: Service>(&mut self, server: &mut Server<S>, peer: PeerId, mut stream: TcpStream) {
        // A socket can be written to from the start: to be told so would cost every connection an event.
        let registered = self.registry.register(&mut stream, Source::Peer(peer).into(), Interest::READABLE);
        if self.sockets.len() <= peer.index() {
            self.sockets.resize_with(peer.index() + 1, || None);
        }
        self.sockets[peer.index()] =
            Some(PeerSocket { stream, tells_writable: false, queued: false, to_the_end: false });
        match registered {
            // Its request has often come by now, or comes before the turn's reading.
            Ok(()) => self.readable(peer, false),
            Err(error) => {
                log::warn!(error:%; "cannot watch a connection, closing it");
                server.disconnect(peer);
            }
        }
    }

    /// The peer's socket may have something to read; `to_the_end` if the end of its stream has been seen coming.
    pub(super) fn readable(&mut self, peer: PeerId, to_the_end: bool) {
        if let Some(Some(socket)) = self.sockets.get_mut(peer.index()) {
            socket.to_the_end |= to_the_end;
            if !std::mem::replace(&mut socket.queued, true) {
                self.readable.push_back(peer);
            }
        }
    }

    /// Whether peers wait to be read from.
    pub(super) fn has_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Reads once from each of the peers that may have something, up to the turn's budget.
    pub(super) fn read<S: Service>(&mut self, server: &mut Server<S>, buffer: &mut [u8], now: Now) {
        for resumed in server.peers.take_resumed() {
            self.readable(resumed, true);
        }
        let mut bytes = 0;
        for _ in 0..self.readable.len().min(READS_A_TURN) {
            if bytes >= BYTES_A_TURN {
                break;
            }
            let Some(peer) = self.readable.pop_front() else { break };
            let Some(Some(socket)) = self.sockets.get_mut(peer.index()) else { continue };
            socket.queued = false;
            // A paused peer comes back as a resumed one.
            if !server.peers.wants_input(peer) {
                continue;
            }
            let again = match socket.stream.read(buffer) {
                Ok(0) => {
                    server.disconnect(peer);
                    false
                }
                Ok(count) => {
                    bytes += count;
                    server.receive(peer, &mut buffer[..count], now);
                    // A read that was not filled has emptied the socket: what comes later makes a new event.
                    socket.to_the_end || count == buffer.len()
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        socket.to_the_end = false;
                        false
                    }
                    io::ErrorKind::Interrupted => true,
                    _ => {
                        log::debug!(error:%; "read failed");
                        server.disconnect(peer);
                        false
                    }
                },
            };
            if again {
                self.readable(peer, false);
            }
        }
    }

    /// Closes the socket of a peer that is gone. Dropping it takes it out of the poll too.
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
            // If it can be written to by now, that is told at once.
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.registry.reregister(&mut socket.stream, Source::Peer(peer).into(), interest)?;
            socket.tells_writable = true;
        }
        Ok(())
    }

    fn shut(&mut self, peer: PeerId) {
        // That the peer has gone meanwhile is told by the next read.
        let _ = self.socket(peer).shutdown(Shutdown::Write);
    }
}

/// Whether somebody waits to be accepted. To ask is much cheaper than to accept in vain, for which the kernel makes a file and
/// throws it away: 0.2 µs and 2.6 µs, and nearly every turn that accepts ends with the question.
fn has_waiting(listener: &TcpListener) -> bool {
    let mut listener = [PollFd::new(listener, PollFlags::IN)];
    // If it cannot be asked, accepting will tell.
    poll(&mut listener, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
}

/// Whether it is the process or the system that cannot take another connection, so that trying again at once is vain.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error)
        .is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&errno))
}
