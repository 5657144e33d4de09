//! The service under a steady load of any length: nothing is lost and nothing grows.
//!
//! Many clients, one percent of which are replaced each minute; a producer at a steady rate, whose events are counted at each
//! client; and a fault every second. At the end each client has had every event, and the server has the descriptors and the
//! memory of the start.
//!
//! `PEERS=15000 MINUTES=30 cargo test --release --test soak -- --nocapture` is the full test, with a line per minute.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests speak over real sockets on real clocks"
)]

mod support;

use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::Signal;
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

use support::wait::RaisedOnDrop;
use support::{
    Client, LONG_DEADLINE, Metrics, OTHER_USER, Producer, Server, Setup, USER, event, http, reply, request,
};

/// Topics, each with a share of the clients.
const TOPICS: usize = 100;
/// The topic of all clients.
const COMMON: usize = TOPICS;
/// The topic of the slow consumers.
const UNREAD: usize = TOPICS + 1;
/// The topic of the clients whose right is revoked.
const REVOKED: usize = TOPICS + 2;
/// Events per second, to the topics in turn; one per second is for the common topic.
const RATE: u64 = 50;
/// Events per connection of a producer.
const EVENTS_A_PRODUCER: u64 = 1000;
/// The most slow consumers at once.
const SLOW: usize = 20;

/// The number of events written to each topic, those being written included.
type Written = [AtomicU64; TOPICS + 1];

#[test]
fn a_steady_load_with_faults_loses_nothing_and_grows_nothing() {
    let number =
        |name, default: f64| std::env::var(name).map_or(default, |value| value.parse().expect("a number"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of peers")]
    let peers = number("PEERS", 300.0) as usize;
    let length = Duration::from_secs_f64(number("MINUTES", 0.2) * 60.0);
    let server =
        Setup::with_metrics().set("limits.connectionsPerUser", 0).set("limits.queueSoftSeconds", 5).start();
    let written: Written = std::array::from_fn(|_| AtomicU64::new(0));
    let mut crowd = Crowd::new(&server, &written, peers);
    let start = Usage::of(&server);
    println!("minute   events  deliveries  left   RSS KiB  descriptors");
    println!("{:6} {:8} {:11} {:5} {:9} {:12}", 0, 0, 0, 0, start.resident, start.descriptors);

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| produce(&server, &written, &is_over));
        // A failure here must end the producer, too, or the test would hang.
        let over = RaisedOnDrop(&is_over);
        crowd.run(length);
        drop(over);
    });

    crowd.finish();
    Metrics::wait_for(&server, |metrics| {
        #[expect(clippy::cast_precision_loss, reason = "a number of peers")]
        let all = peers as f64;
        metrics.sum("airlay_connections") == all && metrics.get("airlay_producers") == 0.0
    });
    // The connection of the last scrape may not be closed yet.
    let give_up = Instant::now() + LONG_DEADLINE;
    while Usage::of(&server).descriptors != start.descriptors && Instant::now() < give_up {
        thread::yield_now();
    }
    let end = Usage::of(&server);
    println!(
        "   end {:8} {:11} {:5} {:9} {:12}",
        crowd.events(),
        crowd.received,
        crowd.left,
        end.resident,
        end.descriptors
    );
    assert_eq!(end.descriptors, start.descriptors, "descriptors");
    // The allocator keeps some memory of the slow consumers' queues, but no more than this.
    let allowed = start.resident + start.resident / 10 + (4 << 10);
    assert!(end.resident <= allowed, "{} KiB at the start, {} at the end", start.resident, end.resident);
}

/// The event of a topic with this number.
fn numbered(topic: usize, number: u64) -> String {
    event("issueUpdate", &id(topic), &number.to_string())
}

fn id(topic: usize) -> String {
    format!("{:024x}", topic + 1)
}

/// Writes events at a steady rate, over a series of connections.
fn produce(server: &Server, written: &Written, is_over: &AtomicBool) {
    let start = Instant::now();
    let mut producer = Producer::connect(server);
    for number in 0.. {
        let due = start + Duration::from_secs(number) / u32::try_from(RATE).expect("a small number");
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let topic = usize::try_from(number).expect("64 bits") % TOPICS;
        let also = number.is_multiple_of(RATE).then_some(COMMON);
        for topic in [topic].into_iter().chain(also) {
            // Counted before it is written: a client whose attach is answered afterwards gets the higher numbers.
            let number = written[topic].fetch_add(1, Ordering::SeqCst);
            producer.line(&numbered(topic, number));
        }
        if number % EVENTS_A_PRODUCER == EVENTS_A_PRODUCER - 1 {
            // The server keeps no order between connections, so the producer waits.
            producer.settle();
            producer = Producer::connect(server);
        }
    }
    producer.settle();
}

