//! Ten thousand subscriptions end at once: the client is told of each, and others get their events before and after.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::json;

use crate::support::token::{Key, claims, now, sign};
use crate::support::{
    Client, ISSUE, OTHER_USER, Producer, Server, Setup, USER, ended, event, good_token, reply, request,
};

const COUNT: usize = 10_000;

fn setup(setup: Setup) -> Setup {
    setup
        .set("limits.subscriptions", COUNT + 1)
        .set("limits.requestsPerSecond", 0)
        .set("access.datasetEvents", "datasetUpdate")
}

fn id(number: usize) -> String {
    format!("{number:024x}")
}

/// A client with [`COUNT`] subscriptions by this token.
#[track_caller]
fn attached_to_many(server: &Server, token: &str) -> Client {
    let mut client = Client::connect(server);
    let numbers: Vec<usize> = (0..COUNT).collect();
    // In chunks that are answered before the next is written, so that neither side blocks the other.
    for numbers in numbers.chunks(200) {
        let requests: Vec<String> =
            numbers.iter().map(|&number| request("attach", token, "datasetUpdate", &id(number))).collect();
        client.send_all(requests.iter().map(String::as_str));
        for _ in numbers {
            client.expect(&reply(0));
        }
    }
    client
}

/// Asserts that the client is told once of the end of each subscription, and of nothing else.
#[track_caller]
fn expect_all_lost(client: &mut Client, code: u8) {
    let told: BTreeSet<String> = (0..COUNT).map(|_| client.next_text()).collect();
    let expected: BTreeSet<String> =
        (0..COUNT).map(|number| ended(code, "datasetUpdate", &id(number))).collect();
    assert!(told == expected, "each is told once");
    client.expect_nothing();
}

#[test]
fn ten_thousand_subscriptions_of_a_user_are_revoked() {
    let server = setup(Setup::new()).start();
    let mut client = attached_to_many(&server, &good_token(USER));
    let mut other = Client::connect(&server);
    other.attach(&good_token(OTHER_USER), "issueUpdate", ISSUE);
    other.attach(&good_token(OTHER_USER), "datasetUpdate", &id(7));
    // In one write, so that the server reads all at once.
    Producer::connect(&server).write(
        [
            event("issueUpdate", ISSUE, "1"),
            format!(r#"{{"control":"revoke","user":"{USER}"}}"#),
            event("issueUpdate", ISSUE, "2"),
            event("datasetUpdate", &id(7), "3"),
            event("datasetUpdate", &id(8), "4"),
        ]
        .map(|line| line + "\n")
        .concat(),
    );
    for number in ["1", "2"] {
        other.expect(&event("issueUpdate", ISSUE, number));
    }
    other.expect(&event("datasetUpdate", &id(7), "3"));
    expect_all_lost(&mut client, 3);
    other.expect_nothing();
}

#[test]
fn ten_thousand_subscriptions_end_with_their_key() {
    let server = setup(Setup::new()).start();
    let mut client = attached_to_many(&server, &good_token(USER));
    let mut other = Client::connect(&server);
    let large = sign(&claims(OTHER_USER, now() + 3600), Key::Large);
    other.attach(&large, "datasetUpdate", &id(7));
    let mut producer = Producer::connect(&server);
    assert_eq!(producer.publish(&event("datasetUpdate", &id(7), "1")), 2);
    client.expect(&event("datasetUpdate", &id(7), "1"));
    server.setup().write_file("live-2048.pub.pem", include_str!("../fixtures/live-4096.pub.pem"));
    server.process().signal(Signal::HUP);
    expect_all_lost(&mut client, 2);
    assert_eq!(producer.publish(&event("datasetUpdate", &id(7), "2")), 1);
    other.expect(&event("datasetUpdate", &id(7), "1"));
    other.expect(&event("datasetUpdate", &id(7), "2"));
    other.expect_nothing();
}

#[test]
fn ten_thousand_subscriptions_end_with_a_new_access_file() {
    let both = json!({"users": {USER: {"datasets": "*"}, OTHER_USER: {"datasets": "*"}}});
    let server = setup(Setup::with_access_file(&both.to_string())).start();
    let mut client = attached_to_many(&server, &good_token(USER));
    client.attach(&good_token(OTHER_USER), "notification", "");
    let mut producer = Producer::connect(&server);
    server.setup().write_file(
        "access.json",
        json!({"users": {USER: {"datasets": []}, OTHER_USER: {"datasets": []}}}).to_string(),
    );
    server.process().signal(Signal::HUP);
    expect_all_lost(&mut client, 4);
    assert_eq!(producer.publish(&event("datasetUpdate", &id(7), "1")), 0);
    assert_eq!(producer.publish(&event("notification", OTHER_USER, "2")), 1);
    client.expect(&event("notification", OTHER_USER, "2"));
}
