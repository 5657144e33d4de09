//! Notifications to the service manager (sd_notify(3)): ready, reloading, stopping, the number of connections, and the
//! watchdog.
//!
//! Sends never block: messages that do not fit into the socket are queued and retried in order. Existing crates block, and
//! do not support managers in the abstract namespace.

use crate::time::Monotonic;
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::VecDeque;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

/// The shortest interval between status lines.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// The pause before unsent messages are retried.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// The most messages queued for a manager that does not read.
const MOST_UNSENT: usize = 16;

/// The connection to the service manager, if there is one that accepts notifications.
#[derive(Debug, Default)]
pub(super) struct ServiceManager(Option<Channel>);

/// The numbers in the status line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) connections: usize,
    pub(super) producers: usize,
}

#[derive(Debug)]
struct Channel {
    socket: Socket,
    /// Messages that did not fit into the socket.
    unsent: VecDeque<String>,
    /// The interval of watchdog messages: half of the manager's time-out.
    watchdog_every: Option<Duration>,
    watchdog_due: Monotonic,
    status: Counts,
    status_due: Monotonic,
    /// The counts differ from those last sent.
    status_changed: bool,
}

impl ServiceManager {
    /// Connects to the manager named by the environment. On failure the server runs without notifications and logs a
    /// warning.
    pub(super) fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        match connect(&name) {
            Ok(socket) => Self(Some(Channel::new(socket, watchdog_every()))),
            Err(error) => {
                let name = name.to_string_lossy();
                log::warn!(error:%, name:%; "cannot notify the service manager (NOTIFY_SOCKET)");
                Self(None)
            }
        }
    }

    /// The server is ready.
    pub(super) fn ready(&mut self, counts: Counts, now: Monotonic) {
        self.tell(format!("READY=1\n{}", counts.status()));
        if let Some(channel) = &mut self.0 {
            channel.status = counts;
            channel.status_due = now + STATUS_EVERY;
        }
    }

    /// The server begins a reload. Call [`ServiceManager::reloaded`] when it is done.
    pub(super) fn reloading(&mut self) {
        // The manager identifies the reload by this time, which must be of its own clock (CLOCK_MONOTONIC).
        let time = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(time.tv_sec) * 1_000_000 + i128::from(time.tv_nsec / 1000);
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// The reload is done.
    pub(super) fn reloaded(&mut self) {
        self.tell("READY=1\n".to_owned());
    }

    /// The server is stopping.
    pub(super) fn stopping(&mut self) {
        self.tell("STOPPING=1\n".to_owned());
    }

    /// A turn of the loop is done: sends the watchdog and status messages that are due.
    pub(super) fn turned(&mut self, counts: Counts, now: Monotonic) {
        if let Some(channel) = &mut self.0 {
            channel.turned(counts, now);
        }
    }

    /// When the next message is due.
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
            log::warn!("the service manager does not read its socket, dropping a message");
            self.unsent.pop_front();
        }
        self.unsent.push_back(message);
        self.send();
    }

    /// Sends a message that is repeated soon, so that it need not be queued behind others.
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
                Err(error) => log::debug!(error:%; "cannot notify the service manager"),
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

/// A datagram socket connected to this name: a path, or `@` and a name in the abstract namespace.
fn connect(name: &OsStr) -> io::Result<Socket> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => OsString::from_vec([b"\0", name].concat()),
        None => name.to_owned(),
    };
    let socket = Socket::new(Domain::UNIX, Type::DGRAM.nonblocking(), None)?;
    socket.connect(&SockAddr::unix(address)?)?;
    Ok(socket)
}

/// Half of the watchdog time-out in the environment, if it is for this process (sd_watchdog_enabled(3)).
fn watchdog_every() -> Option<Duration> {
    let variable = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let is_ours = variable("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
    // Our clock has a resolution of a millisecond.
    let every = Duration::from_micros(variable("WATCHDOG_USEC").filter(|_| is_ours)? / 2);
    (!every.is_zero()).then(|| every.max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A channel, and the manager's end of it.
    fn channel(watchdog_every: Option<Duration>) -> (Channel, Socket) {
        let (ours, manager) = Socket::pair(Domain::UNIX, Type::DGRAM.nonblocking(), None).unwrap();
        (Channel::new(ours, watchdog_every), manager)
    }

    /// Reads the manager's unread messages.
    fn read_all(mut manager: &Socket) -> Vec<String> {
        let mut buffer = [0; 256];
        let mut read = || io::Read::read(&mut manager, &mut buffer).map(|length| buffer[..length].to_vec());
        std::iter::from_fn(|| read().ok()).map(|message| String::from_utf8(message).unwrap()).collect()
    }

    #[test]
    fn the_watchdog_is_fed_once_per_interval() {
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
    fn a_changed_status_is_sent_at_most_once_per_interval() {
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
    fn unsent_messages_are_retried_in_order() {
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
