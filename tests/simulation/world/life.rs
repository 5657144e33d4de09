//! What goes on outside the server while it waits: clients and producers connect, act, read and break, and clocks are set.

use super::{HOUR, Stage, World, trace};
use crate::clients::{Client, End};
use crate::faults::Fault;
use crate::names::Topic;
use crate::net::Net;
use crate::producers::{Producer, STRIDE};
use crate::tokens::START;
use crate::wires::{Rates, Wire};
use airlay::time::Wall;

/// What a client's socket takes when it is not slow.
const ROOMY: usize = 1 << 20;

impl World {
    /// Time passes.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.real.monotonic.0 += milliseconds;
        self.elapsed += milliseconds;
        self.set_wall();
    }

    fn set_wall(&mut self) {
        let wall = (START + self.elapsed).saturating_add_signed(self.wall_offset);
        // What a turn has shown is not taken away but by a step.
        self.real.wall = Wall(wall.max(self.net.wall));
    }

    /// One moment in which everything outside does something. Returns whether it was one of those that an episode has.
    pub(super) fn moment(&mut self) {
        if self.is_rough {
            self.set_clock();
            self.connect_some();
            if self.real.monotonic.0 >= self.exhausted_until
                && self.faults.strikes(Fault::NoDescriptors, &mut self.random)
            {
                self.exhausted_until = self.real.monotonic.0 + self.random.between(1, 500) as u64;
            }
            self.moments += 1;
        }
        self.net.is_exhausted = self.is_rough && self.real.monotonic.0 < self.exhausted_until;
        self.act();
        self.arrive();
        let pause = match self.random.below(8) {
            _ if !self.is_rough => 10,
            0 => self.random.between(100, 900),
            _ => self.random.between(1, 60),
        };
        self.next_moment = self.real.monotonic.0 + pause as u64;
    }

    fn set_clock(&mut self) {
        let former = self.wall_offset;
        if self.wall_offset < 3 * HOUR && self.faults.strike(Fault::WallForward, &mut self.random) {
            self.wall_offset += HOUR;
        }
        if self.wall_offset > -3 * HOUR && self.faults.strike(Fault::WallBack, &mut self.random) {
            self.wall_offset -= HOUR;
        }
        if former != self.wall_offset {
            self.wall_steps += 1;
            self.net.wall = 0;
            self.set_wall();
        }
    }

    /// A third of all clients at first, the others by and by; and all producers.
    fn connect_some(&mut self) {
        let share = if self.moments == 0 { self.plan.clients / 3 } else { self.plan.clients / 12 };
        for _ in 0..share {
            if self.clients.len() < self.plan.clients {
                self.connect();
            }
        }
        while self.producers.len() < self.plan.producers {
            self.connect_producer();
        }
    }

    fn rates(&mut self) -> Rates {
        let mut rate = |fault, rate| if self.faults.strikes(fault, &mut self.random) { rate } else { 0 };
        Rates {
            short_write: rate(Fault::ShortWrite, 500),
            refusal: rate(Fault::SpuriousBlock, 100),
            interrupted: rate(Fault::Interrupted, 100),
            short_read: rate(Fault::ShortRead, 200),
            empty_read: rate(Fault::EmptyRead, 100),
        }
    }

    fn connect(&mut self) {
        let number = self.net.clients.wires.len();
        let is_slow = self.faults.strikes(Fault::BlockedWriter, &mut self.random);
        let capacity = if is_slow { self.random.between(600, 6000) } else { ROOMY };
        let mut wire = Wire::new(number, false, capacity, self.tape.clone(), self.random.fork());
        wire.rates = self.rates();
        self.net.clients.connect(wire);
        let mut client = Client::new(number, capacity, self.random.fork());
        if self.faults.strikes(Fault::UnansweredPing, &mut self.random) {
            client.answers_pings = false;
        }
        client.knock(&mut self.faults);
        trace!(self, "client {number} connects");
        self.clients.push(client);
    }

    fn connect_producer(&mut self) {
        let number = self.net.producers.wires.len();
        let mut wire = Wire::new(number, true, 1 << 16, self.tape.clone(), self.random.fork());
        wire.rates = self.rates();
        self.net.producers.connect(wire);
        let is_free = |tag: &u64| self.producers.iter().all(|producer| producer.tag != *tag);
        let tag = (0..STRIDE).find(is_free).expect("fewer producers than numbers");
        let capacity = *self.random.pick(&[1000, 4000, 20_000]);
        // A half of what may be held is for lines: then answers may find no room.
        let is_tight = self.sizes.producers_total < 1 << 20;
        trace!(self, "producer {number} connects");
        self.producers.push(Producer::new(number, tag, capacity, is_tight, self.random.fork()));
    }

    fn act(&mut self) {
        let is_rough = self.is_rough;
        for client in &mut self.clients {
            let Some(wire) = self.net.clients.wire(client.number) else { continue };
            let is_slow = client.capacity < ROOMY;
            if is_rough && is_slow && client.stalled == 0 && client.random.chance(100) {
                client.stalled = client.random.between(1, 60);
            }
            Net::make_room(wire, client.read());
            if wire.is_shut && client.answers_closes && client.end.is_none() {
                client.end = Some(End::EndOfStream);
            }
            if !is_rough {
                continue;
            }
            if client.random.chance(80) {
                client.act(&mut self.faults);
            }
            if client.end.is_some() {
                continue;
            }
            if self.faults.strikes(Fault::EndOfStream, &mut client.random) {
                client.cut();
                client.end = Some(End::EndOfStream);
            } else if self.faults.strikes(Fault::Reset, &mut client.random) {
                client.end = Some(End::Reset);
            } else if self.faults.strikes(Fault::WriteError, &mut client.random) {
                wire.is_broken = true;
            }
        }
        for producer in &mut self.producers {
            let Some(wire) = self.net.producers.wire(producer.number) else { continue };
            if producer.stalled > 0 {
                producer.stalled -= 1;
            } else {
                let read = std::mem::take(&mut producer.unread);
                let missing = (1 << 16) - (wire.room + read).min(1 << 16);
                Net::make_room(wire, read + missing);
            }
            if !is_rough {
                continue;
            }
            if producer.random.chance(350) {
                producer.act(&mut self.ledger, &mut self.faults);
            }
            if producer.stalled == 0 && self.faults.strikes(Fault::UnreadAnswers, &mut producer.random) {
                producer.stalled = producer.random.between(5, 30);
                wire.room = wire.room.min(producer.random.below(200));
            }
        }
        if is_rough && self.faults.strikes(Fault::CloseInFanOut, &mut self.random) {
            self.break_in_fan_out();
        }
    }

    /// Some of those whom an event is for are gone when it is written.
    fn break_in_fan_out(&mut self) {
        let subject = (0, Some(0));
        let at = self.random.below(self.producers.len());
        if self.producers[at].end.is_some() {
            return;
        }
        self.producers[at].event(subject, &mut self.ledger);
        let topic = Topic::of(0, subject);
        let hears = |client: &&Client| client.listener.topics().any(|other| other == topic);
        for client in self.clients.iter().filter(hears).take(3) {
            if let Some(wire) = self.net.clients.wire(client.number) {
                wire.is_broken = true;
                self.faults.happened(Fault::CloseInFanOut);
            }
        }
    }

    /// What was sent comes to the server's sockets: all of it, or a piece.
    fn arrive(&mut self) {
        let now = self.real.wall.0;
        for client in &mut self.clients {
            let Some(wire) = self.net.clients.wire(client.number) else { continue };
            let pending = client.out.len() - client.arrived;
            if pending > 0 && !client.end_has_arrived {
                let cut = self.faults.strikes(Fault::CutInput, &mut client.random) && pending > 1;
                let piece = if cut { client.random.between(1, pending.min(200)) } else { pending };
                if piece < pending {
                    self.faults.happened(Fault::CutInput);
                }
                wire.arrive(&client.out[client.arrived..client.arrived + piece]);
                client.arrived += piece;
            }
            let is_over = |end| end == End::Reset || client.arrived == client.out.len();
            if let Some(end) = client.end.filter(|&end| is_over(end) && !client.end_has_arrived) {
                client.end_has_arrived = true;
                wire.arrive_end(end);
            }
        }
        for producer in &mut self.producers {
            let Some(wire) = self.net.producers.wire(producer.number) else { continue };
            let room = producer.capacity.saturating_sub(wire.unread() + wire.late.len());
            let pending = (producer.out.len() - producer.arrived - wire.late.len()).min(room);
            if pending > 0 && wire.late.is_empty() {
                let cut =
                    self.faults.strikes(Fault::CutInput, &mut producer.random) || producer.random.chance(100);
                let piece = if cut { producer.random.between(1, pending) } else { pending };
                let bytes = &producer.out[producer.arrived..producer.arrived + piece];
                wire.arrive(bytes);
                producer.arrived += piece;
                producer.arrivals.push_back((producer.arrived, now));
                // Some more comes when the server is about to read.
                let more = (pending - piece).min(200);
                if self.stage == Stage::Serving && more > 0 && wire.is_watched {
                    wire.late = producer.out[producer.arrived..producer.arrived + more].to_vec();
                }
            }
            let is_all = producer.arrived == producer.out.len();
            if let Some(end) = producer.end.filter(|_| is_all && !producer.end_has_arrived) {
                producer.end_has_arrived = true;
                wire.arrive_end(end);
            }
        }
    }

    /// What was to come while the server was amid a turn, and was not read then, comes behind it.
    pub(super) fn arrive_late(&mut self) {
        let wall = self.net.wall;
        for producer in &mut self.producers {
            let Some(wire) = self.net.producers.wire(producer.number) else { continue };
            let late = std::mem::take(&mut wire.late);
            if !late.is_empty() {
                wire.arrive(&late);
                producer.arrived += late.len();
                producer.arrivals.push_back((producer.arrived, wall));
            }
        }
    }

    /// Whether anything outside is under way, so that there is a next moment.
    pub(super) fn has_moments(&self) -> bool {
        self.is_rough
            || self.clients.iter().any(|client| {
                client.unread > 0
                    || client.arrived < client.out.len() && !client.end_has_arrived
                    || client.end.is_some() != client.end_has_arrived
                    || client.has_to_react()
                    || self.net.clients.wires[client.number]
                        .as_ref()
                        .is_some_and(|wire| wire.is_shut && client.answers_closes && client.end.is_none())
            })
            || self.producers.iter().any(|producer| {
                let Some(wire) = &self.net.producers.wires[producer.number] else { return false };
                // What has no room in its socket waits until the server has read.
                let has_room = wire.unread() < producer.capacity;
                let is_all = producer.arrived == producer.out.len();
                producer.unread > 0
                    || has_room && !is_all
                    || is_all && producer.end.is_some() != producer.end_has_arrived
            })
    }
}
