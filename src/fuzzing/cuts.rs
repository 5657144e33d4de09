//! The ways to cut a stream of bytes into pieces: what a stream means must not depend on them.

/// Calls `check` with `bytes` whole, byte by byte, in small pieces, and in two pieces cut at every place. Under a fuzzer,
/// and where there are many bytes, only some of these: there will be other inputs.
pub(crate) fn for_each(bytes: &[u8], mut check: impl FnMut(&[&[u8]])) {
    check(&[bytes]);
    let (sizes, places) = match (cfg!(test), bytes.len()) {
        (true, 0..=4096) => (&[1, 2, 3, 7][..], 128),
        (false, 0..=4096) => (&[1, 7][..], 4),
        _ => (&[1021][..], 4),
    };
    for size in sizes {
        check(&bytes.chunks(*size).collect::<Vec<_>>());
    }
    let step = bytes.len().div_ceil(places).max(1);
    // Which places are taken of many changes with the length, so that a mutation that grows or shrinks meets others.
    for place in (bytes.len() % step..=bytes.len()).step_by(step) {
        let (head, tail) = bytes.split_at(place);
        check(&[head, tail]);
    }
}
