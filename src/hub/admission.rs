//! Admission: by path, origin and connection limits. A client gets a WebSocket, a page, or a refusal.

use crate::forwarded::TrustedProxies;
use crate::origins::Origins;
use crate::peers::{PeerId, Peers};
use crate::websocket::handshake::{PageRequest, Rejection, Upgrade};
use std::net::IpAddr;

/// `Retry-After` of a refusal, in seconds.
const RETRY_AFTER: u32 = 5;

/// Connections at one address that may be waiting for their refusal, beyond twice the limit of open ones.
const REFUSED_AT_ADDRESS: usize = 8;

/// The rules of admission.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The endpoint's path.
    pub path: String,
    /// The pages that may connect.
    pub origins: Origins,
    /// The proxies trusted to report a client's address.
    pub trusted_proxies: TrustedProxies,
    /// Open connections allowed.
    pub connections: usize,
    /// Connections allowed from one address; 0 for any number.
    pub connections_per_address: usize,
    /// The whole HTTP response to a request for the page `/`, if there is one.
    pub page: Option<Box<[u8]>>,
}

impl Admission {
    /// Admits a client and counts it under its real address.
    ///
    /// # Errors
    ///
    /// The HTTP response that refuses it.
    pub(super) fn admit(
        &self,
        peers: &mut Peers,
        peer: PeerId,
        upgrade: &Upgrade<'_>,
    ) -> Result<(), Rejection> {
        if upgrade.path() != self.path {
            return Err(Rejection::NotFound);
        }
        if !self.origins.admit(upgrade.origin().map(str::as_bytes)) {
            return Err(Rejection::Forbidden);
        }
        let Some(neighbour) = peers.address_of(peer) else {
            return Err(Rejection::Unavailable { retry_after: 0 });
        };
        let x_forwarded_for = upgrade.forwarded_for().map(str::as_bytes);
        let forwarded = upgrade.forwarded().map(str::as_bytes);
        let address = self.trusted_proxies.client(neighbour, x_forwarded_for, forwarded);
        if address != neighbour {
            peers.set_address(peer, address);
        }
        let at_address = self.connections_per_address;
        if peers.open() >= self.connections || (at_address > 0 && peers.count_at(address) > at_address) {
            return Err(Rejection::Unavailable { retry_after: RETRY_AFTER });
        }
        Ok(())
    }

    /// The most connections at this address, including those that have not sent a request or are being refused;
    /// otherwise one address could occupy every slot without sending a request. `None` for a trusted proxy, which
    /// serves many clients, and without a limit.
    pub(super) fn connections_at(&self, address: IpAddr) -> Option<usize> {
        let limit = self.connections_per_address;
        (limit > 0 && !self.trusted_proxies.contains(address))
            .then(|| limit.saturating_mul(2).saturating_add(REFUSED_AT_ADDRESS))
    }

    /// The requested page.
    ///
    /// # Errors
    ///
    /// The HTTP response if there is no such page.
    pub(super) fn page(&self, request: &PageRequest<'_>) -> Result<&[u8], Rejection> {
        match (&self.page, request.path()) {
            (_, path) if path == self.path => Err(Rejection::UpgradeRequired),
            (Some(page), "/") => Ok(page),
            _ => Err(Rejection::NotFound),
        }
    }
}
