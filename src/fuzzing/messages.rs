//! Target `messages`: compares an open connection with messages assembled from complete frames.

use super::cuts;
use super::frame_decoder::{Frame, frames};
use super::inflate::{self, Broken};
use crate::websocket::close::{self, CloseCode, Violation};
use crate::websocket::connection::{Connection, Ended, Step};
use crate::websocket::deflate::{Codec, WindowBits};
use crate::websocket::frame::{self, FrameRules, OpCode};
use crate::websocket::message::{Limits, Message};
use crate::websocket::outgoing::{Flush, Outgoing};

/// Most blocks of one message with the final bit set.
const MOST_FINAL_BLOCKS: u32 = 64;

const FRAME_ERRORS: [frame::FrameError; 8] = [
    frame::FrameError::ReservedBit,
    frame::FrameError::UnknownOpCode,
    frame::FrameError::LongControl,
    frame::FrameError::FragmentedControl,
    frame::FrameError::NotMasked,
    frame::FrameError::Masked,
    frame::FrameError::LengthNotMinimal,
    frame::FrameError::LengthTopBit,
];

/// The first byte holds the settings (1: with compression; 2, 4: the limit on messages), the rest is what a client
/// sends on an open connection.
///
/// Messages, answers and ending must be those of the reference, however the stream is split. The connection may hold at
/// most twice what has arrived of a message, and at most twice the longest payload allowed.
///
/// # Panics
///
/// If a check fails.
pub fn messages(data: &[u8]) {
    let Some((&settings, bytes)) = data.split_first() else { return };
    let compression = (settings & 1 != 0).then(WindowBits::default);
    let message_bytes = [125, 1000, 65_535, 65_536][usize::from(settings >> 1 & 3)];
    let limits = Limits { message_bytes, fragments: 8, ..Limits::default() };
    let rules = FrameRules { masked: true, compression: compression.is_some() };
    let expected = by_definition(bytes, rules, &limits);
    let mut codec = Codec::new();
    cuts::for_each(bytes, |pieces| {
        let seen = read(pieces, compression, &limits, &mut codec);
        assert_eq!(seen.messages, expected.messages);
        assert_eq!(seen.frames, expected.frames);
        match (&seen.end, &expected.end) {
            (None, End::Open) => assert_eq!(seen.answers, expected.answers),
            (Some(Ended::Closed { code, reason }), End::Closed(expected_code, expected_reason)) => {
                assert_eq!((code.map(CloseCode::get), &**reason), (*expected_code, expected_reason.as_str()));
                assert_eq!(seen.answers, expected.answers);
            }
            (Some(Ended::Failed(violation)), End::Failed(violations)) => {
                assert!(violations.contains(violation), "{violation:?} of {violations:?}");
                let mut answers = expected.answers.clone();
                let payload = close::encode(violation.code(), &violation.to_string());
                frame::encode(OpCode::Close, &payload, None, &mut answers);
                assert_eq!(seen.answers, answers);
            }
            (end, expected) => panic!("{end:?}, not {expected:?}"),
        }
    });
}

/// What a connection has received and answered.
#[derive(Debug)]
struct Seen<End> {
    messages: Vec<(OpCode, Vec<u8>)>,
    /// Frames that completed no message.
    frames: Vec<OpCode>,
    answers: Vec<u8>,
    end: End,
}

/// How a stream ends, by the reference.
#[derive(Debug)]
enum End {
    Open,
    Closed(Option<u16>, String),
    /// With one of these violations.
    Failed(Vec<Violation>),
}

fn read(
    pieces: &[&[u8]],
    compression: Option<WindowBits>,
    limits: &Limits,
    codec: &mut Codec,
) -> Seen<Option<Ended>> {
    let (mut connection, mut outgoing) = (Connection::opened(compression), Outgoing::default());
    let mut seen = Seen { messages: Vec::new(), frames: Vec::new(), answers: Vec::new(), end: None };
    let mut come = 0;
    for piece in pieces {
        let mut piece = piece.to_vec();
        come += piece.len();
        let mut input = &mut piece[..];
        loop {
            let step = connection.receive(&mut input, &mut outgoing, limits, codec);
            match step {
                Step::Starved => break,
                Step::Message(Message::Text(text)) => {
                    seen.messages.push((OpCode::Text, text.as_bytes().to_vec()));
                }
                Step::Message(Message::Binary(bytes)) => {
                    seen.messages.push((OpCode::Binary, bytes.to_vec()));
                }
                Step::Frame(opcode) => seen.frames.push(opcode),
                Step::Ended(ended) => {
                    assert_eq!(seen.end.replace(ended), None, "a connection ends once");
                    assert!(connection.is_closed() && input.is_empty());
                }
                Step::Upgrade(_) | Step::Page(_) | Step::Opened => {
                    unreachable!("the connection is already open")
                }
            }
        }
        assert!(input.is_empty());
        let most = limits.message_bytes + limits.message_bytes / 8 + 64;
        assert!(connection.held() <= 2 * come.min(most).max(8), "{} of {come}", connection.held());
    }
    assert_eq!(
        outgoing.write_to(&mut seen.answers, usize::MAX).expect("memory takes every byte"),
        Flush::Done
    );
    seen
}

