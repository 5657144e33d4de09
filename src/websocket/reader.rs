//! Splits a byte stream into frames. Payloads are passed on as they arrive, unmasked in place.
//!
//! It buffers at most a partial header or a control frame. It must not know which order of frames is valid, nor what
//! they mean.

use super::frame::{
    Decoded, FrameError, FrameHeader, FrameRules, MAX_CONTROL_PAYLOAD, MAX_HEADER, OpCode, advance_mask,
    unmask,
};

/// A peer's position within its current frame.
#[derive(Debug, Default)]
pub(crate) enum Reader {
    /// Between two frames.
    #[default]
    Between,
    /// Inside a header; `bytes[..length]` have arrived.
    Header { bytes: [u8; MAX_HEADER], length: u8 },
    /// Inside a data frame's payload; `left` bytes are missing, and `mask` is rotated to the first of them.
    Payload { header: FrameHeader, mask: [u8; 4], left: u64 },
    /// Inside a control frame's payload; `left` and `mask` as above.
    Control { frame: Box<ControlFrame>, mask: [u8; 4], left: u8 },
}

/// What [`Reader::next`] found.
#[derive(Debug)]
pub(crate) enum Piece<'i> {
    /// The input is exhausted.
    Starved,
    /// Part or all of a data frame.
    Data(DataPiece<'i>),
    /// A complete control frame; boxed because it is rare and large.
    Control(Box<ControlFrame>),
}

/// Part or all of a data frame.
#[derive(Debug)]
pub(crate) struct DataPiece<'i> {
    pub(crate) header: FrameHeader,
    /// Whether this is the frame's first piece, which is returned once the header is complete, even without payload.
    pub(crate) first: bool,
    /// Whether this is the frame's last piece.
    pub(crate) last: bool,
    /// The payload, unmasked.
    pub(crate) payload: &'i mut [u8],
}

/// A complete control frame, its payload unmasked.
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
    /// Whether no frame is incomplete.
    pub(crate) const fn is_between(&self) -> bool {
        matches!(self, Self::Between)
    }

    /// Consumes `input` up to the next piece; returns `Starved` only when `input` is exhausted.
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
                    let Decoded::Header { header, start } = FrameHeader::decode(input, rules)? else {
                        let mut bytes = [0; MAX_HEADER];
                        let held = take(input, input.len());
                        bytes[..held.len()].copy_from_slice(held);
                        // Shorter than a header.
                        #[expect(clippy::cast_possible_truncation)]
                        let length = held.len() as u8;
                        *self = Self::Header { bytes, length };
                        return Ok(Piece::Starved);
                    };
                    take(input, start);
                    if let Some(piece) = self.begin(header, input) {
                        return Ok(piece);
                    }
                }
                Self::Header { bytes, length } => {
                    let Some(byte) = input.split_off_first_mut() else { return Ok(Piece::Starved) };
                    bytes[usize::from(*length)] = *byte;
                    *length += 1;
                    if let Decoded::Header { header, .. } =
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

    /// Begins a frame after its header. Returns the first piece of a data frame, `None` for a control frame.
    fn begin<'i>(&mut self, header: FrameHeader, input: &mut &'i mut [u8]) -> Option<Piece<'i>> {
        // Unmasking with zeros changes nothing.
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

/// Takes `length` bytes from the front of `input`, which must have at least as many.
fn take<'i>(input: &mut &'i mut [u8], length: usize) -> &'i mut [u8] {
    input.split_off_mut(..length).unwrap_or_default()
}
