//! Many clients in one thread, each of which does one simple thing: reads, floods, asks and waits, or is silent.

use crate::frames::{CLOSE, Frame, Incoming, PING, PONG, frame};
use crate::support::http::upgrade;
use crate::support::{DEADLINE, Server};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Connections that are made at a time.
const TOGETHER: usize = 64;
/// Connections from one address.
const PER_ADDRESS: usize = 8000;
/// Reads and writes of one client before the others come.
const CALLS: usize = 4;

/// The bytes that the client with this number writes in this round.
pub(crate) type Source = Rc<dyn Fn(usize, u64) -> Rc<[u8]>>;

/// The same bytes for every client, each round.
pub(crate) fn same(bytes: impl Into<Rc<[u8]>>) -> Source {
    let bytes = bytes.into();
    Rc::new(move |_, _| bytes.clone())
}

/// The head of an upgrade.
pub(crate) fn head() -> Vec<u8> {
    upgrade("/ws", "").into_bytes()
}

/// All clients of an attack. What they hold is closed with a reset when it is dropped.
pub(crate) struct Crowd {
    address: SocketAddr,
    poll: Poll,
    events: Events,
    members: Vec<Member>,
    /// Members that may read or write more.
    ready: VecDeque<usize>,
    /// When paced members write next.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    buffer: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// The server refused the upgrade with this status.
    Refused(u16),
    /// The server sent a Close with this code.
    Close(u16),
    /// Without a Close.
    Broken,
}

/// When a client writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Whenever the socket takes something.
    Flood,
    /// When the last round has had a reply.
    Ask,
    /// Once in this time.
    Every(Duration),
}

/// How clients connect.
pub(crate) struct Manner {
    /// The first of their addresses: `127.0.0.` this.
    pub(crate) source: u8,
    /// The size of the socket's buffer for what comes, beside which the other side's system buffers little too; the system's,
    /// which grows, if it is not set.
    pub(crate) receive: Option<usize>,
    /// Messages that each waits for before it counts as joined, after an upgrade; `None` if it asks for none yet.
    pub(crate) replies: Option<u64>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { source: 2, receive: None, replies: Some(0) }
    }
}

/// One client, and what it has seen.
pub(crate) struct Member {
    stream: Option<TcpStream>,
    incoming: Incoming,
    out: Rc<[u8]>,
    offset: usize,
    source: Option<(Source, Pace)>,
    next: Option<Instant>,
    /// Rounds that may still be begun.
    rounds: u64,
    /// Rounds begun.
    pub(crate) begun: u64,
    /// Messages to be seen before the next round of one that asks.
    awaited: u64,
    reads: bool,
    /// Whether it goes on writing after the server has closed.
    pub(crate) persists: bool,
    /// Whether pings are answered at once.
    pub(crate) pongs: bool,
    /// Pings not answered.
    pub(crate) pings: Vec<Vec<u8>>,
    can_read: bool,
    can_write: bool,
    queued: bool,
    /// Messages so far.
    pub(crate) messages: u64,
    /// Replies by their code.
    pub(crate) codes: [u64; 9],
    /// Bytes written in all, and after a Close was read.
    pub(crate) written: u64,
    pub(crate) written_closed: u64,
    pub(crate) ended: Option<End>,
}

impl Crowd {
    pub(crate) fn new(server: &Server) -> Self {
        Self {
            address: server.address(),
            poll: Poll::new().expect("epoll"),
            events: Events::with_capacity(1024),
            members: Vec::new(),
            ready: VecDeque::new(),
            due: BinaryHeap::new(),
            buffer: vec![0; 128 << 10],
        }
    }

    /// Connects this many, each of which writes its greeting, and waits until each is upgraded and has had its replies.
    pub(crate) fn join(
        &mut self,
        count: usize,
        manner: &Manner,
        greeting: impl Fn(usize) -> Vec<u8>,
    ) -> Range<usize> {
        let all = self.members.len()..self.members.len() + count;
        while self.members.len() < all.end {
            let first = self.members.len();
            let batch = first..all.end.min(first + TOGETHER);
            for number in batch.clone() {
                self.connect(number, manner, &greeting(number - all.start));
            }
            if let Some(replies) = manner.replies {
                let joined = |member: &Member| {
                    member.ended.is_some() || (member.incoming.status != 0 && member.messages >= replies)
                };
                let is_over = |crowd: &Self| crowd.members[batch.clone()].iter().all(joined);
                assert!(self.run_until(DEADLINE, is_over), "the server did not answer all of {batch:?}");
            }
        }
        all
    }

