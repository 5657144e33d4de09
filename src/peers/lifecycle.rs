//! A peer's life, stated once: the states that its parts may be in together, and the changes from one to the next.
//!
//! Three things change together: the WebSocket's phase (`websocket/connection.rs`), the stage of the transport, and the
//! mark `OPEN`, which says that the application counts on the peer. No other combination may be seen between two calls:
//!
//! | the peer is | phase | stage | `OPEN` | leaves by |
//! |---|---|---|---|---|
//! | connecting | `AwaitingRequest` | `Live` | no | upgrade; answer of HTTP; time-out; loss |
//! | open | `Open` | `Live` | yes | Close of either side; violation; loss |
//! | closing | `Closing` | `Live` | no | the client's Close; time-out; loss |
//! | finishing | `Closed`, or `Closing` after a flood | `Finishing` | no | all is written; time-out; loss |
//! | shut | as finishing | `Shut` | no | the client's end of stream; time-out; loss |
//! | gone | any | `Gone` | no | [`Peers::reap`] |
//!
//! The application is told of the end once, when `OPEN` goes ([`Peers::settle`]). What is queued for a peer that is gone
//! is dropped at once; its slot is free only after `reap`.

use super::{Lane, Peer, PeerId, Peers};
use crate::slots::{Generation, Occupant};
use std::collections::HashSet;

/// How far a peer's transport has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Bytes are read for their meaning.
    Live,
    /// What is queued is written, then the socket is shut for writing. Further input is ignored.
    Finishing,
    /// Shut for writing; the client's end of stream is awaited.
    Shut,
    /// The socket is about to be closed.
    Gone,
}

bitflags::bitflags! {
    /// What else is known of a peer, a bit each.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Marks: u16 {
        /// The WebSocket is open, and the application counts on it.
        const OPEN = 1;
        /// Has shown a good token.
        const TRUSTED = 1 << 1;
        /// Not to be read from.
        const PAUSED = 1 << 2;
        /// A ping is out, and nothing has come since.
        const AWAITS_PONG = 1 << 3;
        /// In the list of [`Lane::Event`].
        const DIRTY_EVENT = 1 << 4;
        /// In the list of [`Lane::Reply`].
        const DIRTY_REPLY = 1 << 5;
        /// In the list of [`Lane::Bulk`].
        const DIRTY_BULK = 1 << 6;
        /// The socket took less than it was given: waits until it is writable.
        const BLOCKED = 1 << 7;
        /// A message has begun: counted in `Timers`.
        const UNFINISHED = 1 << 8;
        /// Deliveries are queued that its socket has not been offered: part of the producers' backlog.
        const OWED = 1 << 9;
        /// Part of its input waits in `leftovers`.
        const LEFTOVER = 1 << 10;
        /// In the list of peers that hold memory.
        const HOLDS = 1 << 11;
        /// Its input waits until its socket has been offered the replies to what came before.
        const AWAITS_FLUSH = 1 << 12;
        /// Its socket may have something to read, and was not read since.
        const UNREAD = 1 << 13;
    }
}

impl Marks {
    /// In the list of peers to write to in this lane.
    pub(super) const fn dirty(lane: Lane) -> Self {
        match lane {
            Lane::Event => Self::DIRTY_EVENT,
            Lane::Reply => Self::DIRTY_REPLY,
            Lane::Bulk => Self::DIRTY_BULK,
        }
    }

    /// Whether the peer is in any list of those to write to.
    pub(super) const fn is_dirty(self) -> bool {
        self.intersects(Self::DIRTY_EVENT.union(Self::DIRTY_REPLY).union(Self::DIRTY_BULK))
    }

    /// Removes a mark. Returns whether it was set.
    pub(super) fn take(&mut self, mark: Self) -> bool {
        let was = self.contains(mark);
        self.remove(mark);
        was
    }
}

impl Occupant for Peer {
    type Kind = Self;

    fn generation(&self) -> Generation {
        self.generation
    }
}

impl Peer {
    /// Whether its request has not been answered yet.
    pub(super) const fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Live) && !(self.connection.is_open() || self.connection.is_closing())
    }

    /// Whether something is queued that its socket would perhaps take, and has not been offered.
    pub(super) const fn waits_for_us(&self) -> bool {
        self.marks.is_dirty() && !self.marks.contains(Marks::BLOCKED) && !self.outgoing.is_empty()
    }

    /// What the table of this module rules out, if this peer is in such a state.
    fn violated_invariant(&self) -> Option<&'static str> {
        let Self { connection, stage, marks, outgoing, .. } = self;
        let is_open = marks.contains(Marks::OPEN);
        let rules = [
            (is_open == (connection.is_open() && *stage == Stage::Live), "OPEN is the phase Open while live"),
            (*stage != Stage::Live || !connection.is_closed(), "a closed connection is not live"),
            (
                matches!(stage, Stage::Live | Stage::Gone) || !connection.is_open(),
                "an open connection is live",
            ),
            (*stage != Stage::Gone || outgoing.is_empty(), "nothing is queued for a peer that is gone"),
            (
                !marks.contains(Marks::OWED.union(Marks::BLOCKED)),
                "a peer whose socket is full is owed nothing",
            ),
            (*stage != Stage::Gone || !marks.contains(Marks::OWED), "a peer that is gone is owed nothing"),
            (
                !marks.contains(Marks::UNFINISHED) || *stage != Stage::Gone,
                "a peer that is gone has no message",
            ),
        ];
        rules.into_iter().find_map(|(holds, rule)| (!holds).then_some(rule))
    }
}

impl Peers {
    /// Checks one peer after a change, in builds with debug assertions.
    pub(super) fn check(&self, id: PeerId) {
        if cfg!(debug_assertions)
            && let Some(peer) = self.slots.get(id)
            && let Some(rule) = peer.violated_invariant()
        {
            panic!("peer {id:?}: {rule}: {peer:?}");
        }
    }

    /// Checks every peer, and that the lists and counts agree with the peers' marks. For tests: it takes its time.
    ///
    /// # Panics
    /// When they do not.
    pub fn check_invariants(&self) {
        let (mut open, mut owed, mut leftovers) = (0, 0, 0);
        let listed = Lane::ALL.map(|lane| self.delivery.slots(lane).collect::<HashSet<_>>());
        for (id, peer) in self.slots.iter() {
            self.check(id);
            open += usize::from(peer.marks.contains(Marks::OPEN));
            owed += usize::from(peer.marks.contains(Marks::OWED));
            leftovers += usize::from(peer.marks.contains(Marks::LEFTOVER));
            for (lane, listed) in Lane::ALL.into_iter().zip(&listed) {
                let is_dirty = peer.marks.contains(Marks::dirty(lane));
                assert!(!is_dirty || listed.contains(&id.index()), "peer {id:?} is dirty and in no list");
            }
            let is_waiting = peer.outgoing.is_empty()
                || peer.marks.is_dirty()
                || peer.marks.contains(Marks::BLOCKED)
                || peer.stage == Stage::Gone;
            assert!(is_waiting, "peer {id:?} has something queued and will never be written to");
            assert_eq!(self.leftovers.contains_key(&id.index()), peer.marks.contains(Marks::LEFTOVER));
            let is_blocked = peer.marks.contains(Marks::BLOCKED);
            assert!(!is_blocked || self.delivery.is_watched(id.index()), "peer {id:?} is blocked unwatched");
        }
        assert_eq!((open, owed, leftovers), (self.open, self.owed, self.leftovers.len()));
    }
}
