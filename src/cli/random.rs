//! Random bytes nobody can foresee: masking keys and nonces (RFC 6455 §5.3, §4.1), ids of tokens.

use rustix::rand::{GetRandomFlags, getrandom};

/// As many random bytes as are asked for.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let count = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(count, Ok(bytes.len()), "every machine we run on has random numbers");
    bytes
}
