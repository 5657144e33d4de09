//! The peers' addresses, each stored once with the number of its peers. A peer holds a key of four bytes.

use hashbrown::HashTable;
use slab::Slab;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

/// Identifies an address while a peer holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressKey(u32);

/// The addresses of all peers.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    entries: Slab<Entry>,
    index: HashTable<u32>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    /// Peers that hold the address, including those that wait to be reaped.
    holders: usize,
    /// Peers that hold it and have not [left](Addresses::leave).
    present: usize,
}

impl Addresses {
    /// Counts one more peer at `address`.
    pub(super) fn add(&mut self, address: IpAddr) -> AddressKey {
        let Self { entries, index, hasher } = self;
        let hash = hasher.hash_one(address);
        let key = match index.find(hash, |&key| entries[key as usize].address == address) {
            Some(&key) => key,
            None => {
                let key = u32::try_from(entries.insert(Entry { address, holders: 0, present: 0 }))
                    .expect("fewer than 2^32 peers");
                index.insert_unique(hash, key, |&key| hasher.hash_one(entries[key as usize].address));
                key
            }
        };
        entries[key as usize].holders += 1;
        entries[key as usize].present += 1;
        AddressKey(key)
    }

    /// Counts one peer less at this address. The peer holds the address until [`remove`](Self::remove).
    pub(super) fn leave(&mut self, AddressKey(key): AddressKey) {
        self.entries[key as usize].present -= 1;
    }

    /// Releases the address of a peer that has left.
    pub(super) fn remove(&mut self, AddressKey(key): AddressKey) {
        let entry = &mut self.entries[key as usize];
        entry.holders -= 1;
        if entry.holders == 0 {
            let hash = self.hasher.hash_one(entry.address);
            self.entries.remove(key as usize);
            if let Ok(found) = self.index.find_entry(hash, |&other| other == key) {
                found.remove();
            }
        }
    }

    /// The address with this key.
    pub(super) fn get(&self, AddressKey(key): AddressKey) -> IpAddr {
        self.entries[key as usize].address
    }

    /// The number of peers at `address` that have not left.
    pub(super) fn count(&self, address: IpAddr) -> usize {
        let hash = self.hasher.hash_one(address);
        let found = self.index.find(hash, |&key| self.entries[key as usize].address == address);
        found.map_or(0, |&key| self.entries[key as usize].present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_while_a_peer_has_it() {
        let mut addresses = Addresses::default();
        let (one, other): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let keys = [addresses.add(one), addresses.add(other), addresses.add(one)];
        assert_eq!((addresses.count(one), addresses.count(other)), (2, 1));
        assert_eq!(keys.map(|key| addresses.get(key)), [one, other, one]);
        addresses.leave(keys[0]);
        assert_eq!((addresses.count(one), addresses.get(keys[0])), (1, one));
        keys[1..].iter().for_each(|&key| addresses.leave(key));
        keys.into_iter().for_each(|key| addresses.remove(key));
        assert_eq!((addresses.count(one), addresses.count(other)), (0, 0));
        assert!(addresses.entries.is_empty() && addresses.index.is_empty());
    }
}
