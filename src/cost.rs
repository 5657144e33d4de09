//! What work costs, and how much of each kind one turn of the event loop may do.
//!
//! One account for everything that strangers, clients and producers can make the server do. Work is charged where it
//! arises, in nanoseconds of CPU time as measured by `benches/core` (`cost/…`) (system calls: by `benches/load`) and rounded up; the clock is never asked,
//! so a turn's work can be replayed from its input. Each kind of work has a share of the turn, so that a flood of one
//! kind never takes the time of another.

use std::time::Duration;

/// A peer accepted and registered.
pub const ACCEPT: u64 = 10_000;
/// An upgrade request answered.
pub const UPGRADE: u64 = 4_000;
/// A read from a socket.
pub const READ: u64 = 1_500;
/// A frame that is no message: a fragment, a ping, a pong.
pub const FRAME: u64 = 150;
/// A message, whatever it says, with its reply.
pub const MESSAGE: u64 = 500;
/// A byte of a message, which is checked for UTF-8 and parsed. Hostile JSON costs six times as much, but the rate of
/// requests bounds it.
pub const MESSAGE_BYTE: u64 = 1;
/// A byte that came of inflating, besides its part in a message: at worst 300 of them came of one that was sent.
pub const INFLATED_BYTE: u64 = 6;
/// A producer's line, without its fan-out.
pub const LINE: u64 = 700;
/// A byte of a line, which is parsed, copied and framed.
pub const LINE_BYTE: u64 = 1;
/// A topic or a user that a line makes the service look at.
pub const EXAMINED: u64 = 20;
/// A batch queued for one subscriber.
pub const DELIVERY: u64 = 60;
/// An answer of the access service taken, with what it decides.
pub const ACCESS_ANSWER: u64 = 2_000;
/// A token looked up, or refused for what it says.
pub const TOKEN_LOOKUP: u64 = 4_000;
/// A signature of RSA-4096 verified.
pub const SIGNATURE: u64 = 65_000;
/// A write to a socket.
pub const WRITE: u64 = 4_500;
/// A thousand bytes written.
pub const WRITTEN_KILOBYTE: u64 = 150;
/// A connection closed and its slot freed.
pub const CLOSE: u64 = 8_000;

/// Work that may still be done, in nanoseconds. The last piece of work may overdraw it.
#[derive(Debug)]
pub struct Budget {
    left: u64,
}

/// The budget of each kind of work in a turn.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    turn: u64,
}

impl Budget {
    /// A budget of this many nanoseconds.
    #[must_use]
    pub const fn new(nanoseconds: u64) -> Self {
        Self { left: nanoseconds }
    }

    /// A budget that is never spent, for tests and for work that is bounded otherwise.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Takes the cost of work that was done.
    pub const fn charge(&mut self, nanoseconds: u64) {
        self.left = self.left.saturating_sub(nanoseconds);
    }

    /// Takes the cost of `count` pieces of work that was done.
    pub const fn charge_each(&mut self, nanoseconds: u64, count: usize) {
        self.charge(nanoseconds.saturating_mul(count as u64));
    }

    /// Whether nothing more may be done.
    #[must_use]
    pub const fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Lets `work` spend up to `most` nanoseconds of this budget.
    pub fn spend_part<R>(&mut self, most: u64, work: impl FnOnce(&mut Self) -> R) -> R {
        let given = self.left.min(most);
        let mut part = Self::new(given);
        let result = work(&mut part);
        self.left -= given - part.left;
        result
    }
}

impl Shares {
    /// The shares of turns that take `turn`. A turn takes longer only by its last pieces of work.
    #[must_use]
    pub const fn of(turn: Duration) -> Self {
        Self { turn: turn.as_secs() * 1_000_000_000 + turn.subsec_nanos() as u64 }
    }

    /// For accepting clients: no more than [`closing`](Self::closing) suffices for.
    #[must_use]
    pub const fn accepting(self) -> Budget {
        self.percent(12)
    }

    /// The most of [`accepting`](Self::accepting) that producers take.
    #[must_use]
    pub const fn accepting_producers(self) -> u64 {
        self.turn / 20
    }

    /// For reading producers' lines and queueing them for their subscribers.
    #[must_use]
    pub const fn producers(self) -> Budget {
        self.percent(20)
    }

    /// The most that one producer may spend of [`producers`](Self::producers) before others are read.
    #[must_use]
    pub const fn one_producer(self) -> u64 {
        self.turn / 10
    }

    /// For reading peers and answering what needs no signature check.
    #[must_use]
    pub const fn peers(self) -> Budget {
        self.percent(20)
    }

    /// The most that one peer may spend of [`peers`](Self::peers) before others are read.
    #[must_use]
    pub const fn one_peer(self) -> u64 {
        self.turn / 40
    }

    /// For verifying signatures; less while there is something to write, which would wait for it.
    #[must_use]
    pub const fn verification(self, has_unflushed: bool) -> Budget {
        if has_unflushed { Budget::new(self.turn / 40) } else { self.percent(10) }
    }

    /// For answers of the access service.
    #[must_use]
    pub const fn access(self) -> Budget {
        self.percent(5)
    }

    /// For writing events for few, and the same again for writing replies.
    #[must_use]
    pub const fn prompt_writes(self) -> Budget {
        self.percent(8)
    }

    /// For writing events for many: less at once, so that a large fan-out keeps nothing waiting.
    #[must_use]
    pub const fn bulk_writes(self) -> Budget {
        self.percent(3)
    }

    /// For closing sockets.
    #[must_use]
    pub const fn closing(self) -> Budget {
        self.percent(10)
    }

    const fn percent(self, percent: u64) -> Budget {
        Budget::new(self.turn * percent / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s55_the_shares_of_a_turn_are_no_more_than_the_turn() {
        let shares = Shares::of(Duration::from_millis(10));
        let all = [
            shares.accepting(),
            shares.producers(),
            shares.peers(),
            shares.verification(false),
            shares.access(),
            shares.prompt_writes(),
            shares.prompt_writes(),
            shares.bulk_writes(),
            shares.closing(),
        ];
        assert!(all.iter().map(|budget| budget.left).sum::<u64>() <= 10_000_000);
        assert!(all.iter().all(|budget| budget.left > 0));
    }

    #[test]
    fn s55_as_many_connections_can_be_closed_as_are_accepted() {
        let shares = Shares::of(Duration::from_millis(10));
        assert!(shares.accepting().left / ACCEPT <= shares.closing().left / CLOSE);
    }

    #[test]
    fn a_part_spends_of_the_whole_and_no_more_than_it_was_given() {
        let mut budget = Budget::new(100);
        budget.spend_part(30, |part| part.charge(20));
        assert_eq!(budget.left, 80);
        budget.spend_part(30, |part| {
            part.charge_each(25, 2);
            assert!(part.is_spent());
        });
        assert_eq!(budget.left, 50);
        assert!(budget.spend_part(1000, |part| {
            part.charge(50);
            part.is_spent()
        }));
        assert!(budget.is_spent());
    }
}
