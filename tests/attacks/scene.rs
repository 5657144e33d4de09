//! A server under attack, and what its other clients notice: a healthy subscriber with a producer of its own, 200 events a
//! second; the server's processor time, memory and longest turn.

use crate::crowd::End;
use crate::frames::{Frame, Incoming, PING, PONG, frame};
use crate::support::{Client, DEADLINE, Metrics, Server, Setup, good_token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Held by the attack that runs.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Between two events to the healthy subscriber.
const INTERVAL: Duration = Duration::from_millis(5);
const TOPIC: &str = "0000000000000000000000aa";
const HEALTHY: &str = "0000000000000000000000ab";

/// Whether the attacks have their full size, and are only measured.
pub(crate) fn is_full() -> bool {
    std::env::var_os("FULL").is_some()
}

/// One of two numbers, by the size.
pub(crate) fn size<T>(short: T, full: T) -> T {
    if is_full() { full } else { short }
}

/// That many seconds.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Waits until no other attack runs. As many descriptors as the system allows are open from then on, for the server too.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the maximum is allowed");
    alone
}

/// A server with metrics, without a limit on the connections of one user.
pub(crate) fn setup() -> Setup {
    Setup::with_metrics().set("limits.connectionsPerUser", 0)
}

/// A token of the user with this number.
pub(crate) fn token(user: usize) -> String {
    good_token(&format!("{user:024x}"))
}

/// A server and its healthy subscriber.
pub(crate) struct Scene {
    pub(crate) server: Server,
    probe: Probe,
    quiet: Option<Span>,
    attack: Option<Attack>,
}

struct Attack {
    span: Span,
    cpu: Duration,
    before: (Usage, Turns),
    /// The most resident memory meanwhile, in bytes.
    peak: u64,
}

/// What an attack has done.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Resident memory before the attack and the most of it meanwhile, in MB of 10⁶ bytes.
    pub(crate) base_mb: f64,
    pub(crate) rss_mb: f64,
    /// Events that the healthy subscriber did not get.
    pub(crate) missing: u64,
    /// Innocent clients that lost their connection, the healthy subscriber among them.
    pub(crate) lost: usize,
    /// Whether the server did nothing at all for most of the attack.
    pub(crate) stuck: bool,
}

impl Scene {
    /// Starts a server of this setup, and its healthy subscriber.
    #[track_caller]
    pub(crate) fn new(setup: Setup) -> Self {
        Self::with_events(setup, 0)
    }

    /// The same, with events that are `padding` bytes longer.
    #[track_caller]
    pub(crate) fn with_events(setup: Setup, padding: usize) -> Self {
        let server = setup.start();
        let probe = Probe::start(&server, padding);
        Self { server, probe, quiet: None, attack: None }
    }

    /// Measures the healthy subscriber while nothing else happens.
    pub(crate) fn quiet(&mut self) {
        let start = self.probe.now();
        thread::sleep(size(seconds(0.5), seconds(3.0)));
        self.quiet = Some(Span { start, end: self.probe.now() });
    }

    /// Measures while `attack` is going on.
    pub(crate) fn attack<T>(&mut self, attack: impl FnOnce(&Server) -> T) -> T {
        let pid = self.server.process().id();
        let before = (Usage::of(pid), Turns::of(&self.server));
        // proc_pid_clear_refs(5): the peak of the resident memory begins anew.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        let (start, cpu) = (self.probe.now(), cpu(pid));
        let result = attack(&self.server);
        let span = Span { start, end: self.probe.now() };
        let cpu = self::cpu(pid) - cpu;
        self.attack = Some(Attack { span, cpu, before, peak: Usage::of(pid).peak });
        result
    }

