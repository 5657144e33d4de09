//! The loop: waits for readiness, gives a [`Server`] what has come, writes what it has queued.
//!
//! One turn: wait; accept; read producers, then peers, each within a budget; do what is due; write within a budget; close
//! what is gone. Readiness is edge-triggered, so whoever was not read to the end stays on a list; while a list is not
//! empty the wait is no wait.

use super::clock::Clock;
use super::events_socket::EventsSocket;
use super::metrics_http::MetricsHttp;
use super::peer_sockets::{Accepted, PeerSockets};
use super::producer_sockets::ProducerSockets;
use super::random::random;
use super::readiness::Source;
use super::service_manager::{Counts, ServiceManager};
use super::signals::{Request, SignalPipe};
use crate::metrics::{Answer, LoopFigures, Page, Reloads};
use crate::server::{Server, Service};
use crate::time::{Monotonic, Now};
use mio::event::Event;
use mio::{Events, Poll, Registry};
use std::io;
use std::time::{Duration, Instant};

/// Bytes read at once, from whomever.
const BUFFER: usize = 64 << 10;

/// Readiness events taken at once.
const EVENTS: usize = 1024;

/// Accepting producers pauses so long when the process or the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A server and its sockets.
pub(super) struct EventLoop<S> {
    poll: Poll,
    clock: Clock,
    server: Server<S>,
    peers: PeerSockets,
    producers: ProducerSockets,
    events_socket: Option<EventsSocket>,
    signals: SignalPipe,
    manager: ServiceManager,
    buffer: Box<[u8]>,
    producers_wait: bool,
    /// Until when nobody is accepted, for want of descriptors.
    accept_again: Option<Monotonic>,
    stage: Stage,
    metrics: Option<Metrics<S>>,
    /// Over how long the closings are spread in the end.
    drain: Duration,
    figures: LoopFigures,
    /// When the producers' lines that have not reached every peer yet began to be read.
    fan_out: Option<Instant>,
}

/// The metrics' endpoint, and who writes the metrics.
pub(super) struct Metrics<S> {
    pub(super) http: MetricsHttp,
    pub(super) render: fn(&Server<S>, &LoopFigures) -> String,
}

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    /// No new client is accepted; what producers had written when the signal came is read to the end. Producers that
    /// had connected are accepted, for want of descriptors not beyond this moment.
    Draining {
        accept_until: Monotonic,
    },
    /// The peers are being closed, each in its time.
    Closing,
}

/// What happens beside the traffic.
pub(super) trait Housekeeping<S> {
    /// How often [`Housekeeping::tick`] is wanted; `None` for never.
    const EVERY: Option<Duration>;

    /// Looks after what has no readiness event.
    fn tick(&mut self, server: &mut Server<S>, now: Now);

    /// SIGHUP has come: reads again what may have changed. `false` if there is nothing to read: then the signal means
    /// what it means to most programs, that their terminal is gone, and ends the server.
    fn reload(&mut self, server: &mut Server<S>, now: Now) -> bool;

    /// What has been read again since the start.
    fn reloads(&self) -> Reloads {
        Reloads::default()
    }

    /// A socket of the housekeeping's own is ready for something.
    fn ready(&mut self, _event: &Event) {}

    /// Does a turn's share with these sockets: after the traffic has been read, and before answers are written. `buffer`
    /// is the loop's.
    fn turn(&mut self, _server: &mut Server<S>, _registry: &Registry, _buffer: &mut [u8], _now: Now) {}

    /// Whether the next turn has something to do even if nothing comes and nothing is due.
    fn has_work(&self) -> bool {
        false
    }

    /// When the next turn is due at the latest.
    fn next_deadline(&self, _server: &Server<S>) -> Option<Monotonic> {
        None
    }
}

/// Nothing happens beside the traffic.
pub(super) struct NoHousekeeping;

impl<S> Housekeeping<S> for NoHousekeeping {
    const EVERY: Option<Duration> = None;

    fn tick(&mut self, _server: &mut Server<S>, _now: Now) {}

    fn reload(&mut self, _server: &mut Server<S>, _now: Now) -> bool {
        false
    }
}

