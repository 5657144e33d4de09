//! Connections to the metrics' endpoint that send half a head keep others out.

use crate::scene::{Scene, alone, is_full, setup, size};
use crate::support::DEADLINE;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn s68_scrapers() {
    let _alone = alone();
    let mut scene = Scene::new(setup());
    let address = scene.server.metrics_address();
    let (half_open, tries, pause) = size((40, 5, 0), (100, 120, 100));
    scene.quiet();
    let (mut held, mut scraped, mut longest) = (Vec::new(), 0, Duration::ZERO);
    scene.attack(|_| {
        let mut last = Instant::now();
        for _ in 0..tries {
            // Those that were turned away, or given up, come again.
            held.retain_mut(is_open);
            while held.len() < half_open {
                let mut stream = connect(address, 3);
                let _ = stream.write_all(b"GET /metrics HT");
                stream.set_nonblocking(true).expect("can be set");
                held.push(stream);
            }
            if scrape(address) {
                scraped += 1;
                last = Instant::now();
            }
            longest = longest.max(last.elapsed());
            thread::sleep(Duration::from_millis(pause));
        }
    });
    drop(held);
    let give_up = Instant::now() + DEADLINE;
    while !scrape(address) {
        assert!(Instant::now() < give_up, "the endpoint is free again");
    }
    let more = [
        ("scraped", f64::from(scraped)),
        ("tries", f64::from(tries)),
        ("longest_out_ms", longest.as_secs_f64() * 1e3),
    ];
    let figures = scene.finish("scrapers", (tries - scraped) as usize, &BTreeMap::new(), &more);
    if !is_full() {
        assert_eq!(figures.missing, 0, "events lost");
        assert_eq!(scraped, tries, "scrapes that were answered");
    }
}

fn connect(address: SocketAddr, source: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
    socket.bind(&SocketAddr::from(([127, 0, 0, source], 0)).into()).expect("a port is free");
    socket.set_linger(Some(Duration::ZERO)).expect("can be set");
    socket.set_read_timeout(Some(DEADLINE)).expect("can be set");
    socket.connect_timeout(&address.into(), DEADLINE).expect("the endpoint listens");
    socket.into()
}

fn is_open(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Whether a scraper of another address gets the metrics.
fn scrape(address: SocketAddr) -> bool {
    let mut stream = connect(address, 4);
    let mut answer = [0; 12];
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"HTTP/1.1 200"
}
