//! The server's answers to a producer: one line each, with its line feed.

use std::io::Write as _;

use super::line::LineError;

/// Appends the answer that the event was queued for this number of subscribers; `ack` is the event's.
///
/// `{"ack":…,"status":200,"message":"Ok","code":0,"subscribers":N}`
pub fn encode_taken(ack: &str, subscribers: u64, out: &mut Vec<u8>) {
    writeln!(out, r#"{{"ack":{ack},"status":200,"message":"Ok","code":0,"subscribers":{subscribers}}}"#)
        .expect("writing to memory does not fail");
}

/// Appends the answer that line `number` was refused, and why.
///
/// `{"status":400,"message":"…","code":5,"line":N}`, with `ack` in front if the line had one.
pub fn encode_refused(number: u64, error: &LineError<'_>, out: &mut Vec<u8>) {
    let message = serde_json::Value::from(error.to_string());
    let (before, ack, after) = error.ack().map_or_else(Default::default, |ack| (r#""ack":"#, ack, ","));
    writeln!(out, r#"{{{before}{ack}{after}"status":400,"message":{message},"code":5,"line":{number}}}"#)
        .expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::super::line::Line;
    use super::*;

    #[test]
    fn an_event_taken_is_answered_with_its_ack_as_it_was_written() {
        for (ack, expected) in [
            ("7", r#"{"ack":7,"status":200,"message":"Ok","code":0,"subscribers":100000}"#),
            ("-1.50e+99", r#"{"ack":-1.50e+99,"status":200,"message":"Ok","code":0,"subscribers":100000}"#),
            (r#""\u0041""#, r#"{"ack":"\u0041","status":200,"message":"Ok","code":0,"subscribers":100000}"#),
        ] {
            let mut answer = Vec::new();
            encode_taken(ack, 100_000, &mut answer);
            assert_eq!(String::from_utf8(answer).unwrap(), format!("{expected}\n"));
        }
    }

    #[test]
    fn a_line_refused_is_answered_with_its_number_and_its_ack() {
        for (line, expected) in [
            (
                &b"{\"ack\":\"a\"}"[..],
                r#"{"ack":"a","status":400,"message":"type is missing, column 1","code":5,"line":3}"#,
            ),
            (b"\0", r#"{"status":400,"message":"not a JSON object, column 1","code":5,"line":3}"#),
            (
                b"{\"control\":\"\\u0000\xc2\x85\"}",
                "{\"status\":400,\"message\":\"control is \\\"\\\\u0000\u{85}\\\", not \\\"revoke\\\", column 12\",\"code\":5,\"line\":3}",
            ),
        ] {
            let mut answer = Vec::new();
            encode_refused(3, &Line::parse(line).unwrap_err(), &mut answer);
            assert_eq!(String::from_utf8(answer).unwrap(), format!("{expected}\n"));
        }
    }

    #[test]
    fn s45_a_line_over_the_limit_is_answered() {
        let mut answer = Vec::new();
        encode_refused(9, &LineError::too_long(1_048_576), &mut answer);
        let expected =
            r#"{"status":400,"message":"longer than lineBytes = 1048576, column 1048577","code":5,"line":9}"#;
        assert_eq!(String::from_utf8(answer).unwrap(), format!("{expected}\n"));
    }
}
