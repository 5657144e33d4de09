//! What a wait means: that the driver has nothing to do, and for how long. And what must hold at the end of each turn.
//!
//! A driver that waits has done everything that it could: whatever is left to read, to write, to accept or to close then was
//! forgotten. A wait that goes beyond the moment when something is due is as bad.

use super::setup::Sizes;
use super::{Stage, World, trace};
use crate::books::SLACK;
use crate::clients::Sent;
use crate::faults::Fault;
use crate::ledger::TIMEOUT;
use crate::listener::{Phase, Verdict};
use crate::wires::Wire;
use airlay::driver::ACCEPT_PAUSE;
use airlay::time::{Monotonic, millis};
use std::time::Duration;

impl World {
    /// Waits for as long as the driver says, or until something comes. Returns whether it was a wait.
    pub(super) fn wait(&mut self) -> Result<bool, String> {
        let took = if self.sizes.turn < 1000 { self.random.below(2) } else { self.random.below(4) } as u64;
        self.pass(took);
        let now = self.now + Duration::from_millis(took);
        let attempt = self.driver.server().service().hub.access_attempt();
        let deadline: Option<Monotonic> = attempt.filter(|_| self.ledger.asks_service);
        let timeout = self.driver.timeout(deadline, now);
        let is_wait = timeout != Some(Duration::ZERO);
        trace!(self, "waits {timeout:?}");
        if is_wait {
            self.outcome.waits += 1;
            self.is_catching_up = false;
            self.check_wait(timeout.map(millis), now.monotonic.0)?;
        }
        let begin = self.real.monotonic.0;
        let end = timeout.map(|timeout| begin + millis(timeout));
        loop {
            if self.real.monotonic.0 >= self.next_moment && self.has_moments() {
                self.moment();
            }
            if self.net.has_events() {
                break;
            }
            let moment = self.has_moments().then(|| self.next_moment.max(self.real.monotonic.0));
            let next = [end, moment, self.service_moment()].into_iter().flatten().min();
            let Some(next) = next else {
                // For ever: nothing is under way, and nothing is due.
                self.pass(10_000);
                break;
            };
            self.pass(next.saturating_sub(self.real.monotonic.0));
            let is_service = self.service_moment().is_some_and(|at| at <= self.real.monotonic.0);
            if end.is_some_and(|end| self.real.monotonic.0 >= end) || is_service {
                break;
            }
        }
        self.oversleep(timeout.map(millis));
        Ok(is_wait)
    }

    /// When the access service writes an answer, or could be asked.
    fn service_moment(&self) -> Option<u64> {
        self.next_answer().filter(|_| self.ledger.asks_service)
    }

    /// The wait takes longer than it should, or the process was stopped.
    fn oversleep(&mut self, timeout: Option<u64>) {
        let Some(timeout) = timeout.filter(|_| self.is_rough) else { return };
        if self.faults.strikes(Fault::LateWake, &mut self.random) && self.random.chance(200) {
            self.faults.happened(Fault::LateWake);
            let late = self.random.between(1, 900) as u64;
            self.pass(late);
        }
        if self.faults.strikes(Fault::ProcessStopped, &mut self.random) && self.random.chance(100) {
            self.faults.happened(Fault::ProcessStopped);
            let stop = *self.random.pick(&[2_000, 6_000, 11_000, 60_000]);
            trace!(self, "the process is stopped for {stop} ms");
            // The others go on meanwhile.
            let begin = self.real.monotonic.0;
            for _ in 0..4 {
                self.pass(stop / 4);
                self.moment();
            }
            // Less than a second cannot be told from a busy machine.
            if self.real.monotonic.0 - self.began_at <= timeout + 1000 {
                return;
            }
            self.excused += self.real.monotonic.0 - begin + STOPPED_BEYOND;
            self.is_catching_up = true;
            for client in &mut self.clients {
                // What is left of a flood is taken as if it had come during the stop.
                client.books.is_flood = false;
                let wire = self.net.clients.wire(client.number);
                // One that waits for an answer is not read, and what a read does not give comes behind it.
                let is_taken = client.sent.front().is_none_or(|(end, _)| *end > client.given);
                let is_read = is_taken && !client.listener.is_waiting();
                let is_certain = |wire: &&mut Wire| {
                    is_read && wire.has_input() && wire.rates.interrupted + wire.rates.empty_read == 0
                };
                client.was_unread = wire.filter(is_certain).map(|_| client.given);
            }
        }
    }

