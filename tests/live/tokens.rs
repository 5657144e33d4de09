//! Which tokens are accepted: each bad one gets code 2, and the connection stays open.

use std::collections::{BTreeSet, HashSet};

use jsonwebtoken::{Algorithm, Header};
use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::support::forged::{
    Forged, forged, other_algorithms, other_claims, other_forms, other_keys, other_signatures,
};
use crate::support::http::{exchange, upgrade};
use crate::support::token::{Key, claims, now, sign, sign_with_header};
use crate::support::{
    Client, ISSUE, Producer, Server, Setup, USER, event, good_token, reply, request, token_until,
};

/// Attaches with each of these tokens; the reply must have this code. Good tokens in between keep the connection from being
/// closed.
#[track_caller]
fn expect_code(server: &Server, code: u8, tokens: &[(&str, String)]) {
    let mut client = Client::connect(server);
    let good = good_token(USER);
    for (what, token) in tokens {
        let answer = client.ask(&request("attach", token, "issueUpdate", ISSUE));
        assert_eq!(answer, reply(code), "{what}: {token}");
        client.detach(&good, "issueUpdate", ISSUE);
    }
}

/// A token of the usual payload, changed.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut payload = claims(USER, now() + 3600);
    change(&mut payload);
    sign(&payload, Key::Usual)
}

#[test]
fn a_good_token_may_have_other_members() {
    let server = Server::start();
    let soon = now() + 3600;
    expect_code(
        &server,
        0,
        &[
            ("usual", good_token(USER)),
            ("unknown members", changed(|payload| payload["data"]["role"] = json!(["admin", {"x": null}]))),
            (
                "no iat, no jti",
                changed(|payload| {
                    payload
                        .as_object_mut()
                        .expect("an object")
                        .retain(|name, _| name != "iat" && name != "jti");
                }),
            ),
            ("iat of another type", changed(|payload| payload["iat"] = json!("yesterday"))),
            ("no name", changed(|payload| payload["data"] = json!({"id": USER}))),
            ("id in upper case", changed(|payload| payload["data"]["id"] = json!(USER.to_uppercase()))),
            ("exp with a fraction", changed(|payload| payload["exp"] = json!(4_000_000_000.5))),
            ("nbf in the past", changed(|payload| payload["nbf"] = json!(soon - 7200))),
            ("nbf within the leeway", changed(|payload| payload["nbf"] = json!(now() + 10))),
            ("exp within the leeway", token_until(USER, now() - 10)),
            ("an aud that is not required", changed(|payload| payload["aud"] = json!("others"))),
            ("a kid, which files do not have", {
                let mut header = Header::new(Algorithm::RS256);
                header.kid = Some("whatever".to_owned());
                sign_with_header(&header, &claims(USER, soon), Key::Usual)
            }),
        ],
    );
}

/// Asserts that each of these tokens gets code 2, twice, so that nothing is learnt from the first refusal.
#[track_caller]
fn expect_refusals(forged: Vec<Forged>) {
    let server = Server::start();
    let tokens: Vec<_> = forged.into_iter().map(|Forged { what, token, .. }| (what, token)).collect();
    expect_code(&server, 2, &tokens);
    expect_code(&server, 2, &tokens);
    expect_code(&server, 0, &[("one of the contract's shape", good_token(USER))]);
}

#[test]
fn s31_tokens_of_another_algorithm_are_code_2() {
    expect_refusals(other_algorithms());
}

#[test]
fn s32_tokens_that_bring_or_name_a_key_are_code_2() {
    expect_refusals(other_keys());
}

#[test]
fn s33_tokens_with_other_times_and_claims_are_code_2() {
    expect_refusals(other_claims());
}

#[test]
fn s35_tokens_of_another_form_are_code_2() {
    expect_refusals(other_forms());
    expect_refusals(other_signatures());
}

#[test]
fn no_two_forged_tokens_are_the_same() {
    let forged = forged();
    assert!(forged.len() >= 40, "{}", forged.len());
    let tokens: BTreeSet<_> = forged.iter().map(|it| &it.token).collect();
    let names: BTreeSet<_> = forged.iter().map(|it| it.what).collect();
    assert_eq!((tokens.len(), names.len()), (forged.len(), forged.len()));
}

#[test]
fn each_refusal_is_explained_in_one_sentence() {
    let server = Server::start();
    for Forged { what, token, sentence } in forged() {
        let finished = server.run(&["token", &format!("--check={token}")], "");
        assert_eq!(finished.code, Some(1), "{what}: {finished:?}");
        assert_eq!(
            finished.stdout.lines().last(),
            Some(&*format!("NO   {sentence}")),
            "{what}: {finished:?}"
        );
        assert_eq!(finished.stderr.lines().count(), 1, "{what}: {finished:?}");
        let expected = format!("The token is not accepted: {sentence}.\n");
        assert!(finished.stderr.ends_with(&expected), "{what}: {finished:?}");
    }
    let good = server.run(&["token", "--check", "-"], &good_token(USER)).expect_code(0);
    assert!(good.stdout.contains("The token is accepted"), "{good:?}");
}

