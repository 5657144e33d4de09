//! HTTP as bytes: what comes back for a request head that is no upgrade, or a wrong one.

use super::DEADLINE;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// An answer, whole: the server ended the connection after it.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// All after the head.
    pub body: String,
}

/// Sends these bytes and reads to the end of the connection.
#[track_caller]
pub fn exchange(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server accepts");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server ends the connection");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole head: {answer:?}"));
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or_else(|| panic!("no status line: {head:?}"));
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// The head of an upgrade to this path, with these further header lines (each ended by `\r\n`).
pub fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: events.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
}
