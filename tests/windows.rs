//! The windows of permessage-deflate (RFC 7692), with the server's own codec and an inflater of the tests' own: what is
//! compressed for a window needs no larger one, and no message reaches into another, whatever its client sends.

#[path = "support/window.rs"]
mod window;

use flate2::{Compress, Compression, FlushCompress};

use airlay::websocket::close::Violation;
use airlay::websocket::connection::{Connection, Ended, Step};
use airlay::websocket::deflate::{Codec, WindowBits};
use airlay::websocket::frame::{Frames, OpCode};
use airlay::websocket::message::{Limits, Message};
use airlay::websocket::outgoing::Outgoing;
use window::{final_block, inflate, reference, text_for_all_windows};

/// The payload of one of the server's frames, which must be final, compressed and a text (RFC 6455 §5.2).
#[track_caller]
fn payload(frames: &Frames) -> &[u8] {
    let bytes = frames.as_bytes();
    assert_eq!(bytes[0], 0xc1);
    match bytes[1] {
        126 => &bytes[4..],
        127 => &bytes[10..],
        _ => &bytes[2..],
    }
}

#[test]
fn what_is_compressed_for_a_window_inflates_with_it_and_no_smaller_one() {
    let text = text_for_all_windows();
    let mut codec = Codec::new();
    // Each size twice, in both orders: a compressor leaves nothing to the next one.
    for bits in (9..=15).chain((9..=15).rev()) {
        let frame = codec.compress(OpCode::Text, text.as_bytes(), WindowBits::new(bits).unwrap());
        assert!(inflate(payload(&frame), bits).as_deref() == Ok(text.as_bytes()), "{bits} bits");
        for smaller in 8..bits {
            // zlib refers to none of the last 262 bytes of its window: with 9 bits, 8 are enough.
            if (smaller, bits) != (8, 9) {
                let problem = inflate(payload(&frame), smaller).unwrap_err();
                assert!(problem.starts_with("a distance of "), "{smaller} of {bits} bits: {problem}");
            }
        }
    }
}

/// A connection that negotiated compression; its peer inflates with a window of 2^`bits` bytes.
fn connection(bits: u8, codec: &mut Codec) -> Connection {
    let (mut connection, mut outgoing) = (Connection::server(), Outgoing::default());
    let offer = format!("permessage-deflate; server_max_window_bits={bits}; client_max_window_bits={bits}");
    let mut head = format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n"
    )
    .into_bytes();
    match connection.receive(&mut &mut head[..], &mut outgoing, &Limits::default(), codec) {
        Step::Upgrade(upgrade) => connection.accept(&upgrade, true, &mut outgoing),
        step => panic!("{step:?}"),
    }
    assert_eq!(connection.deflate(), WindowBits::new(bits));
    connection
}

