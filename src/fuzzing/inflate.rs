//! The reference for DEFLATE (RFC 1951): short and slow, bit by bit.

/// Base length and number of extra bits of each symbol, from symbol 257 on.
const LENGTHS: [(usize, u32); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// Base distance and number of extra bits of each symbol.
const DISTANCES: [(usize, u32); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12_289, 12),
    (16_385, 13),
    (24_577, 13),
];

/// The contents of a compressed message's payload (RFC 7692 §7.2.2).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inflated {
    pub(crate) bytes: Vec<u8>,
    /// Number of blocks with the final bit set.
    pub(crate) final_blocks: u32,
    /// The greatest distance of a copy, in bytes.
    pub(crate) farthest: usize,
}

/// Inflates a message's payload. Fails if it is invalid, truncated, or inflates to more than `limit` bytes.
pub(crate) fn inflate(payload: &[u8], limit: usize) -> Result<Inflated, Broken> {
    let data = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut bits = Bits { data: &data, at: 0 };
    let mut inflated = Inflated::default();
    while bits.at < data.len() * 8 {
        let is_final = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => stored(&mut bits, &mut inflated.bytes)?,
            1 => compressed(&mut bits, &mut inflated, &fixed_lengths(), &[5; 30], limit)?,
            2 => {
                let (literals, distances) = dynamic_lengths(&mut bits)?;
                compressed(&mut bits, &mut inflated, &literals, &distances, limit)?;
            }
            _ => return Err(Broken::Data),
        }
        if inflated.bytes.len() > limit {
            return Err(Broken::TooLong);
        }
        if is_final {
            inflated.final_blocks += 1;
            bits.align();
        }
    }
    Ok(inflated)
}

/// Why a payload cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Invalid or truncated DEFLATE data.
    Data,
    /// A copy from before the first byte: its distance, and how many bytes there are.
    BeforeStart(usize, usize),
    /// The contents exceed the limit; what follows is not checked.
    TooLong,
}

struct Bits<'d> {
    data: &'d [u8],
    /// Index of the next bit.
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Result<usize, Broken> {
        let mut value = 0;
        for place in 0..count {
            let byte = self.data.get(self.at / 8).ok_or(Broken::Data)?;
            value |= usize::from(byte >> (self.at % 8) & 1) << place;
            self.at += 1;
        }
        Ok(value)
    }

    fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }
}

fn stored(bits: &mut Bits<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
    bits.align();
    let (length, complement) = (bits.take(16)?, bits.take(16)?);
    if length != complement ^ 0xffff {
        return Err(Broken::Data);
    }
    let start = bits.at / 8;
    out.extend_from_slice(bits.data.get(start..start + length).ok_or(Broken::Data)?);
    bits.at += length * 8;
    Ok(())
}

fn compressed(
    bits: &mut Bits<'_>,
    inflated: &mut Inflated,
    literals: &[u8],
    distances: &[u8],
    limit: usize,
) -> Result<(), Broken> {
    let Inflated { bytes: out, farthest, .. } = inflated;
    let (literals, distances) = (Code::new(literals), Code::new(distances));
    loop {
        match literals.decode(bits)? {
            literal @ 0..=255 => out.extend(u8::try_from(literal)),
            256 => return Ok(()),
            symbol => {
                let (base, extra) = *LENGTHS.get(symbol - 257).ok_or(Broken::Data)?;
                let length = base + bits.take(extra)?;
                let (base, extra) = *DISTANCES.get(distances.decode(bits)?).ok_or(Broken::Data)?;
                let distance = base + bits.take(extra)?;
                *farthest = distance.max(*farthest);
                for _ in 0..length {
                    let from = out.len().checked_sub(distance);
                    let from = from.ok_or(Broken::BeforeStart(distance, out.len()))?;
                    out.push(out[from]);
                }
            }
        }
        if out.len() > limit {
            return Err(Broken::TooLong);
        }
    }
}

fn dynamic_lengths(bits: &mut Bits<'_>) -> Result<(Vec<u8>, Vec<u8>), Broken> {
    let (literals, distances, codes) = (bits.take(5)? + 257, bits.take(5)? + 1, bits.take(4)? + 4);
    if literals > 286 || distances > 30 {
        return Err(Broken::Data);
    }
    let mut lengths = [0; 19];
    for place in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15].into_iter().take(codes) {
        lengths[place] = u8::try_from(bits.take(3)?).map_err(|_| Broken::Data)?;
    }
    let code = Code::new(&lengths);
    code.check(false)?;
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (value, count) = match code.decode(bits)? {
            16 => (*lengths.last().ok_or(Broken::Data)?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (u8::try_from(length).map_err(|_| Broken::Data)?, 1),
        };
        lengths.extend(std::iter::repeat_n(value, count));
    }
    if lengths.len() > literals + distances || lengths[256] == 0 {
        return Err(Broken::Data);
    }
    let distances = lengths.split_off(literals);
    Code::new(&lengths).check(true)?;
    Code::new(&distances).check(true)?;
    Ok((lengths, distances))
}

fn fixed_lengths() -> [u8; 288] {
    let mut lengths = [8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    lengths
}

/// A Huffman code (RFC 1951 §3.2.2).
struct Code {
    /// Number of symbols with a code of each length.
    counters: [usize; 16],
    /// The symbols, ordered by their codes.
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut counters = [0; 16];
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|&symbol| lengths[symbol] > 0).collect();
        symbols.sort_by_key(|&symbol| lengths[symbol]);
        for &symbol in &symbols {
            counters[usize::from(lengths[symbol])] += 1;
        }
        Self { counters, symbols }
    }

    /// Checks that the code is complete. With `may_be_single`, a code of one symbol of one bit, or of no symbol, is
    /// valid too.
    fn check(&self, may_be_single: bool) -> Result<(), Broken> {
        let mut left = 1_i64;
        for count in &self.counters[1..] {
            left = left * 2 - i64::try_from(*count).map_err(|_| Broken::Data)?;
            if left < 0 {
                return Err(Broken::Data);
            }
        }
        let is_single = self.symbols.is_empty() || self.symbols.len() == 1 && self.counters[1] == 1;
        if left == 0 || may_be_single && is_single { Ok(()) } else { Err(Broken::Data) }
    }

    fn decode(&self, bits: &mut Bits<'_>) -> Result<usize, Broken> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counters[1..] {
            code |= bits.take(1)?;
            if code < first + count {
                return self.symbols.get(index + code - first).copied().ok_or(Broken::Data);
            }
            index += count;
            first = (first + count) * 2;
            code *= 2;
        }
        Err(Broken::Data)
    }
}
