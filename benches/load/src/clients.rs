//! The load: many subscribers and one producer in one thread, and what they received.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use crate::Result;
use crate::event::{self, FRAME};
use crate::process::{Cost, own_cost};
use crate::servers::{ACCEPTED, Kind, REPLY, Server};

/// Connections opened at a time.
const TOGETHER: usize = 64;

/// Connections from each of the addresses 127.0.0.2, 127.0.0.3, …
const PER_ADDRESS: usize = 8000;

/// After this time without progress, missing events count as lost.
const PATIENCE: Duration = Duration::from_secs(20);

const PRODUCER: Token = Token(usize::MAX - 1);
/// The first poll token of floods.
const FLOOD: usize = 1 << 32;

/// All clients of one server.
pub(crate) struct Clients {
    kind: Kind,
    address: SocketAddr,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    subscribers: Vec<Subscriber>,
    producer: Producer,
    floods: Vec<Flood>,
    clock: Instant,
    /// Events received, over all subscribers.
    received: usize,
    /// Nanoseconds from publishing to reading, for the timed subscribers.
    latencies: Vec<u64>,
}

struct Subscriber {
    stream: TcpStream,
    /// The number of the last event, as [`event::number`] gives it.
    last: u64,
    /// An incomplete frame.
    held: Vec<u8>,
    timed: bool,
}

struct Producer {
    stream: UnixStream,
    pending: Vec<u8>,
    written: usize,
    /// Events published so far.
    count: usize,
}

/// A client that writes requests as fast as the server takes them.
struct Flood {
    stream: TcpStream,
    requests: Vec<u8>,
    /// Remaining rounds, including the current one.
    rounds: usize,
    /// Bytes written in this round.
    written: usize,
    /// Bytes of replies received.
    answered: usize,
}

/// Measures the load itself during a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    start: Instant,
    cost: Cost,
}

