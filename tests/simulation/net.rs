//! The transport, played: two listeners, the sockets, and a poll with edge-triggered readiness.
//!
//! As epoll(7) with `EPOLLET`: readiness is reported once, when bytes, an end or room come; watching a socket reports what
//! is there already. What a driver forgets is not reported again.

use crate::clients::End;
use crate::random::Random;
use crate::tape::{Entry, Tape};
use crate::wires::{Edges, Wire};
use airlay::driver::{NotAccepted, Transport};
use airlay::peers::{PeerId, Sockets};
use airlay::producers::ProducerId;
use airlay::time::Wall;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// One of two kinds of connections: clients', or producers'.
#[derive(Debug)]
pub(crate) struct Side<Id> {
    /// By number; `None` once closed.
    pub(crate) wires: Vec<Option<Wire>>,
    /// By slot: whose socket it is.
    slots: Vec<Option<(Id, usize)>>,
    /// Those that wait to be accepted.
    pub(crate) backlog: VecDeque<usize>,
    /// Accepted, and neither adopted nor refused.
    accepted: Option<usize>,
    /// The listener has not been closed.
    pub(crate) is_listening: bool,
    /// Another one came since the last report.
    has_news: bool,
}

/// The transport.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) clients: Side<PeerId>,
    pub(crate) producers: Side<ProducerId>,
    tape: Tape,
    /// The wall clock, and how often, of a thousand times, it goes on when it is asked.
    pub(crate) wall: u64,
    pub(crate) hurry: usize,
    /// Descriptors have run out; how often they had when they were needed.
    pub(crate) is_exhausted: bool,
    pub(crate) exhaustions: u64,
    /// How often, of a thousand times, one that waits is gone, or cannot be watched.
    pub(crate) lost: usize,
    pub(crate) unwatchable: usize,
    /// The most bytes that one read of a producer gave.
    pub(crate) longest_read: usize,
    random: Random,
}

/// What the poll reports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ready {
    Peer(PeerId, Edges),
    Producer(ProducerId, Edges),
    PeerListener,
    ProducerListener,
}

impl<Id: Copy + PartialEq + std::fmt::Debug> Side<Id> {
    const fn new() -> Self {
        Self {
            wires: Vec::new(),
            slots: Vec::new(),
            backlog: VecDeque::new(),
            accepted: None,
            is_listening: true,
            has_news: false,
        }
    }

    /// One more connects, and waits to be accepted. Its number is its place.
    pub(crate) fn connect(&mut self, wire: Wire) {
        assert_eq!(wire.number, self.wires.len());
        self.backlog.push_back(wire.number);
        self.wires.push(Some(wire));
        self.has_news = true;
    }

    pub(crate) fn wire(&mut self, number: usize) -> Option<&mut Wire> {
        self.wires.get_mut(number)?.as_mut()
    }

    pub(crate) fn number(&self, id: Id, slot: usize) -> Option<usize> {
        self.slots.get(slot).copied().flatten().filter(|(owner, _)| *owner == id).map(|(_, number)| number)
    }

    fn of(&mut self, id: Id, slot: usize) -> &mut Wire {
        let number = self.number(id, slot).unwrap_or_else(|| panic!("{id:?} has no socket"));
        self.wires[number].as_mut().expect("a slot's socket is there")
    }

    fn accept(&mut self, is_exhausted: bool, is_lost: bool) -> Result<usize, NotAccepted> {
        assert!(self.accepted.is_none(), "the one accepted before was neither adopted nor refused");
        if !self.is_listening || self.backlog.is_empty() {
            return Err(NotAccepted::NoneWaiting);
        }
        if is_exhausted {
            return Err(NotAccepted::Exhausted);
        }
        if is_lost {
            // A signal came; it waits on.
            return Err(NotAccepted::Lost);
        }
        let number = self.backlog.pop_front().expect("it is not empty");
        self.accepted = Some(number);
        Ok(number)
    }

    fn adopt(&mut self, id: Id, slot: usize, tells_writable: bool) -> usize {
        let number = self.accepted.take().expect("one was accepted");
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        assert!(self.slots[slot].is_none(), "a slot is given to another while the former one has its socket");
        self.slots[slot] = Some((id, number));
        let wire = self.wires[number].as_mut().expect("it waited");
        wire.is_watched = true;
        wire.tells_writable = tells_writable;
        wire.edges.readable = wire.has_input();
        wire.edges.end = wire.end.is_some();
        wire.edges.writable = tells_writable;
        number
    }

