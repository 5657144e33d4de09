//! Inflation (RFC 1951) by a receiver that keeps a window of 2^bits bytes and nothing else: an oracle that shares no code with
//! the server. A decompressor that writes into one buffer cannot tell whether a sender respects the window, since everything
//! it has written is within its reach.

use flate2::{Compress, Compression, FlushCompress};

/// The message of a compressed payload (RFC 7692 §7.2.2), inflated with a window of 2^`bits` bytes.
///
/// # Errors
///
/// The payload is not DEFLATE data, or refers to a byte that is no longer, or not yet, in the window.
pub(crate) fn inflate(payload: &[u8], bits: u8) -> Result<Vec<u8>, String> {
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut input = Bits { bytes: &input, place: 0 };
    let mut window = Window { ring: vec![0; 1 << bits], written: 0 };
    let mut message = Vec::new();
    loop {
        let is_final = input.take(1)? == 1;
        match input.take(2)? {
            0 => stored(&mut input, &mut window, &mut message)?,
            1 => coded(&mut input, &mut window, &mut message, fixed())?,
            2 => {
                let codes = dynamic(&mut input)?;
                coded(&mut input, &mut window, &mut message, codes)?;
            }
            _ => return Err("a block of the reserved type".to_owned()),
        }
        if is_final {
            // It ends DEFLATE data, but not the message (RFC 7692 §7.2.3.4).
            input.align();
        }
        if input.is_empty() {
            return Ok(message);
        }
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

/// The last bytes that were inflated.
struct Window {
    ring: Vec<u8>,
    /// How many bytes have been inflated in all.
    written: usize,
}

impl Window {
    fn write(&mut self, byte: u8, message: &mut Vec<u8>) {
        let size = self.ring.len();
        self.ring[self.written % size] = byte;
        self.written += 1;
        message.push(byte);
    }

    fn read(&self, distance: usize) -> Result<u8, String> {
        let size = self.ring.len();
        if distance > size {
            return Err(format!("a distance of {distance} in a window of {size}"));
        }
        let place = self.written.checked_sub(distance);
        let place = place.ok_or_else(|| format!("a distance of {distance} after {} bytes", self.written))?;
        Ok(self.ring[place % size])
    }
}

/// Bits, the lowest of each byte first.
struct Bits<'t> {
    bytes: &'t [u8],
    place: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Result<usize, String> {
        let mut value = 0;
        for bit in 0..count {
            let byte = self.bytes.get(self.place / 8).ok_or("the data ends within a block")?;
            value |= usize::from(byte >> (self.place % 8) & 1) << bit;
            self.place += 1;
        }
        Ok(value)
    }

    fn align(&mut self) {
        self.place = self.place.next_multiple_of(8);
    }

    fn is_empty(&self) -> bool {
        self.place == 8 * self.bytes.len()
    }
}

/// A canonical Huffman code (§3.2.2).
struct Code {
    /// How many symbols have a code of each length.
    counts: [usize; 16],
    /// The symbols in the order of their codes.
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        let mut symbols = Vec::new();
        for (length, count) in counts.iter_mut().enumerate().skip(1) {
            let before = symbols.len();
            symbols.extend((0..lengths.len()).filter(|&symbol| lengths[symbol] == length));
            *count = symbols.len() - before;
        }
        Self { counts, symbols }
    }

    fn read(&self, input: &mut Bits<'_>) -> Result<usize, String> {
        let (mut code, mut first, mut before) = (0, 0, 0);
        for count in &self.counts[1..] {
            code = 2 * code + input.take(1)?;
            first *= 2;
            if code < first + count {
                return Ok(self.symbols[before + code - first]);
            }
            first += count;
            before += count;
        }
        Err("bits that are no code".to_owned())
    }
}

/// §3.2.4: a stored block.
fn stored(input: &mut Bits<'_>, window: &mut Window, message: &mut Vec<u8>) -> Result<(), String> {
    input.align();
    let (length, complement) = (input.take(16)?, input.take(16)?);
    if length ^ complement != 0xffff {
        return Err("a stored block whose length contradicts its complement".to_owned());
    }
    for _ in 0..length {
        let byte = u8::try_from(input.take(8)?).expect("8 bits");
        window.write(byte, message);
    }
    Ok(())
}

/// §3.2.6: the fixed codes of literals and lengths, and of distances.
fn fixed() -> [Code; 2] {
    let lengths: Vec<usize> = [[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat();
    [Code::new(&lengths), Code::new(&[5; 30])]
}

/// §3.2.7: the codes that a block brings.
fn dynamic(input: &mut Bits<'_>) -> Result<[Code; 2], String> {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let (literals, distances, count) = (input.take(5)? + 257, input.take(5)? + 1, input.take(4)? + 4);
    let mut lengths = [0; 19];
    for place in &ORDER[..count] {
        lengths[*place] = input.take(3)?;
    }
    let code = Code::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (length, times) = match code.read(input)? {
            16 => (*lengths.last().ok_or("a repetition of nothing")?, 3 + input.take(2)?),
            17 => (0, 3 + input.take(3)?),
            18 => (0, 11 + input.take(7)?),
            length => (length, 1),
        };
        lengths.extend([length].repeat(times));
    }
    if lengths.len() > literals + distances {
        return Err("more lengths than codes".to_owned());
    }
    Ok([Code::new(&lengths[..literals]), Code::new(&lengths[literals..])])
}

/// §3.2.5: literals, and references to the window.
fn coded(
    input: &mut Bits<'_>,
    window: &mut Window,
    message: &mut Vec<u8>,
    [literals, distances]: [Code; 2],
) -> Result<(), String> {
    loop {
        match literals.read(input)? {
            symbol @ ..256 => window.write(u8::try_from(symbol).expect("a byte"), message),
            256 => return Ok(()),
            symbol @ 257..=285 => {
                let length = length(symbol - 257, input)?;
                let distance = match distances.read(input)? {
                    symbol @ ..4 => symbol + 1,
                    symbol => {
                        let extra = symbol / 2 - 1;
                        ((2 + symbol % 2) << extra) + 1 + input.take(extra)?
                    }
                };
                for _ in 0..length {
                    let byte = window.read(distance)?;
                    window.write(byte, message);
                }
            }
            symbol => return Err(format!("the symbol {symbol}, which means nothing")),
        }
    }
}

/// The length of a reference, of the 29 codes for lengths.
fn length(code: usize, input: &mut Bits<'_>) -> Result<usize, String> {
    Ok(match code {
        ..8 => code + 3,
        28 => 258,
        _ => {
            let extra = code / 4 - 1;
            ((4 + code % 4) << extra) + 3 + input.take(extra)?
        }
    })
}