fn by_definition(bytes: &[u8], rules: FrameRules, limits: &Limits) -> Seen<End> {
    let mut seen = Seen { messages: Vec::new(), frames: Vec::new(), answers: Vec::new(), end: End::Open };
    let (frames, is_broken) = frames(bytes, rules);
    let mut message: Option<Assembled> = None;
    for Frame { header, payload } in &frames {
        let is_whole = payload.len() as u64 == header.length;
        if header.opcode.is_control() {
            if !is_whole {
                return seen;
            }
            match header.opcode {
                OpCode::Close => {
                    seen.end = closing(payload, &mut seen.answers);
                    return seen;
                }
                OpCode::Ping => frame::encode(OpCode::Pong, payload, None, &mut seen.answers),
                _ => {}
            }
            seen.frames.push(header.opcode);
            continue;
        }
        let fail = |violation| End::Failed(vec![violation]);
        let mut assembled = match (message.take(), header.opcode) {
            (None, OpCode::Continuation) => {
                seen.end = fail(Violation::UnexpectedContinuation);
                return seen;
            }
            (Some(message), OpCode::Continuation) => message,
            (Some(_), _) => {
                seen.end = fail(Violation::ExpectedContinuation);
                return seen;
            }
            (None, opcode) => {
                Assembled { opcode, is_compressed: header.rsv1, payload: Vec::new(), fragments: 0 }
            }
        };
        assembled.fragments += 1;
        let most = match assembled.is_compressed {
            true => limits.message_bytes + limits.message_bytes / 8 + 64,
            false => limits.message_bytes,
        };
        if u128::from(header.length) + assembled.payload.len() as u128 > most as u128 {
            seen.end = fail(Violation::MessageTooBig);
            return seen;
        }
        if assembled.fragments > limits.fragments {
            seen.end = fail(Violation::TooManyFragments);
            return seen;
        }
        assembled.payload.extend_from_slice(payload);
        if let Err(violations) = assembled.check(is_whole && header.fin) {
            seen.end = End::Failed(violations);
            return seen;
        }
        if !is_whole {
            return seen;
        }
        if header.fin {
            match assembled.finish(limits) {
                Ok(payload) => seen.messages.push((assembled.opcode, payload)),
                Err(violations) => {
                    seen.end = End::Failed(violations);
                    return seen;
                }
            }
        } else {
            seen.frames.push(header.opcode);
            message = Some(assembled);
        }
    }
    if is_broken {
        // The target `frame_decoder` checks which of several faults is reported.
        seen.end = End::Failed(FRAME_ERRORS.map(Violation::Frame).to_vec());
    }
    seen
}

/// An incomplete message.
struct Assembled {
    opcode: OpCode,
    is_compressed: bool,
    payload: Vec<u8>,
    fragments: u32,
}

impl Assembled {
    /// Checks that the payload of a text is UTF-8: the beginning of a text, or with `is_all` a complete one.
    fn check(&self, is_all: bool) -> Result<(), Vec<Violation>> {
        if self.opcode == OpCode::Binary || self.is_compressed {
            return Ok(());
        }
        match str::from_utf8(&self.payload) {
            Err(error) if is_all || error.error_len().is_some() => Err(vec![Violation::InvalidUtf8]),
            _ => Ok(()),
        }
    }

    fn finish(&self, limits: &Limits) -> Result<Vec<u8>, Vec<Violation>> {
        if !self.is_compressed {
            return Ok(self.payload.clone());
        }
        let is_text = self.opcode == OpCode::Text;
        match inflate::inflate(&self.payload, limits.message_bytes) {
            // Which violation is found first depends on the size of the pieces in which the payload is inflated.
            Err(Broken::TooLong) => {
                Err(vec![Violation::MessageTooBig, Violation::BrokenDeflate, Violation::InvalidUtf8])
            }
            Err(Broken::Data | Broken::BeforeStart(..)) if is_text => {
                Err(vec![Violation::BrokenDeflate, Violation::InvalidUtf8])
            }
            Err(Broken::Data | Broken::BeforeStart(..)) => Err(vec![Violation::BrokenDeflate]),
            Ok(inflated) if inflated.final_blocks > MOST_FINAL_BLOCKS => {
                Err(vec![Violation::BrokenDeflate, Violation::InvalidUtf8])
            }
            Ok(inflated) if is_text && str::from_utf8(&inflated.bytes).is_err() => {
                Err(vec![Violation::InvalidUtf8])
            }
            Ok(inflated) => Ok(inflated.bytes),
        }
    }
}

/// How a Close frame ends the stream (RFC 6455 §5.5.1, §7.4); appends the answer.
fn closing(payload: &[u8], answers: &mut Vec<u8>) -> End {
    let (code, reason) = match payload {
        [] => (None, ""),
        [_] => return End::Failed(vec![Violation::ClosePayload]),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return End::Failed(vec![Violation::InvalidCloseCode, Violation::InvalidCloseReason]);
            }
            let Ok(reason) = str::from_utf8(reason) else {
                return End::Failed(vec![Violation::InvalidCloseReason]);
            };
            (Some(code), reason)
        }
    };
    frame::encode(OpCode::Close, &payload[..payload.len().min(2)], None, answers);
    End::Closed(code, reason.to_owned())
}
