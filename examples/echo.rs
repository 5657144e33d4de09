//! An echo server for conformance tests: the service's own event loop, connections and queues, with an application that
//! sends every message back.

use std::error::Error;
use std::iter;
use std::net::SocketAddr;
use std::time::Duration;

use airlay::config::Config;
use airlay::cost::Budget;
use airlay::net::serve_clients;
use airlay::peers::{Application, Lane, PeerId, Peers, Prepared, Shared};
use airlay::producers::Line;
use airlay::server::Service;
use airlay::time::{Monotonic, Now};
use airlay::websocket::handshake::{Rejection, Upgrade};
use airlay::websocket::message::Message;
use clap::Parser;

/// A time-out that no conformance test reaches.
const UNREACHED: Duration = Duration::from_secs(86_400);

/// Sends every WebSocket message back, on any path
#[derive(Debug, Parser)]
struct Arguments {
    /// The address to listen on; port 0 takes any free port. It is printed once clients can connect
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9001")]
    address: SocketAddr,
    /// Negotiate permessage-deflate with clients that offer it, and compress every message to them
    #[arg(long)]
    compression: bool,
    /// The longest message, in bytes [default: that of the service]
    #[arg(long, value_name = "BYTES")]
    message_bytes: Option<usize>,
    /// The most fragments in a message [default: that of the service]
    #[arg(long, value_name = "COUNT")]
    fragments: Option<u32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut config = Config::without_files();
    config.web_socket_events.address = arguments.address.ip();
    config.web_socket_events.port = arguments.address.port();
    config.web_socket_events.compression = arguments.compression;
    config.web_socket_events.compression_min_bytes = 0;
    let limits = &mut config.limits;
    limits.message_bytes = arguments.message_bytes.unwrap_or(limits.message_bytes);
    limits.fragments = arguments.fragments.unwrap_or(limits.fragments);
    // Echoes queue until the client reads them, and no limit may depend on the speed of the machine.
    let queue = 8 * limits.message_bytes.max(limits.queue_bytes);
    limits.queue_bytes = queue;
    limits.queue_soft_bytes = queue;
    limits.queue_unauthenticated_bytes = queue;
    limits.frames_per_second = 0;
    limits.ping_seconds = UNREACHED;
    limits.message_seconds = UNREACHED;
    limits.queue_soft_seconds = UNREACHED;
    serve_clients(&config, Echo, |address| println!("{address}"))?;
    Ok(())
}

/// The application: sends every message back.
struct Echo;

impl Application for Echo {
    fn upgrade(&mut self, _: &mut Peers, _: PeerId, _: &Upgrade<'_>, _: Now) -> Result<(), Rejection> {
        Ok(())
    }

    fn message(&mut self, peers: &mut Peers, peer: PeerId, message: Message<'_>, now: Now) {
        let mut echo = Shared::from(Prepared::message(&message));
        peers.fan_out(iter::once(peer.index()), &mut echo, Lane::Reply, now.monotonic);
    }

    fn closed(&mut self, _: PeerId) {}
}

impl Service for Echo {
    /// Never called: there are no producers.
    fn line(&mut self, _: &mut Peers, _: u64, _: Line<'_>, _: &mut Vec<u8>, _: Now) {}

    fn work(&mut self, _: &mut Peers, _: &mut Budget, _: Now) {}

    fn has_work(&self) -> bool {
        false
    }

    fn next_deadline(&self, _: Now) -> Option<Monotonic> {
        None
    }

    fn flush_batch(&mut self, _: &mut Peers, _: Now) {}
}
