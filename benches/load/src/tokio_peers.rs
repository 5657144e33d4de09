//! Two small publish/subscribe servers on popular libraries, tokio-tungstenite and fastwebsockets, each used as its
//! documentation shows.
//!
//! They have neither tokens nor limits: one thread, a task for each connection, a channel to each subscriber, and messages
//! that are built once and shared.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, WebSocketError, upgrade};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::Result;

/// The most events a connection takes from its channel at a time.
const TOGETHER: usize = 1024;

/// The subscribers of each topic, by id.
type Topics = Rc<RefCell<HashMap<String, Vec<UnboundedSender<Utf8Bytes>>>>>;

/// Serves with tokio-tungstenite until killed. Prints the port it listens on.
pub(crate) fn serve_tungstenite(control: &Path) -> Result<()> {
    serve(control, |stream, topics| async move {
        let _ = tungstenite_client(stream, topics).await;
    })
}

/// Serves with fastwebsockets, whose handshake is hyper's, until killed. Prints the port it listens on.
pub(crate) fn serve_fastwebsockets(control: &Path) -> Result<()> {
    serve(control, |stream, topics| async move {
        let accept = |mut request: Request<Incoming>| {
            let topics = Rc::clone(&topics);
            async move {
                let (response, upgraded) = upgrade::upgrade(&mut request)?;
                spawn_local(async move {
                    let _ = fastwebsockets_client(upgraded, topics).await;
                });
                Ok::<Response<Empty<Bytes>>, WebSocketError>(response)
            }
        };
        let service = hyper::service::service_fn(accept);
        let connection = hyper::server::conn::http1::Builder::new();
        let _ = connection.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    })
}

fn serve<F: Future<Output = ()> + 'static>(
    control: &Path,
    client: impl Fn(TcpStream, Topics) -> F + 'static,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let topics = Topics::default();
        let producers = UnixListener::bind(control)?;
        spawn_local(accept_producers(producers, Rc::clone(&topics)));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM.nonblocking(), None)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        socket.listen(65_535)?;
        let listener = TcpListener::from_std(socket.into())?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            spawn_local(client(stream, Rc::clone(&topics)));
        }
    })
}

async fn accept_producers(listener: UnixListener, topics: Topics) {
    while let Ok((stream, _)) = listener.accept().await {
        spawn_local(read_producer(stream, Rc::clone(&topics)));
    }
}

/// Passes each line on to the subscribers of its topic.
async fn read_producer(stream: UnixStream, topics: Topics) {
    let mut lines = BufReader::with_capacity(64 << 10, stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Some(topic) = topic_of(&line, "/id") else { continue };
        let message = Utf8Bytes::from(line);
        if let Some(subscribers) = topics.borrow_mut().get_mut(&topic) {
            subscribers.retain(|subscriber| subscriber.send(message.clone()).is_ok());
        }
    }
}

/// The id at this JSON pointer of a line or request.
fn topic_of(json: &str, place: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(json).ok()?;
    Some(json.pointer(place)?.as_str()?.to_owned())
}

/// Handles a request and returns the reply.
fn subscribe(request: &str, topics: &Topics, sender: &UnboundedSender<Utf8Bytes>) -> &'static str {
    match topic_of(request, "/event/id") {
        Some(topic) => {
            topics.borrow_mut().entry(topic).or_default().push(sender.clone());
            r#"{"status":200,"message":"Ok","code":0}"#
        }
        None => r#"{"status":400,"message":"Invalid request","code":5}"#,
    }
}

async fn tungstenite_client(stream: TcpStream, topics: Topics) -> std::result::Result<(), Error> {
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    let (sender, mut events) = unbounded_channel();
    let mut together = Vec::new();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let reply = subscribe(&text, &topics, &sender);
                    socket.send(Message::Text(Utf8Bytes::from_static(reply))).await?;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            _ = next_events(&mut events, &mut together) => {
                for event in together.drain(..) {
                    socket.feed(Message::Text(event)).await?;
                }
                socket.flush().await?;
            }
        }
    }
}

async fn fastwebsockets_client(
    upgraded: upgrade::UpgradeFut,
    topics: Topics,
) -> std::result::Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(upgraded.await?);
    let (sender, mut events) = unbounded_channel();
    let mut together = Vec::new();
    loop {
        // Safe to cancel: the load sends whole frames, so an event never interrupts reading one.
        tokio::select! {
            frame = socket.read_frame() => match frame? {
                Frame { opcode: OpCode::Text, payload, .. } => {
                    let reply = subscribe(&String::from_utf8_lossy(&payload), &topics, &sender);
                    socket.write_frame(Frame::text(Payload::Borrowed(reply.as_bytes()))).await?;
                }
                Frame { opcode: OpCode::Close, .. } => return Ok(()),
                _ => {}
            },
            _ = next_events(&mut events, &mut together) => {
                for event in together.drain(..) {
                    socket.write_frame(Frame::text(Payload::Borrowed(event.as_bytes()))).await?;
                }
            }
        }
    }
}

/// Waits for an event and takes those that are available with it.
async fn next_events(events: &mut UnboundedReceiver<Utf8Bytes>, together: &mut Vec<Utf8Bytes>) -> usize {
    events.recv_many(together, TOGETHER).await
}
