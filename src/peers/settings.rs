//! What a peer may cost.

use std::time::Duration;

/// The limits on a peer's time and on what is queued for it. Sizes are in bytes.
#[derive(Clone, Debug)]
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
    /// From the begin of the closing handshake to the end of the connection; then it is dropped.
    pub close: Duration,
    /// Queued for one peer; then 1008.
    pub queue: usize,
    /// Queued for one peer for longer than `queue_soft_time`; then 1008.
    pub queue_soft: usize,
    /// See `queue_soft`; also the time in which a peer must take something of what is queued.
    pub queue_soft_time: Duration,
    /// Queued for a peer that has not shown a good token yet; then 1008.
    pub queue_unauthenticated: usize,
    /// Memory of all that is queued for all peers; then the fullest are closed with 1008.
    pub queue_total: usize,
}
