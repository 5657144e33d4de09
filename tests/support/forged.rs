//! Tokens that the server of [`Setup::new`](super::Setup::new) must refuse, each with what is wrong with it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::USER;
use super::token::{Key, claims, now, sign, sign_text, sign_with_header};

/// A token that must be refused.
pub struct Forged {
    /// What is wrong with it, in a few words.
    pub what: &'static str,
    /// The token.
    pub token: String,
    /// What `token --check` says about it.
    pub sentence: &'static str,
}

const ALGORITHM: &str = "the token's algorithm is not RS256";
const SIGNATURE: &str = "the token's signature is not that of any known key";
const EXTENSION: &str = "the token's header demands an extension (crit)";
const PARTS: &str = "the token is not three parts joined by two dots";
const LONG: &str = "the token is longer than 8192 bytes";
const HEADER_BASE64: &str = "the token's header is not canonical base64url without padding";
const PAYLOAD_BASE64: &str = "the token's payload is not canonical base64url without padding";
const SIGNATURE_BASE64: &str = "the token's signature is not canonical base64url without padding";
const HEADER_OBJECT: &str = "the token's header is not a JSON object";
const PAYLOAD_OBJECT: &str = "the token's payload is not a JSON object";
const EXPIRED: &str = "the token has expired";
const EXP_NUMBER: &str = "the token's exp is not a number";
const EXP_FAR: &str = "the token's exp is beyond the year 9999";
const NBF_NUMBER: &str = "the token's nbf is not a number";
const ISSUER: &str = "the token's issuer is not one of those in the configuration";
const ISSUER_TEXT: &str = "the token's iss is not a string";
const DATA_OBJECT: &str = "the token's data is not an object";
const ID: &str = "the token's data.id is not a string of 24 hexadecimal digits";

/// All forged tokens.
pub fn forged() -> Vec<Forged> {
    let groups = [other_algorithms(), other_keys(), other_forms(), other_claims(), other_signatures()];
    groups.into_iter().flatten().collect()
}

/// What is wrong, the token, and the sentence.
fn rows(rows: Vec<(&'static str, String, &'static str)>) -> Vec<Forged> {
    rows.into_iter().map(|(what, token, sentence)| Forged { what, token, sentence }).collect()
}

