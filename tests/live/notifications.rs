//! Notifications are personal: they reach the users they are for, whatever others attach to.

use crate::support::{
    Client, DATASET, ISSUE, OBJECT, OTHER_USER, Producer, Server, UNKNOWN_USER, USER, event, good_token,
    request,
};

#[test]
fn the_contracts_example_reaches_its_user_without_the_list_of_users() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.attach(&good_token(USER), "notification", "");
    let mut producer = Producer::connect(&server);
    producer.line(&format!(
        r#"{{"type":"notification","users":["5dad615eae019570fb4647ed"],"id":"{OBJECT}","data":[{{"text":"…"}}]}}"#
    ));
    client.expect(&format!(r#"{{"type":"notification","id":"{OBJECT}","data":[{{"text":"…"}}]}}"#));
}

#[test]
fn each_spelling_of_no_id_attaches_to_all_of_the_users_notifications() {
    let server = Server::start();
    let token = good_token(USER);
    let mut producer = Producer::connect(&server);
    for spelling in ["", r#","id":null"#, r#","id":"""#] {
        let mut client = Client::connect(&server);
        let text =
            format!(r#"{{"auth":"{token}","action":"attach","event":{{"type":"notification"{spelling}}}}}"#);
        assert_eq!(client.ask(&text), crate::support::reply(0), "{text}");
        let line = format!(r#"{{"type":"notification","users":["{USER}"]{spelling},"data":1}}"#);
        assert_eq!(producer.publish(&line), 1, "{line}");
        client.expect(&event("notification", "", "1"));
        client.close();
    }
}

#[test]
fn they_reach_the_users_they_are_for_and_no_others() {
    let server = Server::start();
    let mut mine = Client::connect(&server);
    mine.attach(&good_token(USER), "notification", "");
    let mut others = Client::connect(&server);
    others.attach(&good_token(OTHER_USER), "notification", "");
    // Attaching to another user's id shows none of that user's notifications.
    let mut curious = Client::connect(&server);
    curious.attach(&good_token(OTHER_USER), "notification", USER);
    let mut producer = Producer::connect(&server);
    let users = |users: &str, data: u8| format!(r#"{{"type":"notification","users":{users},"data":{data}}}"#);

    assert_eq!(producer.publish(&users(&format!(r#"["{USER}"]"#), 1)), 1);
    assert_eq!(producer.publish(&users(&format!(r#"["{OTHER_USER}"]"#), 2)), 1);
    assert_eq!(producer.publish(&users(&format!(r#"["{USER}","{OTHER_USER}","{UNKNOWN_USER}"]"#), 3)), 2);
    assert_eq!(producer.publish(&users(&format!(r#"["{USER}","{USER}"]"#), 4)), 1);
    assert_eq!(producer.publish(&users(&format!(r#"["{}"]"#, USER.to_uppercase()), 5)), 1);
    assert_eq!(producer.publish(&users("[]", 6)), 0);
    assert_eq!(producer.publish(&users(&format!(r#"["{UNKNOWN_USER}"]"#), 7)), 0);
    assert_eq!(producer.publish(&users(r#""*""#, 8)), 2);
    // Without `users`, a notification is for the user `id`.
    assert_eq!(producer.publish(&event("notification", USER, "9")), 1);

    for data in ["1", "3", "4", "5", "8"] {
        mine.expect(&event("notification", "", data));
    }
    mine.expect(&event("notification", USER, "9"));
    for data in ["2", "3", "8"] {
        others.expect(&event("notification", "", data));
    }
    for client in [&mut mine, &mut others, &mut curious] {
        client.expect_nothing();
    }
}

#[test]
fn a_subscription_with_an_id_gets_only_notifications_with_that_id() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    client.attach(&token, "notification", ISSUE);
    let mut producer = Producer::connect(&server);
    let notify = |user: &str, id: &str, data: u8| {
        format!(r#"{{"type":"notification","users":["{user}"],"id":"{id}","data":{data}}}"#)
    };
    assert_eq!(producer.publish(&notify(USER, ISSUE, 1)), 1);
    assert_eq!(producer.publish(&notify(USER, DATASET, 2)), 0);
    assert_eq!(producer.publish(&notify(USER, "", 3)), 0);
    assert_eq!(producer.publish(&notify(OTHER_USER, ISSUE, 4)), 0);
    let everyone = format!(r#"{{"type":"notification","users":"*","id":"{ISSUE}","data":5}}"#);
    assert_eq!(producer.publish(&everyone), 1);
    client.expect(&event("notification", ISSUE, "1"));
    client.expect(&event("notification", ISSUE, "5"));
    client.expect_nothing();
}

#[test]
fn with_both_subscriptions_a_notification_arrives_once() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    client.attach(&token, "notification", "");
    client.attach(&token, "notification", ISSUE);
    let mut producer = Producer::connect(&server);
    let line = format!(r#"{{"type":"notification","users":["{USER}"],"id":"{ISSUE}","data":1}}"#);
    assert_eq!(producer.publish(&line), 1);
    assert_eq!(producer.publish(&line.replace(&format!(r#"["{USER}"]"#), r#""*""#)), 1);
    client.expect(&event("notification", ISSUE, "1"));
    client.expect(&event("notification", ISSUE, "1"));
    client.expect_nothing();
    // They are two subscriptions.
    client.detach(&token, "notification", "");
    assert_eq!(producer.publish(&line), 1);
    client.expect(&event("notification", ISSUE, "1"));
    client.detach(&token, "notification", ISSUE);
    assert_eq!(producer.publish(&line), 0);
    client.expect_nothing();
}

#[test]
fn one_connection_may_hold_the_notifications_of_two_users() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let (token, other) = (good_token(USER), good_token(OTHER_USER));
    client.attach(&token, "notification", "");
    client.attach(&other, "notification", "");
    let mut producer = Producer::connect(&server);
    for (user, data) in [(USER, "1"), (OTHER_USER, "2")] {
        assert_eq!(producer.publish(&event("notification", user, data)), 1);
        client.expect(&event("notification", user, data));
    }
    // A detach ends the subscription of the token's user.
    client.detach(&other, "notification", "");
    assert_eq!(producer.publish(&event("notification", OTHER_USER, "3")), 0);
    assert_eq!(producer.publish(&event("notification", USER, "4")), 1);
    client.expect(&event("notification", USER, "4"));
}

#[test]
fn a_second_connection_of_the_same_user_gets_them_too() {
    let server = Server::start();
    let token = good_token(USER);
    let mut clients = [Client::connect(&server), Client::connect(&server)];
    for client in &mut clients {
        assert_eq!(client.ask(&request("attach", &token, "notification", "")), crate::support::reply(0));
    }
    assert_eq!(Producer::connect(&server).publish(&event("notification", USER, "1")), 2);
    for client in &mut clients {
        client.expect(&event("notification", USER, "1"));
    }
}
