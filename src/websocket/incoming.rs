//! Assembles messages from pieces of frames, with control frames between the fragments (RFC 6455 §5.4).
//!
//! It owns a peer's incomplete frame and message. It must not know what control frames mean.

use super::close::Violation;
use super::deflate::Codec;
use super::frame::{Decoded, FrameHeader, FrameRules, OpCode, unmask};
use super::message::{Assembly, Limits, Message};
use super::reader::{ControlFrame, DataPiece, Piece, Reader};

/// A peer's incomplete frame and message.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    reader: Reader,
    message: Option<Assembly>,
}

/// What [`Incoming::next`] found.
#[derive(Debug)]
pub(super) enum Arrival<'i> {
    /// The input is exhausted.
    Starved,
    /// A complete message.
    Message(Message<'i>),
    /// A fragment; its message continues.
    Fragment(OpCode),
    /// A complete control frame.
    Control(Box<ControlFrame>),
}

/// Takes the message that `input` starts with, if one complete frame holds it: the usual case, without copying or
/// buffering. `None` consumes nothing and leaves the input to [`Incoming::next`].
#[inline]
pub(super) fn whole_message<'i>(
    input: &mut &'i mut [u8],
    rules: FrameRules,
    limits: &Limits,
    codec: &mut Codec,
) -> Option<Result<Message<'i>, Violation>> {
    let Ok(Decoded::Header { header, start }) = FrameHeader::decode(input, rules) else { return None };
    let length = usize::try_from(header.length).ok().filter(|&length| length <= input.len() - start)?;
    if !header.fin || !matches!(header.opcode, OpCode::Text | OpCode::Binary) {
        return None;
    }
    let payload = &mut input.split_off_mut(..start + length)?[start..];
    if let Some(mask) = header.mask {
        unmask(payload, mask);
    }
    Some(Message::whole(&header, payload, limits, codec))
}

impl Incoming {
    /// Whether no frame and no message is incomplete: then this value can be dropped.
    pub(super) const fn is_idle(&self) -> bool {
        self.reader.is_between() && self.message.is_none()
    }

    /// Heap memory held for the message, in bytes.
    pub(super) fn held(&self) -> usize {
        self.message.as_ref().map_or(0, Assembly::held)
    }

    /// Keeps the reader of the incomplete frame; drops the message.
    pub(super) fn into_reader(self) -> Reader {
        self.reader
    }

    /// Consumes `input` up to the next arrival; returns `Starved` only when `input` is exhausted.
    pub(super) fn next<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        rules: FrameRules,
        limits: &Limits,
        codec: &mut Codec,
    ) -> Result<Arrival<'i>, Violation> {
        loop {
            match self.reader.next(input, rules)? {
                Piece::Starved => return Ok(Arrival::Starved),
                Piece::Control(frame) => return Ok(Arrival::Control(frame)),
                Piece::Data(piece) => {
                    if let Some(arrival) = self.take(piece, limits, codec)? {
                        return Ok(arrival);
                    }
                }
            }
        }
    }

    /// Adds a piece to its message; `None` until the piece's frame is complete.
    fn take<'i>(
        &mut self,
        piece: DataPiece<'i>,
        limits: &Limits,
        codec: &mut Codec,
    ) -> Result<Option<Arrival<'i>>, Violation> {
        let DataPiece { header, first, last, payload } = piece;
        let continues = header.opcode == OpCode::Continuation;
        let mut message = match self.message.take() {
            None if continues => return Err(Violation::UnexpectedContinuation),
            None => Assembly::new(&header),
            Some(_) if first && !continues => return Err(Violation::ExpectedContinuation),
            Some(message) => message,
        };
        if first {
            message.begin_fragment(header.length, limits)?;
        }
        message.append(payload)?;
        if last && header.fin {
            return message.finish(limits, codec).map(Arrival::Message).map(Some);
        }
        self.message = Some(message);
        Ok(last.then_some(Arrival::Fragment(header.opcode)))
    }
}