impl Clients {
    /// A load without subscribers yet; only the producer is connected.
    pub(crate) fn new(server: &Server) -> Result<Self> {
        let poll = Poll::new()?;
        let mut stream = UnixStream::connect(&server.control)?;
        poll.registry().register(&mut stream, PRODUCER, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            kind: server.kind,
            address: server.address,
            poll,
            events: Events::with_capacity(1024),
            buffer: vec![0; 256 << 10],
            subscribers: Vec::new(),
            producer: Producer { stream, pending: Vec::new(), written: 0, count: 0 },
            floods: Vec::new(),
            clock: Instant::now(),
            received: 0,
            latencies: Vec::new(),
        })
    }

    /// Connects `count` more subscribers. For the subscriber with a given number, `topic` is the topic in the upgrade
    /// request (of servers that take it there) and `requests` are the frames to send after it.
    pub(crate) fn connect(
        &mut self,
        count: usize,
        topic: impl Fn(usize) -> usize,
        requests: impl Fn(usize) -> Vec<Vec<u8>>,
    ) -> Result<()> {
        let first = self.subscribers.len();
        let mut numbers = first..first + count;
        while !numbers.is_empty() {
            let batch = numbers.start..numbers.end.min(numbers.start + TOGETHER);
            numbers.start = batch.end;
            let mut streams = Vec::with_capacity(batch.len());
            for number in batch.clone() {
                let mut stream = open(self.address, number / PER_ADDRESS)?;
                stream.write_all(self.kind.upgrade(topic(number)).as_bytes())?;
                streams.push(stream);
            }
            for stream in &mut streams {
                expect_upgrade(stream)?;
            }
            if self.kind.takes_requests() {
                let mut asked = Vec::with_capacity(streams.len());
                for (stream, number) in streams.iter_mut().zip(batch.clone()) {
                    let requests = requests(number);
                    stream.write_all(&requests.concat())?;
                    asked.push(requests.len());
                }
                for (stream, asked) in streams.iter_mut().zip(asked) {
                    // A floor answers all requests of one read with one reply.
                    let replies = if self.kind.is_floor() { asked.min(1) } else { asked };
                    expect_replies(stream, replies)?;
                }
            }
            for stream in streams {
                stream.set_nonblocking(true)?;
                let mut stream = TcpStream::from_std(stream);
                let token = Token(self.subscribers.len());
                self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
                self.subscribers.push(Subscriber { stream, last: 0, held: Vec::new(), timed: true });
            }
        }
        Ok(())
    }

    pub(crate) fn count(&self) -> usize {
        self.subscribers.len()
    }

    /// Restricts timing to these subscribers.
    pub(crate) fn time_only(&mut self, timed: impl Fn(usize) -> bool) {
        for (number, subscriber) in self.subscribers.iter_mut().enumerate() {
            subscriber.timed = timed(number);
        }
    }

    /// Publishes an event to this topic; it is written as soon as the server reads.
    pub(crate) fn publish(&mut self, topic: usize) {
        let moment = self.now();
        let producer = &mut self.producer;
        producer.count += 1;
        self.kind.write_event(topic, producer.count, moment, &mut producer.pending);
    }

    /// Starts writing `requests`, `rounds` times, on a new connection.
    pub(crate) fn begin_flood(&mut self, requests: Vec<u8>, rounds: usize) -> Result<()> {
        let mut stream = open(self.address, 0)?;
        stream.write_all(self.kind.upgrade(0).as_bytes())?;
        expect_upgrade(&mut stream)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let token = Token(FLOOD + self.floods.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.floods.push(Flood { stream, requests, rounds, written: 0, answered: 0 });
        self.pump(Some(Duration::ZERO))
    }

    /// Closes all floods.
    pub(crate) fn end_floods(&mut self) {
        self.floods.clear();
    }

    /// Replies received by all floods so far.
    pub(crate) fn flood_replies(&self) -> usize {
        self.floods.iter().map(|flood| flood.answered / REPLY.len()).sum()
    }

    /// Reads and writes until the floods have received `replies` replies.
    pub(crate) fn wait_for_floods(&mut self, replies: usize) -> Result<()> {
        let mut last = (self.flood_replies(), Instant::now());
        while self.flood_replies() < replies {
            self.pump(Some(Duration::from_secs(1)))?;
            if self.flood_replies() > last.0 {
                last = (self.flood_replies(), Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                return Err(format!("only {} of {replies} replies arrived", last.0).into());
            }
        }
        Ok(())
    }

    /// Reads until `expected` events have been received in total; returns how many were lost.
    pub(crate) fn wait_for(&mut self, expected: usize) -> Result<usize> {
        let mut last = (self.received, Instant::now());
        while self.received < expected {
            self.pump(Some(Duration::from_secs(1)))?;
            if self.received > last.0 {
                last = (self.received, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                break;
            }
        }
        if self.received > expected {
            return Err(format!("{} events arrived instead of {expected}", self.received).into());
        }
        Ok(expected - self.received)
    }

    /// Reads and writes until `moment`.
    pub(crate) fn run_until(&mut self, moment: Instant) -> Result<()> {
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.pump(Some(left))?;
        }
    }

    /// The latencies since the last call, in ascending order.
    pub(crate) fn take_latencies(&mut self) -> Vec<u64> {
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.sort_unstable();
        latencies
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// One turn: writes pending events, waits for readiness, reads.
    fn pump(&mut self, timeout: Option<Duration>) -> Result<()> {
        self.produce()?;
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                PRODUCER => {}
                Token(flood) if flood >= FLOOD => self.ask(flood - FLOOD)?,
                Token(number) => self.read(number)?,
            }
        }
        self.events = events;
        self.produce()
    }

    /// Writes pending events as far as the server reads, and drops its answers.
    fn produce(&mut self) -> Result<()> {
        let Producer { stream, pending, written, .. } = &mut self.producer;
        while *written < pending.len() {
            match stream.write(&pending[*written..]) {
                Ok(count) => *written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        if *written == pending.len() {
            pending.clear();
            *written = 0;
        }
        if self.kind == Kind::Nchan {
            drain(stream, &mut self.buffer)?;
        }
        Ok(())
    }

    fn ask(&mut self, number: usize) -> Result<()> {
        let Some(flood) = self.floods.get_mut(number) else { return Ok(()) };
        flood.answered += drain(&mut flood.stream, &mut self.buffer)?;
        while flood.rounds > 0 {
            match flood.stream.write(&flood.requests[flood.written..]) {
                Ok(count) => flood.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            if flood.written == flood.requests.len() {
                flood.written = 0;
                flood.rounds -= 1;
            }
        }
        Ok(())
    }

    fn read(&mut self, number: usize) -> Result<()> {
        loop {
            let held = self.subscribers[number].held.len();
            self.buffer[..held].copy_from_slice(&self.subscribers[number].held);
            let count = match self.subscribers[number].stream.read(&mut self.buffer[held..]) {
                Ok(0) => return Err(format!("the server closed subscriber {number}").into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let now = self.now();
            let Self { subscribers, buffer, latencies, received, .. } = self;
            let Subscriber { last, held: rest, timed, .. } = &mut subscribers[number];
            let (frames, cut) = buffer[..held + count].as_chunks::<FRAME>();
            for frame in frames {
                let position = event::number(frame);
                if !event::is_frame(frame) || position <= *last {
                    return Err(
                        format!("subscriber {number} received something other than its next event").into()
                    );
                }
                *last = position;
                if *timed {
                    latencies.push(now.saturating_sub(event::moment(frame)));
                }
            }
            *received += frames.len();
            rest.clear();
            rest.extend_from_slice(cut);
            if held + count < self.buffer.len() {
                // The socket is empty; more input signals a new readiness event.
                return Ok(());
            }
        }
    }
}

impl Watch {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { start: Instant::now(), cost: own_cost()? })
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The share of its core that the load has used since the start.
    pub(crate) fn busy(&self) -> Result<f64> {
        let cpu = own_cost()?.cpu - self.cost.cpu;
        Ok(cpu as f64 / self.start.elapsed().as_nanos() as f64)
    }
}

/// Opens a blocking connection from the source address with this number.
pub(crate) fn open(address: SocketAddr, source: usize) -> Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let last = 2 + u8::try_from(source % 250)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into())?;
    // Close with a reset, so that nothing stays in TIME_WAIT between runs.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

/// Reads the answer to the upgrade request, which must be a 101.
pub(crate) fn expect_upgrade(stream: &mut impl Read) -> Result<()> {
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Err("the server closed a connection instead of opening it".into()),
            count => answer.extend_from_slice(&buffer[..count]),
        }
    }
    let status = &ACCEPTED[..b"HTTP/1.1 101".len()];
    if answer.starts_with(status) {
        Ok(())
    } else {
        Err(format!("no upgrade: {}", String::from_utf8_lossy(&answer)).into())
    }
}

fn expect_replies(stream: &mut impl Read, replies: usize) -> Result<()> {
    let mut reply = vec![0; REPLY.len()];
    for _ in 0..replies {
        stream.read_exact(&mut reply)?;
        if reply != REPLY {
            return Err(format!("a request was refused: {}", String::from_utf8_lossy(&reply)).into());
        }
    }
    Ok(())
}

/// Reads and drops all available bytes. Returns how many.
fn drain(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut drained = 0;
    loop {
        match stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => drained += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(drained),
            Err(error) => return Err(error),
        }
    }
}
