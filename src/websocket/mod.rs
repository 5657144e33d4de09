//! The WebSocket protocol (RFC 6455, RFC 7692) as plain state machines: bytes in, messages out, and back.
//!
//! A peer is a [`connection::Connection`] (what it sends us) and an [`outgoing::Outgoing`] (what we send it); both
//! are three words when idle. Nothing here knows sockets, clocks, or what the messages say.

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
