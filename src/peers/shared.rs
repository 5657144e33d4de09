//! Messages that many peers get: encoded once, and compressed once for all who inflate with the same window.

use crate::websocket::deflate::{Codec, WindowBits};
use crate::websocket::frame::Frames;

/// A run of messages in each form that peers have negotiated. A form is made when the first peer wants it.
#[derive(Debug)]
pub struct Shared {
    plain: Frames,
    /// At most one for each of the seven window sizes; in practice one, for browsers leave the size to us.
    compressed: Vec<(WindowBits, Frames)>,
}

impl Shared {
    /// Shares these messages, each of which is one frame, unmasked and not compressed.
    #[must_use]
    pub const fn new(plain: Frames) -> Self {
        Self { plain, compressed: Vec::new() }
    }

    /// The messages as they are.
    pub(super) const fn plain(&self) -> &Frames {
        &self.plain
    }

    /// The messages for peers that have negotiated these `bits`, those of `min_bytes` or more compressed.
    pub(super) fn compressed(&mut self, bits: WindowBits, min_bytes: usize, codec: &mut Codec) -> &Frames {
        let at = self.compressed.iter().position(|&(of, _)| of == bits).unwrap_or_else(|| {
            self.compressed.push((bits, codec.compress_run(&self.plain, bits, min_bytes)));
            self.compressed.len() - 1
        });
        &self.compressed[at].1
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Application, Lane, Peer, PeerId, PeerLimits, Peers, Sockets};
    use super::*;
    use crate::time::{Monotonic, Now, Wall};
    use crate::websocket::frame::{OpCode, encode};
    use crate::websocket::handshake::{Rejection, Upgrade};
    use crate::websocket::message::{Limits, Message};
    use std::net::Ipv4Addr;
    use std::time::Duration;

    const NOW: Now = Now { monotonic: Monotonic(0), wall: Wall(0) };

    /// Lets everybody in and says nothing.
    struct Doorman;

    impl Application for Doorman {
        fn upgrade(&mut self, _: &mut Peers, _: PeerId, _: &Upgrade<'_>, _: Now) -> Result<(), Rejection> {
            Ok(())
        }

        fn message(&mut self, _: &mut Peers, _: PeerId, _: Message<'_>, _: Now) {}

        fn closed(&mut self, _: PeerId) {}
    }

    /// Sockets that take everything, by slot.
    #[derive(Default)]
    struct Taken(Vec<Vec<u8>>);

    impl Sockets for Taken {
        type Socket = Vec<u8>;

        fn socket(&mut self, peer: PeerId) -> &mut Vec<u8> {
            if self.0.len() <= peer.index() {
                self.0.resize(peer.index() + 1, Vec::new());
            }
            &mut self.0[peer.index()]
        }

        fn shut(&mut self, _: PeerId) {}
    }

    /// Peers that have each made this offer.
    fn peers(offers: &[&str]) -> Peers {
        let time = Duration::from_secs(10);
        let limits = PeerLimits {
            peers: 100,
            handshake: time,
            message: time,
            ping: time,
            pong: time,
            frames_per_second: 0,
            close: time,
            queue: 1 << 20,
            queue_soft: 1 << 20,
            queue_soft_time: time,
            queue_unauthenticated: 1 << 20,
            queue_total: 1 << 20,
        };
        let mut peers = Peers::new(limits, Limits::default()).with_compression_from(100);
        for offer in offers {
            let id = peers.connect(Ipv4Addr::LOCALHOST.into(), NOW.monotonic).unwrap();
            let head = format!(
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
                 dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n"
            );
            peers.receive(&mut Doorman, id, &mut head.into_bytes(), NOW);
            assert!(peers.is_open(id), "{offer}");
        }
        peers
    }

    fn messages(text: &str) -> Shared {
        let mut frame = Vec::new();
        encode(OpCode::Text, text.as_bytes(), None, &mut frame);
        Shared::new(Frames::new(frame))
    }

    const PLAIN: &str = "none";
    const USUAL: &str = "permessage-deflate; client_max_window_bits";
    const SMALL: &str = "permessage-deflate; server_max_window_bits=9";

    #[test]
    fn messages_are_compressed_once_for_all_with_the_same_window() {
        let mut peers = peers(&[USUAL, PLAIN, SMALL, USUAL, USUAL]);
        let mut messages = messages(&"0123456789".repeat(10));
        for slot in 0..5 {
            peers.deliver(slot, &mut messages, Lane::Prompt, NOW.monotonic);
        }
        assert_eq!(messages.compressed.len(), 2);
        let mut sockets = Taken::default();
        peers.flush(&mut sockets, NOW.monotonic);
        let (usual, small) = (&messages.compressed[0].1, &messages.compressed[1].1);
        for (written, frames) in sockets.0.iter().zip([usual, &messages.plain, small, usual, usual]) {
            assert!(written.ends_with(frames.as_bytes()));
        }
    }

    #[test]
    fn an_idle_peer_costs_no_more_with_compression_than_without() {
        assert!(size_of::<Peer>() <= 48, "{}", size_of::<Peer>());
        let mut peers = peers(&[PLAIN, USUAL, SMALL]);
        for slot in 0..3 {
            peers.deliver(slot, &mut messages(&"0123456789".repeat(10)), Lane::Prompt, NOW.monotonic);
        }
        peers.flush(&mut Taken::default(), NOW.monotonic);
        // What would own something on the heap is a queue that is not empty or a message that has begun.
        for (slot, peer) in &peers.slab {
            assert_eq!(
                format!("{:?}", peer.outgoing),
                format!("{:?}", crate::websocket::outgoing::Outgoing::default())
            );
            assert!(!peer.connection.is_unfinished());
            assert_eq!(peer.connection.deflate().map(WindowBits::get), [None, Some(15), Some(9)][slot]);
        }
    }
}
