//! permessage-deflate (RFC 7692) in the service: with whom it is agreed on, what is compressed for them, and that others
//! notice nothing.

use crate::support::deflate::deflate;
use crate::support::{
    Client, DeflateClient, ISSUE, OBJECT, Producer, Server, Setup, USER, event, good_token, reply, request,
};

/// What browsers offer.
const USUAL: &str = "permessage-deflate; client_max_window_bits";

fn compressing() -> Setup {
    Setup::new().set("webSocketEvents.compression", "on")
}

/// An issue's event whose message has so many bytes.
fn event_of(bytes: usize) -> String {
    let empty = event("issueUpdate", ISSUE, r#""""#).len();
    event("issueUpdate", ISSUE, &format!(r#""{}""#, &"0123456789".repeat(bytes)[..bytes - empty]))
}

#[test]
fn the_first_offer_that_can_be_had_is_agreed_on_without_any_context_takeover() {
    let server = compressing().start();
    let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (offer, answer) in [
        ("permessage-deflate", Some(agreed.to_owned())),
        (USUAL, Some(agreed.to_owned())),
        (
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            Some(format!("{agreed}; server_max_window_bits=12")),
        ),
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9",
            Some(format!("{agreed}; server_max_window_bits=9")),
        ),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; unheard_of", None),
        ("permessage-bzip2", None),
    ] {
        assert_eq!(DeflateClient::connect(&server, offer).extensions, answer, "{offer}");
    }
}

#[test]
fn nothing_is_compressed_unless_it_is_turned_on() {
    let server = Server::start();
    let mut client = DeflateClient::connect(&server, USUAL);
    assert_eq!(client.extensions, None);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    assert_eq!(Producer::connect(&server).publish(&event_of(5_000)), 1);
    client.expect_plain(&event_of(5_000));
    client.send_compressed("{}");
    client.expect_close(1002);
}

#[test]
fn one_frame_serves_all_who_inflate_with_the_same_window() {
    let server = compressing().start();
    let token = good_token(USER);
    let mut plain = Client::connect(&server);
    plain.attach(&token, "issueUpdate", ISSUE);
    let mut clients: Vec<(u8, DeflateClient)> = [15, 9, 12, 15, 9]
        .map(|bits| {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let mut client = DeflateClient::connect(&server, &offer);
            client.attach(&token, "issueUpdate", ISSUE);
            (bits, client)
        })
        .into();
    // Far repetitions, which a window of 512 bytes does not reach.
    let text: String =
        (0..2_000_u32).map(|number| format!("{:x} ", number.wrapping_mul(0x9e37_79b9))).collect();
    let large = event("issueUpdate", ISSUE, &format!(r#"["{text}","{text}"]"#));
    let mut producer = Producer::connect(&server);
    for message in [&large, &event_of(200)] {
        assert_eq!(producer.publish(message), 6);
        plain.expect(message);
        let frames: Vec<_> =
            clients.iter_mut().map(|(bits, client)| client.expect_compressed(message, *bits)).collect();
        assert_eq!((&frames[0], &frames[1]), (&frames[3], &frames[4]));
        assert!(frames.iter().all(|frame| frame.payload.len() < message.len()));
    }
}

#[test]
fn what_is_shorter_than_the_threshold_goes_plain() {
    let server = compressing().start();
    let at_200 = compressing().set("webSocketEvents.compressionMinBytes", 200).start();
    for (server, least) in [(server, 128), (at_200, 200)] {
        let mut client = DeflateClient::connect(&server, USUAL);
        client.attach(&good_token(USER), "issueUpdate", ISSUE);
        let mut producer = Producer::connect(&server);
        for bytes in [80, least - 1, least, least + 1, least - 1] {
            assert_eq!(producer.publish(&event_of(bytes)), 1);
            match bytes < least {
                true => client.expect_plain(&event_of(bytes)),
                false => drop(client.expect_compressed(&event_of(bytes), 15)),
            }
        }
    }
}

#[test]
fn a_burst_keeps_its_order_with_compressed_events_plain_ones_and_replies_in_it() {
    let server = compressing().set("limits.requestsPerSecond", 0).start();
    let token = good_token(USER);
    let mut plain = Client::connect(&server);
    plain.attach(&token, "issueUpdate", ISSUE);
    let mut client = DeflateClient::connect(&server, USUAL);
    client.attach(&token, "issueUpdate", ISSUE);
    let events: Vec<String> = (0..3_000)
        .map(|number| event("issueUpdate", ISSUE, &format!(r#""{number}{}""#, " ".repeat(number % 150))))
        .collect();
    Producer::connect(&server).write(events.join("\n") + "\n");
    for _ in 0..50 {
        client.send_compressed(&request("attach", &token, "issueUpdate", OBJECT));
    }
    events.iter().for_each(|event| plain.expect(event));
    let mut replies = 0;
    for event in &events {
        let mut received = client.next();
        while received.payload == reply(0).as_bytes() {
            assert_eq!(received.first, 0x81);
            replies += 1;
            received = client.next();
        }
        assert_eq!(received.text(), *event);
        assert_eq!(received.first == 0xc1, event.len() >= 128, "{event}");
    }
    for _ in replies..50 {
        client.expect_plain(&reply(0));
    }
}

#[test]
fn notifications_are_compressed_too_and_what_ends_a_subscription_is_not() {
    let server = compressing().set("webSocketEvents.compressionMinBytes", 0).start();
    let mut client = DeflateClient::connect(&server, USUAL);
    client.attach(&good_token(USER), "notification", "");
    let mut producer = Producer::connect(&server);
    let data = "notified ".repeat(30);
    producer.line(&format!(r#"{{"type":"notification","users":["{USER}"],"data":"{data}"}}"#));
    client.expect_compressed(&event("notification", "", &format!(r#""{data}""#)), 15);
    producer.line(&format!(r#"{{"control":"revoke","user":"{USER}"}}"#));
    client.expect_plain(&crate::support::ended(3, "notification", ""));
}

#[test]
fn compressed_requests_are_read_fragmented_or_not() {
    let server = compressing().start();
    let mut client = DeflateClient::connect(&server, USUAL);
    let text = request("attach", &good_token(USER), "issueUpdate", ISSUE);
    client.send_compressed(&text);
    client.expect_plain(&reply(0));
    let payload = deflate(text.as_bytes());
    let (head, tail) = payload.split_at(payload.len() / 2);
    client.send_frame(0x41, head);
    client.send_frame(0x89, b"ping");
    client.send_frame(0x80, tail);
    assert_eq!(client.next().first, 0x8a);
    client.expect_plain(&reply(0));
    // Where every message stands alone, the same bytes are the same message.
    client.send_frame(0xc1, &payload);
    client.expect_plain(&reply(0));
}

#[test]
fn a_small_frame_that_inflates_beyond_the_limit_is_too_big() {
    let server = compressing().start();
    let bomb = deflate(&vec![b' '; 10_000_000]);
    assert!(bomb.len() < 16_384, "a frame that is allowed by its length");
    let mut client = DeflateClient::connect(&server, USUAL);
    client.send_frame(0xc1, &bomb);
    client.expect_close(1009);
    let mut client = DeflateClient::connect(&server, USUAL);
    client.send_compressed(&" ".repeat(16_384));
    client.expect_plain(&reply(5));
    client.send_compressed(&" ".repeat(16_385));
    client.expect_close(1009);
}

#[test]
fn s12_what_only_looks_compressed_ends_the_connection() {
    let server = compressing().start();
    for (first, payload, code) in [
        (0xc1, &b"\xff\xff\xff"[..], 1007),
        // A reference to a window that is not kept (RFC 7692 §7.2.3.2).
        (0xc1, b"\xf2\x00\x11\x00\x00", 1007),
        // RSV1 on a control frame, and RSV2.
        (0xc9, b"", 1002),
        (0xa1, b"{}", 1002),
    ] {
        let mut client = DeflateClient::connect(&server, USUAL);
        client.send_frame(first, payload);
        client.expect_close(code);
    }
}
