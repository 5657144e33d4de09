//! What the live tests share: the real binary on free ports, a WebSocket client that is not ours, a producer over a
//! plain Unix-domain socket, and tokens signed with test keys.
//!
//! It knows the wire contract and nothing of the server's internals: it uses no item of the library. No wait is a sleep,
//! each has an absolute deadline, and a test that fails says what it awaited and prints the server's log.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "each test program uses its own part of this; tests speak over real sockets on real clocks"
)]

pub mod access_service;
pub mod client;
pub mod deflate;
pub(crate) mod event_types;
pub mod forged;
pub mod http;
pub mod metrics;
pub mod process;
pub mod producer;
pub mod server;
pub mod token;
pub mod wait;
pub mod window;

pub use access_service::{AccessService, Consultation};
pub use client::Client;
pub use deflate::{DeflateClient, Received};
pub(crate) use event_types::EVENT_TYPES;
pub use metrics::Metrics;
pub use producer::Producer;
pub use server::{Server, Setup};
pub use token::{good_token, token_until};
pub use wait::Deadline;

use std::time::Duration;

/// How long one message or answer may take before a test gives up: far more than a loaded machine needs.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The same for the start and the end of a process, for a line of its log, and for what takes thousands of messages.
pub const LONG_DEADLINE: Duration = Duration::from_secs(30);

/// The user of the contract's example token.
pub const USER: &str = "5dad615eae019570fb4647ed";
/// Another user.
pub const OTHER_USER: &str = "5dad615eae019570fb4647ee";
/// A user in no access file of these tests.
pub const UNKNOWN_USER: &str = "5dad615eae019570fb464700";
/// The issue of the contract's examples.
pub const ISSUE: &str = "610217e481f6fc54736209e0";
/// A dataset.
pub const DATASET: &str = "610217e481f6fc54736209e1";
/// Another dataset.
pub const OTHER_DATASET: &str = "610217e481f6fc54736209e2";
/// Any other object.
pub const OBJECT: &str = "610217e481f6fc54736209ef";

/// The reply with this code, to the letter.
#[track_caller]
pub fn reply(code: u8) -> String {
    let (status, message) = answer(code);
    format!(r#"{{"status":{status},"message":"{message}","code":{code}}}"#)
}

/// The message that says that the subscription to this event has ended, to the letter.
#[track_caller]
pub fn ended(code: u8, kind: &str, id: &str) -> String {
    let (status, message) = answer(code);
    format!(
        r#"{{"status":{status},"message":"{message}","code":{code},"event":{{"type":"{kind}","id":"{id}"}}}}"#
    )
}

/// An event as a subscriber receives it, to the letter.
pub fn event(kind: &str, id: &str, data: &str) -> String {
    format!(r#"{{"type":"{kind}","id":"{id}","data":{data}}}"#)
}

/// A request.
pub fn request(action: &str, auth: &str, kind: &str, id: &str) -> String {
    format!(r#"{{"auth":"{auth}","action":"{action}","event":{{"type":"{kind}","id":"{id}"}}}}"#)
}

#[track_caller]
fn answer(code: u8) -> (u16, &'static str) {
    match code {
        0 => (200, "Ok"),
        1 => (400, "Token not set"),
        2 => (400, "Invalid token"),
        3 => (400, "User not exists"),
        4 => (400, "Not access for dataset"),
        5 => (400, "Invalid request"),
        6 => (400, "Too many subscriptions"),
        7 => (400, "Too many requests"),
        8 => (400, "Temporarily unavailable"),
        _ => panic!("the contract has no code {code}"),
    }
}
