//! Random numbers nobody can foresee.

use rustix::rand::{GetRandomFlags, getrandom};

pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    let count = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(count, Ok(bytes.len()), "every machine we run on has random numbers");
    u64::from_ne_bytes(bytes)
}
