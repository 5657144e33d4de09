//! What a browser connects to: the demo's page at `/`, the server for everything else.
//!
//! The server itself has no page, so the demo stands before it: it reads the head of each request, answers for the page, and
//! hands any other connection through to the server, byte by byte.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// The longest head that is waited for; a longer one is the server's to refuse.
const HEAD_BYTES: usize = 16 << 10;

/// How long a browser may keep a connection open before it asks for something.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// The page's listener.
pub(super) struct Front(TcpListener);

impl Front {
    /// Listens on 127.0.0.1.
    pub(super) fn bind(port: u16) -> io::Result<Self> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(Self)
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until the process ends, on threads of its own.
    pub(super) fn serve(self, page: Vec<u8>, server: SocketAddr) {
        let page: &'static [u8] = page.leak();
        thread::spawn(move || {
            for stream in self.0.incoming().flatten() {
                thread::spawn(move || {
                    // Whatever goes wrong ends this connection, and its browser sees that.
                    let _ = answer(stream, page, server);
                });
            }
        });
    }
}

fn answer(mut browser: TcpStream, page: &[u8], server: SocketAddr) -> io::Result<()> {
    browser.set_read_timeout(Some(HEAD_TIME))?;
    let head = read_head(&mut browser)?;
    if head.starts_with(b"GET / ") {
        browser.write_all(page)?;
        return browser.shutdown(Shutdown::Write);
    }
    browser.set_read_timeout(None)?;
    let mut server = TcpStream::connect(server)?;
    server.write_all(&head)?;
    let (mut from_server, mut to_browser) = (server.try_clone()?, browser.try_clone()?);
    let back = thread::spawn(move || hand_through(&mut from_server, &mut to_browser));
    hand_through(&mut browser, &mut server);
    let _ = back.join();
    Ok(())
}

/// The bytes up to the end of the request's head, and what came with them.
fn read_head(browser: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while head.len() < HEAD_BYTES && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match browser.read(&mut buffer)? {
            0 => break,
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(head)
}

/// Copies up to the end of the stream, and passes the end on.
fn hand_through(from: &mut TcpStream, to: &mut TcpStream) {
    let _ = io::copy(from, to);
    let _ = to.shutdown(Shutdown::Write);
}
