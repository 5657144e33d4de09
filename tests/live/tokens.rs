//! Which tokens are taken: each way to be bad gets code 2, and the connection goes on.

use crate::support::token::{Key, claims, now, sign, sign_text, sign_with_header};
use crate::support::{
    Client, ISSUE, Producer, Server, Setup, USER, event, good_token, reply, request, token_until,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// Asks to attach with each of these tokens; `code` must answer. Good tokens between keep the connection from being
/// closed for its bad ones.
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

/// The usual payload after a change.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut payload = claims(USER, now() + 3600);
    change(&mut payload);
    sign(&payload, Key::Usual)
}

#[test]
fn a_good_token_may_hold_whatever_else() {
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
            ("an aud that nobody asked for", changed(|payload| payload["aud"] = json!("somebody"))),
            ("a kid, which files do not have", {
                let mut header = Header::new(Algorithm::RS256);
                header.kid = Some("whatever".to_owned());
                sign_with_header(&header, &claims(USER, soon), Key::Usual)
            }),
        ],
    );
}

#[test]
fn s31_only_rs256_of_a_known_key_counts() {
    let server = Server::start();
    let payload = claims(USER, now() + 3600);
    let public = include_bytes!("../fixtures/live-2048.pub.pem");
    let by_hmac = |secret: &[u8]| {
        let header = Header::new(Algorithm::HS256);
        jsonwebtoken::encode(&header, &payload, &EncodingKey::from_secret(secret)).expect("HMAC works")
    };
    let good = sign(&payload, Key::Usual);
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let (header, claims_part) = signed.split_once('.').expect("three parts");
    let other = sign(&claims(USER, now() + 7200), Key::Usual);
    let other_claims = other.split('.').nth(1).expect("three parts");
    // {"alg":"none"} and {"alg":"None","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIn0";
    let none_too = "eyJhbGciOiJOb25lIiwidHlwIjoiSldUIn0";
    expect_code(
        &server,
        2,
        &[
            ("a stranger's key", sign(&payload, Key::Stranger)),
            ("RS384", sign_with_header(&Header::new(Algorithm::RS384), &payload, Key::Usual)),
            ("RS512", sign_with_header(&Header::new(Algorithm::RS512), &payload, Key::Usual)),
            ("PS256", sign_with_header(&Header::new(Algorithm::PS256), &payload, Key::Usual)),
            ("HMAC with the public key's file", by_hmac(public)),
            ("HMAC with nothing", by_hmac(b"")),
            ("none", format!("{none}.{claims_part}.")),
            ("none with a signature", format!("{none}.{claims_part}.{signature}")),
            ("None", format!("{none_too}.{claims_part}.")),
            ("no signature", format!("{signed}.")),
            ("cut signature", format!("{signed}.{}", &signature[..signature.len() - 4])),
            ("alg twice", sign_text(r#"{"alg":"RS256","alg":"RS256"}"#, &payload.to_string(), Key::Usual)),
            ("alg missing", sign_text(r#"{"typ":"JWT"}"#, &payload.to_string(), Key::Usual)),
            ("alg in lower case", sign_text(r#"{"alg":"rs256"}"#, &payload.to_string(), Key::Usual)),
            ("crit", sign_text(r#"{"alg":"RS256","crit":["exp"]}"#, &payload.to_string(), Key::Usual)),
            ("another payload's signature", format!("{header}.{other_claims}.{signature}")),
        ],
    );
}

#[test]
fn s32_with_a_key_set_the_kid_chooses_among_its_keys_and_brings_no_other() {
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
fn malformed_tokens_are_bad() {
    let server = Server::start();
    let good = good_token(USER);
    let parts: Vec<&str> = good.split('.').collect();
    expect_code(
        &server,
        2,
        &[
            ("a word", "token".to_owned()),
            ("dots", "..".to_owned()),
            ("two parts", parts[..2].join(".")),
            ("four parts", format!("{good}.{}", parts[2])),
            ("padded", format!("{good}==")),
            ("white space", format!(" {good}")),
            ("an empty header", format!(".{}.{}", parts[1], parts[2])),
            ("an empty payload", format!("{}..{}", parts[0], parts[2])),
            ("payload no JSON", format!("{}.{}.{}", parts[0], "bm90IGpzb24", parts[2])),
            ("s35: over 8 KiB", format!("{good}{}", "A".repeat(8192))),
            ("s35: many dots", ".".repeat(8000)),
        ],
    );
}

#[test]
fn s33_claims_of_another_kind_are_bad() {
    let server = Server::start();
    let remove = |name: &'static str| {
        changed(move |payload| {
            payload.as_object_mut().expect("an object").remove(name);
        })
    };
    let with = |name: &'static str, value: Value| changed(move |payload| payload[name] = value);
    let with_id = |value: Value| changed(move |payload| payload["data"]["id"] = value);
    let soon = now() + 3600;
    // The members that a token must have, written by hand so that one can be there twice.
    let twice = |member: &str| {
        let whole = format!(r#"{{"iss":"dev.airlay.ru","exp":{soon},"data":{{"id":"{USER}"}},{member}}}"#);
        sign_text(r#"{"alg":"RS256"}"#, &whole, Key::Usual)
    };
    expect_code(&server, 0, &[("nothing twice", twice(r#""more":0"#))]);
    expect_code(
        &server,
        2,
        &[
            ("expired beyond the leeway", token_until(USER, now() - 60)),
            ("no exp", remove("exp")),
            ("exp null", with("exp", Value::Null)),
            ("exp a string", with("exp", json!(soon.to_string()))),
            ("exp a list", with("exp", json!([soon]))),
            ("exp negative", with("exp", json!(-1))),
            ("exp beyond the year 9999", with("exp", json!(253_402_300_800_u64))),
            ("exp without end", with("exp", json!(1e300))),
            ("nbf in the future", with("nbf", json!(now() + 600))),
            ("nbf a string", with("nbf", json!("0"))),
            ("no iss", remove("iss")),
            ("another iss", with("iss", json!("prod.airlay.ru"))),
            ("iss in another case", with("iss", json!("DEV.airlay.ru"))),
            ("iss a list", with("iss", json!(["dev.airlay.ru"]))),
            ("no data", remove("data")),
            ("data a string", with("data", json!(USER))),
            ("exp twice", twice(&format!(r#""exp":{soon}"#))),
            ("data twice", twice(&format!(r#""data":{{"id":"{USER}"}}"#))),
            ("id twice", twice(&format!(r#""more":0,"data":{{"id":"{USER}","id":"{USER}"}}"#))),
            ("no id", changed(|payload| payload["data"] = json!({"name": "a.kalinin"}))),
            ("id null", with_id(Value::Null)),
            ("id a number", with_id(json!(5))),
            ("id empty", with_id(json!(""))),
            ("id of 23 digits", with_id(json!(&USER[1..]))),
            ("id no hex", with_id(json!(format!("g{}", &USER[1..])))),
        ],
    );
}

#[test]
fn an_audience_and_several_issuers_can_be_asked_for() {
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
fn s36_a_token_that_was_good_before_is_looked_at_again() {
    let server = Setup::new().set("token.leewaySeconds", 0).start();
    let mut client = Client::connect(&server);
    let token = token_until(USER, now() + 2);
    client.attach(&token, "issueUpdate", ISSUE);
    client.expect(&crate::support::ended(2, "issueUpdate", ISSUE));
    assert_eq!(client.ask(&request("attach", &token, "issueUpdate", ISSUE)), reply(2));
}

#[test]
fn s40_no_part_of_a_token_is_in_the_log() {
    let mut server = Setup::new().set("log.level", "trace").start();
    let mut client = Client::connect(&server);
    let good = good_token(USER);
    let bad = sign(&claims(USER, now() + 3600), Key::Stranger);
    client.attach(&good, "issueUpdate", ISSUE);
    assert_eq!(client.ask(&request("attach", &bad, "issueUpdate", ISSUE)), reply(2));
    assert_eq!(client.ask(&format!(r#"{{"auth":"{good}"#)), reply(5));
    Producer::connect(&server).line(&event("issueUpdate", ISSUE, "1"));
    client.expect(&event("issueUpdate", ISSUE, "1"));
    client.close();
    let log = server.stop().stderr;
    for token in [good, bad] {
        for part in token.split('.') {
            assert!(!log.contains(&part[..16]), "a part of a token is in the log:\n{log}");
        }
    }
}