    fn close(&mut self, id: Id, slot: usize) -> usize {
        let number = self.of(id, slot).number;
        self.slots[slot] = None;
        self.wires[number] = None;
        number
    }

    /// Whether one has come that the poll has not reported.
    pub(crate) const fn has_news(&self) -> bool {
        self.has_news
    }

    fn stop(&mut self) {
        self.is_listening = false;
    }

    /// Whether the poll has something to report of a socket.
    fn is_pending(wire: &Wire) -> bool {
        let Edges { readable, end, writable } = wire.edges;
        wire.is_watched && (readable || end || writable && wire.tells_writable)
    }
}

impl Net {
    pub(crate) fn new(tape: Tape, random: Random) -> Self {
        Self {
            clients: Side::new(),
            producers: Side::new(),
            tape,
            wall: 0,
            hurry: 0,
            is_exhausted: false,
            exhaustions: 0,
            lost: 0,
            unwatchable: 0,
            longest_read: 0,
            random,
        }
    }

    /// The other end has read this many bytes.
    pub(crate) const fn make_room(wire: &mut Wire, bytes: usize) {
        wire.room += bytes;
        wire.edges.writable |= wire.is_refused && wire.room > 0;
    }

    /// Whether the poll would return at once.
    pub(crate) fn has_events(&self) -> bool {
        self.clients.has_news && self.clients.is_listening
            || self.producers.has_news && self.producers.is_listening
            || self.clients.wires.iter().flatten().any(Side::<PeerId>::is_pending)
            || self.producers.wires.iter().flatten().any(Side::<ProducerId>::is_pending)
    }

    /// Reports up to `most` events.
    pub(crate) fn poll(&mut self, most: usize) -> Vec<Ready> {
        let mut ready = Vec::new();
        if self.clients.is_listening && std::mem::take(&mut self.clients.has_news) {
            ready.push(Ready::PeerListener);
        }
        if self.producers.is_listening && std::mem::take(&mut self.producers.has_news) {
            ready.push(Ready::ProducerListener);
        }
        report(&mut self.producers, most, &mut self.random, |id, edges| {
            ready.push(Ready::Producer(id, edges));
            ready.len()
        });
        report(&mut self.clients, most, &mut self.random, |id, edges| {
            ready.push(Ready::Peer(id, edges));
            ready.len()
        });
        ready
    }

    fn strikes(&mut self, rate: usize) -> bool {
        rate > 0 && self.random.chance(rate)
    }
}

fn report<Id: Copy + PartialEq + std::fmt::Debug>(
    side: &mut Side<Id>,
    most: usize,
    random: &mut Random,
    mut push: impl FnMut(Id, Edges) -> usize,
) {
    let begin = random.below(side.slots.len().max(1));
    for slot in (begin..side.slots.len()).chain(0..begin) {
        let Some((id, number)) = side.slots[slot] else { continue };
        let wire = side.wires[number].as_mut().expect("a slot's socket is there");
        if !Side::<Id>::is_pending(wire) {
            continue;
        }
        let mut edges = std::mem::take(&mut wire.edges);
        edges.writable &= wire.tells_writable;
        // An end is reported with everything that comes behind it.
        edges.end |= wire.end.is_some();
        // The poll reports the state of everything that is watched, not only what is new.
        if random.chance(300) {
            edges.readable |= wire.has_input();
            edges.writable |= wire.tells_writable && wire.room > 0;
        }
        wire.is_reported |= edges.writable;
        if push(id, edges) >= most {
            return;
        }
    }
}

impl Sockets for Net {
    type Socket = Wire;

    fn socket(&mut self, peer: PeerId) -> &mut Wire {
        self.clients.of(peer, peer.index())
    }

    fn await_writable(&mut self, peer: PeerId) -> io::Result<()> {
        let is_failing = self.strikes(self.unwatchable);
        let wire = self.clients.of(peer, peer.index());
        assert!(wire.is_refused, "a socket is waited for that has refused nothing");
        if is_failing {
            let number = wire.number;
            self.tape.note(Entry::Unwatched(number));
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        wire.tells_writable = true;
        wire.edges.writable |= wire.room > 0;
        Ok(())
    }

    fn shut(&mut self, peer: PeerId) {
        self.clients.of(peer, peer.index()).is_shut = true;
    }
}

impl Transport for Net {
    type ProducerSocket = Wire;

