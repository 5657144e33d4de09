//! The Airlay event service: browsers subscribe to events over WebSocket, backend processes write events into a
//! Unix-domain socket, and one single-threaded event loop pushes each event to its subscribers.
//!
//! Data flows one way, and a module imports only from modules above its own in the table of `ARCHITECTURE.md`:
//! bytes → frames → messages → requests → subscriptions → shared encoded frames → bytes. Everything but [`net`] and
//! the command-line programs in [`cli`] is free of I/O and of clocks: bytes, events and the time go in; frames,
//! answers, deadlines and closings come out.

pub mod access;
pub mod api;
pub mod assembly;
pub mod cli;
pub mod config;
pub mod cost;
pub mod driver;
pub mod forwarded;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod hub;
pub(crate) mod json;
pub mod log;
pub mod metrics;
pub mod ndjson;
pub mod net;
pub mod origins;
pub mod peers;
pub mod producers;
pub mod server;
pub mod slots;
pub mod subscriptions;
pub mod time;
pub mod token;
pub mod websocket;
