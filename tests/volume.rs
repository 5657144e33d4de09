//! The load that the service was built for, at full size: many producers, many subscribers, nothing lost, doubled or
//! out of order. A program of its own, so that nothing else runs beside it; one test at a time.
//!
//! `PEERS=19800 cargo test --test volume s27` has as many peers as 20,000 descriptors let, in the server and here.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests speak over real sockets on real clocks"
)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use support::{Client, ISSUE, Producer, Server, USER, event, good_token};

/// How many producers write at once.
const PRODUCERS: usize = 50;
/// How many lines each of them writes.
const LINES: usize = 10_000;
/// How many subscribers get every one of these lines.
const SUBSCRIBERS: usize = 100;
/// How many peers there are when the server is stopped, if `PEERS` does not say.
const PEERS: usize = 6000;
/// How long the server may be silent. The whole takes as long as the machine needs.
const SILENCE: Duration = Duration::from_secs(30);

/// Held by the test that runs.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn s27_thousands_of_peers_get_all_that_was_written_and_then_are_told_and_the_server_ends() {
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
fn s30_50_producers_of_10_000_lines_each_reach_100_subscribers_in_order() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // No pings: the subscribers only count frames.
    let server = support::Setup::new()
        .set("limits.connectionsPerUser", SUBSCRIBERS)
        .set("limits.pingSeconds", 3600)
        .start();
    let token = good_token(USER);
    let subscribers: Vec<TcpStream> = (0..SUBSCRIBERS)
        .map(|_| {
            let mut client = Client::connect(&server);
            client.attach(&token, "issueUpdate", ISSUE);
            client.into_stream()
        })
        .collect();
    let start = Instant::now();
    thread::scope(|scope| {
        for subscriber in subscribers {
            scope.spawn(|| Counter::new().read_all(subscriber));
        }
        for producer in 0..PRODUCERS {
            let server = &server;
            scope.spawn(move || write_all(server, producer));
        }
    });
    let deliveries = PRODUCERS * LINES * SUBSCRIBERS;
    println!("{deliveries} deliveries in {:.1} s", start.elapsed().as_secs_f64());
}

/// One line of one producer; all are of the same length.
fn line(producer: usize, number: usize) -> String {
    event("issueUpdate", ISSUE, &format!("\"{producer:02}-{number:05}\""))
}

fn write_all(server: &Server, producer: usize) {
    let mut stream = UnixStream::connect(server.socket()).expect("the server accepts producers");
    stream.set_write_timeout(Some(SILENCE)).expect("a deadline can be set");
    for first in (0..LINES).step_by(100) {
        let batch: String = (first..first + 100).map(|number| line(producer, number) + "\n").collect();
        stream.write_all(batch.as_bytes()).expect("the server reads on");
    }
}

/// What one subscriber has had so far: a check of every byte that costs less than the server's work.
struct Counter {
    /// The next line expected of each producer.
    next: [usize; PRODUCERS],
    /// The bytes of every frame before the two numbers: the header, then the text.
    before: Vec<u8>,
}

impl Counter {
    fn new() -> Self {
        let text = line(0, 0);
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short frame");
        // RFC 6455 §5.2: a final, unmasked text frame.
        let before = [&[0x81, length], &text.as_bytes()[..text.len() - NUMBERS.len()]].concat();
        Self { next: [0; PRODUCERS], before }
    }

    fn read_all(mut self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(SILENCE)).expect("a deadline can be set");
        let frame = self.before.len() + NUMBERS.len();
        let mut buffer = vec![0; 512 * 1024];
        let mut filled = 0;
        let mut left = PRODUCERS * LINES;
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
            left = left.checked_sub(whole / frame).expect("no more frames than lines");
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
        assert_eq!(filled, 0, "something comes after the last frame");
        assert_eq!(self.next, [LINES; PRODUCERS]);
    }

    fn count(&mut self, frame: &[u8]) {
        let (before, numbers) = frame.split_at(self.before.len());
        assert!(before == self.before, "not one of the frames: {}", String::from_utf8_lossy(frame));
        let digits = |range: std::ops::Range<usize>| {
            numbers[range].iter().fold(0, |number, digit| number * 10 + usize::from(digit.wrapping_sub(b'0')))
        };
        let (producer, number) = (digits(1..3), digits(4..9));
        let expected = &mut self.next[producer];
        assert_eq!(number, *expected, "producer {producer}: a frame is lost, doubled or out of order");
        *expected += 1;
    }
}

/// The end of every frame: the two numbers, the closing quote and brace.
const NUMBERS: &str = r#""00-00000"}"#;
