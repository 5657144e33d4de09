//! The cache of verified tokens, so that a crowd of reconnecting clients costs no signature checks.
//!
//! The key is the SHA-256 digest of the whole token, signature included; anything shorter could collide with a forged
//! token. An entry does not depend on the time, so the caller checks `exp` and `nbf` again. All entries were verified
//! with one key set; the caller clears the cache when that changes.

use hashbrown::HashTable;

use super::claims::Payload;
use super::{Claims, Digest, KeyId};
use crate::api::UserId;
use crate::time::Wall;

/// A bounded map from digests to the tokens' contents. When it is full, the clock algorithm evicts an entry that was not
/// used recently.
///
/// Invariants: `index` holds the position of each entry once; `entries` is no longer than `capacity`; `hand` is less
/// than its length, or 0.
#[derive(Debug)]
pub(super) struct Cache {
    /// Positions in `entries`, by digest.
    index: HashTable<u32>,
    entries: Vec<Entry>,
    /// The few keys that the entries' tokens were verified with.
    keys: Vec<KeyId>,
    capacity: usize,
    /// The next candidate for eviction.
    hand: usize,
}

/// One cached token; kept small because there may be one for each connection.
#[derive(Debug)]
struct Entry {
    digest: Digest,
    user: UserId,
    expires: Moment,
    not_before: Moment,
    /// The position in `keys`.
    key: u16,
    /// Whether it was found since the hand last passed.
    used: bool,
}

