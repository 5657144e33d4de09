//! The [`Transport`] of a real server: the sockets of peers and producers, and the wall clock.

use super::clock::Clock;
use super::peer_sockets::PeerSockets;
use super::producer_sockets::ProducerSockets;
use crate::driver::{NotAccepted, Transport};
use crate::peers::{PeerId, Sockets};
use crate::producers::ProducerId;
use crate::time::Wall;
use mio::net::{TcpStream, UnixStream};
use std::io::{self, Read as _};
use std::net::IpAddr;

/// All sockets that a driver needs.
#[derive(Debug)]
pub(super) struct AllSockets {
    pub(super) peers: PeerSockets,
    pub(super) producers: ProducerSockets,
}

impl Sockets for AllSockets {
    type Socket = TcpStream;

    fn socket(&mut self, peer: PeerId) -> &mut TcpStream {
        self.peers.socket(peer)
    }

    fn await_writable(&mut self, peer: PeerId) -> io::Result<()> {
        self.peers.await_writable(peer)
    }

    fn shut(&mut self, peer: PeerId) {
        self.peers.shut(peer);
    }
}

impl Transport for AllSockets {
    type ProducerSocket = UnixStream;

    fn accept_peer(&mut self, is_first: bool) -> Result<IpAddr, NotAccepted> {
        self.peers.accept(is_first)
    }

    fn adopt_peer(&mut self, peer: PeerId) -> io::Result<()> {
        self.peers.adopt(peer)
    }

    fn refuse_peer(&mut self) {
        self.peers.refuse();
    }

    fn read_peer(&mut self, peer: PeerId, buffer: &mut [u8]) -> io::Result<usize> {
        self.peers.read(peer, buffer)
    }

    fn close_peer(&mut self, peer: PeerId) {
        self.peers.close(peer);
    }

    fn stop_accepting_peers(&mut self) {
        self.peers.stop_accepting();
    }

    fn accept_producer(&mut self) -> Result<(), NotAccepted> {
        self.producers.accept()
    }

    fn adopt_producer(&mut self, producer: ProducerId) -> io::Result<()> {
        self.producers.adopt(producer)
    }

    fn read_producer(&mut self, producer: ProducerId, buffer: &mut [u8]) -> io::Result<usize> {
        self.producers.socket(producer).read(buffer)
    }

    fn unread_of(&mut self, producer: ProducerId) -> u64 {
        self.producers.unread_of(producer)
    }

    fn producer(&mut self, producer: ProducerId) -> &mut UnixStream {
        self.producers.socket(producer)
    }

    fn close_producer(&mut self, producer: ProducerId) {
        self.producers.close(producer);
    }

    fn stop_accepting_producers(&mut self) {
        self.producers.stop_accepting();
    }

    fn wall(&mut self) -> Wall {
        Clock::wall()
    }
}
