//! The ways to cut a stream of bytes into pieces: what a stream means must not depend on them.

/// Calls `check` with `bytes` whole, byte by byte, in small pieces, and in two pieces cut at every place (at some
/// places, if there are many).
pub(crate) fn for_each(bytes: &[u8], mut check: impl FnMut(&[&[u8]])) {
    check(&[bytes]);
    for size in [1, 2, 3, 7] {
        check(&bytes.chunks(size).collect::<Vec<_>>());
    }
    let step = bytes.len().div_ceil(PLACES).max(1);
    // Which places are taken of many changes with the length, so that a mutation that grows or shrinks meets others.
    for place in (bytes.len() % step..=bytes.len()).step_by(step) {
        let (head, tail) = bytes.split_at(place);
        check(&[head, tail]);
    }
}

/// How many places are enough to cut at.
const PLACES: usize = 32;
