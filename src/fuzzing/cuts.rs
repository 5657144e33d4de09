//! Ways to split a stream of bytes into pieces: results must not depend on the split.

/// Calls `check` with `bytes` whole, byte by byte, in small pieces, and in two pieces split at every position. Under a
/// fuzzer, and for long inputs, only with a sample of these.
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
    // The sampled positions depend on the length, so that mutations that grow or shrink the input reach others.
    for place in (bytes.len() % step..=bytes.len()).step_by(step) {
        let (head, tail) = bytes.split_at(place);
        check(&[head, tail]);
    }
}
