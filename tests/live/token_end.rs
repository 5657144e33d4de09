//! Subscriptions that the server ends: when their token expires, or by a producer's `revoke`.

use std::thread;
use std::time::Duration;

use crate::support::token::now;
use crate::support::{
    Client, DATASET, Deadline, ISSUE, OTHER_USER, Producer, Server, Setup, USER, ended, event, good_token,
    reply, request, token_until,
};

#[test]
fn a_subscription_ends_with_its_token_and_one_message() {
    let server = Setup::new().set("token.leewaySeconds", 0).start();
    let mut client = Client::connect(&server);
    let mut producer = Producer::connect(&server);
    let expires = now() + 2;
    let token = token_until(USER, expires);
    client.attach(&token, "issueUpdate", &ISSUE.to_uppercase());
    client.attach(&good_token(OTHER_USER), "datasetUpdate", DATASET);
    client.expect(
        r#"{"status":400,"message":"Invalid token","code":2,"event":{"type":"issueUpdate","id":"610217e481f6fc54736209e0"}}"#,
    );
    assert!(now() >= expires, "the subscription ended before its token did");
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "1")), 0);
    assert_eq!(producer.publish(&event("datasetUpdate", DATASET, "2")), 1);
    client.expect(&event("datasetUpdate", DATASET, "2"));
    client.expect_nothing();
}

#[test]
fn the_leeway_extends_exp() {
    let server = Setup::new().set("token.leewaySeconds", 3).start();
    let mut client = Client::connect(&server);
    let expires = now() - 1;
    client.attach(&token_until(USER, expires), "notification", "");
    client.expect(&ended(2, "notification", ""));
    assert!(now() >= expires + 3, "it ended within the leeway");
}

#[test]
fn a_fresher_token_keeps_the_subscription() {
    let server = Setup::new().set("token.leewaySeconds", 0).start();
    let mut client = Client::connect(&server);
    let short = token_until(USER, now() + 2);
    client.attach(&short, "issueUpdate", ISSUE);
    client.attach(&short, "datasetUpdate", DATASET);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    // The subscription that was not renewed shows when the short token ended.
    client.expect(&ended(2, "datasetUpdate", DATASET));
    assert_eq!(Producer::connect(&server).publish(&event("issueUpdate", ISSUE, "1")), 1);
    client.expect(&event("issueUpdate", ISSUE, "1"));
    client.expect_nothing();
}

#[test]
fn each_ended_subscription_has_its_message() {
    let server = Setup::new().set("token.leewaySeconds", 0).start();
    let mut client = Client::connect(&server);
    let token = token_until(USER, now() + 2);
    let topics =
        [("issueUpdate", ISSUE), ("uploadFile", DATASET), ("notification", ""), ("notification", ISSUE)];
    for (kind, id) in topics {
        client.attach(&token, kind, id);
    }
    let mut messages = topics.map(|_| client.next_text());
    let mut expected = topics.map(|(kind, id)| ended(2, kind, id));
    messages.sort();
    expected.sort();
    assert_eq!(messages, expected);
    client.expect_nothing();
}

