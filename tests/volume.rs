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
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use support::{Client, ISSUE, Producer, Server, USER, event, good_token};

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

/// A line of a producer; all have the same length.
fn line(producer: usize, number: usize) -> String {
    event("issueUpdate", ISSUE, &format!("\"{producer:02}-{number:05}\""))
}

fn write_all(server: &Server, producer: usize) {
    let mut stream = UnixStream::connect(server.socket()).expect("the server accepts producers");
    stream.set_write_timeout(Some(SILENCE)).expect("a deadline can be set");
    for first in (0..LINES).step_by(100) {
        let batch: String = (first..first + 100).map(|number| line(producer, number) + "\n").collect();
        stream.write_all(batch.as_bytes()).expect("the server keeps reading");
    }
}

/// What a subscriber has received. It checks every byte at less cost than the server's work.
struct Counter {
    /// The next line of each producer.
    next: [usize; PRODUCERS],
    /// The bytes of every frame before the two numbers: the header and the beginning of the text.
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
            left = left.checked_sub(whole / frame).expect("as many frames as lines");
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
        assert_eq!(filled, 0, "bytes after the last frame");
        assert_eq!(self.next, [LINES; PRODUCERS]);
    }

    fn count(&mut self, frame: &[u8]) {
        let (before, numbers) = frame.split_at(self.before.len());
        assert!(before == self.before, "an unexpected frame: {}", String::from_utf8_lossy(frame));
        let digits = |range: std::ops::Range<usize>| {
            numbers[range].iter().fold(0, |number, digit| number * 10 + usize::from(digit.wrapping_sub(b'0')))
        };
        let (producer, number) = (digits(1..3), digits(4..9));
        let expected = &mut self.next[producer];
        assert_eq!(number, *expected, "producer {producer}: a frame is lost, duplicated or out of order");
        *expected += 1;
    }
}

/// The end of every frame: the two numbers, the closing quote and the brace.
const NUMBERS: &str = r#""00-00000"}"#;
