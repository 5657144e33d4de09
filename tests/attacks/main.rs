//! Attacks on the real binary, one file each. The short form asserts what does not depend on time; `FULL=1` has the full
//! sizes and prints figures. See `README.md`.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "attacks go over real sockets on real clocks; figures are rounded"
)]

mod access;
mod after_close;
mod backlog;
mod bursts;
mod clock;
mod crowd;
mod deflate_cost;
mod flood_invalid;
mod forwarded;
mod frames;
mod memory;
mod operational;
mod producers;
mod rsa_flood;
mod scene;
mod scrapers;
mod slots;
mod slow;
mod starve;
mod stop_cont;
#[path = "../support/mod.rs"]
mod support;