#[test]
fn without_enforcement_a_subscription_outlives_its_token() {
    let server = Setup::new().set("token.leewaySeconds", 0).set("token.enforceExpiry", "false").start();
    let mut client = Client::connect(&server);
    let mut asking = Client::connect(&server);
    let token = token_until(USER, now() + 2);
    client.attach(&token, "issueUpdate", ISSUE);
    let deadline = Deadline::new("the expired token to be refused");
    while asking.ask(&request("attach", &token, "datasetUpdate", DATASET)) != reply(2) {
        deadline.check("another reply");
        // Not a wait for anything: it keeps below the limit of requests per second.
        thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(Producer::connect(&server).publish(&event("issueUpdate", ISSUE, "1")), 1);
    client.expect(&event("issueUpdate", ISSUE, "1"));
    client.expect_nothing();
}

#[test]
fn revoking_a_user_ends_all_of_its_subscriptions_with_code_3() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let mut second = Client::connect(&server);
    let token = good_token(USER);
    client.attach(&token, "issueUpdate", ISSUE);
    client.attach(&token, "notification", "");
    client.attach(&good_token(OTHER_USER), "datasetUpdate", DATASET);
    second.attach(&token, "issueUpdate", ISSUE);
    let mut producer = Producer::connect(&server);
    producer.line(&format!(r#"{{"control":"revoke","user":"{}"}}"#, USER.to_uppercase()));
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "1")), 0);
    assert_eq!(producer.publish(&event("notification", USER, "2")), 0);
    assert_eq!(producer.publish(&event("datasetUpdate", DATASET, "3")), 1);

    let mut messages = [client.next_text(), client.next_text()];
    messages.sort();
    assert_eq!(messages, [ended(3, "issueUpdate", ISSUE), ended(3, "notification", "")]);
    client.expect(&event("datasetUpdate", DATASET, "3"));
    second.expect(
        r#"{"status":400,"message":"User not exists","code":3,"event":{"type":"issueUpdate","id":"610217e481f6fc54736209e0"}}"#,
    );
    for client in [&mut client, &mut second] {
        client.expect_nothing();
    }
}

#[test]
fn revoking_one_event_ends_its_subscription_with_code_4() {
    let server = Server::start();
    let token = good_token(USER);
    let mut client = Client::connect(&server);
    client.attach(&token, "datasetUpdate", DATASET);
    client.attach(&token, "uploadFile", DATASET);
    let mut other = Client::connect(&server);
    other.attach(&good_token(OTHER_USER), "datasetUpdate", DATASET);
    let mut producer = Producer::connect(&server);
    producer.line(&format!(
        r#"{{"control":"revoke","user":"{USER}","event":{{"type":"datasetUpdate","id":"{DATASET}"}}}}"#
    ));
    assert_eq!(producer.publish(&event("datasetUpdate", DATASET, "1")), 1);
    assert_eq!(producer.publish(&event("uploadFile", DATASET, "2")), 1);
    client.expect(
        r#"{"status":400,"message":"Not access for dataset","code":4,"event":{"type":"datasetUpdate","id":"610217e481f6fc54736209e1"}}"#,
    );
    client.expect(&event("uploadFile", DATASET, "2"));
    client.expect_nothing();
    other.expect(&event("datasetUpdate", DATASET, "1"));
    other.expect_nothing();
}

#[test]
fn revoking_without_subscriptions_is_no_error() {
    let server = Server::start();
    let mut producer = Producer::connect(&server);
    producer.line(&format!(r#"{{"control":"revoke","user":"{USER}"}}"#));
    producer.line(&format!(
        r#"{{"control":"revoke","user":"{USER}","event":{{"type":"issueUpdate","id":"{ISSUE}"}}}}"#
    ));
    producer.settle();
}

#[test]
fn after_a_revocation_a_user_may_attach_again_if_allowed() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    let mut producer = Producer::connect(&server);
    producer.line(&format!(r#"{{"control":"revoke","user":"{USER}"}}"#));
    client.expect(&ended(3, "issueUpdate", ISSUE));
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "1")), 1);
    client.expect(&event("issueUpdate", ISSUE, "1"));
}

#[test]
fn a_revocation_is_answered_with_the_number_of_subscriptions_it_ends() {
    let server = Server::start();
    let token = good_token(USER);
    let mut clients = [Client::connect(&server), Client::connect(&server)];
    for client in &mut clients {
        client.attach(&token, "datasetUpdate", DATASET);
        client.attach(&token, "issueUpdate", ISSUE);
    }
    let mut producer = Producer::connect(&server);
    let event = format!(r#","event":{{"type":"datasetUpdate","id":"{DATASET}"}}"#);
    for (event, count) in [(event.as_str(), 2), (event.as_str(), 0), ("", 2), ("", 0)] {
        producer.line(&format!(r#"{{"control":"revoke","user":"{USER}"{event},"ack":1}}"#));
        let answer = format!(r#"{{"ack":1,"status":200,"message":"Ok","code":0,"subscribers":{count}}}"#);
        assert_eq!(producer.answer(), answer, "{event}");
    }
}
