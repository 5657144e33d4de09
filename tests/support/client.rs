//! A WebSocket client that is not ours (tungstenite), over a socket with a deadline.

use super::{DEADLINE, Server, reply, request};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

/// One connection of one client.
pub struct Client {
    socket: WebSocket<Uninterrupted>,
}

/// A socket whose calls are not ended by signals. With a deadline set the system does not take them up again by itself,
/// even when nothing but a stop and a continuation of the process has come (signal(7)).
struct Uninterrupted(TcpStream);

impl Read for Uninterrupted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        again_if_interrupted(|| self.0.read(buffer))
    }
}

impl Write for Uninterrupted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        again_if_interrupted(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn again_if_interrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl Client {
    /// Connects and upgrades.
    #[track_caller]
    pub fn connect(server: &Server) -> Self {
        Self::connect_to(server.address(), "/ws")
    }

    /// Connects to this address and path and upgrades.
    #[track_caller]
    pub fn connect_to(address: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
        stream.set_write_timeout(Some(DEADLINE)).expect("a deadline can be set");
        stream.set_nodelay(true).expect("delays can be turned off");
        let (socket, _) = tungstenite::client(format!("ws://{address}{path}"), Uninterrupted(stream))
            .expect("the server upgrades");
        Self { socket }
    }

    /// Sends a text message.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.send_message(Message::text(text));
    }

    /// Sends any message or frame.
    #[track_caller]
    pub fn send_message(&mut self, message: Message) {
        self.socket.send(message).expect("the connection is open");
    }

    /// Sends many text messages in as few writes as the socket takes.
    #[track_caller]
    pub fn send_all<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) {
        for text in texts {
            self.socket.write(Message::text(text)).expect("the connection is open");
        }
        self.socket.flush().expect("the connection is open");
    }

    /// The next message that is no ping.
    #[track_caller]
    pub fn next_message(&mut self) -> Message {
        loop {
            match self.socket.read() {
                Ok(Message::Ping(_)) => {}
                Ok(message) => return message,
                Err(error) => panic!("no message came: {error}"),
            }
        }
    }

    /// The next message, which must be a text.
    #[track_caller]
    pub fn next_text(&mut self) -> String {
        match self.next_message() {
            Message::Text(text) => text.to_string(),
            other => panic!("expected a text, got {other:?}"),
        }
    }

    /// Asserts that the next message is this text.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        assert_eq!(self.next_text(), text);
    }

    /// Sends a text and returns the text that comes next.
    #[track_caller]
    pub fn ask(&mut self, text: &str) -> String {
        self.send(text);
        self.next_text()
    }

    /// Attaches; the answer must be `Ok`.
    #[track_caller]
    pub fn attach(&mut self, token: &str, kind: &str, id: &str) {
        assert_eq!(self.ask(&request("attach", token, kind, id)), reply(0), "attach to {kind} {id}");
    }

    /// Detaches; the answer must be `Ok`.
    #[track_caller]
    pub fn detach(&mut self, token: &str, kind: &str, id: &str) {
        assert_eq!(self.ask(&request("detach", token, kind, id)), reply(0), "detach from {kind} {id}");
    }

    /// Asserts that nothing has been sent to this client that it has not read: what comes next is the answer to a
    /// request made now.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        assert_eq!(self.ask("{}"), reply(1), "something came that was not asked for");
    }

    /// Waits for the server's close frame, which must come next, answers it, and waits for the end of the connection.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) -> String {
        let reason = match self.next_message() {
            Message::Close(Some(frame)) => {
                assert_eq!(frame.code, CloseCode::from(code), "{frame}");
                frame.reason.to_string()
            }
            other => panic!("expected a close with {code}, got {other:?}"),
        };
        self.expect_end();
        reason
    }

    /// Starts the closing handshake, expects the server's answer and then its end of the connection.
    #[track_caller]
    pub fn close(mut self) {
        self.socket.close(None).expect("the connection is open");
        match self.next_message() {
            Message::Close(_) => self.expect_end(),
            other => panic!("expected a close, got {other:?}"),
        }
    }

    /// The raw connection alone, all that came before having been read.
    pub fn into_stream(self) -> TcpStream {
        self.socket.into_inner().0
    }

    /// The raw connection, to write what no client would.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.socket.get_mut().0
    }

    #[track_caller]
    fn expect_end(&mut self) {
        match self.socket.read() {
            Err(Error::ConnectionClosed | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {}
            other => panic!("expected the end of the connection, got {other:?}"),
        }
    }
}
