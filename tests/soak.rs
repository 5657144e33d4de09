//! The service under a steady load for as long as one likes: nothing is lost and nothing grows.
//!
//! Many peers, of whom one in a hundred leaves each minute and another comes; a producer at a steady rate, each peer's events
//! counted; and somebody who does, every second, one of the things that go wrong in a day. At the end everybody has had
//! everything, and the server has the descriptors and the memory it had at the start.
//!
//! `PEERS=15000 MINUTES=30 cargo test --release --test soak -- --nocapture` is the whole of it, with a line for every minute.
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

use support::{
    Client, LONG_DEADLINE, Metrics, OTHER_USER, Producer, Server, Setup, USER, event, http, reply, request,
};

/// Topics with a share of the peers each.
const TOPICS: usize = 100;
/// The topic all of them have besides.
const COMMON: usize = TOPICS;
/// The topic of those who do not read.
const UNREAD: usize = TOPICS + 1;
/// The topic of those from whom it is taken back.
const REVOKED: usize = TOPICS + 2;
/// Events a second, each to one of the topics in turn; one a second goes to the common one.
const RATE: u64 = 50;
/// Events from one connection of a producer.
const EVENTS_A_PRODUCER: u64 = 1000;
/// Those who do not read, at most.
const SLOW: usize = 20;

/// How many events have been written to each topic, or are being written.
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
        // A failure here must end the producer too, or nobody would hear of it.
        let over = Over(&is_over);
        crowd.run(length);
        drop(over);
    });

    crowd.finish();
    Metrics::wait_for(&server, |metrics| {
        #[expect(clippy::cast_precision_loss, reason = "a number of peers")]
        let all = peers as f64;
        metrics.sum("airlay_connections") == all && metrics.get("airlay_producers") == 0.0
    });
    // That of the last scrape may still be there.
    let give_up = Instant::now() + LONG_DEADLINE;
    while Usage::of(&server).descriptors != start.descriptors && Instant::now() < give_up {
        thread::yield_now();
    }
    let end = Usage::of(&server);
    println!(
        "   end {:8} {:11} {:5} {:9} {:12}",
        crowd.events(),
        crowd.heard,
        crowd.left,
        end.resident,
        end.descriptors
    );
    assert_eq!(end.descriptors, start.descriptors, "descriptors");
    // What the allocator keeps of the queues of those who did not read does not come to more.
    let allowed = start.resident + start.resident / 10 + (4 << 10);
    assert!(end.resident <= allowed, "{} KiB at the start, {} at the end", start.resident, end.resident);
}

/// Tells the producer, however it ends.
struct Over<'t>(&'t AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The event of a topic with this number.
fn numbered(topic: usize, number: u64) -> String {
    event("issueUpdate", &id(topic), &number.to_string())
}

fn id(topic: usize) -> String {
    format!("{:024x}", topic + 1)
}

/// Writes events at a steady rate, from one connection after another.
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
            // Before it is written: who is told afterwards that he is attached gets what has a higher number.
            let number = written[topic].fetch_add(1, Ordering::SeqCst);
            producer.line(&numbered(topic, number));
        }
        if number % EVENTS_A_PRODUCER == EVENTS_A_PRODUCER - 1 {
            // Between connections there is no order but what the producer waits for.
            producer.settle();
            producer = Producer::connect(server);
        }
    }
    producer.settle();
}

/// Those who read, and the one who does things wrong.
struct Crowd<'t> {
    server: &'t Server,
    written: &'t Written,
    poll: Poll,
    peers: Vec<Peer>,
    token: String,
    victim: String,
    /// Those who do not read.
    slow: Vec<Client>,
    /// How many have left.
    left: usize,
    /// How many wrong things have been done.
    wrongs: usize,
    /// Events that have come, of those who have left too.
    heard: u64,
}

