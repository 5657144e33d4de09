//! What the server answers a producer: one line each, its line feed included.

use std::io::Write as _;

use super::line::LineError;

/// Appends the line that says an event has been queued for so many subscribers; `ack` is the event's.
///
/// `{"ack":…,"status":200,"message":"Ok","code":0,"subscribers":N}`
pub fn encode_taken(ack: &str, subscribers: u64, out: &mut Vec<u8>) {
    writeln!(out, r#"{{"ack":{ack},"status":200,"message":"Ok","code":0,"subscribers":{subscribers}}}"#)
        .expect("memory takes every byte");
}

/// Appends the line that says line `number` could not be taken, and why.
///
/// `{"status":400,"message":"…","code":5,"line":N}`, with `ack` in front if the line had one.
pub fn encode_refused(number: u64, error: &LineError<'_>, out: &mut Vec<u8>) {
    let message = serde_json::Value::from(error.to_string());
    let (before, ack, after) = error.ack().map_or_else(Default::default, |ack| (r#""ack":"#, ack, ","));
    writeln!(out, r#"{{{before}{ack}{after}"status":400,"message":{message},"code":5,"line":{number}}}"#)
        .expect("memory takes every byte");
}
