//! The tokens that have been verified, so that a crowd that comes back costs no signature checks.
//!
//! A token goes by the SHA-256 digest of its whole text, signature included: nothing shorter tells it apart from a
//! token that was made to be taken for it. What is remembered does not depend on the time, so whoever asks has to
//! look at the token's times again. All of it was verified with one key set; it must be cleared when that changes.

use hashbrown::HashTable;

use super::claims::Payload;
use super::{Claims, Digest, KeyId};

/// A bounded map from digests to what the tokens say. When it is full, a token that was not asked for in a while makes
/// room (the clock algorithm).
#[derive(Debug)]
pub(super) struct Cache {
    /// Positions in `entries`, by digest.
    index: HashTable<u32>,
    entries: Vec<Entry>,
    /// The most entries there may be.
    capacity: usize,
    /// The entry to look at next when room is needed; below `entries.len()` or 0.
    hand: usize,
}

#[derive(Debug)]
struct Entry {
    digest: Digest,
    payload: Payload,
    key: KeyId,
    /// Whether it was asked for since the hand passed.
    used: bool,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.min(u32::MAX as usize);
        Self { index: HashTable::new(), entries: Vec::new(), capacity, hand: 0 }
    }

    /// What is known of the token with this digest.
    pub(super) fn get(&mut self, digest: &Digest) -> Option<(Claims, Payload)> {
        let position = *self.index.find(hash(digest), |&at| self.entries[at as usize].digest == *digest)?;
        let entry = &mut self.entries[position as usize];
        entry.used = true;
        let Payload { user, expires, .. } = entry.payload;
        Some((Claims { user, expires, key: entry.key }, entry.payload))
    }

    /// Remembers a token that has just been verified.
    pub(super) fn insert(&mut self, digest: Digest, claims: Claims, payload: Payload) {
        if self.capacity == 0 || self.get(&digest).is_some() {
            return;
        }
        let entry = Entry { digest, payload, key: claims.key, used: false };
        let position = if self.entries.len() < self.capacity {
            self.grow();
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let position = self.make_room();
            self.entries[position] = entry;
            position
        };
        #[expect(clippy::cast_possible_truncation, reason = "the capacity is at most u32::MAX")]
        let position = position as u32;
        let entries = &self.entries;
        self.index.insert_unique(hash(&digest), position, |&at| hash(&entries[at as usize].digest));
    }

    /// Forgets everything and gives the memory back.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// Makes room for one more entry, doubling like a `Vec`, but never beyond the capacity.
    fn grow(&mut self) {
        let len = self.entries.len();
        if len == self.entries.capacity() {
            self.entries.reserve_exact(len.max(16).min(self.capacity - len));
        }
    }

    /// Takes an entry out of the index whose place can be reused.
    fn make_room(&mut self) -> usize {
        loop {
            let position = self.hand;
            self.hand = (position + 1) % self.entries.len();
            let entry = &mut self.entries[position];
            if !std::mem::take(&mut entry.used) {
                let hash = hash(&entry.digest);
                if let Ok(found) = self.index.find_entry(hash, |&at| at as usize == position) {
                    found.remove();
                }
                return position;
            }
        }
    }
}

/// A digest needs no further hashing.
fn hash(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
