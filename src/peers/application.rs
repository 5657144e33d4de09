//! What a server does with its peers' messages: the service's hub, or an echo.

use super::{PeerId, Peers};
use crate::time::Now;
use crate::websocket::handshake::{PageRequest, Rejection, Upgrade};
use crate::websocket::message::Message;
use std::net::IpAddr;

/// The part of a server that gives messages their meaning. It answers through [`Peers::send`], [`Peers::fan_out`] and
/// [`Peers::close`], and is told of each peer's end exactly once.
pub trait Application {
    /// A peer wants to open a WebSocket.
    ///
    /// # Errors
    /// The HTTP answer that refuses it.
    fn upgrade(
        &mut self,
        peers: &mut Peers,
        peer: PeerId,
        upgrade: &Upgrade<'_>,
        now: Now,
    ) -> Result<(), Rejection>;

    /// A peer asks for a page instead: what it gets is a whole HTTP response that says `Connection: close`.
    ///
    /// # Errors
    /// The HTTP answer that refuses it. Without an implementation there are no pages.
    fn page(&self, _request: &PageRequest<'_>) -> Result<&[u8], Rejection> {
        Err(Rejection::UpgradeRequired)
    }

    /// The most peers there may be at an address, whatever has become of their requests; `None` for any number.
    fn connections_at(&self, _address: IpAddr) -> Option<usize> {
        None
    }

    /// A peer has sent a message.
    fn message(&mut self, peers: &mut Peers, peer: PeerId, message: Message<'_>, now: Now);

    /// The users on this connection, for the log, if any are known.
    fn user(&self, _peer: PeerId) -> Option<String> {
        None
    }

    /// The peer's WebSocket, once open, is closing or lost: nothing can be sent to it any more.
    fn closed(&mut self, peer: PeerId);
}
