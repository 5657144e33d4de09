//! The same streams of bytes through our connection and through tungstenite, both as servers: the same messages, the same
//! pongs, the same end. [`Difference`] lists where the two may differ, each with its reason; any other difference fails, and
//! so does a listed one that no longer occurs.
//!
//! 10,000 streams by default. A million, and a single one that has failed:
//!
//!     DIFFERENTIAL_STREAMS=1000000 cargo test --test differential -- --nocapture
//!     DIFFERENTIAL_SEED=1 DIFFERENTIAL_FIRST=4711 DIFFERENTIAL_STREAMS=1 cargo test --test differential

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};

use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, WebSocket};

use airlay::websocket::close::{CloseCode, Violation};
use airlay::websocket::connection::{Connection, Ended, Step};
use airlay::websocket::deflate::Codec;
use airlay::websocket::frame::FrameError;
use airlay::websocket::message::{Limits, Message};
use airlay::websocket::outgoing::{Flush, Outgoing};

#[test]
fn random_streams_mean_the_same_to_tungstenite() {
    let number = |name, default| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => default,
    };
    let streams = number("DIFFERENTIAL_STREAMS", 10_000);
    let seed = number("DIFFERENTIAL_SEED", 1);
    let first = number("DIFFERENTIAL_FIRST", 0);
    let mut counts = BTreeMap::new();
    let mut ends = BTreeMap::new();
    for stream in first..first + streams {
        let case = Case::random(&mut Random::new(seed, stream));
        let compared = case.compare().unwrap_or_else(|difference| {
            panic!(
                "stream {stream} of seed {seed} (again: DIFFERENTIAL_SEED={seed} DIFFERENTIAL_FIRST={stream} \
                 DIFFERENTIAL_STREAMS=1): {difference}\n{case:x?}"
            )
        });
        // All codes of applications count as one.
        *ends.entry(compared.end.map(|code| code.min(3000))).or_insert(0_u64) += 1;
        if let Some(difference) = compared.difference {
            *counts.entry(difference).or_insert(0_u64) += 1;
        }
    }
    println!("{streams} streams of seed {seed} agree but for what is listed: {counts:?}");
    println!("close codes (none: still open, or none given; 3000: and above): {ends:?}");
    if streams >= 10_000 {
        let missing: Vec<_> = Difference::ALL.iter().filter(|known| !counts.contains_key(known)).collect();
        assert!(missing.is_empty(), "{missing:?} did not occur");
        assert!(ends.len() >= 5, "too few kinds of ends: {ends:?}");
    }
}

/// A stream for each listed difference, so that one that no longer exists is noticed.
#[test]
fn every_listed_difference_is_still_there() {
    let fragments = [&b"\x01\x80\0\0\0\0"[..], &b"\x00\x80\0\0\0\0".repeat(64)].concat();
    for (difference, bytes) in [
        (Difference::LengthNotMinimal, &b"\x82\xfe\x00\x01\0\0\0\0a"[..]),
        (Difference::LengthNotMinimal, b"\x82\xff\0\0\0\0\0\0\0\x01\0\0\0\0a"),
        (Difference::LengthTopBit, b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0"),
        (Difference::TooLongAndForbidden, b"\xa2\xff\0\0\0\0\0\x01\0\0\0\0\0\0"),
        (Difference::TooManyFragments, &fragments),
        (Difference::BothCodeAndReason, b"\x88\x83\0\0\0\0\0\0\xff"),
        (Difference::CloseCode1014, b"\x88\x82\0\0\0\0\x03\xf6"),
        (Difference::Sooner, b"\x83"),
        (Difference::Sooner, b"\x81\x05"),
        (Difference::Sooner, b"\x81\x85\0\0\0\0\xff"),
    ] {
        let case = Case { bytes: bytes.to_vec(), cuts: Vec::new(), message_bytes: 1000 };
        let compared = case.compare().unwrap_or_else(|error| panic!("{error}\n{bytes:x?}"));
        assert_eq!(compared.difference, Some(difference), "{bytes:x?}");
    }
}

/// A permitted difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// We report a violation as soon as its bytes arrive, tungstenite when the frame is whole. It must report the same one when
    /// the rest of the frame arrives.
    Sooner,
    /// A length that is not minimal: RFC 6455 §5.2 says "the minimal number of bytes MUST be used". Tungstenite accepts it.
    LengthNotMinimal,
    /// A length of more than 63 bits: §5.2 forbids it, so 1002. To tungstenite it is just too long: 1009.
    LengthTopBit,
    /// A frame that is too long and breaks another rule: we check the rule first (1002), tungstenite the length (1009).
    TooLongAndForbidden,
    /// More than 64 fragments: our own limit.
    TooManyFragments,
    /// A Close whose code is not allowed and whose reason is not UTF-8: we check the code first (1002), tungstenite the reason
    /// (1007).
    BothCodeAndReason,
    /// 1014 (bad gateway) is in the registry of RFC 6455 §11.7, but unknown to tungstenite.
    CloseCode1014,
}

