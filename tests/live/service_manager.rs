//! The notifications to a service manager (sd_notify(3)), received by a socket in its place.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitIdOptions, waitid};
use rustix::time::{ClockId, clock_gettime};

use crate::support::{Client, DEADLINE, Deadline, ISSUE, LONG_DEADLINE, Producer, Setup, event};

const READY: &str = "READY=1\nSTATUS=0 connections, 0 producers\n";
const WATCHDOG: &str = "WATCHDOG=1\n";

/// The manager's socket.
struct Manager(UnixDatagram);

impl Manager {
    /// A manager, and the setup of a server that notifies it.
    fn new() -> (Self, Setup) {
        let setup = Setup::new();
        let path = setup.path("notify.sock");
        let manager = Self(UnixDatagram::bind(&path).expect("the path is free"));
        (manager, setup.environment("NOTIFY_SOCKET", path.display()))
    }

    /// The next message, if there is one within this time. A signal may interrupt a read with a timeout (signal(7)).
    fn next_within(&self, time: Duration) -> Option<String> {
        let end = Instant::now() + time;
        let mut buffer = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.0.set_read_timeout(Some(left)).expect("a timeout can be set");
            match self.0.recv(&mut buffer) {
                Ok(length) => {
                    return Some(String::from_utf8(buffer[..length].to_vec()).expect("a message is text"));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    #[track_caller]
    fn next(&self) -> String {
        self.next_within(LONG_DEADLINE).expect("a message to the service manager")
    }

    /// The messages received and not read yet.
    fn received(&self) -> Vec<String> {
        self.0.set_nonblocking(true).expect("a socket can be told not to wait");
        let messages = std::iter::from_fn(|| self.next_within(DEADLINE)).collect();
        self.0.set_nonblocking(false).expect("a socket can be told to wait");
        messages
    }
}

/// The clock of MONOTONIC_USEC=.
fn monotonic_micros() -> i128 {
    let time = clock_gettime(ClockId::Monotonic);
    i128::from(time.tv_sec) * 1_000_000 + i128::from(time.tv_nsec) / 1000
}

#[test]
fn ready_reloading_ready_stopping_in_this_order() {
    let (manager, setup) = Manager::new();
    let mut server = setup.start();
    assert_eq!(manager.next(), READY);
    let before = monotonic_micros();
    server.process().signal(Signal::HUP);
    let reloading = manager.next();
    let micros =
        reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.strip_suffix('\n'));
    let micros: i128 =
        micros.and_then(|micros| micros.parse().ok()).unwrap_or_else(|| panic!("{reloading:?}"));
    assert_eq!(manager.next(), "READY=1\n");
    assert!((before..=monotonic_micros()).contains(&micros), "{micros} is not the time of the reload");
    server.stop();
    assert_eq!(manager.received(), ["STOPPING=1\n"]);
}

#[test]
fn a_manager_in_the_abstract_namespace() {
    let setup = Setup::new();
    let name = setup.directory().file_name().expect("a folder has a name").to_owned();
    let address = SocketAddr::from_abstract_name(name.as_encoded_bytes()).expect("a short name");
    let manager = Manager(UnixDatagram::bind_addr(&address).expect("the name is free"));
    let mut server = setup.environment("NOTIFY_SOCKET", format!("@{}", name.display())).start();
    assert_eq!(manager.next(), READY);
    server.stop();
    assert_eq!(manager.received(), ["STOPPING=1\n"]);
}

#[test]
fn a_missing_manager_is_harmless() {
    let mut server = Setup::new().environment("NOTIFY_SOCKET", "/nowhere/notify.sock").start();
    assert!(server.stop().stderr.contains("NOTIFY_SOCKET"), "the log says so");
    let (manager, setup) = Manager::new();
    let mut server = setup.environment("WATCHDOG_USEC", 2000).start();
    manager.next();
    drop(manager);
    Client::connect(&server).close();
    server.stop();
}

#[test]
fn the_status_follows_the_connections() {
    let (manager, setup) = Manager::new();
    let server = setup.start();
    assert_eq!(manager.next(), READY);
    let _client = Client::connect(&server);
    Producer::connect(&server).settle();
    // The status is sent at intervals, so states in between may be left out.
    let deadline = Deadline::within(2 * LONG_DEADLINE, "the status of 1 connection and no producer");
    loop {
        let status = manager.next();
        if status == "STATUS=1 connections, 0 producers\n" {
            break;
        }
        deadline.check(&status);
    }
}

#[test]
fn s52_after_a_stop_the_watchdog_is_fed_at_once() {
    let (manager, setup) = Manager::new();
    let half = Duration::from_secs(2);
    let mut server = setup.environment("WATCHDOG_USEC", 2 * half.as_micros()).start();
    assert_eq!(manager.next(), READY);
    assert_eq!(manager.next(), WATCHDOG);
    server.process().signal(Signal::STOP);
    // Longer than the rest of the interval: it is the time that passes which is tested.
    std::thread::sleep(half + half / 4);
    server.process().signal(Signal::CONT);
    // The second one shows that the turn of the first has ended, in which the manager is told.
    for _ in 0..2 {
        Client::connect(&server).close();
    }
    assert!(manager.received().contains(&WATCHDOG.to_owned()));
    server.stop();
}

#[test]
fn s52_the_loop_feeds_the_watchdog_at_half_the_interval_idle_or_busy() {
    let (manager, setup) = Manager::new();
    let half = Duration::from_millis(50);
    let begin = Instant::now();
    let server = setup.environment("WATCHDOG_USEC", 2 * half.as_micros()).start();
    assert_eq!(manager.next(), READY);
    // Idle: only the watchdog wakes the loop.
    for _ in 0..20 {
        assert_eq!(manager.next(), WATCHDOG);
    }
    // Busy: a turn for each line.
    let mut producer = Producer::connect(&server);
    for _ in 0..1000 {
        producer.publish(&event("issueUpdate", ISSUE, "1"));
    }
    let fed = 20 + manager.received().iter().filter(|message| *message == WATCHDOG).count() as u128;
    let most = begin.elapsed().as_millis() / half.as_millis() + 1;
    assert!(fed <= most, "fed {fed} times, {most} at most");
}

#[test]
fn s52_a_loop_that_hangs_feeds_no_watchdog() {
    let (manager, setup) = Manager::new();
    let server = setup.environment("WATCHDOG_USEC", 200_000).start();
    assert_eq!(manager.next(), READY);
    assert_eq!(manager.next(), WATCHDOG);
    server.process().signal(Signal::STOP);
    let pid = rustix::process::Pid::from_raw(server.process().id().cast_signed()).expect("a process id");
    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
    waitid(rustix::process::WaitId::Pid(pid), stopped).expect("the process can be waited for");
    manager.received();
    assert_eq!(manager.next_within(Duration::from_secs(1)), None, "a message of a stopped process");
    server.process().signal(Signal::CONT);
    assert_eq!(manager.next(), WATCHDOG);
}

#[test]
fn the_watchdog_of_another_process_is_not_fed() {
    let (manager, setup) = Manager::new();
    let mut server = setup.environment("WATCHDOG_USEC", 2000).environment("WATCHDOG_PID", 1).start();
    Client::connect(&server).close();
    server.stop();
    assert!(!manager.received().contains(&WATCHDOG.to_owned()));
}