    /// A client of which something is unread that had come when the process went on.
    pub(super) fn unread_from_stop(&mut self) -> Option<usize> {
        let Self { clients, net, .. } = self;
        let found = clients.iter().find(|client| {
            client.was_unread == Some(client.given)
                && client.books.is_open()
                && !client.books.is_lost
                && !client.listener.is_waiting()
                && net.clients.wires[client.number].as_ref().is_some_and(|wire| wire.is_watched)
        });
        found.map(|client| client.number)
    }

    /// The driver has nothing to do, and waits `timeout` milliseconds from `now` on at the longest.
    fn check_wait(&mut self, timeout: Option<u64>, now: u64) -> Verdict {
        self.check_accepting(timeout, now)?;
        let mut due: Option<(u64, String)> = None;
        let mut note = |at: u64, what: String| {
            if due.as_ref().is_none_or(|(other, _)| at < *other) {
                due = Some((at, what));
            }
        };
        let wall = self.now.wall.0;
        let Self { clients, net, ledger, .. } = self;
        for client in clients.iter_mut() {
            let Some(wire) = net.clients.wires[client.number].as_ref().filter(|wire| wire.is_watched) else {
                continue;
            };
            let about = |error: &str| format!("client {}: {error}", client.number);
            let is_waiting = client.listener.is_waiting() && ledger.asks_service;
            if wire.has_input()
                && !(wire.edges.readable || wire.edges.end)
                && !is_waiting
                && client.listener.phase != Phase::Over
                && client.books.closing_since.is_none()
            {
                return Err(about("what has come is not read, and the driver waits"));
            }
            if wire.is_refused && wire.room > 0 && !wire.edges.writable && !client.books.is_lost {
                return Err(about("there is room again, nothing is written, and the driver waits"));
            }
            if let Some((at, what)) = client.books.due(&client.listener, now) {
                note(at, about(what));
            }
            if !client.books.is_open() || client.books.is_lost {
                continue;
            }
            if !is_waiting {
                client.listener.pings_are_taken();
                if let Some((_, sent)) = client.sent.front().filter(|(end, _)| *end <= client.given)
                    && matches!(sent, Sent::Request(_))
                {
                    return Err(about(&format!("{sent:?} was read and not taken")));
                }
                let is_immediate = |(_, fault)| fault != Fault::UnfinishedMessage;
                if client.listener.sin.is_some_and(is_immediate) && client.given == client.out.len() {
                    return Err(about("the close that is due has not come"));
                }
            } else {
                note(now + TIMEOUT, about("a question is not answered"));
            }
            if !wire.is_refused {
                let verdict = client.listener.check_nothing_is_missing(ledger);
                verdict.map_err(|error| about(&error))?;
            }
            if let Some(end) = client.listener.next_end(ledger).filter(|end| *end < u64::MAX) {
                note(now + end.saturating_sub(wall), about("a token ends"));
            }
        }
        self.check_producers()?;
        if let Some((at, what)) = due {
            if now > at + SLACK {
                return Err(format!("at {now} this is due since {at}: {what}"));
            }
            if timeout.is_none_or(|timeout| now + timeout > at + SLACK) {
                return Err(format!(
                    "at {now} the driver waits {timeout:?} ms, and at {at} this is due: {what}"
                ));
            }
        }
        Ok(())
    }

    /// No client or producer that could be accepted waits.
    fn check_accepting(&mut self, timeout: Option<u64>, now: u64) -> Verdict {
        let connected = self.producers.iter().filter(|producer| producer.id.is_some()).count();
        let clients = &self.net.clients;
        let producers = &self.net.producers;
        let is_full = connected >= self.sizes.producers;
        if is_full && !producers.backlog.is_empty() {
            self.faults.happened(Fault::TooManyProducers);
        }
        let is_waited = clients.is_listening && !clients.backlog.is_empty() && !clients.has_news()
            || producers.is_listening && !producers.backlog.is_empty() && !producers.has_news() && !is_full;
        if !is_waited {
            return Ok(());
        }
        let pause_ends = self.exhausted_at + millis(ACCEPT_PAUSE);
        let ends_in_time = timeout.is_some_and(|timeout| now + timeout <= pause_ends + SLACK);
        if self.exhausted_at > 0 && now <= pause_ends + SLACK && ends_in_time {
            return Ok(());
        }
        Err(format!("one waits to be accepted, and the driver waits {timeout:?} ms at {now}"))
    }

