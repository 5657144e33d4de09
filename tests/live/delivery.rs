//! Events from a producer's line to subscribers' frames: who gets them, their exact text, their order.

use crate::support::{
    Client, EVENT_TYPES, ISSUE, OBJECT, OTHER_USER, Producer, Server, Setup, USER, event, good_token,
};

#[test]
fn every_type_reaches_its_subscribers_and_no_others() {
    let server = Server::start();
    let token = good_token(USER);
    let mut clients: Vec<(&str, Client)> = EVENT_TYPES
        .iter()
        .map(|kind| {
            let mut client = Client::connect(&server);
            client.attach(&token, kind, OBJECT);
            (*kind, client)
        })
        .collect();
    let mut idle = Client::connect(&server);
    let mut producer = Producer::connect(&server);
    for kind in EVENT_TYPES {
        let users = if kind == "notification" { r#""users":"*","# } else { "" };
        let line = format!(r#"{{"type":"{kind}",{users}"id":"{OBJECT}","data":["{kind}"]}}"#);
        assert_eq!(producer.publish(&line), 1, "{kind}");
    }
    for (kind, client) in &mut clients {
        client.expect(&event(kind, OBJECT, &format!(r#"["{kind}"]"#)));
        client.expect_nothing();
    }
    idle.expect_nothing();
}

#[test]
fn data_passes_through_exactly_as_it_was_written() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    let mut producer = Producer::connect(&server);
    let values = [
        "null",
        "true",
        "0",
        "-0",
        "1.0",
        "1E+400",
        "0.1000000000000000000000000000000001",
        "123456789012345678901234567890",
        r#""""#,
        r#""\u0041\/\ud83d\ude00\t😀\"""#,
        "[]",
        "{}",
        r#"{"b":1,"a":2,"b":3,"":{"users":"*","ack":1,"type":"uploadFile"}}"#,
        r#"[[[[[[[[[[null]]]]]]]]]]"#,
    ];
    for value in values {
        assert_eq!(producer.publish(&event("issueUpdate", ISSUE, value)), 1);
        client.expect(&event("issueUpdate", ISSUE, value));
    }
}

#[test]
fn a_message_has_type_id_and_data_in_this_order_and_nothing_else() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    let mut producer = Producer::connect(&server);
    let upper = ISSUE.to_uppercase();
    producer.line(&format!(
        r#" {{ "data" : [1] , "more":{{"id":1}},"id" : "{upper}" , "type" : "issueUpdate" }} "#
    ));
    client.expect(&event("issueUpdate", ISSUE, "[1]"));
    producer.line(&format!(r#"{{"id":"{ISSUE}","type":"issueUpdate"}}"#));
    client.expect(&event("issueUpdate", ISSUE, "[]"));
    client.expect_nothing();
}

#[test]
fn white_space_between_tokens_does_not_change_data() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    let mut producer = Producer::connect(&server);
    producer.line(&format!(
        r#"{{"type":"issueUpdate","id":"{ISSUE}","data":  [ 1.0 ,{{ "a b" : "c  d" }} ]  }}"#
    ));
    let message = client.next_text();
    let bare = |text: &str| text.replace(' ', "");
    assert_eq!(bare(&message), bare(&event("issueUpdate", ISSUE, r#"[1.0,{"ab":"cd"}]"#)), "{message}");
    assert!(message.contains(r#""a b""#) && message.contains(r#""c  d""#), "{message}");
}

#[test]
fn data_of_900_kilobytes_arrives_whole() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    let data = format!(r#"["{}"]"#, "0123456789abcdef €".repeat(900 * 1024 / 20));
    assert!(data.len() > 900_000);
    assert_eq!(Producer::connect(&server).publish(&event("issueUpdate", ISSUE, &data)), 1);
    let message = client.next_text();
    assert!(message == event("issueUpdate", ISSUE, &data), "{} bytes came", message.len());
}

#[test]
fn one_event_reaches_every_connection_of_every_user() {
    let server = Setup::new().set("limits.connectionsPerUser", 100).start();
    let tokens = [good_token(USER), good_token(OTHER_USER)];
    let mut clients: Vec<Client> = (0..40)
        .map(|number| {
            let mut client = Client::connect(&server);
            client.attach(&tokens[number % 2], "issueUpdate", ISSUE);
            client
        })
        .collect();
    let mut producer = Producer::connect(&server);
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "1")), 40);
    for mut client in clients.drain(20..) {
        client.expect(&event("issueUpdate", ISSUE, "1"));
        client.close();
    }
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "2")), 20);
    for client in &mut clients {
        client.expect(&event("issueUpdate", ISSUE, "1"));
        client.expect(&event("issueUpdate", ISSUE, "2"));
        client.expect_nothing();
    }
}

#[test]
fn events_of_one_producer_arrive_in_the_order_written_across_types() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    let kinds: Vec<&str> = EVENT_TYPES.into_iter().filter(|kind| *kind != "notification").collect();
    for kind in &kinds {
        client.attach(&token, kind, OBJECT);
    }
    let events: Vec<String> = (0..4000)
        .map(|number| event(kinds[number * 7 % 11 % kinds.len()], OBJECT, &number.to_string()))
        .collect();
    Producer::connect(&server).write(events.join("\n") + "\n");
    for event in &events {
        client.expect(event);
    }
    client.expect_nothing();
}

#[test]
fn s29_every_line_written_after_an_attach_was_answered_is_delivered() {
    let server =
        Setup::new().set("limits.requestsPerSecond", 100_000).set("limits.requestBurst", 100_000).start();
    let mut client = Client::connect(&server);
    let mut producer = Producer::connect(&server);
    let token = good_token(USER);
    for round in 0..200 {
        client.attach(&token, "issueUpdate", ISSUE);
        producer.line(&event("issueUpdate", ISSUE, &round.to_string()));
        client.expect(&event("issueUpdate", ISSUE, &round.to_string()));
        client.detach(&token, "issueUpdate", ISSUE);
        assert_eq!(producer.publish(&event("issueUpdate", ISSUE, r#""after the detach""#)), 0);
    }
    client.expect_nothing();
}

#[test]
fn a_subscription_belongs_to_the_user_of_the_last_attach() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let mut producer = Producer::connect(&server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    client.attach(&good_token(OTHER_USER), "issueUpdate", ISSUE);
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "1")), 1);
    client.expect(&event("issueUpdate", ISSUE, "1"));
    producer.line(&format!(r#"{{"control":"revoke","user":"{USER}"}}"#));
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "2")), 1);
    client.expect(&event("issueUpdate", ISSUE, "2"));
    producer.line(&format!(r#"{{"control":"revoke","user":"{OTHER_USER}"}}"#));
    client.expect(&crate::support::ended(3, "issueUpdate", ISSUE));
}