    /// Ends the healthy subscriber and prints the figures of the attack. `lost` is how many other innocent clients were lost,
    /// `attackers` how the attackers ended; `more` are further figures.
    #[track_caller]
    pub(crate) fn finish(
        self,
        name: &str,
        lost: usize,
        attackers: &BTreeMap<End, usize>,
        more: &[(&str, f64)],
    ) -> Figures {
        let Self { server, probe, quiet, attack } = self;
        let Attack { span, cpu, before, peak } = attack.expect("an attack has been measured");
        let pid = server.process().id();
        let turns = Turns::of(&server);
        let Seen { events, written, closed } = probe.finish();
        let after = Usage::of(pid);
        let missing = written - events.len() as u64;
        let lost = lost + usize::from(closed);
        let mut row = format!("attack={name}");
        if let Some(quiet) = quiet {
            let calm = quiet.latencies(&events);
            write!(
                row,
                " quiet_p50_ms={:.2} quiet_p99_ms={:.2}",
                quantile(&calm, 0.5),
                quantile(&calm, 0.99)
            )
            .expect("a string");
            write!(row, " quiet_rate={:.0}", quiet.rate(&events)).expect("a string");
        }
        let under = span.latencies(&events);
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| quantile(&under, share));
        write!(row, " p50_ms={p50:.2} p99_ms={p99:.2} max_ms={most:.1} rate={:.0}", span.rate(&events))
            .expect("a string");
        write!(row, " gap_ms={:.0} seconds={:.1}", span.gap(&events), span.length().as_secs_f64())
            .expect("a string");
        let busy = 100.0 * cpu.as_secs_f64() / span.length().as_secs_f64();
        let (base_mb, rss_mb) = (megabytes(before.0.resident), megabytes(peak.max(after.peak)));
        write!(row, " cpu_pct={busy:.0} rss_base_mb={base_mb:.1} rss_mb={rss_mb:.1}").expect("a string");
        write!(row, " rss_after_mb={:.1} {}", megabytes(after.resident), turns.since(&before.1))
            .expect("a string");
        write!(row, " lost={lost} missing={missing} closed={}", list(attackers)).expect("a string");
        for (name, value) in more {
            write!(row, " {name}={value}").expect("a string");
        }
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!("{row} load={}", load.split(' ').next().unwrap_or_default());
        let stuck = span.gap(&events) > 0.8 * span.length().as_secs_f64() * 1e3;
        Figures { base_mb, rss_mb, missing, lost, stuck }
    }
}

impl Figures {
    /// Asserts, in the short form, that all innocent clients have stayed and got everything.
    #[track_caller]
    pub(crate) fn expect_no_loss(&self) {
        if !is_full() {
            assert_eq!((self.lost, self.missing), (0, 0), "innocent clients lost, events lost");
        }
    }

    /// Asserts, in the short form, that the memory stayed within 1.25 × (base + budgets).
    #[track_caller]
    pub(crate) fn expect_memory(&self, budgets_mb: f64) {
        let limit = 1.25 * (self.base_mb + budgets_mb);
        if !is_full() {
            let Self { rss_mb, base_mb, .. } = self;
            assert!(
                *rss_mb <= limit,
                "{rss_mb:.1} MB of {limit:.1}: base {base_mb:.1}, budgets {budgets_mb:.1}"
            );
        }
    }
}

/// Ends as a list for a row.
pub(crate) fn list(ends: &BTreeMap<End, usize>) -> String {
    let texts: Vec<String> = ends
        .iter()
        .map(|(end, count)| match end {
            End::Refused(status) => format!("http{status}:{count}"),
            End::Close(code) => format!("{code}:{count}"),
            End::Broken => format!("broken:{count}"),
        })
        .collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(",") }
}

/// A part of the measurement, in nanoseconds since the probe's start.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
}

/// An event: when it was due, and when it came.
type Moments = (u64, u64);

impl Span {
    fn length(self) -> Duration {
        Duration::from_nanos(self.end - self.start)
    }

    fn contains(self, moment: u64) -> bool {
        (self.start..self.end).contains(&moment)
    }