    /// Everything that has come from producers is read, and they have their answers.
    fn check_producers(&mut self) -> Verdict {
        let Self { producers, net, .. } = self;
        for producer in producers.iter().filter(|producer| producer.id.is_some()) {
            let Some(wire) = net.producers.wires[producer.number].as_ref() else { continue };
            let about = |error: String| Err(format!("producer {}: {error}", producer.number));
            let is_read = producer.ended.is_some() && wire.unread() == 0;
            if wire.has_input() && !is_read && !(wire.edges.readable || wire.edges.end) {
                return about("what has come is not read, and the driver waits".into());
            }
            let is_whole = producer.lines.front().filter(|written| {
                written.end <= producer.given && producer.out[..written.end].ends_with(b"\n")
            });
            if let Some(written) = is_whole {
                return about(format!("{written:?} was read and not taken, and the driver waits"));
            }
            if wire.is_refused {
                if wire.room > 0 && !wire.edges.writable && !wire.is_broken {
                    return about("there is room for its answers, and the driver waits".into());
                }
            } else if let Some(answer) = producer.missing().filter(|_| !wire.is_broken) {
                return about(format!("it has not got {answer:?}, and the driver waits"));
            }
        }
        Ok(())
    }

    /// What holds after every turn.
    pub(super) fn end_turn(&mut self) -> Verdict {
        let now = self.now.monotonic.0;
        if std::mem::take(&mut self.net.exhaustions) > 0 {
            self.faults.happened(Fault::NoDescriptors);
            self.exhausted_at = now;
        }
        self.ledger.change_wall(self.now.wall.0);
        let Self { clients, net, ledger, .. } = self;
        for client in clients.iter_mut() {
            let Some(wire) = net.clients.wires[client.number].as_ref() else { continue };
            let is_unread = wire.has_input();
            client.books.unread_since = is_unread.then(|| client.books.unread_since.unwrap_or(now));
            client.books.note_hindrance(client.listener.is_waiting() || is_unread, now);
            if !wire.is_refused || !client.books.is_open() {
                client.books.note_queue(0, 0, now);
                continue;
            }
            let least = if wire.is_reported { 0 } else { client.listener.queued_at_least(ledger) };
            if least > super::QUEUE {
                let number = client.number;
                return Err(format!("client {number}: {least} bytes are queued, and it is not closed"));
            }
            let most = client.listener.queued_at_most(ledger);
            client.books.note_queue(least, most, now);
        }
        self.arrive_late();
        self.check_backlog()
    }

    /// Only so much of producers is taken and not offered to every subscriber.
    fn check_backlog(&mut self) -> Verdict {
        let (all, one) = Sizes::backlog();
        // The last read may exceed it.
        let bound = all.max(one) + self.net.longest_read;
        if self.taken - self.offered > all {
            self.faults.happened(Fault::ProducerWaits);
            let oldest = self.unwritten();
            let first = match oldest {
                None => self.positions.len(),
                Some((_, stamp)) => self.positions.partition_point(|(read, _)| *read < stamp),
            };
            self.offered = self.positions.get(first).map_or(self.taken, |(_, position)| *position);
            self.positions.drain(..first);
            let left = self.taken - self.offered;
            if left > bound {
                return Err(format!(
                    "{left} bytes of lines are not offered to {oldest:?}, allowed are {bound}"
                ));
            }
        }
        if self.stage == Stage::Closing && self.ledger.closing.is_none() && !self.is_aborted {
            return Err("closing, and the closings have not begun".into());
        }
        Ok(())
    }
}

/// After a stop, time does not count for this long at most, in milliseconds.
const STOPPED_BEYOND: u64 = 6_000;
