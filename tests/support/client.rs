//! A WebSocket client that is not ours (tungstenite), each of whose waits has a deadline.

use std::net::{Shutdown, SocketAddr, TcpStream};

use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

use super::wait::{Timed, excerpt, failure};
use super::{DEADLINE, Server, reply, request};

/// One connection of one client.
pub struct Client {
    socket: WebSocket<Timed<TcpStream>>,
    /// Pings received so far. The library answers them.
    pings: u32,
    /// The beginning of the last message, for the report of a wait that fails.
    last: Option<String>,
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
        stream.set_nodelay(true).expect("delays can be turned off");
        let (socket, _) = tungstenite::client(format!("ws://{address}{path}"), Timed::new(stream))
            .expect("the server upgrades");
        Self { socket, pings: 0, last: None }
    }

    /// Sends a text message.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.send_message(Message::text(text));
    }

    /// Sends any message or frame.
    #[track_caller]
    pub fn send_message(&mut self, message: Message) {
        self.socket.get_mut().begin_wait();
        self.socket.send(message).expect("the server reads");
    }

    /// Sends many text messages in as few writes as the socket takes.
    #[track_caller]
    pub fn send_all<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) {
        self.socket.get_mut().begin_wait();
        for text in texts {
            self.socket.write(Message::text(text)).expect("the server reads");
        }
        self.socket.flush().expect("the server reads");
    }

    /// The next message that is not a ping.
    #[track_caller]
    pub fn next_message(&mut self) -> Message {
        self.wait_for("a message")
    }

    /// The next message, which must be a text.
    #[track_caller]
    pub fn next_text(&mut self) -> String {
        self.wait_for_text("a text")
    }

    /// Asserts that the next message is this text.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        assert_eq!(self.wait_for_text(text), text);
    }

    /// Sends a text and returns the next text.
    #[track_caller]
    pub fn ask(&mut self, text: &str) -> String {
        self.send(text);
        self.wait_for_text("a reply")
    }

    /// Attaches; the reply must be `Ok`.
    #[track_caller]
    pub fn attach(&mut self, token: &str, kind: &str, id: &str) {
        assert_eq!(self.ask(&request("attach", token, kind, id)), reply(0), "attach to {kind} {id}");
    }

    /// Detaches; the reply must be `Ok`.
    #[track_caller]
    pub fn detach(&mut self, token: &str, kind: &str, id: &str) {
        assert_eq!(self.ask(&request("detach", token, kind, id)), reply(0), "detach from {kind} {id}");
    }

    /// Asserts that no message is on its way: the next one is the reply to a request made now.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        assert_eq!(self.ask("{}"), reply(1), "an unexpected message");
    }

    /// Takes the server's Close, which must be the next message, answers it, and waits for the server to end the connection.
    /// Returns the reason.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) -> String {
        let reason = match self.wait_for(&format!("a Close with {code}")) {
            Message::Close(Some(frame)) => {
                assert_eq!(frame.code, CloseCode::from(code), "{frame}");
                frame.reason.to_string()
            }
            other => panic!("expected a Close with {code}, got {other:?}"),
        };
        self.expect_end();
        reason
    }

    /// Performs the closing handshake and waits for the server to end the connection.
    #[track_caller]
    pub fn close(mut self) {
        self.socket.close(None).expect("the connection is open");
        match self.wait_for("the answer to a Close") {
            Message::Close(_) => self.expect_end(),
            other => panic!("expected a Close, got {other:?}"),
        }
    }

    /// How many pings have been received: those that the reads so far have passed.
    pub fn pings(&self) -> u32 {
        self.pings
    }

    /// Waits until this many pings have been received in all, and no message between them.
    #[track_caller]
    pub fn wait_for_pings(&mut self, count: u32) {
        while self.pings < count {
            self.socket.get_mut().begin_wait();
            match self.socket.read() {
                Ok(Message::Ping(_)) => self.pings += 1,
                Ok(other) => panic!("expected a ping, got {other:?}"),
                Err(error) => panic!("{}", self.failure("a ping", self.pings, &error)),
            }
        }
    }

    /// The socket alone; what was received must have been read.
    pub fn into_stream(self) -> TcpStream {
        self.socket.into_inner().into_inner()
    }

    /// The socket, to write what no client would.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut().get_mut()
    }

    /// The next message that is not a ping. `awaited` names it in the report of a failure.
    #[track_caller]
    fn wait_for(&mut self, awaited: &str) -> Message {
        self.socket.get_mut().begin_wait();
        let pings = self.pings;
        loop {
            match self.socket.read() {
                Ok(Message::Ping(_)) => self.pings += 1,
                Ok(message) => {
                    self.last = Some(message.to_text().map_or_else(|_| format!("{message:?}"), excerpt));
                    return message;
                }
                Err(error) => panic!("{}", self.failure(awaited, pings, &error)),
            }
        }
    }

    #[track_caller]
    fn wait_for_text(&mut self, awaited: &str) -> String {
        match self.wait_for(awaited) {
            Message::Text(text) => text.to_string(),
            other => panic!("awaited {}, got {other:?}", excerpt(awaited)),
        }
    }

    #[track_caller]
    fn expect_end(&mut self) {
        self.socket.get_mut().begin_wait();
        match self.socket.read() {
            Err(Error::ConnectionClosed | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                // The server waits for the client's end, too. It may be gone already.
                let _ = self.stream().shutdown(Shutdown::Both);
            }
            Err(error) => panic!("{}", self.failure("the end of the connection", self.pings, &error)),
            Ok(other) => panic!("expected the end of the connection, got {other:?}"),
        }
    }

    /// The report of a wait before which there had been this many pings.
    fn failure(&self, awaited: &str, pings_before: u32, error: &Error) -> String {
        let pings = self.pings - pings_before;
        let last = self.last.as_deref().unwrap_or("none");
        let came = format!("{pings} pings (the last message before: {last})");
        failure(awaited, self.socket.get_ref().waited(), &came, error)
    }
}