    /// In milliseconds and ascending order, of the events that were due in this time.
    fn latencies(self, events: &[Moments]) -> Vec<f64> {
        let due = events.iter().filter(|(due, _)| self.contains(*due));
        let mut latencies: Vec<f64> = due.map(|(due, came)| (came - due) as f64 / 1e6).collect();
        latencies.sort_unstable_by(f64::total_cmp);
        latencies
    }

    /// Events a second that came in this time.
    fn rate(self, events: &[Moments]) -> f64 {
        let came = events.iter().filter(|(_, came)| self.contains(*came)).count();
        came as f64 / self.length().as_secs_f64()
    }

    /// The longest time without an event, in milliseconds.
    fn gap(self, events: &[Moments]) -> f64 {
        let came = events.iter().map(|&(_, came)| came).filter(|&came| self.contains(came));
        let moments: Vec<u64> = [self.start].into_iter().chain(came).chain([self.end]).collect();
        moments.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).fold(0.0, f64::max)
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
    let place = (values.len() as f64 * share) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The healthy subscriber and its producer, a thread each.
struct Probe {
    start: Instant,
    shared: Arc<Shared>,
    producer: JoinHandle<()>,
    subscriber: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    written: AtomicU64,
    all_written: AtomicBool,
    seen: Mutex<Vec<Moments>>,
    closed: AtomicBool,
}

struct Seen {
    events: Vec<Moments>,
    written: u64,
    closed: bool,
}

impl Probe {
    fn start(server: &Server, padding: usize) -> Self {
        let mut client = Client::connect(server);
        client.attach(&good_token(HEALTHY), "issueUpdate", TOPIC);
        let stream = UnixStream::connect(server.socket()).expect("the server accepts producers");
        let (shared, start) = (Arc::new(Shared::default()), Instant::now());
        let (writing, reading, client) = (shared.clone(), shared.clone(), client.into_stream());
        let producer = thread::spawn(move || writing.produce(stream, start, padding));
        let subscriber = thread::spawn(move || reading.subscribe(client, start));
        Self { start, shared, producer, subscriber }
    }

    fn now(&self) -> u64 {
        nanoseconds(self.start)
    }

    /// Waits until all that was written has come, or no longer comes.
    #[track_caller]
    fn finish(self) -> Seen {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.producer.join().expect("the server reads on");
        self.shared.all_written.store(true, Ordering::SeqCst);
        self.subscriber.join().expect("events in order, each once");
        let written = self.shared.written.load(Ordering::SeqCst);
        let events = std::mem::take(&mut *self.shared.seen.lock().expect("no reader panics"));
        Seen { events, written, closed: self.shared.closed.load(Ordering::SeqCst) }
    }
}

impl Shared {
    fn produce(&self, mut stream: UnixStream, start: Instant, padding: usize) {
        let padding = "x".repeat(padding);
        let mut due = start;
        while !self.is_over.load(Ordering::SeqCst) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let moment = (due - start).as_nanos();
            let number = self.written.load(Ordering::SeqCst);
            let line = format!(
                "{{\"type\":\"issueUpdate\",\"id\":\"{TOPIC}\",\"data\":[{number},{moment},\"{padding}\"]}}\n"
            );
            stream.write_all(line.as_bytes()).expect("the server reads on");
            self.written.fetch_add(1, Ordering::SeqCst);
            due += INTERVAL;
        }
    }

