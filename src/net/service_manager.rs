//! What the service manager is told (sd_notify(3)): that the server is ready, reloading or stopping, how many are
//! connected, and that the loop still turns.
//!
//! It knows the protocol and when something is due, nothing else of the server. Own code, for the crates there are wait until
//! the manager takes a message, and do not reach a manager in the abstract namespace. Nothing waits for it here: what
//! it has no room for is sent again later, in order.

use crate::time::Monotonic;
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::VecDeque;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

/// The connection to the service manager, if there is one that wants to be told.
#[derive(Debug, Default)]
pub(super) struct ServiceManager(Option<Channel>);

/// How many are connected, for the line of status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) connections: usize,
    pub(super) producers: usize,
}

#[derive(Debug)]
struct Channel {
    socket: Socket,
    /// Messages the manager had no room for.
    unsent: VecDeque<String>,
    /// How often the manager is told that the loop turns: half of the time after which it takes the server for hung.
    watchdog_every: Option<Duration>,
    watchdog_due: Monotonic,
    status: Counts,
    status_due: Monotonic,
    /// What was due in the last turn has changed since.
    status_changed: bool,
}

impl ServiceManager {
    /// The one that the environment names. A server that cannot tell it anything serves all the same, and says so in the log.
    pub(super) fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        match connect(&name) {
            Ok(socket) => Self(Some(Channel::new(socket, watchdog_every()))),
            Err(error) => {
                let name = name.to_string_lossy();
                log::warn!(error:%, name:%; "the service manager cannot be told anything (NOTIFY_SOCKET)");
                Self(None)
            }
        }
    }

    /// The server serves.
    pub(super) fn ready(&mut self, counts: Counts, now: Monotonic) {
        self.tell(format!("READY=1\n{}", counts.status()));
        if let Some(channel) = &mut self.0 {
            channel.status = counts;
            channel.status_due = now + STATUS_EVERY;
        }
    }

    /// The server reads its files again; it is to be [`ServiceManager::reloaded`] afterwards.
    pub(super) fn reloading(&mut self) {
        // The manager tells by the time which reload is meant, so it is that of its own clock.
        let time = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(time.tv_sec) * 1_000_000 + i128::from(time.tv_nsec / 1000);
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// The server has read its files again.
    pub(super) fn reloaded(&mut self) {
        self.tell("READY=1\n".to_owned());
    }

    /// The server is on its way to its end.
    pub(super) fn stopping(&mut self) {
        self.tell("STOPPING=1\n".to_owned());
    }

    /// A turn of the loop is done: tells what is due.
    pub(super) fn turned(&mut self, counts: Counts, now: Monotonic) {
        if let Some(channel) = &mut self.0 {
            channel.turned(counts, now);
        }
    }

    /// When the next turn is due at the latest.
    pub(super) fn next_deadline(&self, now: Monotonic) -> Option<Monotonic> {
        let channel = self.0.as_ref()?;
        let watchdog = channel.watchdog_every.map(|_| channel.watchdog_due);
        let status = channel.status_changed.then_some(channel.status_due);
        let again = (!channel.unsent.is_empty()).then_some(now + TRY_AGAIN);
        [watchdog, status, again].into_iter().flatten().min()
    }

    fn tell(&mut self, message: String) {
        if let Some(channel) = &mut self.0 {
            channel.tell(message);
        }
    }
}

impl Channel {
    fn new(socket: Socket, watchdog_every: Option<Duration>) -> Self {
        Self {
            socket,
            unsent: VecDeque::new(),
            watchdog_every,
            watchdog_due: Monotonic::default(),
            status: Counts::default(),
            status_due: Monotonic::default(),
            status_changed: false,
        }
    }

    fn turned(&mut self, counts: Counts, now: Monotonic) {
        self.send();
        if let Some(every) = self.watchdog_every
            && self.watchdog_due <= now
        {
            self.watchdog_due = now + every;
            self.tell_if_room("WATCHDOG=1\n");
        }
        self.status_changed = counts != self.status;
        if self.status_changed && self.status_due <= now {
            (self.status, self.status_changed) = (counts, false);
            self.status_due = now + STATUS_EVERY;
            self.tell_if_room(&counts.status());
        }
    }

    fn tell(&mut self, message: String) {
        if self.unsent.len() == MOST_UNSENT {
            log::warn!("the service manager reads nothing, one message is lost");
            self.unsent.pop_front();
        }
        self.unsent.push_back(message);
        self.send();
    }

    /// For what is told again soon anyhow.
    fn tell_if_room(&mut self, message: &str) {
        if self.unsent.is_empty() {
            self.tell(message.to_owned());
        }
    }

    fn send(&mut self) {
        while let Some(message) = self.unsent.front() {
            match self.socket.send(message.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => log::debug!(error:%; "the service manager cannot be told anything"),
                Ok(_) => {}
            }
            self.unsent.pop_front();
        }
    }
}

impl Counts {
    fn status(self) -> String {
        let Self { connections, producers } = self;
        format!("STATUS={connections} connections, {producers} producers\n")
    }
}

