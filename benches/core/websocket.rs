//! Decoding bytes into messages, and the upgrade.

use std::hint::black_box;

use airlay::websocket::connection::{Connection, Step};
use airlay::websocket::deflate::Codec;
use airlay::websocket::frame::{OpCode, encode, unmask};
use airlay::websocket::message::Limits;
use airlay::websocket::outgoing::Outgoing;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: events.airlay.ru\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nOrigin: https://airlay.ru\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";

/// Decoding the text messages of one read: header, unmasking, UTF-8.
pub(crate) fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    for size in [128, 16 << 10] {
        let mut stream = Vec::new();
        let count = (64 << 10) / size;
        for _ in 0..count {
            encode(OpCode::Text, "a".repeat(size).as_bytes(), Some(MASK), &mut stream);
        }
        group.throughput(Throughput::Bytes(stream.len() as u64));
        let (mut connection, mut outgoing, mut codec) = open();
        let limits = Limits::default();
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched_ref(
                || stream.clone(),
                |stream| {
                    let mut input = &mut stream[..];
                    let mut messages = 0;
                    while let Step::Message(message) =
                        connection.receive(&mut input, &mut outgoing, &limits, &mut codec)
                    {
                        messages += usize::from(!black_box(message.payload()).is_empty());
                    }
                    assert_eq!(messages, count);
                },
                BatchSize::SmallInput,
            );
        });
    }
}

/// Unmasking bytes that are in the processor's cache.
pub(crate) fn unmasking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask");
    for size in [16, 128, 1 << 10, 16 << 10] {
        let mut bytes = vec![0x55; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| unmask(black_box(&mut bytes), black_box(MASK)));
        });
    }
}

/// Decoding unfragmented messages, ASCII and not.
pub(crate) fn utf8(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("utf8");
    for (name, word) in [("ascii", "issue "), ("russian", "задача ")] {
        let text = word.repeat((16 << 10) / word.len());
        let mut stream = Vec::new();
        encode(OpCode::Text, text.as_bytes(), Some([0; 4]), &mut stream);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        let (mut connection, mut outgoing, mut codec) = open();
        let limits = Limits::default();
        group.bench_function(name, |bencher| {
            // The masking key is zero, so the buffer stays as it is for the next iteration.
            bencher.iter(|| {
                let mut input = &mut stream[..];
                let step = connection.receive(&mut input, &mut outgoing, &limits, &mut codec);
                assert!(matches!(black_box(step), Step::Message(_)));
            });
        });
    }
}

/// From a browser's upgrade request to the queued 101.
pub(crate) fn handshake(criterion: &mut Criterion) {
    let limits = Limits::default();
    criterion.bench_function("handshake", |bencher| {
        let mut codec = Codec::new();
        let mut request = UPGRADE.to_vec();
        bencher.iter(|| {
            let (mut connection, mut outgoing) = (Connection::server(), Outgoing::default());
            upgrade(&mut connection, &mut outgoing, &limits, &mut codec, &mut request);
            assert!(connection.is_open());
            outgoing
        });
    });
}

fn upgrade(
    connection: &mut Connection,
    outgoing: &mut Outgoing,
    limits: &Limits,
    codec: &mut Codec,
    request: &mut [u8],
) {
    let mut input = request;
    let step = connection.receive(&mut input, outgoing, limits, codec);
    let Step::Upgrade(upgrade) = step else { panic!("{step:?}") };
    connection.accept(&upgrade, false, outgoing);
}

/// An open connection.
fn open() -> (Connection, Outgoing, Codec) {
    let (mut connection, mut outgoing, mut codec) = (Connection::server(), Outgoing::default(), Codec::new());
    upgrade(&mut connection, &mut outgoing, &Limits::default(), &mut codec, &mut UPGRADE.to_vec());
    outgoing.clear();
    (connection, outgoing, codec)
}