#[test]
fn s32_the_kid_only_chooses_among_the_keys_of_the_set() {
    let server = Setup::new()
        .without("token.publicKey")
        .set("token.jwks", "keys.json")
        .file("keys.json", include_str!("../fixtures/live-jwks.json"))
        .start();
    let payload = claims(USER, now() + 3600);
    let with_kid = |kid: &str, key: Key| {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(kid.to_owned());
        sign_with_header(&header, &payload, key)
    };
    let mut client = Client::connect(&server);
    for (token, code) in [
        (with_kid("usual", Key::Usual), 0),
        (with_kid("large", Key::Usual), 2),
        (with_kid("large", Key::Large), 0),
        (with_kid("another", Key::Usual), 2),
        (with_kid("../fixtures/live-2048.pub.pem", Key::Usual), 2),
        (with_kid("usual", Key::Stranger), 2),
    ] {
        let answer = client.ask(&request("attach", &token, "issueUpdate", ISSUE));
        assert_eq!(answer, reply(code), "{token}");
    }
}

#[test]
fn an_audience_and_several_issuers_can_be_required() {
    let server = Setup::new()
        .set("token.audience", "events")
        .set("token.issuer", "dev.airlay.ru, test.airlay.ru")
        .start();
    let with_audience = |audience: Value, issuer: &str| {
        changed(|payload| {
            payload["aud"] = audience;
            payload["iss"] = json!(issuer);
        })
    };
    let mut client = Client::connect(&server);
    for (audience, issuer, code) in [
        (json!("events"), "test.airlay.ru", 0),
        (json!("others"), "test.airlay.ru", 2),
        (json!(["others", "events"]), "dev.airlay.ru", 0),
        (json!([]), "dev.airlay.ru", 2),
        (json!(null), "dev.airlay.ru", 2),
        (json!("events"), "prod.airlay.ru", 2),
    ] {
        let token = with_audience(audience.clone(), issuer);
        let answer = client.ask(&request("attach", &token, "issueUpdate", ISSUE));
        assert_eq!(answer, reply(code), "{audience} {issuer}");
    }
    assert_eq!(client.ask(&request("attach", &good_token(USER), "issueUpdate", ISSUE)), reply(2));
}

#[test]
fn s36_a_token_that_was_good_before_is_checked_again() {
    let server = Setup::new().set("token.leewaySeconds", 0).start();
    let mut client = Client::connect(&server);
    let token = token_until(USER, now() + 2);
    client.attach(&token, "issueUpdate", ISSUE);
    client.expect(&crate::support::ended(2, "issueUpdate", ISSUE));
    assert_eq!(client.ask(&request("attach", &token, "issueUpdate", ISSUE)), reply(2));
}

#[test]
fn s40_no_part_of_a_token_is_in_the_log() {
    let mut server =
        Setup::new().set("log.level", "trace").set("webSocketEvents.trustedProxies", "127.0.0.1").start();
    let good = good_token(USER);
    let mut client = Client::connect(&server);
    client.attach(&good, "issueUpdate", ISSUE);
    let mut tokens: Vec<String> = forged().into_iter().map(|forged| forged.token).collect();
    tokens.push(good.clone());
    for token in &tokens {
        // In its place, without JSON around it, and in places where it does not belong.
        let mut client = Client::connect(&server);
        client.send(&request("attach", token, "issueUpdate", ISSUE));
        client.send(token);
        client.send(&format!(r#"{{"auth":"{token}"#));
        client.send(&request(token, &good, "issueUpdate", ISSUE));
        for _ in 0..4 {
            client.next_text();
        }
        let reason: String = token.chars().take(120).collect();
        client.send_message(Message::Close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: reason.into(),
        })));
        client.expect_close(1000);
    }
    // In parts of an upgrade request, and on the wrong socket.
    for head in [
        format!("GET /ws?access_token={good} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET /{good} HTTP/1.1\r\nHost: {good}\r\n\r\n"),
        upgrade(&format!("/{good}"), ""),
        upgrade("/ws", &format!("Sec-WebSocket-Extensions: ={good}\r\n")),
        upgrade("/ws", &format!("Sec-WebSocket-Key: {good}\r\n")),
        upgrade(
            "/nowhere",
            &format!("Authorization: Bearer {good}\r\nX-Forwarded-For: {good}\r\nOrigin: {good}\r\n"),
        ),
    ] {
        assert_ne!(exchange(server.address(), &head).status, 101);
    }
    let mut producer = Producer::connect(&server);
    producer.line(&request("attach", &good, "issueUpdate", ISSUE));
    producer.line(&good);
    producer.line(&format!(r#"{{"type":"issueUpdate","id":"{ISSUE}","data":"{good}"}}"#));
    client.expect(&event("issueUpdate", ISSUE, &format!("\"{good}\"")));
    client.close();
    let log = server.stop().stderr;
    assert!(log.lines().count() > tokens.len(), "the log is too short:\n{log}");
    let pieces: HashSet<&[u8]> = tokens.iter().flat_map(|token| token.as_bytes().windows(8)).collect();
    for line in log.lines() {
        let found = line.as_bytes().windows(8).find(|piece| pieces.contains(piece));
        assert_eq!(found, None, "a part of a token is in {line}");
    }
    for contents in ["a.kalinin", "0cb7b1f0", USER] {
        assert!(!log.contains(contents), "{contents} of a token is in the log:\n{log}");
    }
}
