//! The sockets of the metrics endpoint: few, short-lived, and served last in a turn.
//!
//! Each connection serves one request: read the head, write the answer, shut down the sending half, then discard input
//! until the client closes too, so that no reset overtakes the answer.

use super::peer_sockets::is_exhaustion;
use super::readiness::Source;
use crate::metrics::{Answer, Page, RequestReader};
use crate::slots::{Generation, Occupant, SlotId, Slots};
use crate::time::Monotonic;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Duration;

/// How long accepting pauses when the process or the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The most bytes discarded after a request; beyond that the connection is closed.
const THROWN_AWAY: usize = 64 << 10;

/// Identifies a connection of the endpoint.
pub(super) type ScraperId = SlotId<Scraper>;

/// Limits on the endpoint's connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScraperLimits {
    pub(super) connections: usize,
    /// The longest request head.
    pub(super) head_bytes: usize,
    /// From accept to the end of the connection.
    pub(super) time: Duration,
}

/// The listener and the connections it has accepted.
#[derive(Debug)]
pub(super) struct MetricsHttp {
    listener: TcpListener,
    may_accept: bool,
    /// When to accept again: after a pause, or in the next turn.
    accept_again: Option<Monotonic>,
    scrapers: Slots<Scraper>,
    /// Connections whose sockets may be readable or writable.
    ready: Vec<ScraperId>,
    limits: ScraperLimits,
}

#[derive(Debug)]
pub(super) struct Scraper {
    generation: Generation,
    stream: TcpStream,
    address: IpAddr,
    stage: Stage,
    /// When the connection is closed at the latest.
    due: Monotonic,
    /// There were too many: it gets a 503.
    is_refused: bool,
}

#[derive(Debug)]
enum Stage {
    Reading(RequestReader),
    /// `bytes[sent..]` is not written yet.
    Writing {
        bytes: Vec<u8>,
        sent: usize,
    },
    /// The answer is written; the end of the client's stream is not read yet.
    Shut {
        thrown_away: usize,
    },
}

/// Whether a connection waits for its socket or is over.
#[derive(PartialEq, Eq)]
enum Progress {
    Waits,
    Over,
}

impl MetricsHttp {
    /// Listens on `address`.
    pub(super) fn bind(address: SocketAddr, limits: ScraperLimits, registry: &Registry) -> io::Result<Self> {
        // mio sets SO_REUSEADDR and non-blocking mode.
        let mut listener = TcpListener::bind(address)?;
        registry.register(&mut listener, Source::MetricsListener.into(), Interest::READABLE)?;
        Ok(Self {
            listener,
            may_accept: false,
            accept_again: None,
            scrapers: Slots::new(),
            ready: Vec::new(),
            limits,
        })
    }

    /// The bound address, with the actual port if the configured one was 0.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The listener may have connections to accept.
    pub(super) const fn listener_ready(&mut self) {
        self.may_accept = true;
    }

    /// The connection's socket may be readable or writable.
    pub(super) fn ready(&mut self, scraper: ScraperId) {
        self.ready.push(scraper);
    }

