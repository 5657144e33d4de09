//! The WebSocket protocol (RFC 6455, RFC 7692) as state machines without I/O.
//!
//! A peer is a [`connection::Connection`] for what it sends and an [`outgoing::Outgoing`] for what is sent to it; an idle
//! peer owns no heap. Does not know sockets, clocks, or what messages say.

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
