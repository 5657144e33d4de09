//! HTTP as bytes: the answer to a request that is not an upgrade, or not a valid one.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use super::DEADLINE;
use super::wait::Timed;

/// A whole answer: the server ended the connection after it.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// Everything after the head.
    pub body: String,
}

/// Sends these bytes and reads to the end of the connection.
#[track_caller]
pub fn exchange(address: SocketAddr, request: &str) -> Answer {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server accepts");
    let mut stream = Timed::new(stream);
    stream.write_all(request.as_bytes()).expect("the server reads");
    let awaited = format!("the end of the connection after {:?}", request.lines().next().unwrap_or_default());
    let answer = String::from_utf8(stream.read_to_the_end(&awaited)).expect("an answer in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole head: {answer:?}"));
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or_else(|| panic!("no status line: {head:?}"));
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// The head of an upgrade to this path, with more header lines, each ended by `\r\n`.
pub fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: events.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
}