    /// When [`MetricsHttp::turn`] has work even without readiness events.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.scrapers.iter().map(|(_, scraper)| scraper.due).chain(self.accept_again).min()
    }

    /// Accepts connections, serves requests, and closes connections past their deadline. `answer` renders a page.
    pub(super) fn turn(
        &mut self,
        registry: &Registry,
        buffer: &mut [u8],
        now: Monotonic,
        mut answer: impl FnMut(Page) -> Answer,
    ) {
        // Finished connections make room for new ones, whose request may have arrived already.
        self.serve_ready(buffer, &mut answer);
        self.accept(registry, now);
        self.serve_ready(buffer, &mut answer);
        let late = self.scrapers.iter().filter(|(_, scraper)| scraper.due <= now).map(|(id, _)| id);
        for id in late.collect::<Vec<_>>() {
            if let Some(Scraper { stage: Stage::Reading(_), mut stream, .. }) = self.scrapers.remove(id) {
                // Nothing was written before, so the socket buffer has room.
                let _ = stream.write(&Answer::Refused(408).encode(false));
            }
        }
    }

    fn serve_ready(&mut self, buffer: &mut [u8], answer: &mut impl FnMut(Page) -> Answer) {
        for id in std::mem::take(&mut self.ready) {
            let Some(scraper) = self.scrapers.get_mut(id) else { continue };
            if scraper.advance(buffer, answer) == Progress::Over {
                self.scrapers.remove(id);
            }
        }
    }

    fn accept(&mut self, registry: &Registry, now: Monotonic) {
        if self.accept_again.is_some_and(|again| now < again) {
            return;
        }
        self.accept_again = None;
        // A turn accepts as many as may be open at once; the next turn accepts the rest.
        for _ in 0..self.limits.connections {
            if !self.may_accept {
                return;
            }
            match self.listener.accept() {
                Ok((stream, address)) => self.register(stream, address.ip(), registry, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.may_accept = false,
                Err(error) if is_exhaustion(&error) => {
                    self.accept_again = Some(now + ACCEPT_PAUSE);
                    return;
                }
                Err(error) => log::debug!(error:%; "metrics connection lost before it was accepted"),
            }
        }
        self.accept_again = Some(now);
    }

    /// How many connections there are that were not refused.
    fn served(&self) -> usize {
        self.scrapers.iter().filter(|(_, scraper)| !scraper.is_refused).count()
    }

    /// Closes a connection that has not sent its request, of the address that has the most of them, if that is more than
    /// `address` has: half-open connections of one host keep no other out.
    fn make_room(&mut self, address: IpAddr) {
        let half_open = || {
            let all = self.scrapers.iter();
            all.filter(|(_, scraper)| !scraper.is_refused && matches!(scraper.stage, Stage::Reading(_)))
        };
        let count = |of: IpAddr| half_open().filter(|(_, scraper)| scraper.address == of).count();
        let crowded = half_open().map(|(_, scraper)| scraper.address).max_by_key(|&of| count(of));
        let Some(crowded) = crowded.filter(|&crowded| count(crowded) > count(address)) else { return };
        let of_crowded = half_open().filter(|(_, scraper)| scraper.address == crowded);
        if let Some(oldest) = of_crowded.min_by_key(|(_, scraper)| scraper.due).map(|(id, _)| id) {
            self.scrapers.remove(oldest);
        }
    }

    fn register(&mut self, stream: TcpStream, address: IpAddr, registry: &Registry, now: Monotonic) {
        let most = self.limits.connections;
        if self.served() >= most {
            self.make_room(address);
        }
        let is_refused = self.served() >= most;
        let stage = match is_refused {
            false => Stage::Reading(RequestReader::new(self.limits.head_bytes)),
            true if self.scrapers.len() < 2 * most => {
                Stage::Writing { bytes: Answer::Refused(503).encode(false), sent: 0 }
            }
            // Too many even for that.
            true => return,
        };
        let due = now + self.limits.time;
        let id = self.scrapers.insert(|generation| Scraper {
            generation,
            stream,
            address,
            stage,
            due,
            is_refused,
        });
        let Some(scraper) = self.scrapers.get_mut(id) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        match registry.register(&mut scraper.stream, Source::Metrics(id).into(), interest) {
            Ok(()) => self.ready.push(id),
            Err(error) => {
                log::warn!(error:%; "cannot watch a metrics connection, closing it");
                self.scrapers.remove(id);
            }
        }
    }
}

impl Occupant for Scraper {
    type Kind = Self;

    fn generation(&self) -> Generation {
        self.generation
    }
}

impl Scraper {
    /// Reads and writes until the socket would block.
    fn advance(&mut self, buffer: &mut [u8], answer: &mut impl FnMut(Page) -> Answer) -> Progress {
        loop {
            let progress = match &self.stage {
                Stage::Reading(_) | Stage::Shut { .. } => {
                    self.stream.read(buffer).map(|count| self.take(&buffer[..count], answer))
                }
                Stage::Writing { bytes, sent } => {
                    self.stream.write(&bytes[*sent..]).map(|count| self.written(count))
                }
            };
            match progress {
                Ok(Progress::Waits) => {}
                Ok(Progress::Over) => return Progress::Over,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Progress::Waits,
                    _ => return Progress::Over,
                },
            }
        }
    }

    /// Counts `count` bytes of the answer as written.
    fn written(&mut self, count: usize) -> Progress {
        if let Stage::Writing { bytes, sent } = &mut self.stage {
            *sent += count;
            if *sent == bytes.len() {
                // If the client has disconnected, the next read reports it.
                let _ = self.stream.shutdown(Shutdown::Write);
                self.stage = Stage::Shut { thrown_away: 0 };
            }
        }
        Progress::Waits
    }

    /// Handles bytes read; none means the end of the stream.
    fn take(&mut self, bytes: &[u8], answer: &mut impl FnMut(Page) -> Answer) -> Progress {
        match &mut self.stage {
            _ if bytes.is_empty() => return Progress::Over,
            Stage::Reading(reader) => {
                if let Some(request) = reader.receive(bytes) {
                    let answer = request.page.map_or_else(Answer::Refused, answer);
                    self.stage = Stage::Writing { bytes: answer.encode(request.head_only), sent: 0 };
                }
            }
            Stage::Shut { thrown_away } => {
                *thrown_away += bytes.len();
                if *thrown_away > THROWN_AWAY {
                    return Progress::Over;
                }
            }
            Stage::Writing { .. } => {}
        }
        Progress::Waits
    }
}
