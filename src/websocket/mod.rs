//! The WebSocket protocol (RFC 6455, RFC 7692) as sans-I/O state machines.
//!
//! A peer is a [`connection::Connection`] for what it sends and an [`outgoing::Outgoing`] for what we send; each takes
//! two words when idle. Nothing here knows sockets, clocks, or the contents of messages.

pub mod close;
pub mod connection;
pub mod deflate;
pub mod frame;
pub mod handshake;
mod incoming;
pub mod message;
pub mod outgoing;
pub(crate) mod reader;
mod utf8;
