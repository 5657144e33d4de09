//! What a client gets at the door: a WebSocket, by the path, the page's origin and how many there are already; or a page.

use crate::forwarded::TrustedProxies;
use crate::origins::Origins;
use crate::peers::{PeerId, Peers};
use crate::websocket::handshake::{PageRequest, Rejection, Upgrade};

/// Seconds after which somebody who has been turned away should try again.
const RETRY_AFTER: u32 = 5;

/// The rules at the door.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The endpoint's path.
    pub path: String,
    /// The pages that may connect.
    pub origins: Origins,
    /// Whose word is taken for where a client is.
    pub trusted_proxies: TrustedProxies,
    /// Open connections there may be.
    pub connections: usize,
    /// Connections there may be from one address; 0 for any number.
    pub connections_per_address: usize,
    /// The whole HTTP response to a request for the page `/`, if there is one.
    pub page: Option<Box<[u8]>>,
}

impl Admission {
    /// Lets a client in, counted under the address it really has, or says why not.
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

    /// The page that is asked for, or why there is none.
    pub(super) fn page(&self, request: &PageRequest<'_>) -> Result<&[u8], Rejection> {
        match (&self.page, request.path()) {
            (_, path) if path == self.path => Err(Rejection::UpgradeRequired),
            (Some(page), "/") => Ok(page),
            _ => Err(Rejection::NotFound),
        }
    }
}