    fn connect(&mut self, number: usize, manner: &Manner, greeting: &[u8]) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
        let source = manner.source + u8::try_from(number / PER_ADDRESS).expect("a few addresses");
        socket.bind(&SocketAddr::from(([127, 0, 0, source], 0)).into()).expect("a port is free");
        // Nothing lingers in TIME_WAIT from attack to attack.
        socket.set_linger(Some(Duration::ZERO)).expect("can be set");
        socket.set_tcp_nodelay(true).expect("can be set");
        if let Some(size) = manner.receive {
            socket.set_recv_buffer_size(size).expect("can be set");
            // With the loopback's segments of 64 KB the server's system would keep megabytes for it (tcp(7), tcp_wmem).
            socket.set_tcp_mss(1400).expect("can be set");
        }
        socket.connect_timeout(&self.address.into(), DEADLINE).expect("the server accepts");
        let mut stream: std::net::TcpStream = socket.into();
        // A server that closes at once has answered before.
        let _ = stream.write_all(greeting);
        stream.set_nonblocking(true).expect("can be set");
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(number), interest).expect("epoll takes it");
        self.members.push(Member::new(stream));
    }

    /// From now on these write `rounds` times what `source` says.
    pub(crate) fn write(&mut self, who: Range<usize>, source: &Source, pace: Pace, rounds: u64) {
        let count = u32::try_from(who.len()).expect("a small number");
        for (number, place) in who.zip(0u32..) {
            let member = &mut self.members[number];
            member.source = Some((source.clone(), pace));
            member.rounds = rounds;
            member.awaited = member.messages;
            match pace {
                Pace::Every(interval) => {
                    let next = Instant::now() + interval * place / count;
                    member.next = Some(next);
                    self.due.push(Reverse((next, number)));
                }
                Pace::Flood | Pace::Ask => self.wake(number),
            }
        }
    }

    /// Whether these read.
    pub(crate) fn read(&mut self, who: Range<usize>, reads: bool) {
        for number in who {
            self.members[number].reads = reads;
            self.wake(number);
        }
    }

    /// Changes these.
    pub(crate) fn each(&mut self, who: Range<usize>, change: impl FnMut(&mut Member)) {
        self.members[who].iter_mut().for_each(change);
    }

    /// Answers the pings that were kept.
    pub(crate) fn answer_pings(&mut self, who: Range<usize>) {
        for member in &mut self.members[who] {
            for ping in std::mem::take(&mut member.pings) {
                member.pong(&ping);
            }
        }
    }

    /// Writes these bytes at once, which the socket must take, to each of these that is connected.
    pub(crate) fn write_at_once(&mut self, who: Range<usize>, bytes: &[u8]) {
        for member in &mut self.members[who] {
            if let Some(stream) = &mut member.stream {
                match stream.write(bytes) {
                    Ok(count) => assert_eq!(count, bytes.len(), "the socket takes it"),
                    Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "the socket takes it"),
                }
            }
        }
    }

    /// These clients.
    pub(crate) fn members(&self, who: Range<usize>) -> &[Member] {
        &self.members[who]
    }

    /// How many of these the server has ended.
    pub(crate) fn lost(&self, who: Range<usize>) -> usize {
        self.members[who].iter().filter(|member| member.ended.is_some()).count()
    }

    /// How those of these ended that have.
    pub(crate) fn ends(&self, who: Range<usize>) -> BTreeMap<End, usize> {
        let mut ends = BTreeMap::new();
        for end in self.members[who].iter().filter_map(|member| member.ended) {
            *ends.entry(end).or_default() += 1;
        }
        ends
    }

    /// Reads and writes for this long.
    pub(crate) fn run(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Reads and writes until `is_over`, for this long at most. Returns whether it was.
    pub(crate) fn run_until(&mut self, span: Duration, is_over: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + span;
        loop {
            if is_over(self) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.pump(left);
        }
    }

    fn wake(&mut self, number: usize) {
        if !std::mem::replace(&mut self.members[number].queued, true) {
            self.ready.push_back(number);
        }
    }

    fn pump(&mut self, left: Duration) {
        let now = Instant::now();
        while let Some(&Reverse((next, number))) = self.due.peek().filter(|Reverse((next, _))| *next <= now) {
            self.due.pop();
            self.wake(number);
            let member = &mut self.members[number];
            if let (Some((_, Pace::Every(interval))), true) = (&member.source, member.can_go_on()) {
                self.due.push(Reverse((next + *interval, number)));
            }
        }
        let mut timeout = left.min(Duration::from_millis(50));
        if let Some(Reverse((next, _))) = self.due.peek() {
            timeout = timeout.min(next.saturating_duration_since(now));
        }
        if !self.ready.is_empty() {
            timeout = Duration::ZERO;
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}"),
            Ok(()) => {
                let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
                for event in &events {
                    let Token(number) = event.token();
                    let member = &mut self.members[number];
                    member.can_read |= event.is_readable() || event.is_read_closed() || event.is_error();
                    member.can_write |= event.is_writable();
                    self.wake(number);
                }
                self.events = events;
            }
        }
        for _ in 0..self.ready.len() {
            let Some(number) = self.ready.pop_front() else { break };
            self.members[number].queued = false;
            if self.members[number].serve(number, &mut self.buffer) {
                self.wake(number);
            }
        }
    }
}

