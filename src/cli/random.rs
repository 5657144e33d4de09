//! Unpredictable random bytes: masking keys and nonces (RFC 6455 §5.3, §4.1), token ids.

use rustix::rand::{GetRandomFlags, getrandom};

/// `N` random bytes from the system.
///
/// # Panics
/// The system has no random numbers.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let count = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(count, Ok(bytes.len()), "the system has random numbers");
    bytes
}