    fn subscribe(&self, mut stream: TcpStream, start: Instant) {
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a deadline can be set");
        let (mut incoming, mut buffer) = (Incoming::upgraded(), vec![0; 64 << 10]);
        let mut give_up = Instant::now() + DEADLINE;
        loop {
            let is_all = self.all_written.load(Ordering::SeqCst)
                && self.seen.lock().expect("no reader panics").len() as u64
                    == self.written.load(Ordering::SeqCst);
            if is_all {
                return;
            }
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let now = nanoseconds(start);
                    let mut pings = Vec::new();
                    let mut closed = false;
                    incoming.feed(&buffer[..count], |frame| match frame.first {
                        PING => pings.push(frame.begin.to_vec()),
                        0x81 => self.see(&frame, now),
                        _ => closed = true,
                    });
                    for ping in pings {
                        let _ = stream.write_all(&frame(PONG, &ping));
                    }
                    if closed {
                        break;
                    }
                    give_up = Instant::now() + DEADLINE;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    // A stopped server is silent for a while; one that has been told everything must not be.
                    if self.all_written.load(Ordering::SeqCst) && Instant::now() > give_up {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.closed.store(true, Ordering::SeqCst);
    }

    fn see(&self, frame: &Frame<'_>, now: u64) {
        let text = std::str::from_utf8(frame.begin).expect("a text");
        let (_, data) =
            text.split_once(r#""data":["#).unwrap_or_else(|| panic!("no event of the probe: {text}"));
        let mut numbers = data.split(',');
        let [number, due] = [numbers.next(), numbers.next()].map(|number| number.expect("two numbers"));
        let mut seen = self.seen.lock().expect("no reader panics");
        assert_eq!(number.parse(), Ok(seen.len()), "an event is lost, doubled or out of order");
        let due = due.parse().expect("a number");
        seen.push((due, now.max(due)));
    }
}

fn nanoseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).expect("a short time")
}

/// Resident memory of a process, in bytes.
struct Usage {
    resident: u64,
    peak: u64,
}

impl Usage {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of this name");
            line.split_ascii_whitespace()
                .next()
                .and_then(|number| number.parse::<u64>().ok())
                .expect("a number")
        };
        Self { resident: kilobytes("VmRSS:") << 10, peak: kilobytes("VmHWM:") << 10 }
    }
}

/// Processor time of a process so far.
pub(crate) fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    let times = tasks.map(|task| {
        let path = task.expect("the process is there").path().join("schedstat");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    });
    Duration::from_nanos(times.sum())
}

/// What the server says of its turns.
struct Turns {
    /// The longest since the start in seconds, of a server that says so.
    longest: Option<f64>,
    /// Bounds in seconds, and how many turns were no longer than each.
    counts: Vec<(f64, f64)>,
}

impl Turns {
    #[track_caller]
    fn of(server: &Server) -> Self {
        const BOUNDS: [&str; 8] = ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.1", "0.5", "2.5"];
        let metrics = Metrics::of(server);
        let count = |bound: &str| metrics.sum(&format!("airlay_loop_turn_seconds_bucket{{le=\"{bound}\"}}"));
        let mut counts: Vec<(f64, f64)> =
            BOUNDS.iter().map(|bound| (bound.parse().expect("a number"), count(bound))).collect();
        counts.push((f64::INFINITY, count("+Inf")));
        let longest = metrics.sum("airlay_loop_turn_max_seconds");
        Self { longest: (longest > 0.0).then_some(longest), counts }
    }

    /// The figures of the turns since.
    fn since(&self, before: &Self) -> String {
        let since: Vec<(f64, f64)> =
            self.counts.iter().zip(&before.counts).map(|(now, before)| (now.0, now.1 - before.1)).collect();
        let all = since.last().map_or(0.0, |last| last.1);
        let bucket = since.iter().find(|(_, count)| *count >= all).map_or(f64::NAN, |(bound, _)| bound * 1e3);
        let over = |limit: f64| {
            let within =
                since.iter().find(|(bound, _)| (bound - limit).abs() < 1e-9).map_or(0.0, |found| found.1);
            all - within
        };
        let longest = match self.longest {
            Some(seconds) => format!("turn_max_ms={:.1} turn_from=gauge", seconds * 1e3),
            None => format!("turn_max_ms={bucket} turn_from=bucket"),
        };
        format!("{longest} over_25ms={} over_100ms={} over_500ms={}", over(0.025), over(0.1), over(0.5))
    }
}
