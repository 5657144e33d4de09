//! permessage-deflate (RFC 7692) in the service: who negotiates it, what is compressed for them and with which window, and
//! that others notice nothing.

use flate2::{Compress, Compression, FlushCompress};

use crate::support::deflate::deflate;
use crate::support::window::{final_block, inflate, reference, text_for_all_windows};
use crate::support::{
    Client, DeflateClient, ISSUE, OBJECT, Producer, Received, Server, Setup, USER, event, good_token, reply,
    request,
};

/// The offer of browsers.
const USUAL: &str = "permessage-deflate; client_max_window_bits";

fn compressing() -> Setup {
    Setup::new().set("webSocketEvents.compression", "on")
}

/// An issue's event whose message has this many bytes.
fn event_of(bytes: usize) -> String {
    let empty = event("issueUpdate", ISSUE, r#""""#).len();
    event("issueUpdate", ISSUE, &format!(r#""{}""#, &"0123456789".repeat(bytes)[..bytes - empty]))
}

#[test]
fn the_first_acceptable_offer_is_accepted_without_context_takeover() {
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
fn nothing_is_compressed_unless_compression_is_on() {
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
fn one_frame_serves_all_clients_with_the_same_window() {
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
    // A repetition beyond a window of 512 bytes.
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
fn messages_below_the_threshold_are_not_compressed() {
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
fn a_burst_of_compressed_events_plain_events_and_replies_keeps_its_order() {
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
fn notifications_are_compressed_and_ends_of_subscriptions_are_not() {
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
    // Each message is inflated by itself: the same bytes are the same message.
    client.send_frame(0xc1, &payload);
    client.expect_plain(&reply(0));
}

#[test]
fn a_small_frame_that_inflates_beyond_the_limit_is_too_big() {
    let server = compressing().start();
    let bomb = deflate(&vec![b' '; 10_000_000]);
    assert!(bomb.len() < 16_384, "the frame itself is within the limit");
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
fn s12_invalid_compressed_data_ends_the_connection() {
    let server = compressing().start();
    for (first, payload, code) in [
        (0xc1, &b"\xff\xff\xff"[..], 1007),
        // A reference to the message before (RFC 7692 §7.2.3.2).
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

/// An event that makes use of every window.
fn event_for_all_windows() -> String {
    event("issueUpdate", ISSUE, &format!("\"{}\"", text_for_all_windows()))
}

#[test]
fn every_window_from_9_to_15_bits_inflates_what_was_compressed_for_it() {
    let server = compressing().start();
    let token = good_token(USER);
    let large = event_for_all_windows();
    let mut producer = Producer::connect(&server);
    let mut length_before = usize::MAX;
    for bits in 9..=15 {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        let mut client = DeflateClient::connect(&server, &offer);
        client.attach(&token, "issueUpdate", ISSUE);
        assert_eq!(producer.publish(&large), 1);
        let Received { payload, .. } = client.expect_compressed(&large, bits);
        // The whole window is used: a smaller one is not enough, and each doubling saves bytes.
        for smaller in 9..bits {
            let problem = inflate(&payload, smaller).expect_err("a reference beyond a smaller window");
            assert!(problem.starts_with("a distance of "), "{problem}");
        }
        assert!(payload.len() < length_before, "{bits} bits: {} bytes", payload.len());
        length_before = payload.len();
        client.close();
    }
    // A window of 8 bits, which zlib cannot compress for, is not agreed to.
    let mut client = DeflateClient::connect(&server, "permessage-deflate; server_max_window_bits=8");
    assert_eq!(client.extensions, None);
    client.attach(&token, "issueUpdate", ISSUE);
    assert_eq!(producer.publish(&large), 1);
    client.expect_plain(&large);
}

#[test]
fn a_message_refers_to_no_other_clients_bytes_behind_a_final_block() {
    let server = compressing().set("limits.messageBytes", 1 << 17).start();
    let token = good_token(USER);
    let secret = request("attach", &token, "issueUpdate", ISSUE) + &" ".repeat(40_000);
    for bits in 8..=15 {
        for content in ["", "{"] {
            let mut other = DeflateClient::connect(&server, USUAL);
            other.send_compressed(&secret);
            other.expect_plain(&reply(0));
            let mut curious = DeflateClient::connect(&server, USUAL);
            curious.send_frame(0xc1, &[final_block(content.as_bytes()), reference(bits)].concat());
            curious.expect_close(1007);
        }
    }
    // The same reference to the client's own bytes is good.
    for bits in 8..=15 {
        let text = "x".repeat(1 << bits);
        let payload = [final_block(text.as_bytes()), reference(bits)].concat();
        assert_eq!(inflate(&payload, 15).map(|message| message.len()), Ok(text.len() + 3));
        let mut client = DeflateClient::connect(&server, USUAL);
        client.send_frame(0xc1, &payload);
        client.expect_plain(&reply(5));
    }
}

#[test]
fn another_clients_token_cannot_be_used_by_reference() {
    let server = compressing().start();
    let secret = request("attach", &good_token(USER), "issueUpdate", ISSUE);
    for bits in 11..=15 {
        let mut other = DeflateClient::connect(&server, USUAL);
        other.send_compressed(&secret);
        other.expect_plain(&reply(0));
        let mut referring = Vec::with_capacity(10_000);
        let mut compress = Compress::new_with_window_bits(Compression::best(), false, bits);
        compress.set_dictionary(secret.as_bytes()).expect("a dictionary before the first byte");
        compress
            .compress_vec(secret.as_bytes(), &mut referring, FlushCompress::Sync)
            .expect("it is compressed");
        assert!(referring.len() < 100, "it refers to the other client's request");
        let mut thief = DeflateClient::connect(&server, USUAL);
        thief.send_frame(0xc1, &[&final_block(b""), &referring[..referring.len() - 4]].concat());
        thief.expect_close(1007);
    }
}
