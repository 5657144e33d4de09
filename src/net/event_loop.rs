//! The event loop: waits for readiness, passes it to the [`Driver`], and runs a turn.
//!
//! `driver/` defines the steps of a turn. The loop adds the poll, the clocks, signals, the service manager, the metrics
//! endpoint, and housekeeping between reading and writing.

use super::clock::Clock;
use super::events_socket::EventsSocket;
use super::metrics_http::MetricsHttp;
use super::peer_sockets::PeerSockets;
use super::producer_sockets::ProducerSockets;
use super::random::random;
use super::readiness::Source;
use super::service_manager::{Counts, ServiceManager};
use super::signals::{Request, SignalPipe};
use super::sockets::AllSockets;
use crate::driver::Driver;
use crate::metrics::{Answer, LoopFigures, Page, Reloads};
use crate::server::{Server, Service};
use crate::time::{Monotonic, Now};
use mio::event::Event;
use mio::{Events, Poll, Registry};
use std::io;
use std::time::{Duration, Instant};

/// Readiness events fetched at once.
const EVENTS: usize = 1024;

/// A driver with its surroundings: poll, clock, sockets, signals and metrics.
pub(super) struct EventLoop<S> {
    poll: Poll,
    clock: Clock,
    driver: Driver<S>,
    sockets: AllSockets,
    signals: SignalPipe,
    manager: ServiceManager,
    metrics: Option<Metrics<S>>,
    figures: LoopFigures,
    /// When the current backlog began: lines read and not yet offered to all peers.
    fan_out: Option<Instant>,
}

/// The metrics endpoint and the function that renders the metrics.
pub(super) struct Metrics<S> {
    pub(super) http: MetricsHttp,
    pub(super) render: fn(&Server<S>, &LoopFigures) -> String,
}

/// Work besides the traffic of clients and producers.
pub(super) trait Housekeeping<S> {
    /// The interval of [`Housekeeping::tick`]; `None` for never.
    const EVERY: Option<Duration>;

    /// Does periodic work for which there are no readiness events.
    fn tick(&mut self, server: &mut Server<S>, now: Now);

    /// Handles SIGHUP by reloading files. Returns `false` if there is nothing to reload; the signal then stops the server,
    /// as it stops most programs that lose their terminal.
    fn reload(&mut self, server: &mut Server<S>, now: Now) -> bool;

    /// Counters of reloads since the start.
    fn reloads(&self) -> Reloads {
        Reloads::default()
    }

    /// Handles a readiness event of its own socket.
    fn ready(&mut self, _event: &Event) {}

    /// Does a turn's share of work on its own socket, after the traffic is read and before answers are written. `buffer` is
    /// scratch space.
    fn turn(&mut self, _server: &mut Server<S>, _registry: &Registry, _buffer: &mut [u8], _now: Now) {}

    /// Whether the next turn has work even without readiness events or due deadlines.
    fn has_work(&self) -> bool {
        false
    }

    /// When the next turn is due at the latest.
    fn next_deadline(&self, _server: &Server<S>) -> Option<Monotonic> {
        None
    }
}

