//! Target `frame_decoder`: compares headers and payloads with a bit-by-bit reading of RFC 6455 §5.2.

use super::cuts;
use crate::websocket::frame::{self, Decoded, FrameError, FrameHeader, FrameRules, OpCode};
use crate::websocket::reader::{Piece, Reader};

/// The first byte holds the settings (1: from a client, 2: with compression), the rest is what a peer sends.
///
/// A header must be refused exactly when its bytes contain a fault, as soon as they do, and for such a fault. A valid
/// header must survive decoding and encoding. The frames of a stream must be those of the reference, with unmasked
/// payloads, however the stream is split.
///
/// # Panics
///
/// If a check fails.
pub fn frame_decoder(data: &[u8]) {
    let Some((&settings, bytes)) = data.split_first() else { return };
    let rules = FrameRules { masked: settings & 1 != 0, compression: settings & 2 != 0 };
    for length in 0..=bytes.len().min(frame::MAX_HEADER + 1) {
        check_header(&bytes[..length], rules);
    }
    let (mut expected, is_broken) = frames(bytes, rules);
    // The reader returns only complete control frames, without the masking key.
    expected.retain(|frame| frame.is_whole() || !frame.header.opcode.is_control());
    for frame in expected.iter_mut().filter(|frame| frame.header.opcode.is_control()) {
        frame.header.mask = None;
    }
    cuts::for_each(bytes, |pieces| assert_eq!(read(pieces, rules), (expected.clone(), is_broken)));
    check_encoding(bytes, rules);
}

/// A stream's frames, of which the last may be incomplete, and whether it ends with a fault.
type Frames = (Vec<Frame>, bool);

/// A frame with a complete header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) header: FrameHeader,
    /// The payload so far, unmasked.
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn is_whole(&self) -> bool {
        self.payload.len() as u64 == self.header.length
    }
}

/// The frames of `bytes`, by the reference.
pub(super) fn frames(mut bytes: &[u8], rules: FrameRules) -> Frames {
    let mut frames = Vec::new();
    loop {
        let shown = shown(bytes, rules);
        let Some((header, start)) = shown.header.filter(|_| shown.faults.is_empty()) else {
            return (frames, !shown.faults.is_empty());
        };
        let end = usize::try_from(header.length).map_or(usize::MAX, |length| length.saturating_add(start));
        let key = header.mask.unwrap_or_default();
        let (payload, rest) = bytes.split_at(end.min(bytes.len()));
        let payload = payload[start..].iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
        frames.push(Frame { header, payload });
        bytes = rest;
    }
}

/// What the first bytes of a stream reveal about its first header.
struct Shown {
    faults: Vec<FrameError>,
    /// The header and its length in bytes, if it is complete.
    header: Option<(FrameHeader, usize)>,
}

/// Reads a header according to the diagram in §5.2.
fn shown(bytes: &[u8], rules: FrameRules) -> Shown {
    let mut shown = Shown { faults: Vec::new(), header: None };
    let mut fault = |is_one: bool, fault| {
        if is_one {
            shown.faults.push(fault);
        }
    };
    let Some(first) = bytes.first() else { return shown };
    let [fin, rsv1, rsv2, rsv3] = [7, 6, 5, 4].map(|bit| first >> bit & 1 == 1);
    let number = first % 16;
    let is_control = number >= 8;
    fault(!matches!(number, 0 | 1 | 2 | 8 | 9 | 10), FrameError::UnknownOpCode);
    fault(rsv2 || rsv3, FrameError::ReservedBit);
    fault(rsv1 && !(rules.compression && matches!(number, 1 | 2)), FrameError::ReservedBit);
    fault(is_control && !fin, FrameError::FragmentedControl);

    let Some(second) = bytes.get(1) else { return shown };
    let (masked, short) = (*second >= 128, second % 128);
    fault(masked && !rules.masked, FrameError::Masked);
    fault(!masked && rules.masked, FrameError::NotMasked);
    fault(is_control && short > 125, FrameError::LongControl);

    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(extension) = bytes.get(2..2 + extended) else { return shown };
    let value = extension.iter().fold(0_u128, |value, byte| value * 256 + u128::from(*byte));
    fault(short == 126 && value <= 125, FrameError::LengthNotMinimal);
    fault(short == 127 && value <= 65_535, FrameError::LengthNotMinimal);
    fault(value > i64::MAX as u128, FrameError::LengthTopBit);

    let start = 2 + extended + if masked { 4 } else { 0 };
    let opcode = match number {
        0 => OpCode::Continuation,
        1 => OpCode::Text,
        2 => OpCode::Binary,
        8 => OpCode::Close,
        9 => OpCode::Ping,
        _ => OpCode::Pong,
    };
    if bytes.len() >= start {
        let mask = masked.then(|| [1, 2, 3, 4].map(|place| bytes[start - 5 + place]));
        let length = if extended == 0 { u64::from(short) } else { u64::try_from(value).unwrap_or_default() };
        shown.header = Some((FrameHeader { fin, rsv1, opcode, mask, length }, start));
    }
    shown
}

fn check_header(bytes: &[u8], rules: FrameRules) {
    let shown = shown(bytes, rules);
    match FrameHeader::decode(bytes, rules) {
        Err(error) => assert!(shown.faults.contains(&error), "{error:?} of {:?}", shown.faults),
        Ok(read) => {
            assert_eq!(shown.faults, []);
            let header = match read {
                Decoded::Header { header, start } => Some((header, start)),
                Decoded::Incomplete => None,
            };
            assert_eq!(header, shown.header);
            if let Some((header, start)) = header {
                let mut encoded = Vec::new();
                header.encode(&mut encoded);
                assert_eq!(encoded, bytes[..start]);
                assert!(start <= frame::MAX_HEADER);
            }
        }
    }
}

/// The frames that [`Reader`] finds in a stream that arrives in `pieces`.
fn read(pieces: &[&[u8]], rules: FrameRules) -> Frames {
    let mut reader = Reader::default();
    let mut frames: Vec<Frame> = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            match reader.next(&mut input, rules) {
                Err(_) => return (frames, true),
                Ok(Piece::Starved) => break,
                Ok(Piece::Data(data)) => {
                    if data.first {
                        frames.push(Frame { header: data.header, payload: Vec::new() });
                    }
                    let frame = frames.last_mut().expect("a frame has a first piece");
                    frame.payload.extend_from_slice(data.payload);
                    assert_eq!(data.last, frame.is_whole());
                }
                Ok(Piece::Control(control)) => frames.push(Frame {
                    header: FrameHeader {
                        fin: true,
                        rsv1: false,
                        opcode: control.opcode,
                        mask: None,
                        length: control.payload().len() as u64,
                    },
                    payload: control.payload().to_vec(),
                }),
            }
        }
        assert!(input.is_empty());
    }
    (frames, false)
}

/// Checks that an encoded frame decodes to the same, masked or not.
fn check_encoding(payload: &[u8], rules: FrameRules) {
    let key = payload.first_chunk().copied().unwrap_or([7, 0, 255, 128]);
    let mask = rules.masked.then_some(key);
    let mut bytes = Vec::new();
    frame::encode(OpCode::Binary, payload, mask, &mut bytes);
    let header =
        FrameHeader { fin: true, rsv1: false, opcode: OpCode::Binary, mask, length: payload.len() as u64 };
    let decoded = frames(&bytes, rules);
    assert_eq!(decoded, (vec![Frame { header, payload: payload.to_vec() }], false));
}
