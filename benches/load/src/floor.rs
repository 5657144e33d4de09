//! The floors: a server with only the system calls that no server can avoid.
//!
//! It accepts, answers the first input of a connection with a constant 101 and any other with a constant reply, and sends
//! encoded frames from its control socket: one `send` per event and connection, or (*joined*) one `send` per connection
//! for all events of one read of the control socket.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use socket2::{Domain, Socket, Type};

use crate::Result;
use crate::event::FRAME;
use crate::servers::{ACCEPTED, REPLY};

/// How a floor sends events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    /// Whether the events of one read are sent together.
    pub(crate) joined: bool,
    /// Subscribers of each topic, with as many topics as connections and events in turn; 0: one topic for all. Not with
    /// `joined`.
    pub(crate) each: usize,
}

const LISTENER: u64 = u64::MAX;
const CONTROL_LISTENER: u64 = u64::MAX - 1;
const CONTROL: u64 = u64::MAX - 2;

struct Floor {
    sending: Sending,
    connections: Vec<Connection>,
    /// Events sent so far.
    events: usize,
}

struct Connection {
    socket: OwnedFd,
    /// Whether the 101 has been sent.
    open: bool,
}

/// Serves until killed. Prints the port it listens on.
pub(crate) fn serve(sending: Sending, control_path: &Path) -> Result<()> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    // Usual for a server that pushes; accepted sockets inherit it.
    listener.set_tcp_nodelay(true)?;
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    listener.listen(65_535)?;
    let _ = fs::remove_file(control_path);
    let control_listener = UnixListener::bind(control_path)?;
    control_listener.set_nonblocking(true)?;
    let mut control: Option<UnixStream> = None;
    println!("{}", listener.local_addr()?.as_socket().ok_or("an IP address")?.port());

    let queue = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64;
    epoll::add(&queue, &listener, data(LISTENER), epoll::EventFlags::IN)?;
    epoll::add(&queue, &control_listener, data(CONTROL_LISTENER), epoll::EventFlags::IN)?;
    let mut floor = Floor { sending, connections: Vec::new(), events: 0 };
    let mut ready = Vec::with_capacity(1024);
    let mut buffer = vec![0; 64 << 10];
    let mut filled = 0;
    loop {
        ready.clear();
        epoll::wait(&queue, rustix::buffer::spare_capacity(&mut ready), None)?;
        for event in &ready {
            match event.data.u64() {
                LISTENER => {
                    while let Ok(socket) =
                        accept_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
                    {
                        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
                        epoll::add(&queue, &socket, data(floor.connections.len() as u64), flags)?;
                        floor.connections.push(Connection { socket, open: false });
                    }
                }
                CONTROL_LISTENER => {
                    let (stream, _) = control_listener.accept()?;
                    stream.set_nonblocking(true)?;
                    epoll::add(&queue, &stream, data(CONTROL), epoll::EventFlags::IN)?;
                    control = Some(stream);
                }
                CONTROL => {
                    let Some(stream) = &mut control else { continue };
                    match stream.read(&mut buffer[filled..])? {
                        0 => control = None,
                        count => filled = floor.publish(&mut buffer, filled + count)?,
                    }
                }
                index => floor.receive(usize::try_from(index)?)?,
            }
        }
    }
}

impl Floor {
    /// Reads input from a client and answers it: first the upgrade request, then requests.
    fn receive(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        let mut bytes = [0; 4096];
        match recv(&connection.socket, &mut bytes, RecvFlags::empty()) {
            Ok((_, 0)) | Err(Errno::AGAIN | Errno::CONNRESET) => {}
            Ok(_) if connection.open => send_all(&connection.socket, REPLY)?,
            Ok(_) => {
                connection.open = true;
                send_all(&connection.socket, ACCEPTED)?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Sends the whole frames in the first `filled` bytes. Moves the rest to the front and returns its length.
    fn publish(&mut self, buffer: &mut [u8], filled: usize) -> Result<usize> {
        let whole = filled - filled % FRAME;
        let size = if self.sending.joined { whole.max(1) } else { FRAME };
        for bytes in buffer[..whole].chunks(size) {
            let count = self.connections.len();
            match self.sending.each {
                0 => {
                    for connection in &self.connections {
                        send_all(&connection.socket, bytes)?;
                    }
                }
                each => {
                    for place in 0..each {
                        let index = crate::servers::subscriber(self.events % count, place, count, each);
                        send_all(&self.connections[index].socket, bytes)?;
                    }
                }
            }
            self.events += bytes.len() / FRAME;
        }
        buffer.copy_within(whole..filled, 0);
        Ok(filled - whole)
    }
}

/// Sends all bytes, waiting while the client does not read; the load always does, in time.
fn send_all(socket: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::AGAIN) => {
                let second = Timespec { tv_sec: 1, tv_nsec: 0 };
                poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&second))?;
            }
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