/// No housekeeping.
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
        let producers = ProducerSockets::new(events_socket, poll.registry())?;
        Ok(Self {
            poll,
            figures: LoopFigures { started: clock.now().wall, ..LoopFigures::default() },
            clock,
            driver: Driver::new(server, drain),
            sockets: AllSockets { peers, producers },
            signals,
            manager,
            metrics,
            fan_out: None,
        })
    }

    /// Serves until a signal stops the server and all peers are gone.
    ///
    /// # Errors
    ///
    /// Polling failed.
    pub(super) fn run(mut self, mut housekeeping: impl Housekeeping<S>) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        // The service manager's time goes on while the process is stopped.
        let mut real = self.clock.now();
        let mut now = self.driver.begin(real, false);
        let mut next_tick = tick_after(now.monotonic, &housekeeping);
        self.manager.ready(self.connected(), real.monotonic);
        loop {
            let timeout = self.timeout(&housekeeping, next_tick, now, real.monotonic);
            let polled = self.poll.poll(&mut events, timeout);
            if let Err(error) = &polled
                && error.kind() != io::ErrorKind::Interrupted
            {
                return polled;
            }
            let start = Instant::now();
            // A wait that was interrupted, as by SIGCONT, reports nothing.
            let is_all_reported = polled.is_ok() && events.iter().count() < EVENTS;
            real = self.clock.at(start);
            now = self.driver.begin(real, is_all_reported);
            for event in &events {
                self.dispatch(event, &mut housekeeping, now);
            }
            if next_tick.is_some_and(|tick| tick <= now.monotonic) {
                housekeeping.tick(self.driver.server_mut(), now);
                next_tick = tick_after(now.monotonic, &housekeeping);
            }
            self.turn(&mut housekeeping, now);
            self.manager.turned(self.connected(), real.monotonic);
            self.figures.reloads = housekeeping.reloads();
            let took = start.elapsed();
            self.figures.turns.observe(took);
            // The wait needs the current time; reading the clocks once a turn is enough.
            now = now + took;
            real = real + took;
            if self.driver.is_over() {
                return Ok(());
            }
        }
    }

    fn dispatch(&mut self, event: &Event, housekeeping: &mut impl Housekeeping<S>, now: Now) {
        let is_end = event.is_read_closed() || event.is_error();
        let is_readable = event.is_readable() || is_end;
        match event.token().into() {
            Source::Peer(peer) => {
                if is_readable {
                    self.driver.peer_readable(peer, is_end);
                }
                if event.is_writable() {
                    self.driver.peer_writable(peer);
                }
            }
            Source::Producer(producer) => {
                if is_readable {
                    self.driver.producer_readable(producer);
                }
                if event.is_writable() {
                    self.driver.producer_writable(producer);
                }
            }
            Source::PeerListener => self.driver.peers_wait(),
            Source::ProducerListener => self.driver.producers_wait(),
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

    /// Reloads files; `false` if there are none.
    fn reload(&mut self, housekeeping: &mut impl Housekeeping<S>, now: Now) -> bool {
        self.manager.reloading();
        let reloaded = housekeeping.reload(self.driver.server_mut(), now);
        self.manager.reloaded();
        reloaded
    }

    fn stop(&mut self, now: Now) {
        if !self.driver.is_stopping() {
            self.manager.stopping();
        }
        self.driver.stop(&mut self.sockets, now);
    }

    fn turn(&mut self, housekeeping: &mut impl Housekeeping<S>, now: Now) {
        self.driver.read(&mut self.sockets, now);
        if self.fan_out.is_none() && self.driver.server().has_backlog() {
            self.fan_out = Some(Instant::now());
        }
        self.advance(now);
        let (buffer, server) = self.driver.buffer_and_server();
        housekeeping.turn(server, self.poll.registry(), buffer, now);
        self.driver.write(&mut self.sockets, random, now);
        if !self.driver.server().has_backlog()
            && let Some(start) = self.fan_out.take()
        {
            self.figures.fan_outs.observe(start.elapsed());
        }
        self.serve_metrics(now);
    }

    /// Does what is due. If there are signatures to verify, the time counts as verification, which dominates it.
    fn advance(&mut self, now: Now) {
        let start = self.driver.server().service().has_work().then(Instant::now);
        self.driver.advance(now);
        if let Some(start) = start {
            self.figures.verification += start.elapsed();
        }
    }

    fn serve_metrics(&mut self, now: Now) {
        let Self { metrics: Some(Metrics { http, render }), driver, figures, .. } = self else { return };
        figures.draining = driver.is_stopping();
        figures.accept_pauses = driver.accept_pauses();
        let (buffer, server) = driver.buffer_and_server();
        http.turn(self.poll.registry(), buffer, now.monotonic, |page| match page {
            Page::Metrics => Answer::Metrics(render(server, figures)),
            Page::Health => Answer::Alive,
            Page::Ready if figures.draining => Answer::Stopping,
            Page::Ready => Answer::Ready,
        });
    }

    fn connected(&self) -> Counts {
        let server = self.driver.server();
        Counts { connections: server.peers().len(), producers: server.producers().len() }
    }

    /// How long to wait for readiness: zero while there is work. `real` is the monotonic clock at `now`,
    /// stops included.
    fn timeout(
        &mut self,
        housekeeping: &impl Housekeeping<S>,
        next_tick: Option<Monotonic>,
        now: Now,
        real: Monotonic,
    ) -> Option<Duration> {
        let manager = self.manager.next_deadline(real).map(|due| now.monotonic + (due - real));
        let deadlines = [
            housekeeping.has_work().then_some(now.monotonic),
            housekeeping.next_deadline(self.driver.server()),
            next_tick,
            manager,
            self.metrics.as_ref().and_then(|metrics| metrics.http.next_deadline()),
        ];
        self.driver.timeout(deadlines.into_iter().flatten(), now)
    }
}

fn tick_after<S, H: Housekeeping<S>>(now: Monotonic, _: &H) -> Option<Monotonic> {
    H::EVERY.map(|every| now + every)
}
