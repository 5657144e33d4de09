//! The simulated sockets of the peers: how much of a write they accept, when they block, and when they break.

use std::io::{self, ErrorKind, IoSlice, Write};

use crate::random::Random;
use airlay::peers::{PeerId, Sockets};

/// The server's end of a peer's connection.
#[derive(Debug)]
pub(crate) struct Wire {
    /// The client at the other end.
    pub(crate) client: usize,
    /// Bytes written by the server that the oracle has not checked yet.
    pub(crate) written: Vec<u8>,
    /// Bytes that fit before the client reads.
    pub(crate) room: usize,
    /// The server awaits an event when the wire is no longer full.
    pub(crate) owes_event: bool,
    /// The last write was refused.
    pub(crate) is_blocked: bool,
    /// The number of refused writes.
    pub(crate) blocks: u64,
    /// Every write fails.
    pub(crate) is_broken: bool,
    /// A write has failed.
    pub(crate) has_failed: bool,
    /// The server has shut down its writing side.
    pub(crate) is_shut: bool,
    /// How many of a thousand writes are short, and how many are refused although there is room.
    pub(crate) short: usize,
    pub(crate) spurious: usize,
    pub(crate) shorts: u64,
    pub(crate) spurious_blocks: u64,
    random: Random,
}

impl Wire {
    pub(crate) const fn new(client: usize, room: usize, random: Random) -> Self {
        Self {
            client,
            written: Vec::new(),
            room,
            owes_event: false,
            is_blocked: false,
            blocks: 0,
            is_broken: false,
            has_failed: false,
            is_shut: false,
            short: 0,
            spurious: 0,
            shorts: 0,
            spurious_blocks: 0,
            random,
        }
    }

    /// How many of `bytes` bytes a write accepts.
    fn admit(&mut self, bytes: usize) -> io::Result<usize> {
        if self.is_broken {
            self.has_failed = true;
            return Err(ErrorKind::BrokenPipe.into());
        }
        let is_spurious = self.room > 0 && self.spurious > 0 && self.random.chance(self.spurious);
        if self.room == 0 || is_spurious {
            self.spurious_blocks += u64::from(is_spurious);
            self.is_blocked = true;
            self.blocks += 1;
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut taken = bytes.min(self.room);
        if taken > 1 && self.short > 0 && self.random.chance(self.short) {
            taken = self.random.between(1, taken - 1);
            self.shorts += 1;
        }
        self.room -= taken;
        self.is_blocked = false;
        Ok(taken)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.admit(bytes.len())?;
        self.written.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let taken = self.admit(slices.iter().map(|slice| slice.len()).sum())?;
        let mut left = taken;
        for slice in slices {
            let piece = &slice[..slice.len().min(left)];
            self.written.extend_from_slice(piece);
            left -= piece.len();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All wires, by the peer's slot.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    wires: Vec<Option<(PeerId, Wire)>>,
    /// The slots whose wires the server used since the oracle last checked them.
    pub(crate) touched: Vec<usize>,
}

impl Wires {
    pub(crate) fn put(&mut self, peer: PeerId, wire: Wire) {
        if self.wires.len() <= peer.index() {
            self.wires.resize_with(peer.index() + 1, || None);
        }
        let former = self.wires[peer.index()].replace((peer, wire));
        assert!(former.is_none(), "a slot is reused while its former peer has a socket");
    }

    pub(crate) fn at(&mut self, slot: usize) -> Option<&mut Wire> {
        self.wires.get_mut(slot)?.as_mut().map(|(_, wire)| wire)
    }

    pub(crate) fn of(&mut self, peer: PeerId) -> &mut Wire {
        let found = self.wires.get_mut(peer.index()).and_then(Option::as_mut);
        let Some((owner, wire)) = found else { panic!("{peer:?} has no socket") };
        assert_eq!(*owner, peer, "the socket belongs to another peer");
        wire
    }

    pub(crate) fn take(&mut self, peer: PeerId) -> Wire {
        self.of(peer);
        self.wires[peer.index()].take().expect("it was just found").1
    }
}

impl Sockets for Wires {
    type Socket = Wire;

    fn socket(&mut self, peer: PeerId) -> &mut Wire {
        self.touched.push(peer.index());
        self.of(peer)
    }

    fn await_writable(&mut self, peer: PeerId) -> io::Result<()> {
        let wire = self.of(peer);
        assert!(wire.is_blocked, "the server awaits a wire that has refused nothing");
        wire.owes_event = true;
        Ok(())
    }

    fn shut(&mut self, peer: PeerId) {
        self.of(peer).is_shut = true;
    }
}
