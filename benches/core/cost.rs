//! The work that `src/cost.rs` puts a price on, so that its weights can be held against what is measured here.

use std::net::Ipv4Addr;

use airlay::cost::Budget;
use airlay::peers::PeerId;
use airlay::websocket::deflate::{Codec, WindowBits};
use airlay::websocket::frame::{OpCode, encode};
use criterion::{Criterion, Throughput};

use crate::service::{NOW, Service, Sink};

/// Frames in one batch.
const FRAMES: usize = 64;

/// Messages, pings and lines, each with its reply or answer.
pub(crate) fn weights(criterion: &mut Criterion) {
    let mut service = Service::new(1);
    let peer = service.stranger();
    let hostile = format!("{{{}}}", vec![r#""":0"#; 3270].join(","));
    let plain = |payload: &str| {
        let mut frame = Vec::new();
        encode(OpCode::Text, payload.as_bytes(), Some([1, 2, 3, 4]), &mut frame);
        frame
    };
    let mut group = criterion.benchmark_group("cost");
    group.throughput(Throughput::Elements(FRAMES as u64));
    for (name, frame) in [
        ("message, small and invalid", plain("{}")),
        ("message, 16 KiB of hostile JSON", plain(&hostile)),
        ("message, 16 KiB of hostile JSON, compressed", compressed(&hostile)),
        ("frame, a ping", b"\x89\x80\x01\x02\x03\x04".to_vec()),
    ] {
        let frames = frame.repeat(FRAMES);
        group.bench_function(name, |bencher| {
            // Unmasked in place, so each run needs its own.
            bencher.iter_batched_ref(
                || frames.clone(),
                |frames| service.receive(peer, frames),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    let lines =
        b"{\"type\":\"issueUpdate\",\"id\":\"610217e481f6fc5473620900\",\"data\":[]}\n".repeat(FRAMES);
    group.bench_function("line, without subscribers", |bencher| bencher.iter(|| service.lines(&lines)));
    group.finish();
}

impl Service {
    /// Gives these frames to the server as input of a peer that has only upgraded, and returns what was written.
    fn receive(&mut self, peer: PeerId, frames: &mut [u8]) -> Sink {
        self.server.receive(peer, frames, NOW, &mut Budget::unlimited());
        self.turn()
    }

    /// Gives these lines to the server, and returns what was written.
    fn lines(&mut self, lines: &[u8]) -> Sink {
        self.server.receive_lines(self.producer, lines, NOW, &mut Budget::unlimited());
        self.turn()
    }

    /// Connects a peer that offers permessage-deflate and attaches to nothing.
    fn stranger(&mut self) -> PeerId {
        let peer = self.server.connect(Ipv4Addr::LOCALHOST.into(), NOW).expect("no limit");
        let mut upgrade =
            *b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        self.receive(peer, &mut upgrade);
        peer
    }
}

/// A client's compressed frame.
fn compressed(payload: &str) -> Vec<u8> {
    let frames = Codec::new().compress(OpCode::Text, payload.as_bytes(), WindowBits::default());
    let frame = frames.as_bytes();
    // A server's frame with a length of 7 bits gets the mask 0.
    let (header, rest) = frame.split_at(2);
    assert!(header[1] < 126, "{} bytes", frame.len());
    [&[header[0], header[1] | 0x80, 0, 0, 0, 0], rest].concat()
}
