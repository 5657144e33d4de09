//! The Airlay event service: browsers subscribe to events over WebSocket, backend processes write events to a
//! Unix-domain socket, and a single-threaded event loop pushes each event to its subscribers.
//!
//! Data flows one way: bytes → frames → messages → requests → subscriptions → shared encoded frames → bytes. A module
//! imports only from modules above its own in the table of `ARCHITECTURE.md`. The core does no I/O and reads no clock:
//! bytes, events and the time go in; frames, answers, deadlines and closings come out. Sockets, files and clocks belong to
//! [`net`] and to the command-line programs in [`cli`]; [`log`] writes to standard error.

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