/// A wall-clock moment in 48 bits of milliseconds: enough up to the year 9999.
#[derive(Clone, Copy, Debug)]
struct Moment([u16; 3]);

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.min(u32::MAX as usize);
        Self { index: HashTable::new(), entries: Vec::new(), keys: Vec::new(), capacity, hand: 0 }
    }

    /// The contents of the token with this digest, if it is cached.
    pub(super) fn get(&mut self, digest: &Digest) -> Option<(Claims, Payload)> {
        let position = *self.index.find(hash(digest), |&at| self.entries[at as usize].digest == *digest)?;
        let entry = &mut self.entries[position as usize];
        entry.used = true;
        let (user, expires, not_before) = (entry.user, entry.expires.into(), entry.not_before.into());
        let key = self.keys[usize::from(entry.key)];
        Some((Claims { user, expires, key }, Payload { user, expires, not_before }))
    }

    /// Adds a token that has just been verified.
    pub(super) fn insert(&mut self, digest: Digest, claims: Claims, payload: Payload) {
        if self.capacity == 0 || self.get(&digest).is_some() {
            return;
        }
        let Payload { user, expires, not_before } = payload;
        let (Some(key), Some(expires), Some(not_before)) =
            (self.position_of(claims.key), Moment::new(expires), Moment::new(not_before))
        else {
            return;
        };
        let entry = Entry { digest, user, expires, not_before, key, used: false };
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

    /// The number of entries.
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Removes all entries and frees their memory.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// The key's position in `keys`, added if new; `None` if there are 65,536 already.
    fn position_of(&mut self, key: KeyId) -> Option<u16> {
        let known = self.keys.iter().position(|&known| known == key);
        let position = u16::try_from(known.unwrap_or(self.keys.len())).ok()?;
        if known.is_none() {
            self.keys.push(key);
        }
        Some(position)
    }

    /// Makes room for one more entry: doubles like a `Vec`, but not beyond `capacity`.
    fn grow(&mut self) {
        let len = self.entries.len();
        if len == self.entries.capacity() {
            self.entries.reserve_exact(len.max(16).min(self.capacity - len));
        }
    }

    /// Evicts an entry from the index and returns its position for reuse.
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

impl Moment {
    /// `None` if the moment does not fit into 48 bits.
    fn new(Wall(moment): Wall) -> Option<Self> {
        let [a, b, c, 0] = [0, 16, 32, 48].map(|shift| (moment >> shift) & 0xffff) else { return None };
        let narrow = |part| u16::try_from(part).ok();
        Some(Self([narrow(a)?, narrow(b)?, narrow(c)?]))
    }
}

impl From<Moment> for Wall {
    fn from(Moment([a, b, c]): Moment) -> Self {
        Self(u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32)
    }
}

/// The hash of a digest: a part of it.
fn hash(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ObjectId;

    /// A distinct token for each number: its digest and contents.
    fn token(number: u32) -> (Digest, Claims, Payload) {
        let user = UserId(ObjectId::from_bytes([7; 12]));
        let (expires, not_before) = (Wall(u64::from(number)), Wall(0));
        let claims = Claims { user, expires, key: KeyId::of_no_key(1) };
        (super::super::digest_of(&number.to_string()), claims, Payload { user, expires, not_before })
    }

    fn insert(cache: &mut Cache, number: u32) {
        let (digest, claims, payload) = token(number);
        cache.insert(digest, claims, payload);
    }

    fn knows(cache: &Cache, number: u32) -> bool {
        let (digest, ..) = token(number);
        cache.entries.iter().any(|entry| entry.digest == digest)
    }

    /// What must hold between the cache's fields at all times.
    fn assert_sound(cache: &Cache) {
        assert_eq!(cache.index.len(), cache.entries.len());
        assert!(cache.entries.len() <= cache.capacity);
        assert!(cache.hand == 0 || cache.hand < cache.entries.len());
        for (entry, position) in cache.entries.iter().zip(0..) {
            let found = cache.index.find(hash(&entry.digest), |at| *at == position);
            assert_eq!(found, Some(&position), "the index leads to every entry");
        }
    }

    #[test]
    fn a_token_is_told_from_every_other() {
        let mut cache = Cache::new(10);
        insert(&mut cache, 1);
        let (digest, claims, payload) = token(1);
        assert_eq!(cache.get(&digest), Some((claims, payload)));
        for byte in 0..digest.len() {
            let mut other = digest;
            other[byte] ^= 1;
            assert_eq!(cache.get(&other), None);
        }
    }

    #[test]
    fn who_was_not_asked_for_makes_room() {
        let mut cache = Cache::new(3);
        for number in [1, 2, 3] {
            insert(&mut cache, number);
        }
        assert!(cache.get(&token(1).0).is_some());
        insert(&mut cache, 4);
        assert!([1, 3, 4].iter().all(|&number| knows(&cache, number)) && !knows(&cache, 2));
        // The hand has passed 1, which counts as not asked for now.
        insert(&mut cache, 5);
        assert!([1, 4, 5].iter().all(|&number| knows(&cache, number)) && !knows(&cache, 3));
        insert(&mut cache, 6);
        assert!([4, 5, 6].iter().all(|&number| knows(&cache, number)) && !knows(&cache, 1));
        assert_sound(&cache);
    }

    #[test]
    fn it_stays_sound_whatever_comes() {
        for capacity in [0, 1, 2, 7, 64] {
            let mut cache = Cache::new(capacity);
            for step in 0..500_u32 {
                let number = step.wrapping_mul(2_654_435_761) % 100;
                match step % 3 {
                    0 => drop(cache.get(&token(number).0)),
                    _ => insert(&mut cache, number),
                }
                assert_sound(&cache);
            }
            cache.clear();
            assert_sound(&cache);
            assert_eq!(cache.entries.capacity(), 0);
        }
    }

    #[test]
    fn s36_a_hundred_thousand_tokens_fit_in_8_megabytes() {
        let mut cache = Cache::new(100_000);
        let (_, claims, payload) = token(0);
        for number in 0..150_000_u64 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            cache.insert(digest, claims, payload);
        }
        assert_eq!(cache.entries.len(), 100_000);
        let bytes = cache.entries.capacity() * size_of::<Entry>() + cache.index.allocation_size();
        assert!(bytes <= 8_000_000, "{bytes}");
    }

    #[test]
    fn a_moment_is_what_it_was() {
        for moment in [0, 1, 0xffff, 0x1_0000, 1_711_716_316_123, 253_402_300_799_999, (1 << 48) - 1] {
            assert_eq!(Moment::new(Wall(moment)).map(Wall::from), Some(Wall(moment)));
        }
        assert!(Moment::new(Wall(1 << 48)).is_none() && Moment::new(Wall::NEVER).is_none());
    }
}