/// Somebody who is attached to two topics and misses nothing of them.
struct Peer {
    socket: WebSocket<TcpStream>,
    topics: [usize; 2],
    /// The number of the next event of each; of the first one, the highest that it may have.
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
            wrongs: 0,
            heard: 0,
        };
        for place in 0..peers {
            let peer = crowd.come(place);
            crowd.peers.push(peer);
        }
        crowd
    }

    /// Connects and attaches somebody.
    fn come(&mut self, place: usize) -> Peer {
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
        self.heard += early.len() as u64;
        for text in early {
            peer.take(&text);
        }
        peer
    }

    /// Somebody leaves, in one of three ways, and another comes.
    fn replace(&mut self) {
        // Each place in turn, in no order that the topics have.
        let place = (self.left * 7919) % self.peers.len();
        let another = self.come(place);
        let Peer { mut socket, .. } = std::mem::replace(&mut self.peers[place], another);
        match self.left % 3 {
            0 => {
                // A Close; its answer is not waited for.
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

    /// Lets them read, leave and come, and things go wrong, for so long.
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
            if (self.wrongs as f64) < seconds {
                self.do_wrong();
            }
            if start.elapsed() >= Duration::from_secs(60) * minute {
                let Usage { resident, descriptors } = Usage::of(self.server);
                println!(
                    "{minute:6} {:8} {:11} {:5} {resident:9} {descriptors:12}",
                    self.events(),
                    self.heard,
                    self.left
                );
                minute += 1;
            }
        }
    }

    /// Takes what has come; waits for something at most so long.
    fn read(&mut self, patience: Duration) {
        let mut events = Events::with_capacity(1024);
        match self.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled.expect("the system can poll"),
        }
        for event in &events {
            self.heard += self.peers[event.token().0].hear();
        }
    }

    /// One of the things that go wrong: none of them is anybody else's matter.
    fn do_wrong(&mut self) {
        let server = self.server;
        match self.wrongs % 8 {
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
        self.wrongs += 1;
    }

    /// Everybody has one event more of each topic, and with it all that was written before.
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
                "peer {missing} has had {next:?} of {topics:?}, written are {last:?}"
            );
            self.read(Duration::from_millis(100));
        }
    }

    /// How many events have been written.
    fn events(&self) -> u64 {
        self.written.iter().map(|written| written.load(Ordering::SeqCst)).sum()
    }
}

impl Peer {
    /// Reads all that has come. Returns how many events that were.
    fn hear(&mut self) -> u64 {
        for heard in 0.. {
            loop {
                match self.socket.read() {
                    Ok(Message::Text(text)) => {
                        self.take(&text);
                        break;
                    }
                    Ok(Message::Ping(_)) => {}
                    Ok(other) => panic!("unexpected: {other:?}"),
                    Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                        return heard;
                    }
                    Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => panic!("the connection ends: {error}"),
                }
            }
        }
        unreachable!("numbers do not end")
    }

    /// An event has come: it is the next one of its topic.
    fn take(&mut self, text: &str) {
        let read = |topic| {
            let before = format!(r#"{{"type":"issueUpdate","id":"{}","data":"#, id(topic));
            text.strip_prefix(&before)?.strip_suffix('}')?.parse::<u64>().ok()
        };
        let found = (0..2).find_map(|which| Some((which, read(self.topics[which])?)));
        let (which, number) = found.unwrap_or_else(|| panic!("{text} comes to {:?}", self.topics));
        let next = self.next[which];
        match self.has_begun[which] {
            true => assert_eq!(number, next, "topic {}", self.topics[which]),
            false => assert!(number <= next, "topic {} begins with {number}, not {next}", self.topics[which]),
        }
        (self.next[which], self.has_begun[which]) = (number + 1, true);
    }
}

/// What the server has of the machine.
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
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory is told");
        Self {
            resident: resident.trim().trim_end_matches(" kB").parse().expect("a number"),
            descriptors: std::fs::read_dir(format!("{process}/fd")).expect("the server runs").count(),
        }
    }
}