/// The clients, and the faults.
struct Crowd<'t> {
    server: &'t Server,
    written: &'t Written,
    poll: Poll,
    peers: Vec<Peer>,
    token: String,
    victim: String,
    /// Clients that do not read.
    slow: Vec<Client>,
    /// The number of clients that have left.
    left: usize,
    /// The number of faults so far.
    faults: usize,
    /// Events received, by clients that have left, too.
    received: u64,
}

/// A client with two subscriptions that misses no event.
struct Peer {
    socket: WebSocket<TcpStream>,
    topics: [usize; 2],
    /// The number of the next event of each topic; before the first event, the highest number it may have.
    next: [u64; 2],
    has_begun: [bool; 2],
}

impl<'t> Crowd<'t> {
    fn new(server: &'t Server, written: &'t Written, peers: usize) -> Self {
        let tomorrow = support::token::now() + 24 * 3600;
        let mut crowd = Self {
            server,
            written,
            poll: Poll::new().expect("the system can poll"),
            peers: Vec::new(),
            token: support::token_until(USER, tomorrow),
            victim: support::token_until(OTHER_USER, tomorrow),
            slow: Vec::new(),
            left: 0,
            faults: 0,
            received: 0,
        };
        for place in 0..peers {
            let peer = crowd.connect(place);
            crowd.peers.push(peer);
        }
        crowd
    }

    /// Connects and attaches a client.
    fn connect(&mut self, place: usize) -> Peer {
        let topics = [place % TOPICS, COMMON];
        let mut client = Client::connect(self.server);
        client.send_all(
            topics
                .map(|topic| request("attach", &self.token, "issueUpdate", &id(topic)))
                .iter()
                .map(String::as_str),
        );
        let (mut next, mut early) = ([u64::MAX; 2], Vec::new());
        for which in 0..2 {
            loop {
                let text = client.next_text();
                if text == reply(0) {
                    break;
                }
                early.push(text);
            }
            next[which] = self.written[topics[which]].load(Ordering::SeqCst);
        }
        let stream = client.into_stream();
        stream.set_nonblocking(true).expect("a socket can be read without waiting");
        let mut stream = TcpStream::from_std(stream);
        self.poll
            .registry()
            .register(&mut stream, Token(place), Interest::READABLE)
            .expect("a socket can be polled");
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let socket = WebSocket::from_raw_socket(stream, Role::Client, Some(config));
        let mut peer = Peer { socket, topics, next, has_begun: [false; 2] };
        self.received += early.len() as u64;
        for text in early {
            peer.take(&text);
        }
        peer
    }

    /// Replaces a client, which leaves in one of three ways.
    fn replace(&mut self) {
        // Every place in turn, in an order unrelated to the topics.
        let place = (self.left * 7919) % self.peers.len();
        let another = self.connect(place);
        let Peer { mut socket, .. } = std::mem::replace(&mut self.peers[place], another);
        match self.left % 3 {
            0 => {
                // A Close, without waiting for the answer.
                let _ = socket.close(None);
            }
            1 => {
                // A reset.
                let stream = socket2::SockRef::from(socket.get_ref());
                stream.set_linger(Some(Duration::ZERO)).expect("a socket can be reset");
            }
            _ => {
                // The end of the stream in the middle of a frame.
                use std::io::Write as _;
                let _ = socket.get_mut().write(&[0x81, 0xfe, 0x01]);
                let _ = socket.get_mut().shutdown(Shutdown::Write);
            }
        }
        self.left += 1;
    }

    /// Runs the clients and the faults for this long.
    fn run(&mut self, length: Duration) {
        let start = Instant::now();
        let mut minute = 1;
        while start.elapsed() < length {
            self.read(Duration::from_millis(20));
            let seconds = start.elapsed().as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            while (self.left as f64) < self.peers.len() as f64 * seconds / 60.0 / 100.0 {
                self.replace();
            }
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            if (self.faults as f64) < seconds {
                self.inject_fault();
            }
            if start.elapsed() >= Duration::from_secs(60) * minute {
                let Usage { resident, descriptors } = Usage::of(self.server);
                println!(
                    "{minute:6} {:8} {:11} {:5} {resident:9} {descriptors:12}",
                    self.events(),
                    self.received,
                    self.left
                );
                minute += 1;
            }
        }
    }