impl Member {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream: Some(stream),
            incoming: Incoming::default(),
            out: Rc::new([]),
            offset: 0,
            source: None,
            next: None,
            rounds: 0,
            begun: 0,
            awaited: 0,
            reads: true,
            persists: false,
            pongs: true,
            pings: Vec::new(),
            can_read: false,
            can_write: true,
            queued: false,
            messages: 0,
            codes: [0; 9],
            written: 0,
            written_closed: 0,
            ended: None,
        }
    }

    /// The status of the answer to the upgrade; 0 before it.
    pub(crate) fn status(&self) -> u16 {
        self.incoming.status
    }

    /// Whether the connection is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.stream.is_none()
    }

    fn can_go_on(&self) -> bool {
        self.stream.is_some() && self.rounds > 0 && (self.ended.is_none() || self.persists)
    }

    fn pong(&mut self, ping: &[u8]) {
        if let Some(stream) = &mut self.stream {
            // In the middle of a message it would have to wait; those who write much are attackers.
            if self.offset == self.out.len() {
                let _ = stream.write(&frame(PONG, ping));
            }
        }
    }

    /// Reads and writes a little. Returns whether there is more to do at once.
    fn serve(&mut self, number: usize, buffer: &mut [u8]) -> bool {
        for _ in 0..CALLS {
            let Some(stream) = self.stream.as_mut().filter(|_| self.reads && self.can_read) else { break };
            match stream.read(buffer) {
                // The server has shut its side; what is written may still be read.
                Ok(0) if self.persists => self.reads = false,
                Ok(0) => self.end(End::Broken),
                Ok(count) => {
                    let mut incoming = std::mem::take(&mut self.incoming);
                    incoming.feed(&buffer[..count], |frame| self.take(&frame));
                    self.incoming = incoming;
                    if !matches!(self.incoming.status, 0 | 101) {
                        self.end(End::Refused(self.incoming.status));
                    }
                    if self.ended.is_some() && !self.persists {
                        self.stream = None;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.can_read = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.end(End::Broken),
            }
        }
        for _ in 0..CALLS {
            if !self.can_write || (self.offset == self.out.len() && !self.begin_round(number)) {
                break;
            }
            let Some(stream) = &mut self.stream else { break };
            match stream.write(&self.out[self.offset..]) {
                Ok(count) => {
                    self.offset += count;
                    self.written += count as u64;
                    self.written_closed += if self.ended.is_some() { count as u64 } else { 0 };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.can_write = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What the server has sent before is still there to be read.
                Err(_) => (self.rounds, self.can_write) = (0, false),
            }
        }
        let may_read = self.reads && self.can_read;
        let may_write = self.can_write && (self.offset < self.out.len() || self.wants_round());
        self.stream.is_some() && (may_read || may_write)
    }

    fn wants_round(&self) -> bool {
        let is_time = match self.source {
            Some((_, Pace::Flood)) => true,
            Some((_, Pace::Ask)) => self.messages >= self.awaited,
            Some((_, Pace::Every(_))) => self.next.is_some_and(|next| next <= Instant::now()),
            None => false,
        };
        is_time && self.can_go_on()
    }

    fn begin_round(&mut self, number: usize) -> bool {
        let Some((source, pace)) = self.source.as_ref().filter(|_| self.wants_round()) else { return false };
        self.out = source(number, self.begun);
        if let (Pace::Every(interval), Some(next)) = (pace, &mut self.next) {
            *next += *interval;
        }
        self.offset = 0;
        self.rounds -= 1;
        self.begun += 1;
        self.awaited = self.messages + 1;
        true
    }

    fn take(&mut self, frame: &Frame<'_>) {
        match frame.first {
            PING if self.pongs => self.pong(frame.begin),
            PING => self.pings.push(frame.begin.to_vec()),
            PONG => {}
            CLOSE => {
                let code = frame.begin.first_chunk().map_or(1005, |&code| u16::from_be_bytes(code));
                self.ended = self.ended.or(Some(End::Close(code)));
            }
            _ => {
                self.messages += 1;
                if frame.begin.starts_with(br#"{"status":"#)
                    && let [.., digit @ b'0'..=b'8', b'}'] = frame.begin
                {
                    self.codes[usize::from(digit - b'0')] += 1;
                }
            }
        }
    }

    fn end(&mut self, end: End) {
        self.ended = self.ended.or(Some(end));
        self.stream = None;
    }
}
