//! The event that every server is given, and what a subscriber checks of it: 128 bytes, as a line, as a message and as a
//! frame the same for all.

/// Bytes of the message a subscriber gets; a producer's line has one more.
pub(crate) const MESSAGE: usize = 128;

/// Bytes of the frame around it (RFC 6455 §5.2): two, a length in 16 bits, the message.
pub(crate) const FRAME: usize = HEADER.len() + MESSAGE;

const HEADER: [u8; 4] = [0x81, 126, 0, 128];

/// Where a frame has its number: eight digits.
const NUMBER: usize = HEADER.len() + 62;

/// Where a frame has the moment it was published: nineteen digits.
const MOMENT: usize = NUMBER + 9;

/// The 24 hex digits of a topic's object.
pub(crate) fn topic_id(topic: usize) -> String {
    format!("610217e481f6fc54{topic:08x}")
}

/// Appends the message of the event with this number (counted over all topics), published at `moment` (nanoseconds).
pub(crate) fn write_message(topic: usize, number: usize, moment: u64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let start = out.len();
    let id = topic_id(topic);
    write!(out, r#"{{"type":"issueUpdate","id":"{id}","data":"{number:08} {moment:019} "#)
        .expect("memory takes all bytes");
    out.resize(start + MESSAGE - 2, b'.');
    out.extend_from_slice(b"\"}");
}

/// Appends the frame around that message.
pub(crate) fn write_frame(topic: usize, number: usize, moment: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&HEADER);
    write_message(topic, number, moment, out);
}

/// Whether these bytes begin as each event's frame does.
pub(crate) fn is_frame(frame: &[u8]) -> bool {
    frame.starts_with(&HEADER)
}

/// The event's number: not the value of its digits, but in the same order as the values.
pub(crate) fn number(frame: &[u8]) -> u64 {
    let digits = frame[NUMBER..].first_chunk().expect("a whole frame");
    u64::from_be_bytes(*digits)
}

/// When the event was published, in nanoseconds.
pub(crate) fn moment(frame: &[u8]) -> u64 {
    frame[MOMENT..MOMENT + 19].iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_what_was_written_into_it() {
        let mut frame = Vec::new();
        write_frame(3, 17, 1_234_567_890_123, &mut frame);
        assert_eq!(frame.len(), FRAME);
        assert!(is_frame(&frame));
        assert_eq!(number(&frame).to_be_bytes(), *b"00000017");
        assert_eq!(moment(&frame), 1_234_567_890_123);
        let text = std::str::from_utf8(&frame[HEADER.len()..]).unwrap();
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(json["id"], topic_id(3));
    }
}
