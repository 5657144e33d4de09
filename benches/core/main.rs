//! The core's steps one by one, without sockets. `cargo bench --bench core [NAME]`; as a test each body runs once.

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
        subscriptions::changes, delivery::fan_out
}
criterion_main!(core);