/// RFC 8725 §2.1: tokens of another algorithm than RS256.
pub fn other_algorithms() -> Vec<Forged> {
    let payload = claims(USER, now() + 3600);
    let pem = include_str!("../fixtures/live-2048.pub.pem");
    let inner: String = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN")).collect();
    let inner =
        inner.trim_start_matches("-----BEGIN PUBLIC KEY-----").trim_end_matches("-----END PUBLIC KEY-----");
    let der = STANDARD.decode(inner).expect("PEM");
    let by_hmac = |algorithm, secret: &[u8]| {
        jsonwebtoken::encode(&Header::new(algorithm), &payload, &EncodingKey::from_secret(secret))
            .expect("HMAC works")
    };
    let by = |algorithm| sign_with_header(&Header::new(algorithm), &payload, Key::Usual);
    let with = |header: &str| sign_text(header, &payload.to_string(), Key::Usual);
    let unsigned = |header: &str| with_parts(header, &payload.to_string(), b"");
    let relabelled = {
        let token = by_hmac(Algorithm::HS256, pem.as_bytes());
        let [_, claims, signature] = parts(&token);
        [URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#), claims, signature].join(".")
    };
    rows(vec![
        ("alg none, no signature", unsigned(r#"{"alg":"none"}"#), ALGORITHM),
        ("alg None, no signature", unsigned(r#"{"alg":"None","typ":"JWT"}"#), ALGORITHM),
        ("alg none, good signature", with(r#"{"alg":"none"}"#), ALGORITHM),
        ("HS256 with the public key's PEM", by_hmac(Algorithm::HS256, pem.as_bytes()), ALGORITHM),
        ("HS256 with the public key's DER", by_hmac(Algorithm::HS256, &der), ALGORITHM),
        ("HS512 with the public key's PEM", by_hmac(Algorithm::HS512, pem.as_bytes()), ALGORITHM),
        ("HS256 with nothing", by_hmac(Algorithm::HS256, b""), ALGORITHM),
        ("HMAC said to be RS256", relabelled, SIGNATURE),
        ("RS384", by(Algorithm::RS384), ALGORITHM),
        ("RS512", by(Algorithm::RS512), ALGORITHM),
        ("PS256", by(Algorithm::PS256), ALGORITHM),
        ("alg in lower case", with(r#"{"alg":"rs256"}"#), ALGORITHM),
        ("alg null", with(r#"{"alg":null}"#), ALGORITHM),
        ("alg in an array", with(r#"{"alg":["RS256"]}"#), ALGORITHM),
        ("alg absent", with(r#"{"typ":"JWT"}"#), ALGORITHM),
        ("alg twice", with(r#"{"alg":"none","alg":"RS256"}"#), "the token has alg twice"),
    ])
}

/// RFC 7515 §4.1: tokens whose header brings a key, names one, or demands an extension.
pub fn other_keys() -> Vec<Forged> {
    let payload = claims(USER, now() + 3600).to_string();
    let foreign = |header: &str| sign_text(header, &payload, Key::Stranger);
    let known = |header: &str| sign_text(header, &payload, Key::Usual);
    rows(vec![
        ("another key", foreign(r#"{"alg":"RS256"}"#), SIGNATURE),
        (
            "its own key as jwk",
            foreign(r#"{"alg":"RS256","jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}}"#),
            SIGNATURE,
        ),
        (
            "a key elsewhere as jku",
            foreign(r#"{"alg":"RS256","jku":"https://evil.example/keys"}"#),
            SIGNATURE,
        ),
        ("a key elsewhere as x5u", foreign(r#"{"alg":"RS256","x5u":"file:///tmp/key.pem"}"#), SIGNATURE),
        ("a certificate as x5c", foreign(r#"{"alg":"RS256","x5c":["MIIB"]}"#), SIGNATURE),
        ("kid of a file", foreign(r#"{"alg":"RS256","kid":"../../../dev/null"}"#), SIGNATURE),
        ("kid of a statement", foreign(r#"{"alg":"RS256","kid":"' OR 1=1 --"}"#), SIGNATURE),
        ("kid twice", known(r#"{"alg":"RS256","kid":"a","kid":"b"}"#), "the token has kid twice"),
        ("crit of what is known", known(r#"{"alg":"RS256","crit":["exp"]}"#), EXTENSION),
        ("crit empty", known(r#"{"alg":"RS256","crit":[]}"#), EXTENSION),
        ("b64 false", known(r#"{"alg":"RS256","b64":false,"crit":["b64"]}"#), EXTENSION),
    ])
}

/// Tokens that are not three parts of canonical base64url, or whose parts are not JSON objects.
pub fn other_forms() -> Vec<Forged> {
    let payload = claims(USER, now() + 3600).to_string();
    let good = sign_text(r#"{"alg":"RS256"}"#, &payload, Key::Usual);
    let [header, claims, signature] = parts(&good);
    let rejoined = |parts: [&str; 3]| parts.join(".");
    let nested = format!(r#"{{"x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    rows(vec![
        ("a word", "token".to_owned(), PARTS),
        ("two parts", format!("{header}.{claims}"), PARTS),
        ("four parts", format!("{good}.{signature}"), PARTS),
        ("five parts, as if encrypted", "a.b.c.d.e".to_owned(), PARTS),
        ("many dots", ".".repeat(8000), PARTS),
        ("only the dots", "..".to_owned(), HEADER_OBJECT),
        (
            "9 KB",
            sign_text(r#"{"alg":"RS256"}"#, &format!(r#"{{"x":"{}"}}"#, "x".repeat(9000)), Key::Usual),
            LONG,
        ),
        (
            "header padded",
            rejoined([&URL_SAFE.encode(r#"{"alg":"RS256" }"#), &claims, &signature]),
            HEADER_BASE64,
        ),
        (
            "payload padded",
            rejoined([&header, &URL_SAFE.encode(one_more(&payload)), &signature]),
            PAYLOAD_BASE64,
        ),
        ("signature padded", format!("{good}=="), SIGNATURE_BASE64),
        ("a letter after it", format!("{good}A"), SIGNATURE),
        ("white space before it", format!(" {good}"), HEADER_BASE64),
        ("white space after it", format!("{good} "), SIGNATURE_BASE64),
        ("Bearer before it", format!("Bearer {good}"), HEADER_BASE64),
        ("the other alphabet", rejoined([&header, &claims, &"+/".repeat(171)]), SIGNATURE_BASE64),
        ("header empty", format!(".{claims}.{signature}"), HEADER_OBJECT),
        ("header an array", sign_text(r#"["alg","RS256"]"#, &payload, Key::Usual), HEADER_OBJECT),
        ("header cut", sign_text(r#"{"alg":"RS256""#, &payload, Key::Usual), HEADER_OBJECT),
        ("payload empty", format!("{header}..{signature}"), PAYLOAD_OBJECT),
        ("payload an array", sign_text(r#"{"alg":"RS256"}"#, "[]", Key::Usual), PAYLOAD_OBJECT),
        ("payload no JSON", sign_text(r#"{"alg":"RS256"}"#, "not json", Key::Usual), PAYLOAD_OBJECT),
        (
            "payload nested deep",
            sign_text(r#"{"alg":"RS256"}"#, &nested, Key::Usual),
            "the token's payload nests too deep",
        ),
    ])
}

/// Signed tokens with a missing, invalid or repeated claim.
pub fn other_claims() -> Vec<Forged> {
    let soon = now() + 3600;
    let with = |name: &str, value: Value| changed(|payload| payload[name] = value);
    let without =
        |name: &str| changed(|payload| drop(payload.as_object_mut().expect("an object").remove(name)));
    let with_id = |id: Value| changed(|payload| payload["data"]["id"] = id);
    let with_text = |payload: &str| sign_text(r#"{"alg":"RS256"}"#, payload, Key::Usual);
    let twice = |member: String| {
        with_text(&format!(r#"{{"iss":"dev.airlay.ru","exp":{soon},"data":{{"id":"{USER}"}},{member}}}"#))
    };
    rows(vec![
        ("exp absent", without("exp"), "the token has no exp"),
        ("exp a string", with("exp", json!(soon.to_string())), EXP_NUMBER),
        ("exp true", with("exp", json!(true)), EXP_NUMBER),
        ("exp null", with("exp", Value::Null), EXP_NUMBER),
        ("exp an array", with("exp", json!([soon])), EXP_NUMBER),
        ("exp negative", with("exp", json!(-1)), EXPIRED),
        ("exp zero", with("exp", json!(0)), EXPIRED),
        ("exp over, with the leeway", with("exp", json!(now() - 60)), EXPIRED),
        ("exp in milliseconds", with("exp", json!(soon * 1000)), EXP_FAR),
        ("exp in the year 10000", with("exp", json!(253_402_300_800_u64)), EXP_FAR),
        ("exp without end", with("exp", json!(1e300)), EXP_FAR),
        ("exp twice", twice(format!(r#""exp":{soon}"#)), "the token has exp twice"),
        ("nbf in the future", with("nbf", json!(now() + 600)), "the token is not valid yet"),
        ("nbf a string", with("nbf", json!("0")), NBF_NUMBER),
        ("nbf false", with("nbf", json!(false)), NBF_NUMBER),
        ("iss absent", without("iss"), "the token has no iss"),
        ("another issuer", with("iss", json!("evil.example")), ISSUER),
        ("issuer in upper case", with("iss", json!("DEV.AIRLAY.RU")), ISSUER),
        ("issuer with a slash", with("iss", json!("dev.airlay.ru/")), ISSUER),
        ("issuer in an array", with("iss", json!(["dev.airlay.ru"])), ISSUER_TEXT),
        ("data absent", without("data"), "the token has no data"),
        ("data a string", with("data", json!(USER)), DATA_OBJECT),
        ("data twice", twice(format!(r#""data":{{"id":"{USER}"}}"#)), "the token has data twice"),
        (
            "id absent",
            changed(|payload| payload["data"] = json!({"name": "a.kalinin"})),
            "the token has no data.id",
        ),
        ("id null", with_id(Value::Null), ID),
        ("id a number", with_id(json!(5)), ID),
        ("id empty", with_id(json!("")), ID),
        ("id too short", with_id(json!(&USER[1..])), ID),
        ("id not hexadecimal", with_id(json!(format!("g{}", &USER[1..]))), ID),
        (
            "id twice",
            with_text(&format!(
                r#"{{"iss":"dev.airlay.ru","exp":{soon},"data":{{"id":"{USER}","id":"{USER}"}}}}"#
            )),
            "the token has id twice",
        ),
    ])
}

/// Tokens whose signature is not that of their header and payload.
pub fn other_signatures() -> Vec<Forged> {
    let good = sign(&claims(USER, now() + 3600), Key::Usual);
    let [header, payload, signature] = parts(&good);
    let bytes = URL_SAFE_NO_PAD.decode(&signature).expect("base64url");
    let with = |signature: &[u8]| format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature));
    let [_, other_payload, _] = parts(&sign(&claims(USER, now() + 7200), Key::Usual));
    let other_header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"jwt"}"#);
    let mut flipped = bytes.clone();
    flipped[100] ^= 1;
    let one = [&vec![0; bytes.len() - 1][..], &[1]].concat();
    rows(vec![
        ("no signature", format!("{header}.{payload}."), SIGNATURE),
        ("signature cut", with(&bytes[..bytes.len() - 1]), SIGNATURE),
        ("signature with a byte more", with(&[&bytes[..], &[0]].concat()), SIGNATURE),
        ("signature with a zero before it", with(&[&[0], &bytes[..]].concat()), SIGNATURE),
        ("one bit of the signature", with(&flipped), SIGNATURE),
        ("signature of zeros", with(&vec![0; bytes.len()]), SIGNATURE),
        ("signature the number one", with(&one), SIGNATURE),
        ("signature of 0xff", with(&vec![0xff; bytes.len()]), SIGNATURE),
        ("signature over another payload", format!("{header}.{other_payload}.{signature}"), SIGNATURE),
        ("signature over another header", format!("{other_header}.{payload}.{signature}"), SIGNATURE),
    ])
}

/// A token of the usual payload, changed.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut payload = claims(USER, now() + 3600);
    change(&mut payload);
    sign(&payload, Key::Usual)
}

fn with_parts(header: &str, payload: &str, signature: &[u8]) -> String {
    [header.as_bytes(), payload.as_bytes(), signature].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fn parts(token: &str) -> [String; 3] {
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts.try_into().expect("three parts")
}

/// The text, extended to a length that base64 pads.
fn one_more(text: &str) -> String {
    let spaces = if text.len().is_multiple_of(3) { " " } else { "" };
    format!("{text}{spaces}")
}
