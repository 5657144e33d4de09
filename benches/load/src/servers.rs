//! The compared servers: how to start each, subscribe to it, and publish to it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::ValueEnum as _;
use tempfile::TempDir;

use crate::process::Process;
use crate::tokens::Tokens;
use crate::{Result, event};

/// A server to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    /// One `send` per event and connection.
    Floor,
    /// One `send` per connection for all events of one read.
    FloorJoined,
    /// This project's server.
    Airlay,
    /// A server built on tokio-tungstenite.
    Tungstenite,
    /// A server built on fastwebsockets.
    Fastwebsockets,
    /// nginx with the nchan module, from Debian's packages.
    Nchan,
}

/// A floor's answer to every upgrade request: the one for [`KEY`] (RFC 6455 §1.3).
pub(crate) const ACCEPTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The frame of the reply Ok.
pub(crate) const REPLY: &[u8] = b"\x81\x26{\"status\":200,\"message\":\"Ok\",\"code\":0}";

/// Every client's `Sec-WebSocket-Key`.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Debian's path of the nginx module.
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// The name of the socket that events are written to.
const CONTROL: &str = "control.sock";

/// The connection at `place` among the `each` subscribers of `topic`, with `count` connections and as many topics.
pub(crate) const fn subscriber(topic: usize, place: usize, count: usize, each: usize) -> usize {
    (topic + place * (count / each)) % count
}

/// The topics of a connection: the inverse of [`subscriber`].
pub(crate) fn topics(connection: usize, count: usize, each: usize) -> impl Iterator<Item = usize> {
    (0..each).map(move |place| (connection + count - place * (count / each)) % count)
}

/// A running server.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// The socket that events are written to.
    pub(crate) control: PathBuf,
    /// Holds the configuration and the socket.
    _directory: TempDir,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Floor, Self::FloorJoined, Self::Airlay, Self::Tungstenite, Self::Fastwebsockets, Self::Nchan];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::FloorJoined => "floor, joined",
            Self::Airlay => "airlay",
            Self::Tungstenite => "tungstenite",
            Self::Fastwebsockets => "fastwebsockets",
            Self::Nchan => "nchan",
        }
    }

    /// Whether it is neither this project's server nor a floor.
    pub(crate) const fn is_other(self) -> bool {
        !self.is_floor() && !matches!(self, Self::Airlay)
    }

    pub(crate) const fn is_floor(self) -> bool {
        matches!(self, Self::Floor | Self::FloorJoined)
    }

    /// Whether a subscriber sends requests after the upgrade.
    pub(crate) const fn takes_requests(self) -> bool {
        !matches!(self, Self::Nchan)
    }

    /// The upgrade request of a subscriber of this topic.
    pub(crate) fn upgrade(self, topic: usize) -> String {
        let path = match self {
            Self::Nchan => format!("/ws?topic={}", event::topic_id(topic)),
            _ => "/ws".to_owned(),
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    }

    /// Appends what publishes an event: a line, an encoded frame, or an HTTP request.
    pub(crate) fn write_event(self, topic: usize, number: usize, moment: u64, out: &mut Vec<u8>) {
        match self {
            Self::Floor | Self::FloorJoined => return event::write_frame(topic, number, moment, out),
            Self::Nchan => {
                let head = format!(
                    "POST /publish?topic={} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
                    event::topic_id(topic),
                    event::MESSAGE
                );
                out.extend_from_slice(head.as_bytes());
            }
            Self::Airlay | Self::Tungstenite | Self::Fastwebsockets => {}
        }
        event::write_message(topic, number, moment, out);
        if !matches!(self, Self::Nchan) {
            out.push(b'\n');
        }
    }
}

/// Starts servers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Starter<'s> {
    /// The release build of `airlay-cli`.
    pub(crate) binary: &'s Path,
    /// Signs tokens, and has the server's public key.
    pub(crate) tokens: &'s Tokens,
}

