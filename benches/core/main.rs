//! Benchmarks of the core's steps, without sockets: `cargo bench --bench core [NAME]`. `cargo test` runs each body once.

mod cost;
mod delivery;
mod requests;
mod service;
mod subscriptions;
mod websocket;

use criterion::{criterion_group, criterion_main};

criterion_group! {
    name = core;
    config = criterion::Criterion::default().without_plots();
    targets = websocket::frames, websocket::unmasking, websocket::utf8, websocket::handshake,
        requests::parsing, requests::tokens, requests::lines,
        subscriptions::changes, delivery::fan_out, cost::weights
}
criterion_main!(core);
