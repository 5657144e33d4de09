//! The real binary over real sockets, against the wire contract. One program, linked once, with one file per theme.
//! `cargo test --test live requests::` runs one theme.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests speak over real sockets on real clocks"
)]

mod access_file;
mod access_service;
mod admission;
mod command_line;
mod compression;
mod delivery;
mod demo;
mod hostile;
mod limits;
mod log;
mod metrics;
mod notifications;
mod producers;
mod requests;
mod revocation;
mod rotation;
mod service_manager;
mod shutdown;
mod startup;
#[path = "../support/mod.rs"]
mod support;
mod token_end;
mod tokens;
mod upgrade;
mod wakeups;