/// A socket whose datagrams go to the one of this name: a path, or `@` and a name in the abstract namespace.
fn connect(name: &OsStr) -> io::Result<Socket> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => OsString::from_vec([b"\0", name].concat()),
        None => name.to_owned(),
    };
    let socket = Socket::new(Domain::UNIX, Type::DGRAM.nonblocking(), None)?;
    socket.connect(&SockAddr::unix(address)?)?;
    Ok(socket)
}

/// Half of what the environment names, if it is meant for this process (sd_watchdog_enabled(3)).
fn watchdog_every() -> Option<Duration> {
    let variable = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let is_ours = variable("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
    // The clock counts milliseconds.
    let every = Duration::from_micros(variable("WATCHDOG_USEC").filter(|_| is_ours)? / 2);
    (!every.is_zero()).then(|| every.max(Duration::from_millis(1)))
}

/// How often the line of status is told, at most.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// When a message is sent again that the manager had no room for.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Messages kept for a manager that reads nothing.
const MOST_UNSENT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// A channel, and the manager's end of it.
    fn channel(watchdog_every: Option<Duration>) -> (Channel, Socket) {
        let (ours, manager) = Socket::pair(Domain::UNIX, Type::DGRAM.nonblocking(), None).unwrap();
        (Channel::new(ours, watchdog_every), manager)
    }

    /// What the manager has not read yet.
    fn read_all(mut manager: &Socket) -> Vec<String> {
        let mut buffer = [0; 256];
        let mut read = || io::Read::read(&mut manager, &mut buffer).map(|length| buffer[..length].to_vec());
        std::iter::from_fn(|| read().ok()).map(|message| String::from_utf8(message).unwrap()).collect()
    }

    #[test]
    fn the_watchdog_is_fed_once_an_interval_however_often_the_loop_turns() {
        let (mut channel, manager) = channel(Some(Duration::from_millis(500)));
        let mut fed = Vec::new();
        for now in 0..=2000 {
            channel.turned(Counts::default(), Monotonic(now));
            fed.extend(read_all(&manager).into_iter().map(|message| (now, message)));
        }
        assert_eq!(fed, [0, 500, 1000, 1500, 2000].map(|now| (now, "WATCHDOG=1\n".to_owned())));
        // A late turn feeds it once, not for each interval missed.
        channel.turned(Counts::default(), Monotonic(9000));
        assert_eq!(read_all(&manager), ["WATCHDOG=1\n"]);
        let manager = ServiceManager(Some(channel));
        assert_eq!(manager.next_deadline(Monotonic(9000)), Some(Monotonic(9500)));
    }

    #[test]
    fn the_status_is_told_when_it_has_changed_and_seldom() {
        let (channel, other) = channel(None);
        let mut manager = ServiceManager(Some(channel));
        let counts = |connections| Counts { connections, producers: 1 };
        manager.ready(counts(0), Monotonic(0));
        assert_eq!(read_all(&other), ["READY=1\nSTATUS=0 connections, 1 producers\n"]);
        manager.turned(counts(0), Monotonic(20_000));
        assert_eq!(manager.next_deadline(Monotonic(20_000)), None);
        manager.turned(counts(1), Monotonic(20_001));
        assert_eq!(read_all(&other), ["STATUS=1 connections, 1 producers\n"]);
        manager.turned(counts(2), Monotonic(20_002));
        assert!(read_all(&other).is_empty());
        assert_eq!(manager.next_deadline(Monotonic(20_002)), Some(Monotonic(30_001)));
        manager.turned(counts(2), Monotonic(30_001));
        assert_eq!(read_all(&other), ["STATUS=2 connections, 1 producers\n"]);
        assert_eq!(manager.next_deadline(Monotonic(30_001)), None);
    }

    #[test]
    fn what_the_manager_has_no_room_for_is_told_later_in_order() {
        let (channel, other) = channel(Some(Duration::from_millis(1)));
        while channel.socket.send(b"noise").is_ok() {}
        let mut manager = ServiceManager(Some(channel));
        manager.tell("RELOADING=1\n".to_owned());
        manager.reloaded();
        manager.turned(Counts::default(), Monotonic(1000));
        assert_eq!(manager.next_deadline(Monotonic(1000)), Some(Monotonic(1001)));
        assert!(read_all(&other).iter().all(|message| message == "noise"));
        manager.turned(Counts::default(), Monotonic(1001));
        assert_eq!(read_all(&other), ["RELOADING=1\n", "READY=1\n", "WATCHDOG=1\n"]);
    }

    #[test]
    fn messages_for_a_manager_that_never_reads_are_limited() {
        let (mut channel, other) = channel(None);
        while channel.socket.send(b"noise").is_ok() {}
        for number in 0..100 {
            channel.tell(number.to_string());
        }
        read_all(&other);
        channel.turned(Counts::default(), Monotonic(0));
        assert_eq!(read_all(&other), (84..100).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    }
}