/// What a connection makes of one compressed text message in these fragments: its text, or the violation.
fn receive(
    connection: &mut Connection,
    fragments: &[&[u8]],
    codec: &mut Codec,
) -> Result<Vec<u8>, Violation> {
    let mut bytes = Vec::new();
    for (number, fragment) in (1..).zip(fragments) {
        // RFC 6455 §5.2: FIN, RSV1 and the opcode; the length in 64 bits; a mask of zeros.
        let first =
            if number == 1 { 0x41 } else { 0x00 } | if number == fragments.len() { 0x80 } else { 0x00 };
        bytes.push(first);
        match u16::try_from(fragment.len()) {
            Ok(length @ ..126) => bytes.push(0x80 | u8::try_from(length).expect("a short length")),
            Ok(length) => {
                bytes.push(0x80 | 126);
                bytes.extend(length.to_be_bytes());
            }
            Err(_) => {
                bytes.push(0x80 | 127);
                bytes.extend((fragment.len() as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(*fragment);
    }
    let limits = Limits { message_bytes: 1 << 20, ..Limits::default() };
    let (mut input, mut outgoing) = (&mut bytes[..], Outgoing::default());
    loop {
        match connection.receive(&mut input, &mut outgoing, &limits, codec) {
            Step::Frame(_) => {}
            Step::Message(Message::Text(text)) => return Ok(text.as_bytes().to_vec()),
            Step::Ended(Ended::Failed(violation)) => return Err(violation),
            step => panic!("{step:?}"),
        }
    }
}

/// `text`, compressed by a client with a window of 2^`bits` bytes that has sent `before` already.
fn referring_to(before: &str, text: &str, bits: u8) -> Vec<u8> {
    let mut payload = Vec::with_capacity(text.len() + 1024);
    let mut compress = Compress::new_with_window_bits(Compression::best(), false, bits);
    compress.set_dictionary(before.as_bytes()).expect("no byte was compressed yet");
    compress
        .compress_vec(text.as_bytes(), &mut payload, FlushCompress::Sync)
        .expect("anything can be compressed");
    payload.truncate(payload.len() - 4);
    payload
}

#[test]
fn behind_a_final_block_a_message_does_not_reach_into_another_clients() {
    let text = text_for_all_windows();
    // What a client of any window has sent last.
    let secret = &text[text.len() - 200..];
    let mut codec = Codec::new();
    for bits in 9..=15 {
        let referring = referring_to(secret, secret, bits);
        assert!(referring.len() < 20, "{} bytes are no reference", referring.len());
        // After nothing, after a block without a byte, after a block with some, and after many blocks.
        let many = final_block(b"").repeat(60);
        for before in [vec![], final_block(b""), final_block(b"own"), many] {
            let attack = [&before[..], &referring].concat();
            let (start, end) = attack.split_at(attack.len() / 2);
            for fragments in [&[&attack[..]][..], &[start, end], &[&before, &referring]] {
                let (mut victim, mut attacker) = (connection(bits, &mut codec), connection(bits, &mut codec));
                let sent = payload_of(&text, bits);
                assert!(receive(&mut victim, &[&sent], &mut codec).as_deref() == Ok(text.as_bytes()));
                let received = receive(&mut attacker, fragments, &mut codec);
                assert_eq!(received, Err(Violation::BrokenDeflate), "{bits} bits, {attack:x?}");
            }
        }
        // To what the same message brought before, the same reference is good.
        let mut client = connection(bits, &mut codec);
        let own = [final_block(secret.as_bytes()), referring].concat();
        assert_eq!(receive(&mut client, &[&own], &mut codec), Ok(secret.repeat(2).into_bytes()));
        assert_eq!(inflate(&own, 15), Ok(secret.repeat(2).into_bytes()));
    }
}

#[test]
fn behind_a_final_block_no_distance_reaches_further_than_the_message() {
    let text = text_for_all_windows();
    let mut codec = Codec::new();
    for bits in 8..=15 {
        for length in [0, 1, (1 << bits) - 1] {
            let (mut victim, mut attacker) = (connection(15, &mut codec), connection(15, &mut codec));
            assert!(receive(&mut victim, &[&payload_of(&text, 15)], &mut codec).is_ok());
            let attack = [final_block(&text.as_bytes()[..length]), reference(bits)].concat();
            let received = receive(&mut attacker, &[&attack], &mut codec);
            assert!(received == Err(Violation::BrokenDeflate), "2^{bits} back after {length} bytes");
        }
        let own = &text[..1 << bits];
        let message = [final_block(own.as_bytes()), reference(bits)].concat();
        let received = receive(&mut connection(15, &mut codec), &[&message], &mut codec);
        assert!(received.as_deref() == Ok(format!("{own}{}", &own[..3]).as_bytes()), "2^{bits} back");
    }
}

/// `text`, compressed by a client with a window of 2^`bits` bytes.
fn payload_of(text: &str, bits: u8) -> Vec<u8> {
    referring_to("", text, bits)
}

#[test]
fn the_tests_own_inflater_knows_all_kinds_of_blocks_and_its_window() {
    let text = text_for_all_windows();
    let mixed = [text.as_bytes(), &[0; 70_000], b"end"].concat();
    for level in 0..=9 {
        let mut payload = Vec::with_capacity(mixed.len() + 10_000);
        Compress::new(Compression::new(level), false)
            .compress_vec(&mixed, &mut payload, FlushCompress::Sync)
            .expect("it is compressed");
        payload.truncate(payload.len() - 4);
        assert!(inflate(&payload, 15).as_ref() == Ok(&mixed), "level {level}");
        for cut in [1, payload.len() / 2, payload.len() - 1] {
            assert!(inflate(&payload[..cut], 15).as_ref() != Ok(&mixed), "level {level} cut at {cut}");
        }
    }
    for bits in 8..=15_u8 {
        let payload = [final_block(&vec![b'x'; 1 << bits]), reference(bits.into())].concat();
        assert_eq!(inflate(&payload, bits), Ok(vec![b'x'; (1 << bits) + 3]));
        let smaller = format!("a distance of {} in a window of {}", 1 << bits, 1 << (bits - 1));
        assert_eq!(inflate(&payload, bits - 1), Err(smaller));
        let short = [final_block(&vec![b'x'; (1 << bits) - 1]), reference(bits.into())].concat();
        let before = format!("a distance of {} after {} bytes", 1 << bits, (1 << bits) - 1);
        assert_eq!(inflate(&short, bits), Err(before));
    }
}