impl<S: Service> EventLoop<S> {
    pub(super) fn new(
        poll: Poll,
        server: Server<S>,
        peers: PeerSockets,
        events_socket: Option<EventsSocket>,
        manager: ServiceManager,
        metrics: Option<Metrics<S>>,
        drain: Duration,
    ) -> io::Result<Self> {
        let clock = Clock::new();
        let signals = SignalPipe::new(poll.registry())?;
        Ok(Self {
            poll,
            figures: LoopFigures { started: clock.now().wall, ..LoopFigures::default() },
            clock,
            server,
            peers,
            producers: ProducerSockets::default(),
            events_socket,
            signals,
            manager,
            buffer: vec![0; BUFFER].into(),
            producers_wait: false,
            accept_again: None,
            stage: Stage::Serving,
            metrics,
            drain,
            fan_out: None,
        })
    }

    /// Serves until told to stop by a signal, and all peers are gone.
    ///
    /// # Errors
    /// The system cannot wait for readiness.
    pub(super) fn run(mut self, mut housekeeping: impl Housekeeping<S>) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut now = self.clock.now();
        let mut next_tick = tick_after(now.monotonic, &housekeeping);
        self.manager.ready(self.counters(), now.monotonic);
        loop {
            let timeout = self.timeout(&housekeeping, next_tick, now);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let start = Instant::now();
            now = self.clock.at(start);
            for event in &events {
                self.dispatch(event, &mut housekeeping, now);
            }
            if next_tick.is_some_and(|tick| tick <= now.monotonic) {
                housekeeping.tick(&mut self.server, now);
                next_tick = tick_after(now.monotonic, &housekeeping);
            }
            self.turn(&mut housekeeping, now);
            self.manager.turned(self.counters(), now.monotonic);
            self.figures.reloads = housekeeping.reloads();
            let took = start.elapsed();
            self.figures.turns.observe(took);
            // For the wait. To ask the clocks once a turn is enough.
            now = now + took;
            if self.stage == Stage::Closing && self.server.peers.is_empty() {
                return Ok(());
            }
        }
    }

    fn dispatch(&mut self, event: &Event, housekeeping: &mut impl Housekeeping<S>, now: Now) {
        match event.token().into() {
            Source::Peer(peer) => {
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.peers.readable(peer, event.is_read_closed() || event.is_error());
                }
                if event.is_writable() {
                    self.server.peers.writable(peer);
                }
            }
            Source::Producer(producer) => {
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.producers.readable(producer);
                }
                if event.is_writable() {
                    self.producers.writable(producer);
                }
            }
            Source::PeerListener => self.peers.listener_ready(),
            Source::ProducerListener => self.producers_wait = true,
            Source::AccessService => housekeeping.ready(event),
            Source::MetricsListener => {
                if let Some(metrics) = &mut self.metrics {
                    metrics.http.listener_ready();
                }
            }
            Source::Metrics(scraper) => {
                if let Some(metrics) = &mut self.metrics {
                    metrics.http.ready(scraper);
                }
            }
            Source::Signals => {
                for request in self.signals.pending().collect::<Vec<_>>() {
                    match request {
                        Request::Reload if self.reload(housekeeping, now) => {}
                        Request::Reload | Request::Stop => self.stop(now),
                    }
                }
            }
        }
    }

    /// Reads again what may have changed; `false` if there is nothing to read.
    fn reload(&mut self, housekeeping: &mut impl Housekeeping<S>, now: Now) -> bool {
        self.manager.reloading();
        let reloaded = housekeeping.reload(&mut self.server, now);
        self.manager.reloaded();
        reloaded
    }

    /// One step further towards the end: the first signal drains, a second one ends at once.
    fn stop(&mut self, now: Now) {
        self.peers.close_listener();
        self.accept_again = None;
        self.stage = match self.stage {
            Stage::Serving => {
                log::info!("stopping");
                self.manager.stopping();
                // Whoever has connected and written before the signal is read, whether its readiness has been told or not.
                self.producers_wait = self.events_socket.is_some();
                self.producers.stopping();
                Stage::Draining { accept_until: now.monotonic + self.drain }
            }
            Stage::Draining { .. } | Stage::Closing => {
                log::info!("stopping at once");
                for peer in self.server.peers.ids().collect::<Vec<_>>() {
                    self.server.disconnect(peer);
                }
                Stage::Closing
            }
        };
    }

    fn turn(&mut self, housekeeping: &mut impl Housekeeping<S>, now: Now) {
        self.accept(now);
        self.producers.read(&mut self.server, &mut self.buffer, now);
        self.peers.read(&mut self.server, &mut self.buffer, now);
        if self.fan_out.is_none() && self.server.has_backlog() {
            self.fan_out = Some(Instant::now());
        }
        self.advance(now);
        housekeeping.turn(&mut self.server, self.poll.registry(), &mut self.buffer, now);
        self.server.flush(&mut self.peers, now);
        self.drain(now);
        if !self.server.has_backlog()
            && let Some(start) = self.fan_out.take()
        {
            self.figures.fan_outs.observe(start.elapsed());
        }
        self.producers.write_answers(&mut self.server);
        self.server.reap(|peer| self.peers.close(peer));
        self.serve_metrics(now);
    }

    /// Does what is due, and measures it if signatures are to be checked: that is nearly all of it then.
    fn advance(&mut self, now: Now) {
        let start = self.server.service.has_work().then(Instant::now);
        self.server.advance(now);
        if let Some(start) = start {
            self.figures.verification += start.elapsed();
        }
    }

    fn serve_metrics(&mut self, now: Now) {
        let Self { metrics: Some(Metrics { http, render }), server, figures, .. } = self else { return };
        figures.draining = self.stage != Stage::Serving;
        http.turn(self.poll.registry(), &mut self.buffer, now.monotonic, |page| match page {
            Page::Metrics => Answer::Metrics(render(server, figures)),
            Page::Health => Answer::Alive,
            Page::Ready if figures.draining => Answer::Stopping,
            Page::Ready => Answer::Ready,
        });
    }

    fn accept(&mut self, now: Now) {
        if self.accept_again.is_some_and(|again| now.monotonic < again) {
            return;
        }
        self.accept_again = None;
        if let Accepted::PauseFor(pause) = self.peers.accept(&mut self.server, now) {
            self.accept_again = Some(now.monotonic + pause);
            self.figures.accept_pauses += 1;
        }
        if let Some(listener) = self.events_socket.as_ref().filter(|_| self.producers_wait) {
            match self.producers.accept(listener, &mut self.server, self.poll.registry()) {
                Ok(()) => self.producers_wait = false,
                Err(error) => {
                    log::warn!(error:%; "cannot accept producers, trying again shortly");
                    self.accept_again = Some(now.monotonic + ACCEPT_PAUSE);
                    self.figures.accept_pauses += 1;
                }
            }
        }
    }

    /// Once all that producers had written is read, and has been offered to every peer, begins to close the peers. What
    /// producers still write reaches those who are still connected.
    fn drain(&mut self, now: Now) {
        let Stage::Draining { accept_until } = self.stage else { return };
        let may_accept = self.producers_wait && now.monotonic < accept_until;
        if may_accept || self.producers.owe_lines() || self.server.has_backlog() {
            return;
        }
        if self.producers_wait {
            log::error!("producers that had connected could not be accepted: what they wrote is not read");
        }
        self.stage = Stage::Closing;
        if let Some(socket) = self.events_socket.take() {
            socket.close(self.poll.registry());
        }
        log::info!(connections = self.server.peers.open(), seconds = self.drain.as_secs(); "closing connections");
        self.server.drain(self.drain, random(), now);
    }

    fn counters(&self) -> Counts {
        Counts { connections: self.server.peers.len(), producers: self.server.producers.len() }
    }

    /// How long to wait for readiness: not at all while there is something to do.
    fn timeout(
        &self,
        housekeeping: &impl Housekeeping<S>,
        next_tick: Option<Monotonic>,
        now: Now,
    ) -> Option<Duration> {
        let may_accept = self.accept_again.is_none() && (self.peers.may_accept() || self.producers_wait);
        if may_accept
            || self.peers.has_readable()
            || self.server.peers.has_resumed()
            || self.producers.has_readable(&self.server)
            || self.server.has_work()
            || housekeeping.has_work()
        {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.server.next_deadline(now),
            housekeeping.next_deadline(&self.server),
            self.accept_again,
            next_tick,
            self.manager.next_deadline(now.monotonic),
            self.metrics.as_ref().and_then(|metrics| metrics.http.next_deadline()),
        ];
        // A millisecond more, for the clock counts whole ones and a wait must not end just before its time.
        let until = |due: Monotonic| (due - now.monotonic) + Duration::from_millis(1);
        deadlines.into_iter().flatten().min().map(until)
    }
}

fn tick_after<S, H: Housekeeping<S>>(now: Monotonic, _: &H) -> Option<Monotonic> {
    H::EVERY.map(|every| now + every)
}
