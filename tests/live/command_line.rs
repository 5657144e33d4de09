//! The commands other than the server: `publish`, `listen`, `token`, `check-config`, their output and exit codes.

use std::os::unix::net::UnixListener;
use std::thread;

use crate::support::process::{Finished, Process, command, run_in};
use crate::support::{
    Client, DATASET, Deadline, ISSUE, OTHER_USER, Producer, Server, Setup, USER, event, good_token, reply,
    request, token_until,
};

/// A server, and a client with subscriptions to [`ISSUE`] and all notifications of [`USER`].
#[track_caller]
fn server_and_client() -> (Server, Client) {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    client.attach(&good_token(USER), "notification", "");
    (server, client)
}

/// Runs a command in an empty folder.
#[track_caller]
fn run(arguments: &[&str], input: &str) -> Finished {
    let nowhere = tempfile::tempdir().expect("a temporary folder");
    run_in(nowhere.path(), arguments, input)
}

#[test]
fn publish_delivers_one_event() {
    let (server, mut client) = server_and_client();
    for (arguments, expected) in [
        (vec!["issueUpdate", ISSUE], event("issueUpdate", ISSUE, "[]")),
        (vec!["issueUpdate", ISSUE, "--data", r#"{"a":1.0}"#], event("issueUpdate", ISSUE, r#"{"a":1.0}"#)),
        (vec!["issueUpdate", ISSUE, "--wait"], event("issueUpdate", ISSUE, "[]")),
        (vec!["notification", "--users", USER], event("notification", "", "[]")),
        (
            vec!["notification", ISSUE, "--users", &format!("{OTHER_USER},{USER}")],
            event("notification", ISSUE, "[]"),
        ),
        (vec!["notification", "--users", "*", "--data", "1"], event("notification", "", "1")),
        (vec!["notification", USER], event("notification", USER, "[]")),
    ] {
        server.run(&[&["publish"], arguments.as_slice()].concat(), "").expect_code(0);
        client.expect(&expected);
    }
    client.expect_nothing();
}

#[test]
fn publish_accepts_data_of_several_lines() {
    let (server, mut client) = server_and_client();
    server.run(&["publish", "issueUpdate", ISSUE, "--data", "[\n  1,\r\n  2\n]\n"], "").expect_code(0);
    let message: String = client.next_text().split_whitespace().collect();
    assert_eq!(message, event("issueUpdate", ISSUE, "[1,2]"));
}

#[test]
fn publish_finds_the_socket_by_configuration_or_option() {
    let (server, mut client) = server_and_client();
    let socket = server.socket().to_str().expect("a path in UTF-8");
    run(&["publish", "issueUpdate", ISSUE, "--socket", socket], "").expect_code(0);
    client.expect(&event("issueUpdate", ISSUE, "[]"));
    // In the working folder.
    run_in(server.setup().directory(), ["publish", "issueUpdate", ISSUE], "").expect_code(0);
    client.expect(&event("issueUpdate", ISSUE, "[]"));
}

#[test]
fn publish_from_standard_input_writes_every_line() {
    let (server, mut client) = server_and_client();
    let lines: Vec<String> =
        (0..2000).map(|number| event("issueUpdate", ISSUE, &number.to_string())).collect();
    server.run(&["publish", "-"], &lines.join("\n")).expect_code(0);
    for line in &lines {
        client.expect(line);
    }
    client.expect_nothing();
    server.run(&["publish", "-"], "").expect_code(0);
}

#[test]
fn publish_exits_with_3_if_the_server_refuses_an_event() {
    let (server, mut client) = server_and_client();
    let good = event("issueUpdate", ISSUE, "1");
    for bad in ["nonsense", r#"{"type":"issueUpdate","id":"12"}"#, r#"{"type":"notification"}"#] {
        let finished = server.run(&["publish", "-"], &format!("{good}\n{bad}\n{good}\n")).expect_code(3);
        assert!(!finished.stderr.trim().is_empty(), "{finished:#?}");
        client.expect(&good);
        client.expect(&good);
    }
    client.expect_nothing();
}

#[test]
fn publish_exits_with_4_if_there_is_no_server() {
    let setup = Setup::new();
    setup.write_config();
    let socket = setup.path("events.sock");
    let publish = || run_in(setup.directory(), ["publish", "issueUpdate", ISSUE], "");
    publish().expect_code(4).expect_named(&["events.sock"]);
    drop(UnixListener::bind(&socket).expect("the path is free"));
    publish().expect_code(4).expect_named(&["events.sock"]);
}

#[test]
fn wrong_usage_is_exit_2() {
    let token = good_token(USER);
    for arguments in [
        [].as_slice(),
        &["serve"],
        &["server", "--colour"],
        &["publish"],
        &["publish", "issueUpdate", ISSUE, "more"],
        &["publish", "issueClosed", ISSUE],
        &["publish", "issueUpdate", ISSUE, "--data"],
        &["listen", "issueUpdate", ISSUE],
        &["listen", "--auth", &token],
        &["listen", "--auth", &token, "issueClosed", ISSUE],
        &["token"],
        &["token", "--key", "nowhere.pem"],
        &["token", "--key", "nowhere.pem", "--user", "12"],
    ] {
        let finished = run(arguments, "").expect_code(2);
        assert!(!finished.stderr.trim().is_empty(), "{arguments:?}");
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let finished = run(&["--help"], "").expect_code(0);
    for name in ["server", "demo", "publish", "listen", "token", "check-config"] {
        assert!(finished.stdout.contains(name), "{name}: {}", finished.stdout);
        let help = run(&[name, "--help"], "").expect_code(0).stdout;
        assert!(help.contains(&format!("airlay-cli web_socket {name}")), "{name}: {help}");
        assert!(help.contains("Example"), "{name}: {help}");
    }
    let help = run(&["server", "--help"], "").stdout;
    assert!(help.contains("AIRLAY_WEBSOCKETEVENTS_PORT"), "{help}");
}

/// Starts `listen` with this token, standard input and topics.
#[track_caller]
fn listen(server: &Server, auth: &str, input: &str, topics: &[&str]) -> Process {
    let url = format!("ws://{}/ws", server.address());
    let mut command = command();
    command
        .args(["listen", "--url", &url, "--auth", auth])
        .args(topics)
        .current_dir(server.setup().directory());
    let mut process = Process::spawn(&mut command);
    process.write(input);
    process.end_input();
    process
}

/// Publishes until the event has this many subscribers, which shows that `listen` has attached.
#[track_caller]
fn publish_until(producer: &mut Producer, event: &str, subscribers: u64) {
    let deadline = Deadline::new(format!("{subscribers} subscribers"));
    while producer.publish(event) < subscribers {
        deadline.check("none");
        thread::yield_now();
    }
}

#[test]
fn listen_prints_each_message_on_a_line() {
    let server = Server::start();
    let mut listener = listen(
        &server,
        &good_token(USER),
        "",
        &["issueUpdate", ISSUE, "notification", "datasetUpdate", DATASET],
    );
    let mut producer = Producer::connect(&server);
    for (topic, id) in [("issueUpdate", ISSUE), ("notification", USER), ("datasetUpdate", DATASET)] {
        let line = event(topic, id, r#"{"a": [1.0, "é"]}"#).replace(": ", ":").replace(", ", ",");
        publish_until(&mut producer, &line, 1);
        listener.stdout().wait_for("event", 0, |printed| printed == line);
    }
    for line in listener.stdout().text().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line:?} is no JSON");
    }
    listener.signal(rustix::process::Signal::TERM);
    listener.finish();
    publish_until(&mut producer, &event("issueUpdate", ISSUE, "1"), 0);
}

#[test]
fn listen_reads_the_token_from_standard_input() {
    let server = Server::start();
    let listener = listen(&server, "-", &format!("{}\n", good_token(USER)), &["issueUpdate", ISSUE]);
    let line = event("issueUpdate", ISSUE, "1");
    publish_until(&mut Producer::connect(&server), &line, 1);
    listener.stdout().wait_for("event", 0, |printed| printed == line);
}

#[test]
fn listen_fails_if_the_token_is_refused_or_there_is_no_server() {
    let server = Server::start();
    for auth in ["bad", &token_until(USER, 1)] {
        let finished = listen(&server, auth, "", &["issueUpdate", ISSUE]).finish().expect_code(1);
        assert!(finished.stderr.contains("Invalid token"), "{finished:#?}");
    }
    let mut refused = listen(&server, &good_token(USER), "", &["issueUpdate", "12"]);
    assert!(matches!(refused.finish().code, Some(1 | 2)));
    let address = server.address();
    drop(server);
    let url = format!("ws://{address}/ws");
    let token = good_token(USER);
    run(&["listen", "--url", &url, "--auth", &token, "issueUpdate", ISSUE], "")
        .expect_code(1)
        .expect_named(&[&address.to_string()]);
}

#[test]
fn listen_exits_when_the_server_does() {
    let mut server = Server::start();
    let mut listener = listen(&server, &good_token(USER), "", &["issueUpdate", ISSUE]);
    publish_until(&mut Producer::connect(&server), &event("issueUpdate", ISSUE, "1"), 1);
    server.stop();
    let finished = listener.finish();
    assert!(finished.code.is_some_and(|code| code < 2), "{finished:#?}");
}

#[test]
fn a_token_made_by_the_command_is_accepted() {
    let server = Server::start();
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/live-2048.pem");
    let make = |more: &[&str]| {
        let arguments =
            [&["token", "--key", key, "--user", USER, "--issuer", "dev.airlay.ru"], more].concat();
        let finished = run(&arguments, "").expect_code(0);
        let token = finished.stdout.strip_suffix('\n').expect("a line").to_owned();
        assert!(!token.contains(char::is_whitespace), "{token:?}");
        token
    };
    let mut client = Client::connect(&server);
    client.attach(&make(&[]), "issueUpdate", ISSUE);
    client.attach(&make(&["--name", "a.kalinin", "--ttl", "60"]), "issueUpdate", ISSUE);
    let check = |token: &str| server.run(&["token", "--check", token], "");
    check(&make(&[])).expect_code(0);
    server.run(&["token", "--check", "-"], &make(&[])).expect_code(0);
    // The server and the command agree on bad tokens.
    let wrong_issuer = run(&["token", "--key", key, "--user", USER, "--issuer", "elsewhere"], "").stdout;
    for bad in ["bad", wrong_issuer.trim_end(), &token_until(USER, 1)] {
        let finished = check(bad);
        assert!(finished.code.is_some_and(|code| code == 1 || code == 2), "{finished:#?}");
        assert_eq!(client.ask(&request("attach", bad, "issueUpdate", ISSUE)), reply(2), "{bad}");
    }
    assert!(check(&token_until(USER, 1)).stdout.contains("exp"), "the output names the step that failed");
}

#[test]
fn a_token_needs_a_private_key() {
    let public = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/live-2048.pub.pem");
    for key in ["nowhere.pem", public] {
        run(&["token", "--key", key, "--user", USER], "").expect_code(2).expect_named(&[".pem"]);
    }
}

#[test]
fn check_config_says_whether_a_server_would_start() {
    let good = Setup::new();
    let bad = Setup::new().set("access.mode", "everybody").set("webSocketEvents.port", "x");
    let no_key = Setup::new().set("token.publicKey", "nowhere.pem");
    let check = |setup: &Setup| {
        let config = setup.write_config();
        run(&["check-config", "--config", config.to_str().expect("a path in UTF-8")], "")
    };
    check(&good).expect_code(0);
    check(&bad).expect_code(2).expect_named(&["mode", "everybody", "port"]);
    check(&no_key).expect_code(2).expect_named(&["nowhere.pem"]);
    assert!(!good.path("events.sock").exists(), "a check starts nothing");
}
