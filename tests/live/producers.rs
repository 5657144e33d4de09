//! The events socket: lines and their answers, refusals and what follows them, misbehaving producers.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::thread;

use serde_json::{Value, json};

use crate::support::{Client, DATASET, ISSUE, Producer, Server, Setup, USER, event, good_token};

/// A client attached to [`ISSUE`].
#[track_caller]
fn subscriber(server: &Server) -> Client {
    let mut client = Client::connect(server);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    client
}

fn numbered(number: usize) -> String {
    event("issueUpdate", ISSUE, &number.to_string())
}

#[test]
fn an_ack_is_returned_as_written_with_the_number_of_subscribers() {
    let server = Server::start();
    let mut clients = [subscriber(&server), subscriber(&server), subscriber(&server)];
    let mut producer = Producer::connect(&server);
    for ack in [r#""a1""#, r#""""#, "0", "-7", "1.50", "12345678901234567890123", r#""\u0041\n\"é""#] {
        producer.line(&format!(r#"{{"type":"issueUpdate","id":"{ISSUE}","ack":{ack},"data":[]}}"#));
        assert_eq!(
            producer.answer(),
            format!(r#"{{"ack":{ack},"status":200,"message":"Ok","code":0,"subscribers":3}}"#)
        );
        for client in &mut clients {
            client.expect(&event("issueUpdate", ISSUE, "[]"));
        }
    }
    producer.line(&format!(r#"{{"type":"issueUpdate","id":"{DATASET}","ack":"none"}}"#));
    assert_eq!(producer.answer(), r#"{"ack":"none","status":200,"message":"Ok","code":0,"subscribers":0}"#);
}

#[test]
fn answers_come_in_the_order_of_the_lines_that_get_one() {
    let server = Server::start();
    let mut producer = Producer::connect(&server);
    for number in 0..300 {
        match number % 3 {
            0 => producer.line(&numbered(number)),
            1 => producer.line(&format!(r#"{{"type":"issueUpdate","id":"{ISSUE}","ack":{number}}}"#)),
            _ => producer.line("nonsense"),
        }
    }
    for number in (0..300).filter(|number| number % 3 > 0) {
        if number % 3 == 1 {
            let answer: Value = serde_json::from_str(&producer.answer()).expect("an answer is JSON");
            assert_eq!((&answer["ack"], &answer["code"]), (&json!(number), &json!(0)));
        } else {
            producer.expect_refusal(number + 1);
        }
    }
    assert_eq!(producer.end(), "");
}

#[test]
fn s46_each_bad_line_is_answered_and_the_next_one_is_read() {
    let server = Server::start();
    let mut client = subscriber(&server);
    let mut producer = Producer::connect(&server);
    let id = format!(r#""id":"{ISSUE}""#);
    let issue = format!(r#""type":"issueUpdate",{id}"#);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<(Vec<u8>, Option<Value>)> = [
        // Not an object.
        ("nonsense".to_owned(), None),
        ("[]".to_owned(), None),
        ("null".to_owned(), None),
        ("{}".to_owned(), None),
        ("{".to_owned(), None),
        (format!("{{{issue}"), None),
        (format!("{{{issue}}}}}"), None),
        (format!("{{{issue}}} {{{issue}}}"), None),
        (format!("{{{issue},}}"), None),
        (format!("\u{feff}{{{issue}}}"), None),
        (format!("{{{issue},\"data\":\"a\tb\"}}"), None),
        (format!(r#"{{{issue},"data":"\ud800 alone", }}"#), None),
        (format!(r#"{{{issue},"data":01}}"#), None),
        (format!(r#"{{{issue},"data":{deep}"#), None),
        // Members that are missing, misplaced, unknown or of another type.
        (format!("{{{id}}}"), None),
        (format!(r#"{{"type":1,{id},"ack":1}}"#), Some(json!(1))),
        (format!(r#"{{"ack":"b","type":"issueClosed",{id}}}"#), Some(json!("b"))),
        (r#"{"type":"issueUpdate","ack":3}"#.to_owned(), Some(json!(3))),
        (r#"{"type":"issueUpdate","id":null,"ack":4}"#.to_owned(), Some(json!(4))),
        (r#"{"type":"issueUpdate","id":"","ack":5}"#.to_owned(), Some(json!(5))),
        (r#"{"type":"issueUpdate","id":17,"ack":6}"#.to_owned(), Some(json!(6))),
        (format!(r#"{{"type":"issueUpdate","id":"{}","ack":7}}"#, &ISSUE[1..]), Some(json!(7))),
        (format!(r#"{{"type":"issueUpdate","id":"g{}","ack":8}}"#, &ISSUE[1..]), Some(json!(8))),
        (format!(r#"{{{issue},"users":["{USER}"],"ack":9}}"#), Some(json!(9))),
        (format!(r#"{{{issue},"users":"*","ack":10}}"#), Some(json!(10))),
        (r#"{"type":"notification","data":1,"ack":11}"#.to_owned(), Some(json!(11))),
        (r#"{"type":"notification","users":"all","ack":12}"#.to_owned(), Some(json!(12))),
        (r#"{"type":"notification","users":["1"],"ack":13}"#.to_owned(), Some(json!(13))),
        (format!(r#"{{"type":"notification","users":{{"{USER}":1}},"ack":14}}"#), Some(json!(14))),
        (format!(r#"{{"type":"notification","users":["{USER}","*"],"ack":15}}"#), Some(json!(15))),
        (format!(r#"{{{issue},"ack":null}}"#), None),
        (format!(r#"{{{issue},"ack":true}}"#), None),
        (format!(r#"{{{issue},"ack":[1]}}"#), None),
        // Control lines.
        (format!(r#"{{"control":"restart","user":"{USER}"}}"#), None),
        (r#"{"control":"revoke"}"#.to_owned(), None),
        (r#"{"control":"revoke","user":"1"}"#.to_owned(), None),
        (format!(r#"{{"control":"revoke","user":"{USER}","event":{{"type":"issueUpdate"}}}}"#), None),
        (format!(r#"{{"control":"revoke","user":"{USER}","event":{{"type":"x","id":"{ISSUE}"}}}}"#), None),
    ]
    .into_iter()
    .map(|(line, ack)| (line.into_bytes(), ack))
    .chain([
        (b"\0".to_vec(), None),
        (format!("{{{issue},\"data\":\"\0\"}}").into_bytes(), None),
        ([b"{", issue.as_bytes(), b",\"data\":\"\xff\"}"].concat(), None),
        ([b"{", issue.as_bytes(), b",\"data\":\"\xed\xa0\x80\"}"].concat(), None),
    ])
    .collect();

    for (number, (line, ack)) in cases.iter().enumerate() {
        let shown = String::from_utf8_lossy(&line[..line.len().min(200)]);
        producer.write([line, b"\n".as_slice()].concat());
        let refusal = producer.expect_refusal(2 * number as u64 + 1);
        assert_eq!(&refusal.ack, ack, "{shown}: {refusal:?}");
        producer.line(&numbered(number));
        client.expect(&numbered(number));
    }
}

#[test]
fn a_refusal_names_the_member_that_is_wrong() {
    let server = Server::start();
    let mut producer = Producer::connect(&server);
    let cases = [
        (format!(r#"{{"type":"issueClosed","id":"{ISSUE}"}}"#), "type"),
        (r#"{"type":"issueUpdate","id":"12"}"#.to_owned(), "id"),
        (format!(r#"{{"type":"issueUpdate","id":"{ISSUE}","users":[]}}"#), "users"),
        (format!(r#"{{"type":"issueUpdate","id":"{ISSUE}","ack":{{}}}}"#), "ack"),
        (r#"{"control":"stop"}"#.to_owned(), "control"),
    ];
    for (number, (line, named)) in (1..).zip(cases) {
        producer.line(&line);
        let refusal = producer.expect_refusal(number);
        assert!(refusal.message.contains(named), "{line}: {refusal:?}");
    }
}

#[test]
fn lines_are_counted_from_1_empty_ones_too() {
    let server = Server::start();
    let mut client = subscriber(&server);
    let mut producer = Producer::connect(&server);
    producer.write("nonsense\n\n\r\n   \n");
    producer.expect_refusal(1);
    producer.write(format!("{}\r\nnonsense\r\n", numbered(5)));
    client.expect(&numbered(5));
    // A line of white space may count as empty or as bad; it has a number in both cases.
    loop {
        let answer: Value = serde_json::from_str(&producer.answer()).expect("an answer is JSON");
        if answer["line"] == 6 {
            break;
        }
        assert_eq!(answer["line"], 4, "{answer}");
    }
}

#[test]
fn unknown_members_are_ignored() {
    let server = Server::start();
    let mut client = subscriber(&server);
    let line = format!(
        r#"{{"x":[{{"type":1}}],"type":"issueUpdate","status":null,"id":"{ISSUE}","data":1,"line":1e400}}"#
    );
    assert_eq!(Producer::connect(&server).publish(&line), 1);
    client.expect(&numbered(1));
}

#[test]
fn lines_may_arrive_in_any_pieces() {
    let server = Server::start();
    let mut client = subscriber(&server);
    let mut producer = Producer::connect(&server);
    let lines: String = (0..6).map(|number| numbered(number) + "\n").collect();
    for piece in lines.as_bytes().chunks(1) {
        producer.write(piece);
    }
    for piece in lines.as_bytes().chunks(37) {
        producer.write(piece);
    }
    for number in (0..6).chain(0..6) {
        client.expect(&numbered(number));
    }
}

#[test]
fn s44_a_last_line_without_a_line_feed_counts_at_an_orderly_end() {
    let server = Server::start();
    let mut client = subscriber(&server);
    let mut producer = Producer::connect(&server);
    producer.write(format!("{}\n{}", numbered(1), numbered(2)));
    assert_eq!(producer.end(), "");
    client.expect(&numbered(1));
    client.expect(&numbered(2));

    // The server writes its answers before it ends its side.
    let mut producer = Producer::connect(&server);
    producer.write(r#"{"type":"notification","users":[],"ack":1}"#);
    assert_eq!(
        producer.end(),
        "{\"ack\":1,\"status\":200,\"message\":\"Ok\",\"code\":0,\"subscribers\":0}\n"
    );
}

#[test]
fn s44_a_truncated_line_is_never_an_event() {
    let server = Server::start();
    let mut client = subscriber(&server);
    let line = event("issueUpdate", ISSUE, r#"{"a":[1]}"#);
    for cut in 1..line.len() {
        let mut producer = Producer::connect(&server);
        producer.write(&line[..cut]);
        producer.end();
    }
    let mut producer = Producer::connect(&server);
    producer.line(&numbered(1));
    client.expect(&numbered(1));
}

#[test]
fn s45_a_line_over_the_limit_is_skipped_and_answered_once() {
    let server = Setup::new().set("limits.lineBytes", 4096).start();
    let mut client = subscriber(&server);
    let mut producer = Producer::connect(&server);
    let long = event("issueUpdate", ISSUE, &format!(r#""{}""#, "x".repeat(300_000)));
    producer.line(&numbered(1));
    producer.line(&long);
    producer.line(&numbered(3));
    producer.expect_refusal(2);
    // A line of exactly the limit is an event.
    let filler = "x".repeat(4096 - 1 - event("issueUpdate", ISSUE, r#""""#).len());
    let fitting = event("issueUpdate", ISSUE, &format!(r#""{filler}""#));
    producer.line(&fitting);
    producer.line("nonsense");
    producer.expect_refusal(5);
    client.expect(&numbered(1));
    client.expect(&numbered(3));
    client.expect(&fitting);
    client.expect_nothing();
}

#[test]
fn s45_an_endless_line_blocks_nothing() {
    let server = Server::start();
    let mut client = subscriber(&server);
    let mut endless = Producer::connect(&server);
    endless.write(format!(r#"{{"type":"issueUpdate","id":"{ISSUE}","data":""#));
    for _ in 0..64 {
        endless.write([b'x'; 65_536]);
    }
    endless.expect_refusal(1);
    Producer::connect(&server).line(&numbered(1));
    client.expect(&numbered(1));
    endless.write("\n");
    endless.line(&numbered(2));
    client.expect(&numbered(2));
    client.expect_nothing();
}

#[test]
fn a_producer_that_never_reads_its_answers_loses_no_event() {
    let server = Server::start();
    let mut client = subscriber(&server);
    let mut producer = Producer::connect(&server);
    let count = 30_000;
    let reader = thread::spawn(move || {
        for number in 0..count {
            client.expect(&numbered(number));
        }
        client
    });
    // More answers than any socket buffer holds: an `Ok` and a refusal per event.
    for number in 0..count {
        let open = numbered(number);
        let open = open.strip_suffix('}').expect("a JSON object");
        producer.write(format!("{open},\"ack\":\"{number:0100}\"}}\nnonsense\n"));
    }
    let mut client = reader.join().expect("every event arrives");
    let mut another = Producer::connect(&server);
    another.line(&numbered(count));
    client.expect(&numbered(count));
}

#[test]
fn many_producers_come_and_go_at_once() {
    let server = Server::start();
    let mut client = subscriber(&server);
    let producers = 20;
    let each = 50;
    thread::scope(|scope| {
        for producer in 0..producers {
            let server = &server;
            scope.spawn(move || {
                for number in 0..each {
                    let mut connection = Producer::connect(server);
                    let data = format!("[{producer},{number}]");
                    assert_eq!(connection.publish(&event("issueUpdate", ISSUE, &data)), 1);
                }
            });
        }
    });
    let mut next = vec![0; producers];
    for _ in 0..producers * each {
        let text = client.next_text();
        let parsed: Value = serde_json::from_str(&text).expect("an event is JSON");
        let (producer, number): (usize, usize) =
            serde_json::from_value(parsed["data"].clone()).expect("two numbers");
        assert_eq!(
            number, next[producer],
            "an event of producer {producer} is lost, duplicated or out of order"
        );
        next[producer] += 1;
    }
    client.expect_nothing();
}

#[test]
fn s42_the_events_socket_has_the_configured_mode() {
    for (mode, expected) in [(None, 0o660), (Some("0600"), 0o600)] {
        let setup = Setup::new();
        let setup = if let Some(mode) = mode { setup.set("events.socketMode", mode) } else { setup };
        let server = setup.start();
        let metadata = std::fs::metadata(server.socket()).expect("the socket exists");
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, expected);
    }
}
