//! Limits on a peer's time and memory.

use super::{Marks, Peer};
use std::time::Duration;

/// Limits on a peer's time and queue. Sizes are in bytes. `then` gives the HTTP status or close code beyond the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLimits {
    /// The most peers at once, including those still connecting.
    pub peers: usize,
    /// From accept to the end of the upgrade request; then 408.
    pub handshake: Duration,
    /// From the first to the last byte of a message; then 1008.
    pub message: Duration,
    /// Frames that complete no message (fragments, pings, pongs) in one second, 0 for no limit; then 1008.
    pub frames_per_second: u32,
    /// The interval between pings.
    pub ping: Duration,
    /// From a ping to the next bytes from the peer; then the connection is dropped. Less than `ping`.
    pub pong: Duration,
    /// From the start of the closing handshake to the end of the connection; then it is dropped.
    pub close: Duration,
    /// The largest queue of one peer; then 1008.
    pub queue: usize,
    /// A queue larger than this for longer than `queue_soft_time` closes the peer with 1008.
    pub queue_soft: usize,
    /// See `queue_soft`; also the longest time in which a peer's socket may accept nothing of its queue.
    pub queue_soft_time: Duration,
    /// The largest queue of a peer that has not sent a valid token yet; then 1008.
    pub queue_unauthenticated: usize,
    /// Memory held for all peers: queues and unfinished messages. Beyond it, the peers that hold most are closed with 1008.
    pub queue_total: usize,
}

impl PeerLimits {
    /// The most bytes queued for a peer whose socket is full.
    pub(super) const fn queue_of(&self, peer: &Peer) -> usize {
        if peer.marks.contains(Marks::TRUSTED) { self.queue } else { self.queue_unauthenticated }
    }
}

/// The limits of the default configuration, for any number of peers.
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
