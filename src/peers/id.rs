//! A peer's name inside the process.

/// One connected peer: a slot, and the generation that tells this peer from those who had the slot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl PeerId {
    /// The peer that has been given this slot and generation.
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// The slot: below the greatest number of peers there ever were at once; reused when the peer is gone.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// Counts all peers ever; wraps after 2³².
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}
