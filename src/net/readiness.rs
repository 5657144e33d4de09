//! Encodes the source of a readiness event, a kind with a slot id, in the 64 bits of a [`mio::Token`].

use super::metrics_http::ScraperId;
use crate::peers::PeerId;
use crate::producers::ProducerId;
use mio::Token;

/// The position of the kind, above the bits of a slot id.
const KIND_SHIFT: u32 = PeerId::BITS;
const SINGLE: u64 = 0;
const PEER: u64 = 1;
const PRODUCER: u64 = 2;
const METRICS: u64 = 3;

/// The owner of a registered socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The listener for WebSocket clients.
    PeerListener,
    /// The listener for producers.
    ProducerListener,
    /// The listener of the metrics endpoint.
    MetricsListener,
    /// The pipe of signals.
    Signals,
    /// The connection to the access service.
    AccessService,
    /// A WebSocket client.
    Peer(PeerId),
    /// A producer.
    Producer(ProducerId),
    /// A connection of the metrics endpoint.
    Metrics(ScraperId),
}

impl From<Source> for Token {
    fn from(source: Source) -> Self {
        let (kind, bits) = match source {
            Source::PeerListener => (SINGLE, 0),
            Source::ProducerListener => (SINGLE, 1),
            Source::Signals => (SINGLE, 2),
            Source::AccessService => (SINGLE, 3),
            Source::MetricsListener => (SINGLE, 4),
            Source::Peer(id) => (PEER, id.to_bits()),
            Source::Producer(id) => (PRODUCER, id.to_bits()),
            Source::Metrics(id) => (METRICS, id.to_bits()),
        };
        Self(usize::try_from(kind << KIND_SHIFT | bits).expect("a machine of 64 bits"))
    }
}

impl From<Token> for Source {
    fn from(Token(bits): Token) -> Self {
        let bits = bits as u64;
        match (bits >> KIND_SHIFT, bits) {
            (PEER, _) => Self::Peer(PeerId::from_bits(bits)),
            (PRODUCER, _) => Self::Producer(ProducerId::from_bits(bits)),
            (METRICS, _) => Self::Metrics(ScraperId::from_bits(bits)),
            (_, 0) => Self::PeerListener,
            (_, 1) => Self::ProducerListener,
            (_, 2) => Self::Signals,
            (_, 3) => Self::AccessService,
            _ => Self::MetricsListener,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_survives_encoding() {
        let ids = [(0, 0), (5, 7), (u32::MAX, u32::MAX >> 2), (1 << 20, 1)];
        let peers = ids.map(|(index, generation)| Source::Peer(PeerId::new(index, generation)));
        let producers = ids.map(|(index, generation)| Source::Producer(ProducerId::new(index, generation)));
        let scrapers = ids.map(|(index, generation)| Source::Metrics(ScraperId::new(index, generation)));
        let singles = [
            Source::PeerListener,
            Source::ProducerListener,
            Source::Signals,
            Source::AccessService,
            Source::MetricsListener,
        ];
        for source in singles.into_iter().chain(peers).chain(producers).chain(scrapers) {
            assert_eq!(Source::from(Token::from(source)), source);
        }
    }
}
