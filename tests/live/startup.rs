//! Startup, and every reason to fail: addresses in use, files that are missing or wrong, bad configurations.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::process::{Process, run_in};
use crate::support::server::{field, ready};
use crate::support::{Client, ISSUE, Producer, Server, Setup, USER, event, good_token};

/// Asserts that the server accepts clients and producers and delivers an event.
#[track_caller]
fn expect_working(server: &Server) {
    let mut client = Client::connect(server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    assert_eq!(Producer::connect(server).publish(&event("issueUpdate", ISSUE, "1")), 1);
    client.expect(&event("issueUpdate", ISSUE, "1"));
}

#[test]
fn one_line_of_the_log_says_ready_with_both_addresses() {
    let mut server = Server::start();
    assert_ne!(server.address().port(), 0, "the log names the port that was chosen");
    assert_eq!(
        server.socket(),
        server.setup().path("events.sock"),
        "a relative path is relative to the configuration"
    );
    let log = server.stop().stderr;
    let count =
        log.lines().filter(|line| field(line, "msg").is_some_and(|message| message == "ready")).count();
    assert_eq!(count, 1, "{log}");
}

#[test]
fn the_log_may_be_json() {
    let setup = Setup::new().set("log.format", "json");
    let server = setup.spawn();
    let line = server.stderr().wait_for("line that says ready", 0, |line| line.contains(r#""ready""#));
    let parsed: Value = serde_json::from_str(&line).expect("a line of the log is JSON");
    assert_eq!(parsed["msg"], "ready");
    assert!(parsed["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{line}");
    assert!(parsed["socket"].as_str().is_some_and(|socket| socket.ends_with("events.sock")), "{line}");
}

#[test]
fn the_environment_overrides_the_file() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("a bound address").port();
    let server = Setup::new()
        .set("webSocketEvents.port", port)
        .environment("AIRLAY_WEBSOCKETEVENTS_PORT", 0)
        .environment("AIRLAY_EVENTS_SOCKET", "other.sock")
        .start();
    assert_ne!(server.address().port(), port);
    assert!(server.socket().ends_with("other.sock"));
    expect_working(&server);
}

#[test]
fn without_the_option_the_configuration_is_in_the_working_folder() {
    let setup = Setup::new();
    setup.write_config();
    let mut command = crate::support::process::command();
    command.arg("server").current_dir(setup.directory());
    let mut process = Process::spawn(&mut command);
    let (_, socket) = ready(&process);
    assert!(socket.ends_with("events.sock"));
    process.signal(Signal::TERM);
    process.finish().expect_code(0);
}

#[test]
fn s43_a_live_server_keeps_its_socket() {
    let first = Server::start();
    let socket = first.socket().to_str().expect("a path in UTF-8");
    Setup::new().set("events.socket", socket).fail().expect_code(1).expect_named(&[socket]);
    expect_working(&first);
}

#[test]
fn s43_any_live_listener_keeps_its_socket() {
    let setup = Setup::new();
    let path = setup.path("events.sock");
    let listener = UnixListener::bind(&path).expect("the path is free");
    setup.fail().expect_code(1).expect_named(&["events.sock"]);
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    drop(listener);
}

#[test]
fn s43_a_stale_socket_is_taken_over() {
    let setup = Setup::new();
    drop(UnixListener::bind(setup.path("events.sock")).expect("the path is free"));
    expect_working(&setup.start());
}

#[test]
fn s43_a_plain_file_in_the_sockets_place_is_left_alone() {
    let setup = Setup::new().file("events.sock", "precious");
    setup.fail().expect_code(1).expect_named(&["events.sock"]);
    assert_eq!(fs::read_to_string(setup.path("events.sock")).expect("the file exists"), "precious");
}

#[test]
fn s43_a_folder_or_a_link_to_a_file_in_the_sockets_place_is_left_alone() {
    let setup = Setup::new().file("precious", "precious");
    fs::create_dir(setup.path("events.sock")).expect("the path is free");
    setup.fail().expect_code(1).expect_named(&["events.sock"]);
    fs::remove_dir(setup.path("events.sock")).expect("the folder exists");
    std::os::unix::fs::symlink(setup.path("precious"), setup.path("events.sock")).expect("the path is free");
    setup.fail().expect_code(1).expect_named(&["events.sock"]);
    assert_eq!(fs::read_to_string(setup.path("precious")).expect("the file exists"), "precious");
}

#[test]
fn s43_of_100_concurrent_starts_one_wins() {
    let setup = Setup::new();
    drop(UnixListener::bind(setup.path("events.sock")).expect("the path is free"));
    setup.write_config();
    let config = setup.path("config.ini");
    let mut starts: Vec<Process> = (0..100)
        .map(|_| {
            let mut command = crate::support::process::command();
            Process::spawn(command.args(["server", "--config"]).arg(&config))
        })
        .collect();
    // Every process but one exits.
    let is_ready = |start: &Process| start.stderr().find(0, |line| line.contains("msg=ready")).is_some();
    let winner = starts.iter().position(is_ready).expect("one start wins");
    let mut winner = starts.swap_remove(winner);
    for mut start in starts {
        start.finish().expect_code(1);
    }
    assert!(std::os::unix::net::UnixStream::connect(setup.path("events.sock")).is_ok());
    winner.signal(Signal::TERM);
    winner.finish().expect_code(0);
}

#[test]
fn s51_after_a_kill_it_starts_again_at_the_same_socket() {
    let mut setup = Setup::new();
    for _ in 0..10 {
        let server = setup.start();
        expect_working(&server);
        setup = server.kill();
        assert!(setup.path("events.sock").exists(), "a killed server leaves its socket");
    }
}

#[test]
fn a_port_that_is_taken_is_exit_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("a bound address").port().to_string();
    let setup = Setup::new().set("webSocketEvents.port", &port);
    setup.fail().expect_code(1).expect_named(&["127.0.0.1", &port]);
    assert!(!setup.path("events.sock").exists(), "the events socket was left behind");
}

#[test]
fn an_address_of_another_machine_is_exit_1() {
    Setup::new()
        .set("webSocketEvents.address", "192.0.2.1")
        .fail()
        .expect_code(1)
        .expect_named(&["192.0.2.1"]);
}

#[test]
fn a_missing_or_invalid_key_file_is_exit_2() {
    let public = include_str!("../fixtures/live-2048.pub.pem");
    let cut = &public[..public.len() - 60];
    for (what, contents) in [
        ("missing", None),
        ("empty", Some("")),
        ("text", Some("no key at all\n")),
        ("cut", Some(cut)),
        ("too small", Some(include_str!("../fixtures/live-1024.pub.pem"))),
        ("base64 of something else", Some("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")),
    ] {
        let mut setup = Setup::new().set("token.publicKey", "live-2048.pub.pem, the-key.pem");
        if let Some(contents) = contents {
            setup = setup.file("the-key.pem", contents);
        }
        let finished = setup.fail();
        assert_eq!(finished.code, Some(2), "{what}: {finished:#?}");
        finished.expect_named(&["the-key.pem"]);
        assert!(!setup.path("events.sock").exists(), "{what}: half started");
    }
}

#[test]
fn keys_and_access_mode_are_required() {
    Setup::new().without("token.publicKey").fail().expect_code(2).expect_named(&["publicKey"]);
    Setup::new().without("access.mode").fail().expect_code(2).expect_named(&["access", "mode"]);
    Setup::new().set("access.mode", "file").fail().expect_code(2).expect_named(&["access", "file"]);
    Setup::new().set("access.mode", "socket").fail().expect_code(2).expect_named(&["access", "socket"]);
}

#[test]
fn a_missing_or_invalid_access_file_is_exit_2() {
    for contents in ["", "{", "[]", r#"{"users":{"12":{"datasets":"*"}}}"#] {
        Setup::with_access_file(contents).fail().expect_code(2).expect_named(&["access.json"]);
    }
    Setup::new()
        .set("access.mode", "file")
        .set("access.file", "nowhere.json")
        .fail()
        .expect_code(2)
        .expect_named(&["nowhere.json"]);
}

#[test]
fn s53_five_mistakes_in_the_config_are_reported_at_once() {
    let setup = Setup::new()
        .set("webSocketEvents.port", "80810")
        .set("webSocketEvents.adress", "127.0.0.1")
        .set("token.leewaySeconds", "soon")
        .set("access.mode", "everybody")
        .set("quotas.connections", "5");
    let finished = setup.fail().expect_code(2).expect_named(&[
        "config.ini",
        "webSocketEvents",
        "port",
        "80810",
        "adress",
        "leewaySeconds",
        "soon",
        "mode",
        "everybody",
        "token",
        "file",
        "socket",
        "quotas",
    ]);
    assert!(!finished.stderr.contains("msg=ready"), "{finished:#?}");
    assert!(!setup.path("events.sock").exists(), "half started");
}

#[test]
fn a_missing_or_invalid_configuration_is_exit_2() {
    let setup = Setup::new();
    let run = |arguments: &[&str]| run_in(setup.directory(), arguments.iter().copied(), "");
    run(&["server", "--config", "nowhere.ini"]).expect_code(2).expect_named(&["nowhere.ini"]);
    let setup_with_noise = Setup::new().file("noise.ini", b"\xff\xfe\0\0[".as_slice());
    run_in(setup_with_noise.directory(), ["server", "--config", "noise.ini"], "")
        .expect_code(2)
        .expect_named(&["noise.ini"]);
}

#[test]
fn s06_the_log_warns_that_any_page_may_connect() {
    let warns = |log: &str| log.contains("origins is not set");
    assert!(warns(&Server::start().stop().stderr));
    let mut listed = Setup::new().set("webSocketEvents.origins", "https://airlay.ru").start();
    assert!(!warns(&listed.stop().stderr));
}
