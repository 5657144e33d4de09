//! Turns of the event loop, without its sockets: who is accepted, read and written to, how long to wait, and what a stop
//! still owes.
//!
//! A [`Driver`] owns the [`Server`] and does one turn after the other over a [`Transport`], which does the system calls and
//! nothing else: `net/` has the real one, the simulation another. Readiness is edge-triggered: a socket that was not read
//! until it was empty stays on a list, and while a list is not empty the wait is no wait.

mod attendance;
mod peers;
mod producers;
mod transport;

use crate::cost;
use crate::peers::PeerId;
use crate::producers::ProducerId;
use crate::server::{Server, Service};
use crate::time::{Monotonic, Now};
use attendance::Attendance;
use peers::PeerInput;
use producers::ProducerInput;
use std::time::Duration;

pub use transport::{NotAccepted, Transport};

/// Bytes read at once, from a peer or a producer.
const BUFFER: usize = 64 << 10;

/// Accepting pauses this long when descriptors or memory have run out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A server and what is known of the readiness of its sockets.
///
/// One turn, in this order: [`begin`](Self::begin) with the time; [`peer_readable`](Self::peer_readable) and the like for
/// each readiness event; [`read`](Self::read); [`advance`](Self::advance); [`write`](Self::write). Then the caller waits for
/// readiness for as long as [`timeout`](Self::timeout) says.
#[derive(Debug)]
pub struct Driver<S> {
    server: Server<S>,
    peers: PeerInput,
    producers: ProducerInput,
    /// Until when accepting pauses.
    accept_again: Option<Monotonic>,
    accept_pauses: u64,
    attendance: Attendance,
    stage: Stage,
    /// Over how long the closings are spread at a stop.
    drain: Duration,
    buffer: Box<[u8]>,
}

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    /// No new client is accepted; what producers had written when the stop began is read to the end. Producers that had
    /// connected are accepted, but not beyond this moment while descriptors are exhausted.
    Draining {
        accept_until: Monotonic,
    },
    /// The peers are being closed, each at its own moment.
    Closing,
}

impl<S: Service> Driver<S> {
    /// A driver that has not turned yet. At a stop, closings are spread over `drain`.
    #[must_use]
    pub fn new(server: Server<S>, drain: Duration) -> Self {
        Self {
            server,
            peers: PeerInput::default(),
            producers: ProducerInput::default(),
            accept_again: None,
            accept_pauses: 0,
            attendance: Attendance::default(),
            stage: Stage::Serving,
            drain,
            buffer: vec![0; BUFFER].into(),
        }
    }

    /// Begins a turn at `real`, as the clocks show it. Returns the time that counts for everything in this turn: the time in
    /// which the process was stopped is no time for its peers. `is_all_reported` says whether the wait has reported all the
    /// readiness there was.
    pub fn begin(&mut self, real: Now, is_all_reported: bool) -> Now {
        let now = self.attendance.begin(real, is_all_reported);
        self.server.set_catching_up(self.attendance.is_catching_up());
        now
    }

    /// A client may be waiting to be accepted.
    pub const fn peers_wait(&mut self) {
        self.peers.set_waiting();
    }

    /// A producer may be waiting to be accepted.
    pub const fn producers_wait(&mut self) {
        self.producers.set_waiting();
    }

    /// A peer's socket may have something to read; `is_end` if the end of its stream was signalled.
    pub fn peer_readable(&mut self, peer: PeerId, is_end: bool) {
        self.server.set_unread(peer, true);
        self.peers.readable(peer, is_end);
    }

    /// A peer's socket can be written to again.
    pub fn peer_writable(&mut self, peer: PeerId) {
        self.server.writable(peer);
    }

    /// A producer's socket may have something to read.
    pub fn producer_readable(&mut self, producer: ProducerId) {
        self.producers.readable(producer);
    }

    /// A producer's socket can be written to again.
    pub fn producer_writable(&mut self, producer: ProducerId) {
        self.producers.writable(producer);
    }

    /// Accepts, then reads producers, then peers, each within its share of the turn.
    pub fn read(&mut self, transport: &mut impl Transport, now: Now) {
        self.accept(transport, now);
        self.producers.read(&mut self.server, transport, &mut self.buffer, now);
        self.attendance.reports(self.peers.readable_count());
        let (read, are_done) = self.peers.read(&mut self.server, transport, &mut self.buffer, now);
        self.attendance.has_read(read);
        if !are_done {
            // Those that are not done come after all others.
            self.attendance.has_more(self.peers.readable_count());
        }
    }

    /// Does what is due, and a share of pending work.
    pub fn advance(&mut self, now: Now) {
        self.server.advance(now);
    }

    /// Writes a share of what is queued, goes on with a stop, answers producers, and closes sockets of peers that are gone.
    /// `random` is asked for the order of the closings.
    pub fn write(&mut self, transport: &mut impl Transport, random: impl FnOnce() -> u64, now: Now) {
        self.server.flush(transport, now);
        self.drain(transport, random, now);
        self.producers.write_answers(&mut self.server, transport);
        self.server.reap(|peer| transport.close_peer(peer));
        if !self.server.peers().has_unflushed() {
            self.attendance.has_written();
        }
    }

