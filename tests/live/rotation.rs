//! Key rotation at run time: SIGHUP reloads the keys, no client is disconnected, and only the subscriptions that rest on a
//! removed key end.

use jsonwebtoken::{Algorithm, Header};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::token::{Key, claims, now, sign, sign_with_header};
use crate::support::{
    Client, DATASET, ISSUE, OTHER_USER, Producer, Server, Setup, USER, ended, event, reply, request,
};

const USUAL: &str = include_str!("../fixtures/live-2048.pub.pem");
const LARGE: &str = include_str!("../fixtures/live-4096.pub.pem");
const KEY_SET: &str = include_str!("../fixtures/live-jwks.json");

/// Sends SIGHUP and waits for a line of the log that contains this.
#[track_caller]
fn reload(server: &Server, expected: &str) -> String {
    let lines = server.process().stderr().count();
    server.process().signal(Signal::HUP);
    server.process().stderr().wait_for("line about the keys", lines, |line| line.contains(expected))
}

/// A token of this user, for an hour.
fn token(user: &str, key: Key) -> String {
    sign(&claims(user, now() + 3600), key)
}

fn token_with_kid(user: &str, key: Key, kid: &str) -> String {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(kid.to_owned());
    sign_with_header(&header, &claims(user, now() + 3600), key)
}

/// The key set, reduced to the keys with these ids.
fn key_set(ids: &[&str]) -> String {
    let mut set: Value = serde_json::from_str(KEY_SET).expect("JSON");
    let keys = set["keys"].as_array_mut().expect("keys");
    keys.retain(|key| ids.iter().any(|id| key["kid"] == *id));
    assert_eq!(keys.len(), ids.len());
    set.to_string()
}

/// A proper rotation: `old` alone, then both, then `new` alone. `change` installs the next keys.
#[track_caller]
fn expect_rotation(server: &Server, old: &str, new: &str, mut change: impl FnMut(bool)) {
    let mut client = Client::connect(server);
    let mut other = Client::connect(server);
    let mut producer = Producer::connect(server);
    client.attach(old, "issueUpdate", ISSUE);
    client.attach(old, "notification", "");
    assert_eq!(other.ask(&request("attach", new, "issueUpdate", ISSUE)), reply(2));

    change(true);
    reload(server, "keys read again");
    other.attach(new, "issueUpdate", ISSUE);
    client.attach(old, "datasetUpdate", DATASET);
    // Renewed with a token of the new key, this subscription rests on that key.
    client.attach(new, "datasetUpdate", DATASET);
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "1")), 2);
    client.expect(&event("issueUpdate", ISSUE, "1"));
    other.expect(&event("issueUpdate", ISSUE, "1"));

    change(false);
    reload(server, "keys read again");
    let mut messages = [client.next_text(), client.next_text()];
    messages.sort();
    assert_eq!(messages, [ended(2, "issueUpdate", ISSUE), ended(2, "notification", "")]);
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "2")), 1);
    assert_eq!(producer.publish(&event("datasetUpdate", DATASET, "3")), 1);
    other.expect(&event("issueUpdate", ISSUE, "2"));
    client.expect(&event("datasetUpdate", DATASET, "3"));
    assert_eq!(client.ask(&request("attach", old, "issueUpdate", ISSUE)), reply(2));
    client.attach(new, "issueUpdate", ISSUE);
    client.expect_nothing();
    other.expect_nothing();
}

#[test]
fn key_files_are_rotated_without_disconnects() {
    let server = Setup::new()
        .set("token.publicKey", "first.pem, second.pem")
        .file("first.pem", USUAL)
        .file("second.pem", USUAL)
        .start();
    let (old, new) = (token(USER, Key::Usual), token(OTHER_USER, Key::Large));
    expect_rotation(&server, &old, &new, |both| {
        server.setup().write_file(if both { "second.pem" } else { "first.pem" }, LARGE);
    });
}

#[test]
fn a_key_set_is_rotated_without_disconnects() {
    let server = Setup::new()
        .without("token.publicKey")
        .set("token.jwks", "keys.json")
        .file("keys.json", key_set(&["usual"]))
        .start();
    let (old, new) =
        (token_with_kid(USER, Key::Usual, "usual"), token_with_kid(OTHER_USER, Key::Large, "large"));
    expect_rotation(&server, &old, &new, |both| {
        server.setup().write_file("keys.json", key_set(if both { &["usual", "large"] } else { &["large"] }));
    });
}

#[test]
fn a_key_under_another_kid_is_another_key() {
    let server = Setup::new()
        .without("token.publicKey")
        .set("token.jwks", "keys.json")
        .file("keys.json", key_set(&["usual"]))
        .start();
    let mut client = Client::connect(&server);
    let old = token_with_kid(USER, Key::Usual, "usual");
    client.attach(&old, "issueUpdate", ISSUE);
    server.setup().write_file("keys.json", key_set(&["usual"]).replace("usual", "renamed"));
    reload(&server, "keys read again");
    client.expect(&ended(2, "issueUpdate", ISSUE));
    assert_eq!(client.ask(&request("attach", &old, "issueUpdate", ISSUE)), reply(2));
    client.attach(&token_with_kid(USER, Key::Usual, "renamed"), "issueUpdate", ISSUE);
}

/// Asserts that the old keys stay in force, whatever is wrong with the new ones.
#[track_caller]
fn expect_refused(server: &Server, old: &str, name: &str, bad: &[Option<&[u8]>]) {
    let mut client = Client::connect(server);
    client.attach(old, "issueUpdate", ISSUE);
    let mut producer = Producer::connect(server);
    for contents in bad {
        match contents {
            Some(contents) => server.setup().write_file(name, contents),
            None => std::fs::remove_file(server.setup().path(name)).expect("the file exists"),
        }
        let line = reload(server, "keys not taken, the old ones stay in force");
        assert!(line.contains("level=error") && line.contains(name), "{line}");
        assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "1")), 1);
        client.expect(&event("issueUpdate", ISSUE, "1"));
        client.attach(old, "datasetUpdate", DATASET);
        client.detach(old, "datasetUpdate", DATASET);
    }
    client.expect_nothing();
}

#[test]
fn s53_bad_new_key_files_are_reported_and_the_old_keys_stay_in_force() {
    let server = Setup::new()
        .set("token.publicKey", "first.pem, second.pem")
        .file("first.pem", USUAL)
        .file("second.pem", LARGE)
        .start();
    // The first file now has another good key, which is not used either while the second file is bad.
    server.setup().write_file("first.pem", LARGE);
    expect_refused(
        &server,
        &token(USER, Key::Usual),
        "second.pem",
        &[
            Some(b""),
            Some(b"no key at all\n"),
            Some(&USUAL.as_bytes()[..USUAL.len() - 60]),
            Some(include_bytes!("../fixtures/live-1024.pub.pem")),
            Some(b"\xff\xfe\0"),
            None,
        ],
    );
}

#[test]
fn s53_a_bad_new_key_set_is_reported_and_the_old_keys_stay_in_force() {
    let server = Setup::new()
        .without("token.publicKey")
        .set("token.jwks", "keys.json")
        .file("keys.json", key_set(&["usual"]))
        .start();
    expect_refused(
        &server,
        &token_with_kid(USER, Key::Usual, "usual"),
        "keys.json",
        &[Some(b""), Some(b"{"), Some(b"[]"), Some(br#"{"keys":[]}"#), Some(br#"{"keys":{}}"#), None],
    );
}
