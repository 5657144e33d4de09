//! The server under test: the real binary with a configuration in a temporary folder.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{self, Finished, Process};

/// What a server starts with: a folder with `config.ini` and the files it names.
pub struct Setup {
    directory: TempDir,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

/// A running server. Dropping it kills it; a failing test prints its log.
pub struct Server {
    process: Process,
    address: SocketAddr,
    socket: PathBuf,
    setup: Setup,
}

impl Setup {
    /// Any free port on 127.0.0.1, its own events socket, the test keys of 2048 and 4096 bits, access for every user to
    /// everything, and a short drain.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("airlay-").tempdir().expect("a temporary folder");
        Self { directory, settings: Vec::new(), environment: Vec::new() }
            .file("live-2048.pub.pem", include_str!("../fixtures/live-2048.pub.pem"))
            .file("live-4096.pub.pem", include_str!("../fixtures/live-4096.pub.pem"))
            .set("webSocketEvents.address", "127.0.0.1")
            .set("webSocketEvents.port", "0")
            .set("events.socket", "events.sock")
            .set("token.publicKey", "live-2048.pub.pem, live-4096.pub.pem")
            .set("token.issuer", "dev.airlay.ru")
            .set("access.mode", "token")
            .set("limits.drainSeconds", "1")
            // So long that a test fails if the server does not end a connection itself.
            .set("limits.closeSeconds", "3600")
    }

    /// The same with metrics on any free port.
    pub fn with_metrics() -> Self {
        Self::new().set("metrics.address", "127.0.0.1:0")
    }

    /// The same with this access file.
    pub fn with_access_file(json: &str) -> Self {
        Self::new().set("access.mode", "file").set("access.file", "access.json").file("access.json", json)
    }

    /// Sets `section.key`, replacing an earlier value.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self = self.without(key);
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Removes `section.key`.
    pub fn without(mut self, key: &str) -> Self {
        self.settings.retain(|(name, _)| name != key);
        self
    }

    /// Sets a variable of the server's environment.
    pub fn environment(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Writes a file beside the configuration, atomically.
    pub fn file(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        self.write_file(name, contents);
        self
    }

    /// The same for a setup in use.
    pub fn write_file(&self, name: &str, contents: impl AsRef<[u8]>) {
        let unfinished = self.path(".unfinished");
        fs::write(&unfinished, contents).expect("the temporary folder can be written");
        fs::rename(&unfinished, self.path(name)).expect("the temporary folder can be written");
    }

    /// The path of a file beside the configuration.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The folder of the configuration.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes `config.ini` from the settings and returns its path.
    pub fn write_config(&self) -> PathBuf {
        let mut sections: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.settings {
            let (section, key) = name.split_once('.').expect("a setting is named section.key");
            let line = format!("{key} = {value}\n");
            match sections.iter_mut().find(|(known, _)| *known == section) {
                Some((_, lines)) => lines.push_str(&line),
                None => sections.push((section, line)),
            }
        }
        let text: String =
            sections.into_iter().map(|(section, lines)| format!("[{section}]\n{lines}\n")).collect();
        self.write_file("config.ini", text);
        self.path("config.ini")
    }

    /// Starts the server and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Server {
        let process = self.spawn();
        let (address, socket) = ready(&process);
        Server { process, address, socket, setup: self }
    }

    /// Starts a server that is expected to exit by itself, and waits for the exit.
    #[track_caller]
    pub fn fail(&self) -> Finished {
        self.spawn().finish()
    }

    /// Starts a server without waiting.
    #[track_caller]
    pub fn spawn(&self) -> Process {
        let mut command = process::command();
        command.args(["server", "--config"]).arg(self.write_config()).envs(self.environment.iter().cloned());
        Process::spawn(&mut command)
    }
}

impl Server {
    /// The server of [`Setup::new`].
    #[track_caller]
    pub fn start() -> Self {
        Setup::new().start()
    }

    /// The address for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The events socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The address of the metrics endpoint, which the setup must enable.
    #[track_caller]
    pub fn metrics_address(&self) -> SocketAddr {
        let is_it = |line: &str| field(line, "msg").is_some_and(|message| message == "metrics");
        let line = self.process.stderr().wait_for("line with the address of the metrics", 0, is_it);
        field(&line, "address").and_then(|address| address.parse().ok()).expect("an address")
    }

    /// What the server started with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Runs `airlay-cli web_socket COMMAND… --config CONFIG` beside the server, with this standard input.
    #[track_caller]
    pub fn run(&self, arguments: &[&str], input: &str) -> Finished {
        let config = self.setup.path("config.ini");
        let config = config.to_str().expect("a path in UTF-8");
        process::run_in(self.setup.directory(), arguments.iter().copied().chain(["--config", config]), input)
    }

    /// Sends SIGTERM, after which the server must exit with code 0. Returns its output.
    #[track_caller]
    pub fn stop(&mut self) -> Finished {
        self.process.signal(Signal::TERM);
        self.expect_stop()
    }

    /// Waits for a server that got its signal; the exit code must be 0. Returns its output.
    #[track_caller]
    pub fn expect_stop(&mut self) -> Finished {
        self.process.finish().expect_code(0)
    }

    /// Kills the server as a power cut would: its socket's file stays. Returns the setup, for another start.
    #[track_caller]
    pub fn kill(self) -> Setup {
        let Self { mut process, setup, .. } = self;
        process.signal(Signal::KILL);
        assert_eq!(process.finish().code, None, "a killed process has no exit code");
        setup
    }
}

/// The two addresses in the line `msg=ready`.
#[track_caller]
pub fn ready(process: &Process) -> (SocketAddr, PathBuf) {
    let is_ready = |line: &str| field(line, "msg").is_some_and(|message| message == "ready");
    let line = process.stderr().wait_for("line that says ready", 0, is_ready);
    let named = |key| field(&line, key).unwrap_or_else(|| panic!("no {key} in {line:?}"));
    let address = named("address").parse().expect("the line names an IP address and a port");
    (address, PathBuf::from(named("socket")))
}

/// The value of a key in a logfmt line.
pub fn field(line: &str, key: &str) -> Option<String> {
    let mut rest = line;
    loop {
        let (name, after) = rest.trim_start().split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        if name == key {
            return Some(value.to_owned());
        }
        rest = after;
    }
}
