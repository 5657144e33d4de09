//! Unpredictable random numbers.

use rustix::rand::{GetRandomFlags, getrandom};

/// A random number from the kernel.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    let count = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(count, Ok(bytes.len()), "the kernel provides random numbers");
    u64::from_ne_bytes(bytes)
}
