//! What a readiness event is about: a kind, a slot and a generation in the 64 bits of a [`mio::Token`].

use super::metrics_http::ScraperId;
use crate::peers::PeerId;
use crate::producers::ProducerId;
use mio::Token;

/// The owner of a registered socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The listener for WebSocket clients.
    PeerListener,
    /// The listener for producers.
    ProducerListener,
    /// The listener of the metrics' endpoint.
    MetricsListener,
    /// The pipe of signals.
    Signals,
    /// The connection to the access service.
    AccessService,
    /// A WebSocket client.
    Peer(PeerId),
    /// A producer.
    Producer(ProducerId),
    /// A connection of the metrics' endpoint.
    Metrics(ScraperId),
}

const KIND_SHIFT: u32 = 62;
const GENERATION_SHIFT: u32 = 32;
const GENERATION_MASK: u64 = u64::MAX >> (64 - KIND_SHIFT + GENERATION_SHIFT);
const SINGLE: u64 = 0;
const PEER: u64 = 1;
const PRODUCER: u64 = 2;
const METRICS: u64 = 3;

impl From<Source> for Token {
    fn from(source: Source) -> Self {
        let pack = |kind: u64, index: usize, generation: u32| {
            (kind << KIND_SHIFT)
                | (u64::from(generation) & GENERATION_MASK) << GENERATION_SHIFT
                | index as u64
        };
        let bits = match source {
            Source::PeerListener => pack(SINGLE, 0, 0),
            Source::ProducerListener => pack(SINGLE, 1, 0),
            Source::Signals => pack(SINGLE, 2, 0),
            Source::AccessService => pack(SINGLE, 3, 0),
            Source::MetricsListener => pack(SINGLE, 4, 0),
            Source::Peer(id) => pack(PEER, id.index(), id.generation()),
            Source::Producer(id) => pack(PRODUCER, id.index(), id.generation()),
            Source::Metrics(id) => pack(METRICS, id.index as usize, id.generation),
        };
        Self(usize::try_from(bits).expect("a machine of 64 bits"))
    }
}

impl From<Token> for Source {
    fn from(Token(bits): Token) -> Self {
        let bits = bits as u64;
        let generation = u32::try_from(bits >> GENERATION_SHIFT & GENERATION_MASK).expect("30 bits");
        let index = u32::try_from(bits & u64::from(u32::MAX)).expect("32 bits");
        match (bits >> KIND_SHIFT, index) {
            (PEER, _) => Self::Peer(PeerId::new(index, generation)),
            (PRODUCER, _) => Self::Producer(ProducerId::new(index, generation)),
            (METRICS, _) => Self::Metrics(ScraperId { index, generation }),
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
    fn a_source_survives_the_way_through_the_kernel() {
        let ids = [(0, 0), (5, 7), (u32::MAX, u32::MAX >> 2), (1 << 20, 1)];
        let peers = ids.map(|(index, generation)| Source::Peer(PeerId::new(index, generation)));
        let producers = ids.map(|(index, generation)| Source::Producer(ProducerId::new(index, generation)));
        let scrapers = ids.map(|(index, generation)| Source::Metrics(ScraperId { index, generation }));
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
