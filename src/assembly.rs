//! The core as the configuration wants it: the server, the hub, and what decides rights.
//!
//! It touches nothing outside; the files that the configuration names are read by `config/`.

use crate::access::{self, Access, ServiceSettings};
use crate::config::{self, AccessMode, Config, FileError, read_access_file};
use crate::hub::{Admission, Hub, HubLimits};
use crate::peers::{PeerLimits, Peers};
use crate::producers::{ProducerLimits, Producers};
use crate::server::{Server, Service};
use crate::token::{KeySet, Tokens};
use crate::websocket::message::Limits;

/// Peers beyond `connections` that may be there to be told 503, or on their way out.
const PEERS_OVER: usize = 64;

/// Bytes of answers that wait for a producer that does not read them.
const ANSWERS: usize = 1 << 20;

/// What a server needs besides its configuration.
#[derive(Debug)]
pub struct Embedded {
    /// The keys that tokens are verified with.
    pub keys: KeySet,
    /// Which users exist and what they may see.
    pub access: Access,
    /// The whole HTTP response to a request for the page `/`; the service itself has no page.
    pub page: Option<Box<[u8]>>,
}

/// Builds the access policy from `[access]`.
///
/// # Errors
/// The access file cannot be read, or is not as it should be.
pub fn access(config: &config::Access) -> Result<Access, FileError> {
    Ok(match &config.mode {
        AccessMode::Token => Access::Token,
        AccessMode::File(path) => {
            Access::File { dataset_events: config.dataset_events.clone(), file: read_access_file(path)? }
        }
        AccessMode::Socket(_) => Access::Service(Box::new(access::AccessService::new(ServiceSettings {
            keep: config.cache_seconds,
            timeout: config.timeout_ms,
            questions: config.questions,
        }))),
    })
}

/// The server around a service, for this many connections.
#[must_use]
pub fn server<S: Service>(config: &Config, connections: usize, service: S) -> Server<S> {
    let limits = &config.limits;
    let message_limits = Limits {
        head_bytes: limits.head_bytes,
        message_bytes: limits.message_bytes,
        fragments: limits.fragments,
    };
    let producer_limits = ProducerLimits {
        producers: limits.producers,
        line: limits.line_bytes,
        answers: ANSWERS,
        total: limits.producer_bytes,
    };
    let mut peers = Peers::new(peer_limits(limits, connections), message_limits);
    if config.web_socket_events.compression {
        peers = peers.with_compression_from(config.web_socket_events.compression_min_bytes);
    }
    let producers = Producers::new(producer_limits);
    Server::new(peers, producers, service, limits.turn_ms, limits.queue_bytes, limits.queue_total_bytes)
}

fn peer_limits(limits: &config::Limits, connections: usize) -> PeerLimits {
    PeerLimits {
        peers: connections.saturating_add(PEERS_OVER),
        handshake: limits.handshake_seconds,
        message: limits.message_seconds,
        ping: limits.ping_seconds,
        pong: limits.pong_seconds,
        frames_per_second: limits.frames_per_second,
        close: limits.close_seconds,
        queue: limits.queue_bytes,
        queue_soft: limits.queue_soft_bytes,
        queue_soft_time: limits.queue_soft_seconds,
        queue_unauthenticated: limits.queue_unauthenticated_bytes,
        queue_total: limits.queue_total_bytes,
    }
}

/// The hub as the configuration wants it, for this many connections.
#[must_use]
pub fn hub(config: &Config, connections: usize, embedded: Embedded) -> Hub {
    let Embedded { keys, access, page } = embedded;
    let limits = &config.limits;
    let admission = Admission {
        path: config.web_socket_events.path.clone(),
        origins: config.web_socket_events.origins.clone(),
        trusted_proxies: config.web_socket_events.trusted_proxies.clone(),
        connections,
        connections_per_address: limits.connections_per_address,
        page,
    };
    let hub_limits = HubLimits {
        subscriptions: limits.subscriptions,
        connections_per_user: limits.connections_per_user,
        requests_per_second: limits.requests_per_second,
        request_burst: limits.request_burst,
        line: limits.line_bytes,
        producers_total: limits.producer_bytes,
    };
    Hub::new(
        admission,
        Tokens::new(keys, config.token.rules(limits), config.token.cache_entries),
        access,
        hub_limits,
        config.token.enforce_expiry,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_may_cost_unless_told_otherwise_is_what_the_shipped_configuration_says() {
        let shipped = peer_limits(&Config::without_files().limits, 1);
        assert_eq!(shipped, PeerLimits { peers: 1 + PEERS_OVER, ..PeerLimits::default() });
    }
}
