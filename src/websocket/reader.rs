//! Reads frames from bytes cut anywhere; payloads are unmasked in place and passed on as they arrive.
//!
//! Owns the state of the current frame: at most the bytes of a header, or a control frame. Does not know the order or the
//! meaning of frames.

use super::frame::{
    FrameError, FrameHeader, FrameRules, MAX_CONTROL_PAYLOAD, MAX_HEADER, OpCode, Parsing, advance_mask,
    unmask,
};

/// The position of one peer's byte stream in the current frame.
#[derive(Debug, Default)]
pub(crate) enum Reader {
    /// Between two frames.
    #[default]
    Between,
    /// Inside a header, of which the first `length` of `bytes` have arrived.
    Header { bytes: [u8; MAX_HEADER], length: u8 },
    /// Inside a data frame's payload, of which `left` bytes are missing; `mask` starts at the next byte.
    Payload { header: FrameHeader, mask: [u8; 4], left: u64 },
    /// Inside a control frame's payload, likewise.
    Control { frame: Box<ControlFrame>, mask: [u8; 4], left: u8 },
}

/// What [`Reader::next`] found.
#[derive(Debug)]
pub(crate) enum Piece<'i> {
    /// The input is used up.
    Starved,
    /// All or part of a data frame.
    Data(DataPiece<'i>),
    /// A whole control frame; boxed, because it is large and rare.
    Control(Box<ControlFrame>),
}

/// All or part of a data frame.
#[derive(Debug)]
pub(crate) struct DataPiece<'i> {
    pub(crate) header: FrameHeader,
    /// Whether this is the frame's first piece, which follows the header at once, even without payload.
    pub(crate) first: bool,
    /// Whether this is the frame's last piece.
    pub(crate) last: bool,
    /// The payload, unmasked.
    pub(crate) payload: &'i mut [u8],
}

/// A whole control frame, its payload unmasked.
#[derive(Debug)]
pub(crate) struct ControlFrame {
    pub(crate) opcode: OpCode,
    length: u8,
    payload: [u8; MAX_CONTROL_PAYLOAD],
}

impl ControlFrame {
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload[..usize::from(self.length)]
    }
}

impl Reader {
    /// Whether no frame has begun.
    pub(crate) const fn is_between(&self) -> bool {
        matches!(self, Self::Between)
    }

    /// Reads the next piece from the front of `input`; `Starved` only when `input` is used up.
    ///
    /// # Errors
    ///
    /// The frame's header is invalid.
    pub(crate) fn next<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        rules: FrameRules,
    ) -> Result<Piece<'i>, FrameError> {
        loop {
            match self {
                Self::Between => {
                    if input.is_empty() {
                        return Ok(Piece::Starved);
                    }
                    let Parsing::Done { header, length } = FrameHeader::decode(input, rules)? else {
                        let mut bytes = [0; MAX_HEADER];
                        let held = take(input, input.len());
                        bytes[..held.len()].copy_from_slice(held);
                        // Less than a header.
                        #[expect(clippy::cast_possible_truncation)]
                        let length = held.len() as u8;
                        *self = Self::Header { bytes, length };
                        return Ok(Piece::Starved);
                    };
                    take(input, length);
                    if let Some(piece) = self.begin(header, input) {
                        return Ok(piece);
                    }
                }
                Self::Header { bytes, length } => {
                    let Some(byte) = input.split_off_first_mut() else { return Ok(Piece::Starved) };
                    bytes[usize::from(*length)] = *byte;
                    *length += 1;
                    if let Parsing::Done { header, .. } =
                        FrameHeader::decode(&bytes[..usize::from(*length)], rules)?
                        && let Some(piece) = self.begin(header, input)
                    {
                        return Ok(piece);
                    }
                }
                Self::Payload { header, mask, left } => {
                    if input.is_empty() {
                        return Ok(Piece::Starved);
                    }
                    let payload = take_payload(input, *left);
                    unmask(payload, *mask);
                    *mask = advance_mask(*mask, payload.len());
                    *left -= payload.len() as u64;
                    let (header, last) = (*header, *left == 0);
                    if last {
                        *self = Self::Between;
                    }
                    return Ok(Piece::Data(DataPiece { header, first: false, last, payload }));
                }
                Self::Control { frame, mask, left } => {
                    let payload = take_payload(input, u64::from(*left));
                    unmask(payload, *mask);
                    *mask = advance_mask(*mask, payload.len());
                    let start = usize::from(frame.length - *left);
                    frame.payload[start..][..payload.len()].copy_from_slice(payload);
                    // At most `left`.
                    #[expect(clippy::cast_possible_truncation)]
                    let taken = payload.len() as u8;
                    *left -= taken;
                    if *left > 0 {
                        return Ok(Piece::Starved);
                    }
                    if let Self::Control { frame, .. } = std::mem::take(self) {
                        return Ok(Piece::Control(frame));
                    }
                }
            }
        }
    }

    /// Begins a frame after its header. Returns the first piece of a data frame, and `None` for a control frame.
    fn begin<'i>(&mut self, header: FrameHeader, input: &mut &'i mut [u8]) -> Option<Piece<'i>> {
        // A server's frames are not masked, which equals a key of zeros.
        let mask = header.mask.unwrap_or_default();
        if header.opcode.is_control() {
            // At most 125, as the decoder has checked.
            #[expect(clippy::cast_possible_truncation)]
            let length = header.length as u8;
            let frame = ControlFrame { opcode: header.opcode, length, payload: [0; MAX_CONTROL_PAYLOAD] };
            *self = Self::Control { frame: Box::new(frame), mask, left: length };
            return None;
        }
        let payload = take_payload(input, header.length);
        if header.mask.is_some() {
            unmask(payload, mask);
        }
        let left = header.length - payload.len() as u64;
        *self = match left {
            0 => Self::Between,
            left => Self::Payload { header, mask: advance_mask(mask, payload.len()), left },
        };
        Some(Piece::Data(DataPiece { header, first: true, last: left == 0, payload }))
    }
}

/// Takes up to `length` bytes from the front of `input`.
fn take_payload<'i>(input: &mut &'i mut [u8], length: u64) -> &'i mut [u8] {
    let length = usize::try_from(length).map_or(input.len(), |length| length.min(input.len()));
    take(input, length)
}

/// Takes `length` bytes from the front of `input`, which has that many.
fn take<'i>(input: &mut &'i mut [u8], length: usize) -> &'i mut [u8] {
    input.split_off_mut(..length).unwrap_or_default()
}
