//! The load that the service was built for, at full size: many producers, many subscribers, nothing lost, duplicated or out of
//! order. A separate program, so that nothing else runs at the same time; one test at a time.
//!
//! `PEERS=19800 cargo test --test volume s27` has as many clients as 20,000 descriptors allow, in the server and here.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests speak over real sockets on real clocks"
)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use support::wait::RaisedOnDrop;
use support::{Client, ISSUE, Metrics, Producer, Server, USER, event, good_token};

/// The number of concurrent producers.
const PRODUCERS: usize = 50;
/// The lines of each producer.
const LINES: usize = 10_000;
/// The subscribers, each of which gets every line.
const SUBSCRIBERS: usize = 100;
/// The number of clients when the server is stopped, unless `PEERS` is set.
const PEERS: usize = 6000;
/// How long the server may be silent. The test as a whole takes as long as the machine needs.
const SILENCE: Duration = Duration::from_secs(30);

/// Held by the running test.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn s27_thousands_of_clients_get_every_event_and_then_their_close() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let peers = std::env::var("PEERS").map_or(PEERS, |peers| peers.parse().expect("PEERS is a number"));
    let mut server = support::Setup::new()
        .set("limits.connectionsPerUser", 0)
        .set("limits.pingSeconds", 3600)
        .set("limits.drainSeconds", 3)
        .set("limits.closeSeconds", 1)
        .start();
    let token = good_token(USER);
    let streams: Vec<TcpStream> = (0..peers)
        .map(|_| {
            let mut client = Client::connect(&server);
            client.attach(&token, "issueUpdate", ISSUE);
            client.into_stream()
        })
        .collect();
    let lines: Vec<String> = (0..20).map(|number| event("issueUpdate", ISSUE, &number.to_string())).collect();
    let mut producer = Producer::connect(&server);
    producer.settle();
    producer.write(lines.join("\n") + "\n");
    server.process().signal(Signal::TERM);
    // RFC 6455 §5.2: final, unmasked frames, the last of which is the Close.
    let mut expected = Vec::new();
    for line in &lines {
        expected.extend([0x81, u8::try_from(line.len()).expect("a short frame")]);
        expected.extend(line.as_bytes());
    }
    expected.extend(b"\x88\x14\x03\xe9server is stopping");
    for (mut stream, number) in streams.into_iter().zip(1..) {
        stream.set_read_timeout(Some(SILENCE)).expect("a timeout can be set");
        let mut received = Vec::new();
        let result = stream.read_to_end(&mut received);
        assert!(result.is_ok(), "peer {number}: {result:?} after {:?}", String::from_utf8_lossy(&received));
        assert!(received == expected, "peer {number}: {}", String::from_utf8_lossy(&received));
    }
    server.expect_stop();
}

#[test]
fn s30_50_producers_of_10_000_lines_reach_100_subscribers_in_order() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Without pings, since the subscribers only count frames.
    let server = support::Setup::new()
        .set("limits.connectionsPerUser", SUBSCRIBERS)
        .set("limits.pingSeconds", 3600)
        .start();
    let start = Instant::now();
    let load = Load { producers: PRODUCERS, lines: LINES, filler: 0 };
    let subscribers = subscribe(&server, SUBSCRIBERS);
    thread::scope(|scope| {
        for subscriber in subscribers {
            scope.spawn(move || Counter::new(load).read_all(subscriber));
        }
        for producer in 0..PRODUCERS {
            let server = &server;
            scope.spawn(move || load.write_all(server, producer));
        }
    });
    let deliveries = PRODUCERS * LINES * SUBSCRIBERS;
    println!("{deliveries} deliveries in {:.1} s", start.elapsed().as_secs_f64());
}

#[test]
fn s30_what_is_read_from_producers_and_not_delivered_is_bounded() {
    // `limits.queueBytes` is so large that the bound is 2 × 256 KiB. The last read may exceed it.
    expect_bounded_backlog(Load { producers: 8, lines: 32, filler: 16_000 }, 2 * BACKLOG + READ);
}

#[test]
fn s30_one_producer_takes_no_more_than_its_share_of_the_backlog() {
    expect_bounded_backlog(Load { producers: 1, lines: 256, filler: 16_000 }, BACKLOG + READ);
}

/// The share of the backlog that one producer may fill.
const BACKLOG: usize = 256 << 10;
/// The most that the server reads from a producer at once.
const READ: usize = 64 << 10;
/// Enough subscribers that the fan-out of a full backlog takes many turns, in each of which producers could be read.
const SLOW_SUBSCRIBERS: usize = 200;

