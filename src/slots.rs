//! Slots that are reused, and ids that tell their successive occupants apart.
//!
//! Readiness events carry an id through the kernel and may arrive late, when the slot has another occupant. A
//! [`SlotId`] therefore names a slot and a generation, and both fit into [`SlotId::BITS`] bits of a readiness event.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use slab::Slab;

/// Counts the occupants of all slots of one [`Slots`]; wraps after 2³⁰.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u32);

/// One occupant of a slot; `K` says of what kind, so that ids of peers and producers do not mix.
pub struct SlotId<K> {
    index: u32,
    generation: u32,
    kind: PhantomData<fn() -> K>,
}

/// What can be kept in [`Slots`]. It keeps its own generation, so that a slot costs no padding.
pub trait Occupant {
    /// The kind its ids are of.
    type Kind;

    /// The generation it was made with.
    fn generation(&self) -> Generation;
}

/// Values in slots. A slot is free again as soon as its value is removed; an id that named the value finds nothing
/// from then on.
#[derive(Debug)]
pub struct Slots<T> {
    slab: Slab<T>,
    last: Generation,
}

impl Generation {
    const BITS: u32 = 30;

    const fn next(self) -> Self {
        Self((self.0 + 1) & (u32::MAX >> (u32::BITS - Self::BITS)))
    }
}

impl<K> SlotId<K> {
    /// How many bits [`SlotId::to_bits`] uses.
    pub const BITS: u32 = u32::BITS + Generation::BITS;

    /// The occupant of the slot `index` with this generation, of which the lower 30 bits count.
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self {
            index,
            generation: generation & (u32::MAX >> (u32::BITS - Generation::BITS)),
            kind: PhantomData,
        }
    }

    /// The slot: less than the largest number of values there ever were at once.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// Tells the slot's occupants apart.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// The id as a number below 2^[`BITS`](Self::BITS).
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << u32::BITS | self.index as u64
    }

    /// The id that [`to_bits`](Self::to_bits) made this number of; bits above [`BITS`](Self::BITS) are ignored.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each half of the number")]
    pub const fn from_bits(bits: u64) -> Self {
        Self::new(bits as u32, (bits >> u32::BITS) as u32)
    }
}

impl<T: Occupant> Slots<T> {
    /// Empty slots.
    #[must_use]
    pub const fn new() -> Self {
        Self { slab: Slab::new(), last: Generation(0) }
    }

    /// Puts the value that `make` gives into a free slot.
    ///
    /// # Panics
    /// With 2³² values.
    pub fn insert(&mut self, make: impl FnOnce(Generation) -> T) -> SlotId<T::Kind> {
        self.last = self.last.next();
        let index = self.slab.insert(make(self.last));
        SlotId::new(u32::try_from(index).expect("fewer than 2^32 slots"), self.last.0)
    }

    /// The value of this id, if it is still there.
    #[must_use]
    pub fn get(&self, id: SlotId<T::Kind>) -> Option<&T> {
        self.slab.get(id.index()).filter(|value| value.generation().0 == id.generation)
    }

    /// The value of this id, if it is still there.
    pub fn get_mut(&mut self, id: SlotId<T::Kind>) -> Option<&mut T> {
        self.slab.get_mut(id.index()).filter(|value| value.generation().0 == id.generation)
    }

    /// Takes the value of this id out, if it is still there.
    pub fn remove(&mut self, id: SlotId<T::Kind>) -> Option<T> {
        self.get(id)?;
        Some(self.slab.remove(id.index()))
    }

    /// The value in a slot, whatever its generation.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<&T> {
        self.slab.get(index)
    }

    /// The value in a slot, whatever its generation.
    pub fn at_mut(&mut self, index: usize) -> Option<&mut T> {
        self.slab.get_mut(index)
    }

    /// The id of the value in a slot.
    #[must_use]
    pub fn id_at(&self, index: usize) -> Option<SlotId<T::Kind>> {
        self.at(index).map(|value| id_of(index, value))
    }

    /// Every value and its id, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (SlotId<T::Kind>, &T)> {
        self.slab.iter().map(|(index, value)| (id_of(index, value), value))
    }

    /// Every value, in the order of the slots.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slab.iter_mut().map(|(_, value)| value)
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Counts on from `generation`, for tests near the wrap.
    #[cfg(test)]
    pub(crate) const fn set_generation(&mut self, generation: u32) {
        self.last = Generation(generation);
    }
}

impl<T: Occupant> Default for Slots<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn id_of<T: Occupant>(index: usize, value: &T) -> SlotId<T::Kind> {
    SlotId::new(u32::try_from(index).expect("fewer than 2^32 slots"), value.generation().0)
}

// Derived, these would ask the same of `K`.
impl<K> Clone for SlotId<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for SlotId<K> {}

impl<K> PartialEq for SlotId<K> {
    fn eq(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl<K> Eq for SlotId<K> {}

impl<K> PartialOrd for SlotId<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for SlotId<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.index, self.generation).cmp(&(other.index, other.generation))
    }
}

impl<K> Hash for SlotId<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_bits().hash(state);
    }
}

impl<K> fmt::Debug for SlotId<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Value(Generation);

    impl Occupant for Value {
        type Kind = Self;

        fn generation(&self) -> Generation {
            self.0
        }
    }

    #[test]
    fn an_id_finds_its_own_value_and_no_later_one() {
        let mut slots = Slots::new();
        let first = slots.insert(Value);
        assert!(slots.remove(first).is_some());
        let second = slots.insert(Value);
        assert_eq!((first.index(), second.index()), (0, 0));
        assert!(
            slots.get(first).is_none() && slots.get_mut(first).is_none() && slots.remove(first).is_none()
        );
        assert_eq!((slots.len(), slots.id_at(0)), (1, Some(second)));
        assert!(slots.get(second).is_some());
    }

    #[test]
    fn s54_ids_hold_across_the_wrap_of_generations() {
        let mut slots = Slots::new();
        slots.set_generation((1 << 30) - 3);
        let ids: Vec<_> = (0..6).map(|_| slots.insert(Value)).collect();
        let generations: Vec<u32> = ids.iter().map(|id| id.generation()).collect();
        assert_eq!(generations, [(1 << 30) - 2, (1 << 30) - 1, 0, 1, 2, 3]);
        for id in ids {
            assert!(id.to_bits() < 1 << SlotId::<Value>::BITS);
            assert_eq!(SlotId::from_bits(id.to_bits()), id);
            assert!(slots.get(SlotId::from_bits(id.to_bits())).is_some());
            assert!(slots.remove(id).is_some());
        }
        assert!(slots.is_empty());
    }
}
