//! What a peer may cost.

use super::{Marks, Peer};
use std::time::Duration;

/// The limits on a peer's time and on what is queued for it. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLimits {
    /// Peers there may be at once, those that are still connecting included.
    pub peers: usize,
    /// From accept to the end of the upgrade request; then 408.
    pub handshake: Duration,
    /// From the first to the last byte of a message; then 1008.
    pub message: Duration,
    /// Frames without a message (fragments, pings, pongs) in one second, 0 for any number; then 1008.
    pub frames_per_second: u32,
    /// Between two pings.
    pub ping: Duration,
    /// From a ping to whatever comes from the peer; then the connection is dropped. Less than `ping`.
    pub pong: Duration,
    /// From the start of the closing handshake to the end of the connection; then it is dropped.
    pub close: Duration,
    /// Queued for one peer; then 1008.
    pub queue: usize,
    /// Queued for one peer for longer than `queue_soft_time`; then 1008.
    pub queue_soft: usize,
    /// See `queue_soft`; also the time in which a peer must take something of what is queued.
    pub queue_soft_time: Duration,
    /// Queued for a peer that has not shown a good token yet; then 1008.
    pub queue_unauthenticated: usize,
    /// Memory held for all peers: queues, and what they have begun to send; then those that hold most are closed with 1008.
    pub queue_total: usize,
}

impl PeerLimits {
    /// Bytes that may be queued for a peer whose socket is full.
    pub(super) const fn queue_of(&self, peer: &Peer) -> usize {
        if peer.marks.contains(Marks::TRUSTED) { self.queue } else { self.queue_unauthenticated }
    }
}

/// Those of the shipped configuration, for any number of peers.
impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            peers: usize::MAX,
            handshake: Duration::from_secs(5),
            message: Duration::from_secs(10),
            frames_per_second: 1000,
            ping: Duration::from_secs(25),
            pong: Duration::from_secs(10),
            close: Duration::from_secs(5),
            queue: 1 << 20,
            queue_soft: 256 << 10,
            queue_soft_time: Duration::from_secs(10),
            queue_unauthenticated: 16 << 10,
            queue_total: 256 << 20,
        }
    }
}