impl Starter<'_> {
    /// Starts a server. `each` is as in [`crate::floor::Sending`].
    pub(crate) fn start(&self, kind: Kind, each: usize) -> Result<Server> {
        let directory = temporary_directory()?;
        let control = directory.path().join(CONTROL);
        match kind {
            Kind::Airlay => self.start_airlay(directory, control, ""),
            Kind::Nchan => start_nchan(directory, control),
            _ => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["serve", &format!("--each={each}"), "--kind"]);
                command.arg(kind.to_possible_value().ok_or("a kind has a name")?.get_name());
                command.arg(&control).stdout(Stdio::piped());
                let mut process = Process::start(&mut command)?;
                let port: u16 = first_line(&mut process)?.parse()?;
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                Ok(Server { kind, process, address, control, _directory: directory })
            }
        }
    }

    /// Starts this project's server with additional configuration sections.
    pub(crate) fn start_airlay_with(&self, sections: &str) -> Result<Server> {
        let directory = temporary_directory()?;
        let control = directory.path().join(CONTROL);
        self.start_airlay(directory, control, sections)
    }

    fn start_airlay(&self, directory: TempDir, control: PathBuf, sections: &str) -> Result<Server> {
        let (config, log) = self.write_config(directory.path(), 0, sections)?;
        let mut command = Command::new(self.binary);
        command.args(["web_socket", "server", "--config"]).arg(config);
        command.stdout(Stdio::piped()).stderr(fs::File::create(&log)?);
        let mut process = Process::start(&mut command)?;
        let address = first_line(&mut process)?;
        let address = address.parse().map_err(|_| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Server { kind: Kind::Airlay, process, address, control, _directory: directory })
    }

    /// Writes the configuration of this project's server: the defaults, except for limits that would interrupt a
    /// measurement. Returns its path and that of the log.
    pub(crate) fn write_config(
        &self,
        directory: &Path,
        port: u16,
        sections: &str,
    ) -> Result<(PathBuf, PathBuf)> {
        let key = directory.join("key.pem");
        fs::write(&key, self.tokens.public_key())?;
        let config = directory.join("config.ini");
        // The load takes pings for wrong events, and its clients belong to few users.
        let text = format!(
            "[webSocketEvents]\naddress = 127.0.0.1\nport = {port}\n[events]\nsocket = {CONTROL}\n\
             [token]\npublicKey = key.pem\nissuer = dev.airlay.ru\n[access]\nmode = token\n\
             [limits]\npingSeconds = 3600\nconnectionsPerUser = 0\nrequestsPerSecond = 0\nhandshakeSeconds = 60\n\
             [log]\nlevel = warn\n{sections}"
        );
        fs::write(&config, text)?;
        Ok((config, directory.join("log")))
    }
}

fn temporary_directory() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("airlay-load-").tempdir()?)
}

/// Whether nginx and its module are installed.
pub(crate) fn has_nchan() -> bool {
    Path::new(NCHAN).exists()
}

fn start_nchan(directory: TempDir, control: PathBuf) -> Result<Server> {
    // nginx does not report the port of a listener on port 0.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = directory.path().join("nginx.conf");
    let path = directory.path().display();
    let text = format!(
        "load_module {NCHAN};\n\
         user root;\ndaemon off;\nworker_processes 1;\nworker_rlimit_nofile 20000;\npid {path}/pid;\n\
         events {{ worker_connections 19900; multi_accept on; }}\n\
         http {{\n access_log off;\n nchan_shared_memory_size 512m;\n\
         server {{ listen {address} backlog=65535; location = /ws {{\n\
           nchan_subscriber websocket; nchan_channel_id $arg_topic; nchan_subscriber_first_message newest;\n }} }}\n\
         server {{ listen unix:{control}; keepalive_requests 1000000000; keepalive_timeout 1h;\n\
           location = /publish {{ nchan_publisher http; nchan_channel_id $arg_topic;\n\
           nchan_message_buffer_length 20000; nchan_message_timeout 1h; }} }}\n}}\n",
        control = control.display(),
    );
    fs::write(&config, text)?;
    let mut command = Command::new("nginx");
    command.arg("-e").arg(directory.path().join("log")).arg("-c").arg(&config).stderr(Stdio::null());
    let mut process = Process::start(&mut command)?;
    process.follow_worker()?;
    while TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Server { kind: Kind::Nchan, process, address, control, _directory: directory })
}

/// The first line of a server's output, which says where it listens.
fn first_line(process: &mut Process) -> Result<String> {
    let output = process.child().stdout.as_mut().ok_or("the server's output is not piped")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_among_the_subscribers_of_its_topics() {
        for (count, each) in [(10, 1), (10, 10), (1000, 10), (30, 3)] {
            for connection in 0..count {
                for topic in topics(connection, count, each) {
                    let subscribers = (0..each).map(|place| subscriber(topic, place, count, each));
                    assert_eq!(subscribers.filter(|&it| it == connection).count(), 1);
                }
            }
        }
    }
}
