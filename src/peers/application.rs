//! The interface between peers and the application above them: the hub, or an echo.

use super::{PeerId, Peers};
use crate::time::Now;
use crate::websocket::handshake::{PageRequest, Rejection, Upgrade};
use crate::websocket::message::Message;
use std::net::IpAddr;

/// Handles peers' messages. It responds through [`Peers::send`], [`Peers::fan_out`] and [`Peers::close`], and is notified of
/// the end of each WebSocket exactly once.
pub trait Application {
    /// A peer requests an upgrade to WebSocket.
    ///
    /// # Errors
    ///
    /// The HTTP response that refuses it.
    fn upgrade(
        &mut self,
        peers: &mut Peers,
        peer: PeerId,
        upgrade: &Upgrade<'_>,
        now: Now,
    ) -> Result<(), Rejection>;

    /// A peer requests a page instead. Returns a complete HTTP response with `Connection: close`. By default there are no
    /// pages.
    ///
    /// # Errors
    ///
    /// The HTTP response that refuses it.
    fn page(&self, _request: &PageRequest<'_>) -> Result<&[u8], Rejection> {
        Err(Rejection::UpgradeRequired)
    }

    /// The most peers at an address, in whatever phase; `None` for no limit.
    fn connections_at(&self, _address: IpAddr) -> Option<usize> {
        None
    }

    /// A message was received from a peer.
    fn message(&mut self, peers: &mut Peers, peer: PeerId, message: Message<'_>, now: Now);

    /// The known users of this connection, for the log.
    fn user(&self, _peer: PeerId) -> Option<String> {
        None
    }

    /// The peer's WebSocket was open and is now closing or lost. Nothing can be sent to it any longer.
    fn closed(&mut self, peer: PeerId);
}