/// Producers write as fast as they can, and each of their bytes has to be written to 200 subscribers, who read all the time.
/// Meanwhile the server reads no more than `most` bytes that it has not offered to all of them, and the producers wait.
#[track_caller]
fn expect_bounded_backlog(load: Load, most: usize) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let server = support::Setup::with_metrics()
        .set("limits.connectionsPerUser", 0)
        .set("limits.pingSeconds", 3600)
        // No subscriber is too slow, whatever this machine does meanwhile.
        .set("limits.queueBytes", 1 << 30)
        .set("limits.queueSoftBytes", 1 << 30)
        .set("limits.queueTotalBytes", 1_u64 << 40)
        .start();
    let subscribers = subscribe(&server, SLOW_SUBSCRIBERS);
    let is_over = AtomicBool::new(false);
    let (backlog, blocked) = thread::scope(|scope| {
        // Raised by a failure, too.
        let _over = RaisedOnDrop(&is_over);
        let measuring = scope.spawn(|| {
            let mut largest = 0.0_f64;
            while !is_over.load(Ordering::Relaxed) {
                let metrics = Metrics::of(&server);
                let backlog = metrics.get("airlay_producer_backlog_bytes");
                assert!(backlog <= most as f64, "{backlog} bytes are read and not delivered, {most} may be");
                // Input that was read but not handled, and an unfinished line, whose buffer may be half empty.
                let held = metrics.get("airlay_producer_held_bytes");
                let most = load.producers * (READ + 2 * load.line(0, 0).len());
                assert!(held <= most as f64, "{held} bytes are held for producers, {most} may be");
                largest = largest.max(backlog);
            }
            largest
        });
        let counting: Vec<_> = subscribers
            .into_iter()
            .map(|subscriber| scope.spawn(move || Counter::new(load).read_all(subscriber)))
            .collect();
        let writing: Vec<_> = (0..load.producers)
            .map(|producer| {
                let server = &server;
                scope.spawn(move || load.write_all(server, producer))
            })
            .collect();
        let blocked: usize = writing.into_iter().map(|it| it.join().expect("all is written")).sum();
        for it in counting {
            it.join().expect("all is received");
        }
        is_over.store(true, Ordering::Relaxed);
        (measuring.join().expect("the backlog is bounded"), blocked)
    });
    assert!(backlog >= (BACKLOG / 2) as f64, "{backlog} bytes at most: the server was never behind");
    assert!(blocked > 0, "no producer had to wait");
    println!("{backlog} bytes of backlog at most, {blocked} writes had to wait");
}

/// Subscribers to the topic of every line.
fn subscribe(server: &Server, count: usize) -> Vec<TcpStream> {
    let token = good_token(USER);
    let one = |_| {
        let mut client = Client::connect(server);
        client.attach(&token, "issueUpdate", ISSUE);
        client.into_stream()
    };
    (0..count).map(one).collect()
}

/// What producers write.
#[derive(Clone, Copy)]
struct Load {
    producers: usize,
    /// The lines of each producer.
    lines: usize,
    /// Bytes of each line beside the two numbers.
    filler: usize,
}

impl Load {
    /// A line of a producer; all have the same length.
    fn line(self, producer: usize, number: usize) -> String {
        let filler = ".".repeat(self.filler);
        event("issueUpdate", ISSUE, &format!("\"{filler}{producer:02}-{number:05}\""))
    }

    /// Writes every line of a producer. Returns how often the socket was full.
    fn write_all(self, server: &Server, producer: usize) -> usize {
        let mut stream = UnixStream::connect(server.socket()).expect("the server accepts producers");
        stream.set_write_timeout(Some(SILENCE)).expect("a deadline can be set");
        let mut blocked = 0;
        for first in (0..self.lines).step_by(BATCH) {
            let numbers = first..self.lines.min(first + BATCH);
            let batch: String = numbers.map(|number| self.line(producer, number) + "\n").collect();
            let mut rest = batch.as_bytes();
            while !rest.is_empty() {
                stream.set_nonblocking(true).expect("a socket can be told not to wait");
                let written = match stream.write(rest) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        blocked += 1;
                        stream.set_nonblocking(false).expect("a socket can be told to wait");
                        stream.write(rest).expect("the server keeps reading")
                    }
                    result => result.expect("the server keeps reading"),
                };
                rest = &rest[written..];
            }
        }
        blocked
    }
}

/// Lines that a producer writes at once.
const BATCH: usize = 100;

/// What a subscriber has received. It checks every byte at less cost than the server's work.
struct Counter {
    load: Load,
    /// The next line of each producer.
    next: Vec<usize>,
    /// The bytes of every frame before the two numbers: the header and the beginning of the text.
    before: Vec<u8>,
}

impl Counter {
    fn new(load: Load) -> Self {
        let text = load.line(0, 0);
        let length = u16::try_from(text.len()).expect("a frame of less than 64 KiB");
        // RFC 6455 §5.2: a final, unmasked text frame.
        let header = match u8::try_from(length) {
            Ok(length) if length < 126 => vec![0x81, length],
            _ => [&[0x81, 126], length.to_be_bytes().as_slice()].concat(),
        };
        let before = [&header, &text.as_bytes()[..text.len() - NUMBERS.len()]].concat();
        Self { load, next: vec![0; load.producers], before }
    }

    fn read_all(mut self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(SILENCE)).expect("a deadline can be set");
        let frame = self.before.len() + NUMBERS.len();
        let mut buffer = vec![0; 512 * 1024];
        let mut filled = 0;
        let mut left = self.load.producers * self.load.lines;
        while left > 0 {
            match stream.read(&mut buffer[filled..]) {
                Ok(0) => panic!("the server ended the connection, {left} frames before the last"),
                Ok(length) => filled += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("{left} frames are missing: {error}"),
            }
            let whole = filled - filled % frame;
            for bytes in buffer[..whole].chunks_exact(frame) {
                self.count(bytes);
            }
            left = left.checked_sub(whole / frame).expect("as many frames as lines");
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
        assert_eq!(filled, 0, "bytes after the last frame");
        assert_eq!(self.next, vec![self.load.lines; self.load.producers]);
    }

    fn count(&mut self, frame: &[u8]) {
        let (before, numbers) = frame.split_at(self.before.len());
        assert!(before == self.before, "an unexpected frame: {}", String::from_utf8_lossy(frame));
        let digits = |range: std::ops::Range<usize>| {
            numbers[range].iter().fold(0, |number, digit| number * 10 + usize::from(digit.wrapping_sub(b'0')))
        };
        let (producer, number) = (digits(0..2), digits(3..8));
        let expected = &mut self.next[producer];
        assert_eq!(number, *expected, "producer {producer}: a frame is lost, duplicated or out of order");
        *expected += 1;
    }
}

/// The end of every frame: the two numbers, the closing quote and the brace.
const NUMBERS: &str = r#"00-00000"}"#;
