//! Requests and their replies: codes 0–7, their precedence, the order of replies, and what bad messages leave unchanged.

use rustix::process::Signal;
use serde_json::json;
use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::token::{Key, claims, now, sign};
use crate::support::{
    Client, DATASET, EVENT_TYPES, ISSUE, OBJECT, Producer, Server, Setup, UNKNOWN_USER, USER, event,
    good_token, reply, request, token_until,
};

/// A single user, who may see one dataset.
fn one_user() -> Setup {
    Setup::with_access_file(&json!({"users": {USER: {"datasets": [DATASET]}}}).to_string())
}

#[test]
fn the_examples_of_the_contract_to_the_letter() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    let example = r#"{"auth": "string", "action": "string", "event": {"type": "string", "id": "string"}}"#;
    let asked = example
        .replacen(r#""auth": "string""#, &format!(r#""auth": "{token}""#), 1)
        .replacen(r#""action": "string""#, r#""action": "attach""#, 1)
        .replacen(r#""type": "string""#, r#""type": "issueUpdate""#, 1)
        .replacen(r#""id": "string""#, r#""id": "610217e481f6fc54736209e0""#, 1);

    assert_eq!(client.ask(example), r#"{"status":400,"message":"Invalid request","code":5}"#);
    assert_eq!(client.ask(&asked), r#"{"status":200,"message":"Ok","code":0}"#);

    let message = r#"{"type":"issueUpdate","id":"610217e481f6fc54736209e0","data":[]}"#;
    Producer::connect(&server).line(message);
    client.expect(message);
}

#[test]
fn the_example_token_of_the_contract_is_good_except_for_its_age() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let mut payload = json!({
        "iat": 1_711_709_116, "jti": "…", "iss": "dev.airlay.ru", "exp": 1_711_716_316,
        "data": {"name": "a.kalinin", "id": "5dad615eae019570fb4647ed"},
    });
    let old = sign(&payload, Key::Usual);
    assert_eq!(client.ask(&request("attach", &old, "issueUpdate", ISSUE)), reply(2));
    payload["exp"] = (now() + 7200).into();
    client.attach(&sign(&payload, Key::Usual), "issueUpdate", ISSUE);
}

#[test]
fn a_token_of_the_real_shape_is_accepted() {
    let server = Server::start();
    let token = sign(&claims(USER, now() + 7200), Key::Large);
    assert!((850..1050).contains(&token.len()), "a real token is about 900 bytes, this one {}", token.len());
    Client::connect(&server).attach(&token, "issueUpdate", ISSUE);
}

#[test]
fn every_type_can_be_attached_to_and_detached_from() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    for kind in EVENT_TYPES {
        client.attach(&token, kind, OBJECT);
        client.detach(&token, kind, OBJECT);
    }
    client.attach(&token, "notification", "");
    client.detach(&token, "notification", "");
}

#[test]
fn each_code_has_its_message() {
    let server = one_user().start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    let attach = |auth: &str, id| request("attach", auth, "datasetUpdate", id);
    for (text, answer) in [
        (attach(&token, DATASET), r#"{"status":200,"message":"Ok","code":0}"#),
        (attach("", DATASET), r#"{"status":400,"message":"Token not set","code":1}"#),
        (attach("no.such.token", DATASET), r#"{"status":400,"message":"Invalid token","code":2}"#),
        (
            attach(&good_token(UNKNOWN_USER), DATASET),
            r#"{"status":400,"message":"User not exists","code":3}"#,
        ),
        (attach(&token, OBJECT), r#"{"status":400,"message":"Not access for dataset","code":4}"#),
        (attach(&token, "1"), r#"{"status":400,"message":"Invalid request","code":5}"#),
    ] {
        assert_eq!(client.ask(&text), answer, "{text}");
    }
}

#[test]
fn code_1_is_for_a_missing_token() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    for auth in ["", r#""auth":"","#, r#""auth":null,"#, r#" "auth" : "" , "#] {
        let text = format!(r#"{{{auth}"action":"attach","event":{{"type":"issueUpdate","id":"{ISSUE}"}}}}"#);
        assert_eq!(client.ask(&text), reply(1), "{text}");
    }
}

#[test]
fn code_5_is_for_invalid_requests() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    let id_of_23_digits = &ISSUE[1..];
    let good = format!(r#""type":"issueUpdate","id":"{ISSUE}""#);
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let cases = [
        // Not a JSON object.
        "".to_owned(),
        " ".to_owned(),
        "attach".to_owned(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        r#""attach""#.to_owned(),
        format!("{} x", request("attach", &token, "issueUpdate", ISSUE)),
        format!("{0}{0}", request("attach", &token, "issueUpdate", ISSUE)),
        request("attach", &token, "issueUpdate", ISSUE).replace('"', "'"),
        // Members of another type, missing members, unknown values.
        format!(r#"{{"auth":1,"action":"attach","event":{{{good}}}}}"#),
        format!(r#"{{"auth":["{token}"],"action":"attach","event":{{{good}}}}}"#),
        format!(r#"{{"auth":"{token}","event":{{{good}}}}}"#),
        format!(r#"{{"auth":"{token}","action":null,"event":{{{good}}}}}"#),
        format!(r#"{{"auth":"{token}","action":1,"event":{{{good}}}}}"#),
        format!(r#"{{"auth":"{token}","action":"Attach","event":{{{good}}}}}"#),
        format!(r#"{{"auth":"{token}","action":"publish","event":{{{good}}}}}"#),
        format!(r#"{{"auth":"{token}","action":"attach"}}"#),
        format!(r#"{{"auth":"{token}","action":"attach","event":null}}"#),
        format!(r#"{{"auth":"{token}","action":"attach","event":"issueUpdate"}}"#),
        format!(r#"{{"auth":"{token}","action":"attach","event":[{{{good}}}]}}"#),
        format!(r#"{{"auth":"{token}","action":"attach","event":{{"id":"{ISSUE}"}}}}"#),
        format!(r#"{{"auth":"{token}","action":"attach","event":{{"type":"issueUpdate"}}}}"#),
        format!(r#"{{"auth":"{token}","action":"attach","event":{{"type":"issueUpdate","id":null}}}}"#),
        format!(r#"{{"auth":"{token}","action":"attach","event":{{"type":"issueUpdate","id":7}}}}"#),
        request("attach", &token, "issueUpdate", ""),
        request("attach", &token, "issueUpdate", id_of_23_digits),
        request("attach", &token, "notification", id_of_23_digits),
        request("attach", &token, "issueUpdate", &format!("{ISSUE}0")),
        request("attach", &token, "issueUpdate", &format!("g{id_of_23_digits}")),
        request("attach", &token, "issueClosed", ISSUE),
        request("attach", &token, "IssueUpdate", ISSUE),
        // Repeated members.
        format!(r#"{{"auth":"{token}","auth":"{token}","action":"attach","event":{{{good}}}}}"#),
        format!(r#"{{"auth":"{token}","action":"attach","action":"attach","event":{{{good}}}}}"#),
        format!(r#"{{"auth":"{token}","action":"attach","event":{{{good}}},"event":{{{good}}}}}"#),
        format!(r#"{{"auth":"{token}","action":"attach","event":{{{good},"id":"{ISSUE}"}}}}"#),
        format!(r#"{{"auth":"{token}","action":"attach","event":{{{good},"type":"issueUpdate"}}}}"#),
        // Nested too deep, in a member that is otherwise ignored.
        format!(r#"{{"auth":"{token}","action":"attach","event":{{{good}}},"more":{deep}}}"#),
    ];
    for text in &cases {
        assert_eq!(client.ask(text), reply(5), "{text}");
    }
    client.attach(&token, "issueUpdate", ISSUE);
}

#[test]
fn a_binary_message_is_refused_and_the_connection_stays() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    for bytes in [Vec::new(), vec![0xff], request("attach", &token, "issueUpdate", ISSUE).into_bytes()] {
        client.send_message(Message::binary(bytes));
        client.expect(&reply(5));
    }
    client.attach(&token, "issueUpdate", ISSUE);
}

#[test]
fn unknown_members_are_ignored_whatever_they_hold() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    let shallow = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for more in ["1e999", "null", r#"{"auth":1,"auth":2}"#, r#""\ud83d\ude00""#, &shallow] {
        let text = format!(
            r#"{{"x":{more},"auth":"{token}","action":"attach","event":{{"y":{more},"type":"issueUpdate","id":"{ISSUE}"}}}}"#
        );
        assert_eq!(client.ask(&text), reply(0), "{text}");
    }
}

#[test]
fn json_may_be_spelt_in_other_ways() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    let spelt = format!(
        "\t{{\r\n \"event\" : {{ \"id\":\"{}\",\"type\":\"issue\\u0055pdate\" }},\"\\u0061ction\":\"att\\u0061ch\",\n\"auth\":\"\\u00{:x}{}\"}} ",
        ISSUE.to_uppercase(),
        token.as_bytes()[0],
        &token[1..],
    );
    assert_eq!(client.ask(&spelt), reply(0), "{spelt}");
    let mut producer = Producer::connect(&server);
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "1")), 1);
    client.expect(&event("issueUpdate", ISSUE, "1"));
}

#[test]
fn refusals_have_the_precedence_of_the_contract() {
    let server = one_user().set("limits.subscriptions", 1).start();
    let mut client = Client::connect(&server);
    let good = good_token(USER);
    let unknown = good_token(UNKNOWN_USER);
    client.attach(&good, "datasetUpdate", DATASET);
    for (auth, action, kind, id, code) in [
        ("", "jump", "nothing", "1", 1),
        ("bad", "jump", "datasetUpdate", OBJECT, 5),
        ("bad", "attach", "nothing", OBJECT, 5),
        ("bad", "attach", "datasetUpdate", "1", 5),
        ("bad", "attach", "datasetUpdate", OBJECT, 2),
        (&unknown, "attach", "datasetUpdate", OBJECT, 3),
        (&good, "attach", "datasetUpdate", OBJECT, 4),
        (&good, "attach", "uploadFile", DATASET, 6),
    ] {
        assert_eq!(client.ask(&request(action, auth, kind, id)), reply(code), "{action} {kind} {id}");
    }
}

#[test]
fn a_thousand_pipelined_requests_are_answered_in_their_order() {
    let server =
        one_user().set("limits.requestsPerSecond", 100_000).set("limits.requestBurst", 100_000).start();
    let mut client = Client::connect(&server);
    let good = good_token(USER);
    let unknown = good_token(UNKNOWN_USER);
    let kinds = [
        (request("attach", &good, "datasetUpdate", DATASET), 0),
        (request("detach", &good, "uploadFile", OBJECT), 0),
        (request("attach", "", "datasetUpdate", DATASET), 1),
        (request("attach", "bad", "datasetUpdate", DATASET), 2),
        (request("attach", &unknown, "datasetUpdate", DATASET), 3),
        (request("attach", &good, "downloadFile", OBJECT), 4),
        ("nonsense".to_owned(), 5),
    ];
    // A fixed sequence without a short period; a bad token never follows another.
    let mut state = 20_u32;
    let mut sequence = Vec::with_capacity(1000);
    while sequence.len() < 1000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (text, code) = &kinds[(state >> 16) as usize % kinds.len()];
        if !(*code == 2 && sequence.last().is_some_and(|(_, last)| *last == 2)) {
            sequence.push((text.as_str(), *code));
        }
    }
    client.send_all(sequence.iter().map(|(text, _)| *text));
    for (number, (text, code)) in sequence.iter().enumerate() {
        assert_eq!(client.next_text(), reply(*code), "reply {number}, to {text}");
    }
}

#[test]
fn a_request_may_come_in_fragments_with_a_ping_between() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let text = request("attach", &good_token(USER), "issueUpdate", ISSUE);
    let (first, rest) = text.split_at(10);
    let (second, third) = rest.split_at(300);
    let fragment = |text: &str, code, last| {
        Message::Frame(Frame::message(text.as_bytes().to_vec(), OpCode::Data(code), last))
    };
    client.send_message(fragment(first, Data::Text, false));
    client.send_message(fragment(second, Data::Continue, false));
    client.send_message(Message::Ping("between".into()));
    client.send_message(fragment(third, Data::Continue, true));
    assert_eq!(client.next_message(), Message::Pong("between".into()));
    client.expect(&reply(0));
}

#[test]
fn a_second_attach_is_ok_and_changes_nothing() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    client.attach(&token, "issueUpdate", ISSUE);
    client.attach(&token, "issueUpdate", &ISSUE.to_uppercase());
    let mut producer = Producer::connect(&server);
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "1")), 1);
    client.expect(&event("issueUpdate", ISSUE, "1"));
    client.expect_nothing();
    client.detach(&token, "issueUpdate", ISSUE);
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "2")), 0);
    client.expect_nothing();
}

#[test]
fn a_detach_without_a_subscription_is_ok() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    client.detach(&token, "issueUpdate", ISSUE);
    client.attach(&token, "issueUpdate", ISSUE);
    client.detach(&token, "datasetUpdate", ISSUE);
    client.detach(&token, "issueUpdate", OBJECT);
    assert_eq!(Producer::connect(&server).publish(&event("issueUpdate", ISSUE, "1")), 1);
    client.expect(&event("issueUpdate", ISSUE, "1"));
}

#[test]
fn a_detach_needs_a_good_token_but_no_access_to_the_object() {
    let server = one_user().start();
    let mut client = Client::connect(&server);
    client.detach(&good_token(USER), "datasetUpdate", OBJECT);
    for (auth, code) in [("", 1), ("bad", 2), (&good_token(UNKNOWN_USER), 3)] {
        assert_eq!(client.ask(&request("detach", auth, "datasetUpdate", DATASET)), reply(code));
    }
}

#[test]
fn a_refused_request_changes_nothing() {
    let server = one_user().start();
    let mut client = Client::connect(&server);
    let good = good_token(USER);
    client.attach(&good, "datasetUpdate", DATASET);
    let expired = token_until(USER, now() - 3600);
    for auth in [&expired, &good_token(UNKNOWN_USER)] {
        client.ask(&request("detach", auth, "datasetUpdate", DATASET));
        client.ask(&request("attach", auth, "uploadFile", DATASET));
    }
    let mut producer = Producer::connect(&server);
    assert_eq!(producer.publish(&event("uploadFile", DATASET, "1")), 0);
    assert_eq!(producer.publish(&event("datasetUpdate", DATASET, "2")), 1);
    client.expect(&event("datasetUpdate", DATASET, "2"));
}

#[test]
fn code_6_is_for_too_many_subscriptions() {
    let server = Setup::new().set("limits.subscriptions", 2).start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    client.attach(&token, "issueUpdate", ISSUE);
    client.attach(&token, "notification", "");
    let third = request("attach", &token, "uploadFile", DATASET);
    assert_eq!(client.ask(&third), r#"{"status":400,"message":"Too many subscriptions","code":6}"#);
    client.attach(&token, "issueUpdate", ISSUE);
    client.detach(&token, "issueUpdate", ISSUE);
    assert_eq!(client.ask(&third), reply(0));
    // The limit is per connection.
    Client::connect(&server).attach(&token, "issueUpdate", ISSUE);
}

#[test]
fn s39_code_7_is_for_too_many_requests_and_256_in_a_row_are_the_end() {
    let server = Setup::new().set("limits.requestsPerSecond", 1).set("limits.requestBurst", 4).start();
    let mut client = Client::connect(&server);
    let text = request("attach", &good_token(USER), "issueUpdate", ISSUE);
    client.send_all(std::iter::repeat_n(text.as_str(), 4 + 256));
    for _ in 0..4 {
        client.expect(&reply(0));
    }
    for _ in 0..256 {
        client.expect(r#"{"status":400,"message":"Too many requests","code":7}"#);
    }
    client.expect_close(1008);
}

#[test]
fn s37_bad_tokens_behind_a_verification_get_no_reply_after_the_close() {
    let server = Setup::new().set("limits.requestBurst", 1000).start();
    let mut client = Client::connect(&server);
    let verified = sign(&claims(USER, now() + 600), Key::Stranger);
    let first = request("attach", &verified, "issueUpdate", ISSUE);
    let bad = request("attach", "bad", "issueUpdate", ISSUE);
    // Stopped, so that it reads all of them at once.
    server.process().signal(Signal::STOP);
    client.send_all([first.as_str()].into_iter().chain([bad.as_str(); 400]));
    server.process().signal(Signal::CONT);
    for _ in 0..5 {
        assert_eq!(client.next_text(), reply(2));
    }
    client.expect_close(1008);
    Client::connect(&server).attach(&good_token(USER), "issueUpdate", ISSUE);
}

#[test]
fn s37_5_bad_tokens_in_a_row_are_answered_and_then_closed() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    let good = good_token(USER);
    let bad = request("attach", "bad", "issueUpdate", ISSUE);
    for _ in 0..4 {
        assert_eq!(client.ask(&bad), reply(2));
    }
    client.attach(&good, "issueUpdate", ISSUE);
    for _ in 0..5 {
        assert_eq!(client.ask(&bad), reply(2));
    }
    client.expect_close(1008);
    Client::connect(&server).attach(&good, "issueUpdate", ISSUE);
}