impl Difference {
    const ALL: [Self; 7] = [
        Self::Sooner,
        Self::LengthNotMinimal,
        Self::LengthTopBit,
        Self::TooLongAndForbidden,
        Self::TooManyFragments,
        Self::BothCodeAndReason,
        Self::CloseCode1014,
    ];
}

/// A stream, its pieces, and the longest message.
#[derive(Debug)]
struct Case {
    bytes: Vec<u8>,
    /// The length of each piece but the last.
    cuts: Vec<usize>,
    message_bytes: usize,
}

/// What a stream came to.
struct Compared {
    end: Option<u16>,
    difference: Option<Difference>,
}

/// What a server saw of a stream, and what it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    /// Whether it is text, and its bytes.
    messages: Vec<(bool, Vec<u8>)>,
    pongs: Vec<Vec<u8>>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// The code of the Close that answers, if it has one.
    Over(Option<u16>),
}

impl Case {
    fn compare(&self) -> Result<Compared, String> {
        let (ours, why) = self.ours();
        let theirs = self.theirs();
        let end = match ours.end {
            End::Open => None,
            End::Over(code) => code,
        };
        if ours == theirs {
            return Ok(Compared { end, difference: None });
        }
        // Until they part, they agree.
        if !theirs.messages.starts_with(&ours.messages) || !theirs.pongs.starts_with(&ours.pongs) {
            return Err(format!("other messages or pongs:\n ours {ours:?}\n tungstenite's {theirs:?}"));
        }
        let has_more = theirs.messages.len() > ours.messages.len() || theirs.pongs.len() > ours.pongs.len();
        let is_not_minimal = match why {
            Some(Ended::Failed(Violation::Frame(FrameError::LengthNotMinimal))) => true,
            // To us the control frame is too long already when its length has an extension.
            Some(Ended::Failed(Violation::Frame(FrameError::LongControl))) => {
                let mut extended = self.frames().filter(|frame| frame.bytes[0] & 8 != 0 && frame.is_extended);
                extended.next().is_some_and(|frame| frame.length <= 125)
            }
            _ => false,
        };
        if is_not_minimal {
            return Ok(Compared { end, difference: Some(Difference::LengthNotMinimal) });
        }
        if why == Some(Ended::Failed(Violation::TooManyFragments)) {
            return Ok(Compared { end, difference: Some(Difference::TooManyFragments) });
        }
        if has_more {
            return Err(format!("tungstenite has more:\n ours {ours:?}, {why:?}\n tungstenite's {theirs:?}"));
        }
        let is_sooner = theirs.end == End::Open;
        let whole = self.with_whole_frame();
        let theirs = if is_sooner { whole.theirs() } else { theirs };
        let difference = match (&why, ours.end, theirs.end) {
            _ if is_sooner && ours == theirs => Difference::Sooner,
            (Some(Ended::Failed(Violation::Frame(FrameError::LengthTopBit))), _, End::Over(Some(1009))) => {
                Difference::LengthTopBit
            }
            (Some(Ended::Failed(_)), End::Over(Some(1002)), End::Over(Some(1009)))
                if whole.frames().last().is_some_and(|frame| frame.length > self.message_bytes as u64) =>
            {
                Difference::TooLongAndForbidden
            }
            (Some(Ended::Failed(Violation::InvalidCloseCode)), _, End::Over(Some(1007))) => {
                Difference::BothCodeAndReason
            }
            (Some(Ended::Closed { .. }), End::Over(Some(1014)), End::Over(Some(1002))) => {
                Difference::CloseCode1014
            }
            _ => return Err(format!("other ends:\n ours {ours:?}, {why:?}\n tungstenite's {theirs:?}")),
        };
        Ok(Compared { end, difference: Some(difference) })
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        let mut cuts = self.cuts.iter();
        std::iter::from_fn(move || {
            let length = cuts.next().map_or(rest.len(), |&length| length.min(rest.len()));
            let (piece, behind) = rest.split_at(length);
            rest = behind;
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// What we make of it, and why it ended.
    fn ours(&self) -> (Outcome, Option<Ended>) {
        let limits = Limits { message_bytes: self.message_bytes, ..Limits::default() };
        let (mut connection, mut outgoing, mut codec) =
            (Connection::server(), Outgoing::default(), Codec::new());
        let mut upgrade = UPGRADE.to_vec();
        match connection.receive(&mut &mut upgrade[..], &mut outgoing, &limits, &mut codec) {
            Step::Upgrade(upgrade) => connection.accept(&upgrade, false, &mut outgoing),
            step => panic!("{step:?}"),
        }
        outgoing.clear();
        let (mut messages, mut why) = (Vec::new(), None);
        for piece in self.pieces() {
            let mut piece = piece.to_vec();
            let mut input = &mut piece[..];
            loop {
                match connection.receive(&mut input, &mut outgoing, &limits, &mut codec) {
                    Step::Starved => break,
                    Step::Message(Message::Text(text)) => messages.push((true, text.as_bytes().to_vec())),
                    Step::Message(Message::Binary(bytes)) => messages.push((false, bytes.to_vec())),
                    Step::Frame(_) => {}
                    Step::Ended(ended) => why = Some(ended),
                    step => panic!("{step:?}"),
                }
            }
        }
        let mut written = Vec::new();
        assert_eq!(
            outgoing.write_to(&mut written, usize::MAX).expect("memory takes every byte"),
            Flush::Done
        );
        let (pongs, end) = answers(&written);
        assert_eq!(end == End::Open, why.is_none());
        if let Some(Ended::Failed(violation)) = &why {
            assert_eq!(end, End::Over(Some(violation.code().get())));
        }
        (Outcome { messages, pongs, end }, why)
    }

    /// What tungstenite makes of it.
    fn theirs(&self) -> Outcome {
        let pieces = self.pieces().collect::<Vec<_>>().into_iter();
        let wire = Wire { pieces, piece: &[], written: Vec::new() };
        let config = WebSocketConfig::default()
            .read_buffer_size(512)
            .max_message_size(Some(self.message_bytes))
            .max_frame_size(Some(self.message_bytes));
        let mut socket = WebSocket::from_raw_socket(wire, Role::Server, Some(config));
        let mut messages = Vec::new();
        let failed = loop {
            match socket.read() {
                Ok(tungstenite::Message::Text(text)) => messages.push((true, text.as_bytes().to_vec())),
                Ok(tungstenite::Message::Binary(bytes)) => messages.push((false, bytes.to_vec())),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break None,
                Err(Error::ConnectionClosed) => break None,
                Err(error) => break Some(close_code(&error)),
            }
        };
        let (pongs, end) = answers(&socket.get_ref().written);
        let end = failed.map_or(end, |code| End::Over(Some(code.get())));
        Outcome { messages, pongs, end }
    }

    /// The same with the missing part of the last frame as zeros; only its header is completed if it is too long.
    fn with_whole_frame(&self) -> Self {
        let mut bytes = self.bytes.clone();
        if let Some(last) = self.frames().last() {
            let start = bytes.len() - last.bytes.len();
            if last.bytes.len() == 1 {
                bytes.push(0x80);
            }
            bytes.resize(bytes.len().max(start + last.header), 0);
            // Only now is the length known.
            let length = Frame::new(&bytes[start..]).map_or(0, |frame| frame.length);
            if length <= self.message_bytes as u64 {
                let length = usize::try_from(length).expect("not over the limit");
                bytes.resize(bytes.len().max(start + last.header + length), 0);
            }
        }
        Self { bytes, cuts: self.cuts.clone(), message_bytes: self.message_bytes }
    }

    /// The frames as tungstenite cuts them, up to the first that is cut or too long.
    fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let mut bytes = &self.bytes[..];
        std::iter::from_fn(move || {
            let frame = Frame::new(bytes)?;
            let end = usize::try_from(frame.length)
                .map_or(usize::MAX, |length| length.saturating_add(frame.header));
            let is_too_long = frame.length > self.message_bytes as u64;
            bytes = if is_too_long { &[] } else { bytes.get(end..).unwrap_or_default() };
            Some(frame)
        })
    }
}

/// A frame by its lengths, whatever else is wrong with it.
struct Frame<'b> {
    /// What there is of it, and behind it.
    bytes: &'b [u8],
    /// The header's length.
    header: usize,
    /// Whether the payload's length has an extension.
    is_extended: bool,
    /// The payload's length, by the bytes so far.
    length: u64,
}

impl<'b> Frame<'b> {
    /// The frame that `bytes` begin with, if there are any.
    fn new(bytes: &'b [u8]) -> Option<Self> {
        bytes.first()?;
        let second = bytes.get(1).copied().unwrap_or(0x80);
        let extension = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let length = match bytes.get(2..2 + extension) {
            _ if extension == 0 => u64::from(second & 0x7f),
            Some(extension) => extension.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            None => 0,
        };
        let header = 2 + extension + if second & 0x80 != 0 { 4 } else { 0 };
        Some(Self { bytes, header, is_extended: extension > 0, length })
    }
}

/// The pongs among these frames of a server, and the Close.
fn answers(mut written: &[u8]) -> (Vec<Vec<u8>>, End) {
    let mut pongs = Vec::new();
    while let [first, length, rest @ ..] = written {
        let (payload, behind) = rest.split_at(usize::from(*length));
        match first {
            0x8a => pongs.push(payload.to_vec()),
            0x88 => {
                assert!(behind.is_empty(), "nothing follows a Close");
                return (pongs, End::Over(payload.first_chunk().map(|code| u16::from_be_bytes(*code))));
            }
            _ => panic!("no answer begins with {first:x}"),
        }
        written = behind;
    }
    (pongs, End::Open)
}

/// The close code for an error of tungstenite, which sends none itself (RFC 6455 §7.4.1).
fn close_code(error: &Error) -> CloseCode {
    match error {
        Error::Utf8(_) => CloseCode::INVALID_DATA,
        Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseCode::MESSAGE_TOO_BIG,
        Error::Protocol(
            ProtocolError::NonZeroReservedBits
            | ProtocolError::UnmaskedFrameFromClient
            | ProtocolError::FragmentedControlFrame
            | ProtocolError::ControlFrameTooBig
            | ProtocolError::UnexpectedContinueFrame
            | ProtocolError::ExpectedFragment(_)
            | ProtocolError::InvalidOpcode(_)
            | ProtocolError::InvalidCloseSequence,
        ) => CloseCode::PROTOCOL_ERROR,
        error => panic!("no stream may lead to {error:?}"),
    }
}

/// A socket that returns one piece per read and then blocks.
struct Wire<'b> {
    pieces: std::vec::IntoIter<&'b [u8]>,
    piece: &'b [u8],
    written: Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.pieces.next().ok_or(ErrorKind::WouldBlock)?;
        }
        self.piece.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Case {
    /// Valid or nearly valid frames; half of the streams have one more mistake.
    fn random(random: &mut Random) -> Self {
        let message_bytes = *random.pick(&[125, 1000, 16 * 1024, 70_000]);
        let mut bytes = Vec::new();
        let mut in_message = false;
        for _ in 0..=random.below(6) {
            random_frame(random, message_bytes, &mut in_message, &mut bytes);
        }
        if random.one_in(500) {
            bytes.extend_from_slice(&b"\x00\x80\0\0\0\0".repeat(66));
        }
        if random.one_in(2) {
            mutate(random, &mut bytes);
        }
        let mut cuts = Vec::new();
        if !random.one_in(4) {
            let most = *random.pick(&[1, 3, 30, 1000]);
            let mut left = bytes.len();
            while left > 0 && cuts.len() < 1000 {
                let length = 1 + random.below(most);
                cuts.push(length);
                left = left.saturating_sub(length);
            }
        }
        Self { bytes, cuts, message_bytes }
    }
}