    /// How long the next wait may be: no time while there is something to do, `None` for as long as nothing comes.
    /// `deadlines` are the caller's own.
    pub fn timeout(&mut self, deadlines: impl IntoIterator<Item = Monotonic>, now: Now) -> Option<Duration> {
        let may_accept = self.accept_again.is_none() && self.may_accept();
        let is_busy = may_accept
            || self.peers.has_readable()
            || self.producers.has_readable(&self.server)
            || self.server.has_work()
            || self.attendance.is_catching_up();
        let timeout = if is_busy {
            Some(Duration::ZERO)
        } else {
            let due =
                self.server.next_deadline(now).into_iter().chain(self.accept_again).chain(deadlines).min();
            // One more, for the clock counts whole milliseconds and a wait must not end just before its time.
            due.map(|due| match due <= now.monotonic {
                true => Duration::ZERO,
                false => (due - now.monotonic) + Duration::from_millis(1),
            })
        };
        self.attendance.waits(timeout);
        timeout
    }

    /// The next step towards the end: the first one drains, the second one ends at once.
    pub fn stop(&mut self, transport: &mut impl Transport, now: Now) {
        self.peers.stop_accepting(transport);
        self.accept_again = None;
        self.stage = match self.stage {
            Stage::Serving => {
                log::info!("stopping");
                self.producers.stop(transport);
                Stage::Draining { accept_until: now.monotonic + self.drain }
            }
            Stage::Draining { .. } | Stage::Closing => {
                log::info!("stopping at once");
                for peer in self.server.peers().ids().collect::<Vec<_>>() {
                    self.server.disconnect(peer);
                }
                Stage::Closing
            }
        };
    }

    /// Whether the driver was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stage != Stage::Serving
    }

    /// Whether the driver was told to stop and nothing is left to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Closing && self.server.peers().is_empty()
    }

    /// How often accepting paused because descriptors or memory had run out.
    #[must_use]
    pub const fn accept_pauses(&self) -> u64 {
        self.accept_pauses
    }

    /// The server.
    #[must_use]
    pub const fn server(&self) -> &Server<S> {
        &self.server
    }

    /// The server, for what comes neither from a peer nor from a producer.
    pub const fn server_mut(&mut self) -> &mut Server<S> {
        &mut self.server
    }

    /// The buffer that all reading shares, and the server.
    pub const fn buffer_and_server(&mut self) -> (&mut [u8], &mut Server<S>) {
        (&mut self.buffer, &mut self.server)
    }

    fn may_accept(&self) -> bool {
        self.peers.may_accept() || self.producers.may_accept(&self.server)
    }

    fn accept(&mut self, transport: &mut impl Transport, now: Now) {
        if self.accept_again.is_some_and(|again| now.monotonic < again) {
            return;
        }
        self.accept_again = None;
        let mut budget = self.server.shares().accepting();
        let exhausted = budget.spend_part(self.server.shares().accepting_producers(), |budget| {
            self.producers.accept(&mut self.server, transport, budget)
        });
        let exhausted =
            exhausted.and_then(|()| self.peers.accept(&mut self.server, transport, &mut budget, now));
        if exhausted.is_err() {
            self.accept_again = Some(now.monotonic + ACCEPT_PAUSE);
            self.accept_pauses += 1;
        }
    }

    /// Once all that producers had written before the stop is read, and has been offered to every peer, begins to close the
    /// peers. What producers still write reaches those that are still connected.
    fn drain(&mut self, transport: &mut impl Transport, random: impl FnOnce() -> u64, now: Now) {
        let Stage::Draining { accept_until } = self.stage else { return };
        let may_accept = self.producers.may_accept(&self.server)
            && (self.accept_again.is_none() || now.monotonic < accept_until);
        if may_accept || self.producers.owe_lines() || self.server.has_backlog() {
            return;
        }
        if self.producers.is_waiting() {
            log::error!("producers that had connected could not be accepted: what they wrote is not read");
        }
        self.stage = Stage::Closing;
        self.producers.stop_accepting();
        transport.stop_accepting_producers();
        let connections = self.server.peers().open();
        log::info!(connections, seconds = self.drain.as_secs(); "closing connections");
        self.server.drain(self.drain, random(), now);
    }
}

/// Descriptors or memory have run out: accepting pauses.
#[derive(Debug)]
struct Exhausted;

/// Accepts until no one waits, the budget is spent, or `one` says otherwise.
fn accept_some(
    is_waiting: &mut bool,
    budget: &mut cost::Budget,
    mut one: impl FnMut(bool) -> Result<(), NotAccepted>,
) -> Result<(), Exhausted> {
    let mut is_first = true;
    while *is_waiting && !budget.is_spent() {
        budget.charge(cost::ACCEPT);
        match one(is_first) {
            Ok(()) | Err(NotAccepted::Lost) => {}
            Err(NotAccepted::NoneWaiting) => *is_waiting = false,
            Err(NotAccepted::Exhausted) => return Err(Exhausted),
        }
        is_first = false;
    }
    Ok(())
}
