//! A client behind a trusted proxy sends a header of its own beside the one that the proxy writes.

use crate::scene::{alone, is_full, setup};
use crate::support::DEADLINE;
use crate::support::Server;
use crate::support::http::upgrade;
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn s67_forwarded() {
    const LIMIT: usize = 2;
    let _alone = alone();
    let server = setup()
        .set("webSocketEvents.trustedProxies", "127.0.0.1")
        .set("limits.connectionsPerAddress", LIMIT)
        .start();
    let proxied = "X-Forwarded-For: 192.0.2.1\r\n";
    let own = "Forwarded: for=198.51.100.7\r\n";
    let mut held = Vec::new();
    // As many as are let in, those with the proxy's header alone first.
    let admitted = [proxied.to_owned(), format!("{own}{proxied}")]
        .map(|headers| (0..2 * LIMIT).filter(|_| held_open(&server, &headers, &mut held)).count());
    let nginx = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx/airlay-location.conf");
    let nginx = std::fs::read_to_string(nginx).expect("the file is there");
    let is_cleared = nginx
        .lines()
        .any(|line| line.split_ascii_whitespace().eq(["proxy_set_header", "Forwarded", "\"\";"]));
    println!(
        "attack=forwarded limit={LIMIT} admitted={} admitted_with_own_header={} nginx_clears={}",
        admitted[0],
        admitted[1],
        u8::from(is_cleared)
    );
    if !is_full() {
        assert_eq!(admitted[0], LIMIT, "clients with the proxy's header");
        // What disagrees is believed by neither header, so the proxy must not pass the client's on.
        assert!(admitted[1] == 0 || is_cleared, "the client's own header gives it a count of its own");
    }
}

/// Whether a connection with these headers is upgraded; if so, it is held.
fn held_open(server: &Server, headers: &str, held: &mut Vec<TcpStream>) -> bool {
    let mut stream = TcpStream::connect_timeout(&server.address(), DEADLINE).expect("the server accepts");
    stream.set_read_timeout(Some(DEADLINE)).expect("can be set");
    stream.write_all(upgrade("/ws", headers).as_bytes()).expect("the server reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("the server answers");
    let is_open = answer == *b"HTTP/1.1 101";
    if is_open {
        held.push(stream);
    }
    is_open
}
