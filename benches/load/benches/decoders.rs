//! Our decoder and those of other libraries on the same bytes: masked text messages read from memory, each library with
//! its own way of reading, into whole messages, checked for UTF-8 if the library does that.
//!
//! `cargo bench --manifest-path benches/load/Cargo.toml`

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use airlay::websocket::connection::{Connection, Step};
use airlay::websocket::deflate::Codec;
use airlay::websocket::frame::{OpCode, encode};
use airlay::websocket::message::Limits;
use airlay::websocket::outgoing::Outgoing;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt as _;

/// Bytes of messages in one stream.
const STREAM: usize = 4 << 20;

const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

criterion_group!(decoders, decode);
criterion_main!(decoders);

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(20);
    for size in [128, 16 << 10] {
        let count = STREAM / size;
        let text = r#"{"auth":"eyJhbGciOiJSUzI1NiJ9","action":"attach"} "#.repeat(size / 50 + 1);
        let mut stream = Vec::new();
        for number in 0..count {
            let mask = u32::try_from(number).unwrap_or(0).wrapping_mul(0x9e37_79b9).to_ne_bytes();
            encode(OpCode::Text, &text.as_bytes()[..size], Some(mask), &mut stream);
        }
        group.throughput(Throughput::Bytes(stream.len() as u64));
        let mut run = |name: &str, decoder: &mut dyn FnMut(Memory<'_>) -> usize| {
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| assert_eq!(decoder(Memory { unread: &stream }), count));
            });
        };
        let mut ours = Ours::new();
        run("airlay", &mut |memory| ours.decode(memory));
        run("tungstenite", &mut |memory| tungstenite(memory, count));
        run("fastwebsockets", &mut |memory| fastwebsockets(memory, count));
        run("soketto", &mut |memory| soketto(memory, count));
    }
}

/// An open connection, and the buffer that an event loop would read into.
struct Ours {
    connection: Connection,
    outgoing: Outgoing,
    codec: Codec,
    limits: Limits,
    buffer: Vec<u8>,
}

impl Ours {
    fn new() -> Self {
        let (mut connection, mut outgoing) = (Connection::server(), Outgoing::default());
        let (mut codec, limits) = (Codec::new(), Limits::default());
        let mut request = UPGRADE.to_vec();
        match connection.receive(&mut &mut request[..], &mut outgoing, &limits, &mut codec) {
            Step::Upgrade(upgrade) => connection.accept(&upgrade, false, &mut outgoing),
            step => panic!("{step:?}"),
        }
        outgoing.clear();
        Self { connection, outgoing, codec, limits, buffer: vec![0; 64 << 10] }
    }

    fn decode(&mut self, mut memory: Memory<'_>) -> usize {
        let Self { connection, outgoing, codec, limits, buffer } = self;
        let mut messages = 0;
        loop {
            let filled = memory.read(buffer).expect("reading memory cannot fail");
            if filled == 0 {
                return messages;
            }
            let mut input = &mut buffer[..filled];
            while let Step::Message(message) = connection.receive(&mut input, outgoing, limits, codec) {
                black_box(message.payload());
                messages += 1;
            }
        }
    }
}

fn tungstenite(memory: Memory<'_>, count: usize) -> usize {
    let mut socket =
        tungstenite::WebSocket::from_raw_socket(memory, tungstenite::protocol::Role::Server, None);
    for _ in 0..count {
        black_box(socket.read().expect("a message"));
    }
    count
}

fn fastwebsockets(memory: Memory<'_>, count: usize) -> usize {
    let socket = fastwebsockets::WebSocket::after_handshake(memory, fastwebsockets::Role::Server);
    let mut socket = fastwebsockets::FragmentCollector::new(socket);
    let messages = async {
        for _ in 0..count {
            black_box(socket.read_frame().await.expect("a message"));
        }
    };
    messages.now_or_never().expect("memory never blocks");
    count
}

fn soketto(memory: Memory<'_>, count: usize) -> usize {
    let (_, mut receiver) =
        soketto::connection::Builder::new(memory, soketto::connection::Mode::Server).finish();
    let mut message = Vec::new();
    let messages = async {
        for _ in 0..count {
            message.clear();
            receiver.receive(&mut message).await.expect("a message");
            black_box(&message);
        }
    };
    messages.now_or_never().expect("memory never blocks");
    count
}

/// A stream that reads from memory and drops what is written to it.
struct Memory<'b> {
    unread: &'b [u8],
}

impl Read for Memory<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.unread.read(buffer)
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl tokio::io::AsyncRead for Memory<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = buffer.remaining().min(self.unread.len());
        let (taken, unread) = self.unread.split_at(count);
        buffer.put_slice(taken);
        self.unread = unread;
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Memory<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl futures_util::AsyncRead for Memory<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.read(buffer))
    }
}

impl futures_util::AsyncWrite for Memory<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
