//! Which window a compressed message needs, by the reference inflater of the fuzz targets, which shares no code with the
//! server's: what inflates into one buffer cannot tell by itself whether a sender respects the window, since everything it has
//! written is within its reach.

#[path = "../../src/fuzzing/inflate.rs"]
mod reference_inflater;

use flate2::{Compress, Compression, FlushCompress};
use reference_inflater::Broken;

/// The message of a compressed payload (RFC 7692 §7.2.2), for a receiver that keeps the last 2^`bits` bytes of it.
///
/// # Errors
///
/// The payload is not DEFLATE data, or refers to a byte that is no longer, or not yet, in the window.
pub(crate) fn inflate(payload: &[u8], bits: u8) -> Result<Vec<u8>, String> {
    let inflated = reference_inflater::inflate(payload, usize::MAX).map_err(|problem| match problem {
        Broken::BeforeStart(distance, inflated) => format!("a distance of {distance} after {inflated} bytes"),
        problem => format!("{problem:?}"),
    })?;
    match inflated.farthest {
        distance if distance > 1 << bits => {
            Err(format!("a distance of {distance} in a window of {}", 1 << bits))
        }
        _ => Ok(inflated.bytes),
    }
}

/// Repetitions at distances just within each window of 2^9 to 2^15 bytes, beyond the next smaller one.
pub(crate) fn text_for_all_windows() -> String {
    let mut seed = 7_u32;
    let mut noise = |length: usize| -> String {
        let letters = (0..length).map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + u8::try_from(seed >> 28).expect("4 bits"))
        });
        letters.collect()
    };
    // zlib refers to no byte further back than its window less 262 bytes.
    (9..=15).map(|bits| noise((1 << bits) - 262).repeat(2)).collect()
}

/// A block that repeats the three bytes that lie 2^`bits` bytes back, in the fixed code of RFC 1951 §3.2.6; the end of its
/// flush is left out.
pub(crate) fn reference(bits: u32) -> Vec<u8> {
    let (mut bytes, mut count) = (Vec::new(), 0);
    let mut push = |bit: u32| {
        if count % 8 == 0 {
            bytes.push(0);
        }
        *bytes.last_mut().expect("a byte") |= u8::try_from(bit << (count % 8)).expect("a bit");
        count += 1;
    };
    // Not final, fixed codes; the length 3 is 0000001.
    [0, 1, 0].into_iter().for_each(&mut push);
    [0, 0, 0, 0, 0, 0, 1].into_iter().for_each(&mut push);
    // The last distance of its code, whose extra bits are all ones.
    let code = 2 * bits - 1;
    (0..5).rev().for_each(|place| push(code >> place & 1));
    (0..bits - 2).for_each(|_| push(1));
    // The end of the block, and the head of an empty stored one.
    [0; 10].into_iter().for_each(&mut push);
    bytes
}

/// A final block with this content.
pub(crate) fn final_block(content: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(content.len() + 1024);
    Compress::new(Compression::best(), false)
        .compress_vec(content, &mut block, FlushCompress::Finish)
        .expect("anything can be compressed");
    block
}
