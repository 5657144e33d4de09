//! The event published to every server: a message of 128 bytes, the same for all, with a number and a time that
//! subscribers check.

/// Bytes of the message; a producer's line has one more.
pub(crate) const MESSAGE: usize = 128;

/// Bytes of its frame (RFC 6455 §5.2): a header with a length of 16 bits, and the message.
pub(crate) const FRAME: usize = HEADER.len() + MESSAGE;

const HEADER: [u8; 4] = [0x81, 126, 0, 128];

/// The offset of the number in a frame: eight digits.
const NUMBER: usize = HEADER.len() + 62;

/// The offset of the time of publishing in a frame: nineteen digits.
const MOMENT: usize = NUMBER + 9;

/// The 24 hex digits of a topic's object.
pub(crate) fn topic_id(topic: usize) -> String {
    format!("610217e481f6fc54{topic:08x}")
}

/// Appends the message of an event: `number` counts the events of all topics, `moment` is the time of publishing in
/// nanoseconds.
pub(crate) fn write_message(topic: usize, number: usize, moment: u64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let start = out.len();
    let id = topic_id(topic);
    write!(out, r#"{{"type":"issueUpdate","id":"{id}","data":"{number:08} {moment:019} "#)
        .expect("memory takes all bytes");
    out.resize(start + MESSAGE - 2, b'.');
    out.extend_from_slice(b"\"}");
}

/// Appends that message as a frame.
pub(crate) fn write_frame(topic: usize, number: usize, moment: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&HEADER);
    write_message(topic, number, moment, out);
}

/// Whether these bytes begin like an event's frame.
pub(crate) fn is_frame(frame: &[u8]) -> bool {
    frame.starts_with(&HEADER)
}

/// The digits of the event's number as an integer, which has the same order as the number.
pub(crate) fn number(frame: &[u8]) -> u64 {
    let digits = frame[NUMBER..].first_chunk().expect("a whole frame");
    u64::from_be_bytes(*digits)
}

/// The time of publishing, in nanoseconds.
pub(crate) fn moment(frame: &[u8]) -> u64 {
    frame[MOMENT..MOMENT + 19].iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_carries_number_and_time() {
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