fn random_frame(random: &mut Random, message_bytes: usize, in_message: &mut bool, bytes: &mut Vec<u8>) {
    let is_control = random.one_in(4);
    let fin = is_control || !random.one_in(3);
    let opcode = match (is_control, *in_message) {
        (true, _) => *random.pick(&[0x8, 0x9, 0x9, 0x9, 0xa, 0xa]),
        (false, true) => 0,
        (false, false) => *random.pick(&[1, 1, 2]),
    };
    if !is_control {
        *in_message = !fin;
    }
    let payload = match opcode {
        0x8 => random_close(random),
        0x9 | 0xa => random.bytes_below(126),
        2 => random_bytes(random, message_bytes),
        // A continuation may belong to a text.
        _ => random_text(random, message_bytes),
    };
    let mut key = [0; 4];
    if !random.one_in(3) {
        key = random.next().to_le_bytes()[..4].try_into().expect("four bytes");
    }
    bytes.push(if fin { 0x80 } else { 0 } | opcode);
    let length = payload.len();
    match length {
        0..=125 => bytes.push(0x80 | u8::try_from(length).expect("at most 125")),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&u16::try_from(length).expect("16 bits").to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// Lengths at which headers change, and near the limit; most are short.
fn random_length(random: &mut Random, message_bytes: usize) -> usize {
    match random.below(40) {
        0 => *random.pick(&[125, 126, 127]),
        1 => message_bytes.min(2000),
        2 => message_bytes.min(2000) + 1,
        3 if random.one_in(20) => *random.pick(&[65_535, 65_536, 70_000, 70_001]),
        4..=9 => random.below(300),
        _ => random.below(20),
    }
}

fn random_bytes(random: &mut Random, message_bytes: usize) -> Vec<u8> {
    let length = random_length(random, message_bytes);
    std::iter::repeat_with(|| random.next().to_le_bytes()).flatten().take(length).collect()
}

/// Text, sometimes truncated within a character.
fn random_text(random: &mut Random, message_bytes: usize) -> Vec<u8> {
    let length = random_length(random, message_bytes);
    let alphabet = *random.pick(&["abc", "aκ", "aκ€", "a\u{10ffff}\u{800}\u{7ff}\u{d7ff}\u{e000}"]);
    let characters: Vec<char> = alphabet.chars().collect();
    let mut text = String::new();
    while text.len() < length {
        text.push(*random.pick(&characters));
    }
    let mut bytes = text.into_bytes();
    if random.one_in(6) {
        bytes.truncate(length);
    }
    bytes
}

fn random_close(random: &mut Random) -> Vec<u8> {
    if random.one_in(4) {
        return random.bytes_below(4);
    }
    let codes = [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1011, 1012, 1013, 1014, 1015, 1016, 2999];
    let code: u16 = match random.below(4) {
        0 => *random.pick(&[0, 999, 3000, 3999, 4000, 4999, 5000, 65_535]),
        _ => *random.pick(&codes),
    };
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(random.pick(&["", "bye", "до свидания"]).as_bytes());
    if random.one_in(10) {
        payload.push(0xff);
    }
    payload
}

/// One mistake.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    // More often near the beginning, in the first header.
    let length = bytes.len();
    let place = if random.one_in(2) { random.below(length.min(16)) } else { random.below(length) };
    match random.below(8) {
        0 | 1 => bytes[place] ^= 1 << random.below(8),
        2 => bytes[place] = random.next().to_le_bytes()[0],
        3 => drop(bytes.remove(place)),
        4 => bytes.insert(place, random.next().to_le_bytes()[0]),
        5 => bytes.truncate(place.max(1)),
        6 => {
            let more = random.below(length - place).min(100);
            let again = bytes[place..=place + more].to_vec();
            bytes.splice(place..place, again);
        }
        _ => {
            // Any length of eight bytes.
            let mut header = vec![*random.pick(&[0x82, 0x81, 0x01, 0xa2, 0x89]), 0xff];
            let length = match random.below(4) {
                0 => u64::MAX >> random.below(64),
                1 => 1 << 63,
                _ => *random.pick(&[0, 125, 126, 65_535, 65_536, 70_001]),
            };
            header.extend_from_slice(&length.to_be_bytes());
            header.extend_from_slice(&[0; 4]);
            bytes.splice(0..0, header);
        }
    }
}

/// SplitMix64: the same numbers for the same seed and stream, always.
struct Random(u64);

impl Random {
    fn new(seed: u64, number: u64) -> Self {
        let mut seeded = Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number);
        Self(seeded.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    fn bytes_below(&mut self, bound: usize) -> Vec<u8> {
        let length = self.below(bound);
        std::iter::repeat_with(|| self.next().to_le_bytes()[0]).take(length).collect()
    }
}

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