    /// Reads what has arrived, or waits this long for it.
    fn read(&mut self, patience: Duration) {
        let mut events = Events::with_capacity(1024);
        match self.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled.expect("the system can poll"),
        }
        for event in &events {
            self.received += self.peers[event.token().0].receive();
        }
    }

    /// One of the faults, which must not affect any other client.
    fn inject_fault(&mut self) {
        let server = self.server;
        match self.faults % 8 {
            0 => {
                let answer = http::exchange(server.address(), "GARBAGE\r\n\r\n");
                assert_eq!(answer.status, 400, "{answer:?}");
            }
            1 => {
                use std::io::Write as _;
                let mut client = Client::connect(server);
                // RFC 6455 §5.1: a client masks.
                client.stream().write_all(&[0x81, 0x01, b'a']).expect("the server reads");
                client.expect_close(1002);
            }
            2 => {
                let mut client = Client::connect(server);
                for _ in 0..5 {
                    client.send(&request("attach", "no token", "issueUpdate", &id(0)));
                    client.expect(&reply(2));
                }
                client.expect_close(1008);
            }
            3 => {
                let mut client = Client::connect(server);
                client.attach(&self.token, "issueUpdate", &id(UNREAD));
                self.slow.push(client);
                if self.slow.len() > SLOW {
                    self.slow.remove(0);
                }
                let large = event("issueUpdate", &id(UNREAD), &format!("\"{}\"", "x".repeat(100_000)));
                let mut producer = Producer::connect(server);
                for _ in 0..10 {
                    producer.line(&large);
                }
                producer.settle();
            }
            4 => {
                let mut producer = Producer::connect(server);
                producer.line("nonsense");
                producer.expect_refusal(1);
                // It ends in the middle of a line.
                producer.write(&numbered(COMMON, u64::MAX).as_bytes()[..40]);
            }
            5 => server.process().signal(Signal::HUP),
            6 => {
                let mut client = Client::connect(server);
                client.attach(&self.victim, "issueUpdate", &id(REVOKED));
                let mut producer = Producer::connect(server);
                producer.line(&format!(r#"{{"control":"revoke","user":"{OTHER_USER}"}}"#));
                producer.settle();
                client.expect(&support::ended(3, "issueUpdate", &id(REVOKED)));
            }
            _ => {
                let mut client = Client::connect(server);
                client.send_message(Message::binary(vec![0; 1000]));
                client.expect(&reply(5));
                client.close();
            }
        }
        self.faults += 1;
    }

    /// Waits until each client has one more event of each of its topics, and with it everything written before.
    fn finish(&mut self) {
        self.slow.clear();
        let mut producer = Producer::connect(self.server);
        for (topic, written) in self.written.iter().enumerate() {
            producer.line(&numbered(topic, written.fetch_add(1, Ordering::SeqCst)));
        }
        producer.settle();
        let last: Vec<u64> = self.written.iter().map(|written| written.load(Ordering::SeqCst)).collect();
        let has_all =
            |peer: &Peer| peer.has_begun == [true; 2] && peer.next == peer.topics.map(|topic| last[topic]);
        let give_up = Instant::now() + LONG_DEADLINE;
        while let Some(missing) = self.peers.iter().position(|peer| !has_all(peer)) {
            let Peer { topics, next, .. } = &self.peers[missing];
            assert!(
                Instant::now() < give_up,
                "client {missing} has had {next:?} of {topics:?}, written are {last:?}"
            );
            self.read(Duration::from_millis(100));
        }
    }

    /// The number of events written.
    fn events(&self) -> u64 {
        self.written.iter().map(|written| written.load(Ordering::SeqCst)).sum()
    }
}

impl Peer {
    /// Reads everything that has arrived. Returns the number of events.
    fn receive(&mut self) -> u64 {
        for received in 0.. {
            loop {
                match self.socket.read() {
                    Ok(Message::Text(text)) => {
                        self.take(&text);
                        break;
                    }
                    Ok(Message::Ping(_)) => {}
                    Ok(other) => panic!("unexpected: {other:?}"),
                    Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                        return received;
                    }
                    Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => panic!("the connection ended: {error}"),
                }
            }
        }
        unreachable!("numbers do not end")
    }

    /// Asserts that an event is the next one of its topic.
    fn take(&mut self, text: &str) {
        let read = |topic| {
            let before = format!(r#"{{"type":"issueUpdate","id":"{}","data":"#, id(topic));
            text.strip_prefix(&before)?.strip_suffix('}')?.parse::<u64>().ok()
        };
        let found = (0..2).find_map(|which| Some((which, read(self.topics[which])?)));
        let (which, number) = found.unwrap_or_else(|| panic!("{text} for a client of {:?}", self.topics));
        let next = self.next[which];
        match self.has_begun[which] {
            true => assert_eq!(number, next, "topic {}", self.topics[which]),
            false => assert!(number <= next, "topic {} begins with {number}, not {next}", self.topics[which]),
        }
        (self.next[which], self.has_begun[which]) = (number + 1, true);
    }
}

/// The server's resources.
struct Usage {
    /// KiB of memory.
    resident: u64,
    descriptors: usize,
}

impl Usage {
    fn of(server: &Server) -> Self {
        let process = format!("/proc/{}", server.process().id());
        let status = std::fs::read_to_string(format!("{process}/status")).expect("the server runs");
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the status has VmRSS");
        Self {
            resident: resident.trim().trim_end_matches(" kB").parse().expect("a number"),
            descriptors: std::fs::read_dir(format!("{process}/fd")).expect("the server runs").count(),
        }
    }
}
