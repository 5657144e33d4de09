//! One address takes all connections and sends no head on any of them.

use crate::crowd::{Crowd, Manner};
use crate::scene::{Scene, alone, is_full, seconds, setup, size};
use crate::support::http::upgrade;
use crate::support::{DEADLINE, Metrics, Server};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[test]
fn s61_slots() {
    let _alone = alone();
    let mut scene =
        Scene::new(setup().set("limits.connections", 200).set("limits.connectionsPerAddress", 10));
    let (count, tries) = size((300, 20), (600, 140));
    let mut crowd = Crowd::new(&scene.server);
    scene.quiet();
    let (mut let_in, mut held, mut who) = (0, 0, 0..0);
    scene.attack(|server| {
        let silent = Manner { replies: None, ..Manner::default() };
        let mut left = tries;
        // The attacker comes again while the others try.
        while left > 0 {
            who = who.start..crowd.join(count, &silent, |_| Vec::new()).end;
            // The healthy subscriber and those that have tried come on top.
            let all = who.len() as f64 + f64::from(tries - left);
            for _ in 0..20 {
                let metrics = Metrics::of(server);
                held = held.max(of_whole(metrics.get("airlay_connections{phase=\"connecting\"}")));
                let seen = metrics.get("airlay_connections_accepted_total")
                    + metrics.get("airlay_connections_turned_away_total");
                if seen > all {
                    break;
                }
                crowd.run(seconds(0.05));
            }
            for _ in 0..left.min(20) {
                let_in += u32::from(upgrades(server, left));
                left -= 1;
            }
            crowd.run(size(Duration::ZERO, seconds(0.7)));
        }
    });
    let lost = tries - let_in;
    let more = [("held", f64::from(held)), ("let_in", let_in.into()), ("tries", tries.into())];
    let figures = scene.finish("slots", lost as usize, &crowd.ends(who), &more);
    figures.expect_no_loss();
    if !is_full() {
        assert_eq!(let_in, tries, "clients of another address let in");
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
fn of_whole(number: f64) -> u32 {
    number as u32
}

/// Whether a client of another address, the one with this number, is let in.
fn upgrades(server: &Server, number: u32) -> bool {
    let address = u8::try_from(number).expect("fewer than 256");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
    socket.bind(&SocketAddr::from(([127, 0, 1, address], 0)).into()).expect("a port is free");
    socket.set_read_timeout(Some(DEADLINE)).expect("can be set");
    socket.set_linger(Some(Duration::ZERO)).expect("can be set");
    if socket.connect_timeout(&server.address().into(), DEADLINE).is_err() {
        return false;
    }
    let mut stream: TcpStream = socket.into();
    let mut answer = [0; 12];
    stream.write_all(upgrade("/ws", "").as_bytes()).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"HTTP/1.1 101"
}