    fn accept_peer(&mut self, _is_first: bool) -> Result<IpAddr, NotAccepted> {
        let is_lost = self.strikes(self.lost);
        let result = self.clients.accept(self.is_exhausted, is_lost);
        self.exhaustions += u64::from(result == Err(NotAccepted::Exhausted));
        result?;
        Ok(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn adopt_peer(&mut self, peer: PeerId) -> io::Result<()> {
        let number = self.clients.adopt(peer, peer.index(), false);
        self.tape.note(Entry::Adopted(number, peer));
        if self.strikes(self.unwatchable) {
            self.clients.wires[number].as_mut().expect("adopted just now").is_watched = false;
            self.tape.note(Entry::Unwatched(number));
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(())
    }

    fn refuse_peer(&mut self) {
        let number = self.clients.accepted.take().expect("one was accepted");
        self.clients.wires[number] = None;
        self.tape.note(Entry::Refused(number));
    }

    fn read_peer(&mut self, peer: PeerId, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = self.clients.of(peer, peer.index());
        let number = wire.number;
        let result = wire.read(buffer);
        match &result {
            Ok(count @ 1..) => self.tape.note(Entry::Read(number, *count)),
            Ok(0) => self.tape.note(Entry::ReadEnd(number)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.tape.note(Entry::ReadEnd(number));
            }
            _ => {}
        }
        result
    }

    fn close_peer(&mut self, peer: PeerId) {
        let number = self.clients.close(peer, peer.index());
        self.tape.note(Entry::Closed(number));
    }

    fn stop_accepting_peers(&mut self) {
        assert!(self.clients.is_listening, "the listener is closed twice");
        self.clients.stop();
        self.tape.note(Entry::PeersStopped);
    }

    fn accept_producer(&mut self) -> Result<(), NotAccepted> {
        let is_lost = self.strikes(self.lost);
        let result = self.producers.accept(self.is_exhausted, is_lost).map(|_| ());
        self.exhaustions += u64::from(result == Err(NotAccepted::Exhausted));
        result
    }

    fn adopt_producer(&mut self, producer: ProducerId) -> io::Result<()> {
        let number = self.producers.adopt(producer, producer.index(), true);
        self.tape.note(Entry::ProducerAdopted(number, producer));
        Ok(())
    }

    fn read_producer(&mut self, producer: ProducerId, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = self.producers.of(producer, producer.index());
        let number = wire.number;
        let late = std::mem::take(&mut wire.late);
        if !late.is_empty() {
            self.wall += 1 + self.random.below(40) as u64;
            self.tape.note(Entry::Arrived(number, late.len(), self.wall));
            wire.arrive(&late);
        }
        let result = wire.read(buffer);
        match &result {
            Ok(count @ 1..) => {
                self.longest_read = self.longest_read.max(*count);
                self.tape.note(Entry::ProducerRead(number, *count));
            }
            Ok(0) => self.tape.note(Entry::ProducerEnded(number, End::EndOfStream)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.tape.note(Entry::ProducerEnded(number, End::Reset));
            }
            _ => {}
        }
        result
    }

    fn unread_of(&mut self, producer: ProducerId) -> u64 {
        self.producers.of(producer, producer.index()).unread() as u64
    }

    fn producer(&mut self, producer: ProducerId) -> &mut Wire {
        self.producers.of(producer, producer.index())
    }

    fn close_producer(&mut self, producer: ProducerId) {
        let number = self.producers.close(producer, producer.index());
        self.tape.note(Entry::ProducerClosed(number));
    }

    fn stop_accepting_producers(&mut self) {
        assert!(self.producers.is_listening, "the listener is closed twice");
        self.producers.stop();
        self.tape.note(Entry::ProducersStopped);
    }

    fn wall(&mut self) -> Wall {
        if self.strikes(self.hurry) {
            self.wall += self.random.below(40) as u64;
        }
        self.tape.note(Entry::Wall(self.wall));
        Wall(self.wall)
    }
}
