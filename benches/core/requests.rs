//! Requests, tokens and producers' lines.

use std::hint::black_box;
use std::time::Duration;

use airlay::api::{Line, Request};
use airlay::ndjson::LineReader;
use airlay::time::Wall;
use airlay::token::{Claims, KeyId, KeySet, Lookup, Rules, SigningKey, Tokens};
use criterion::{Criterion, Throughput};

const NOW: Wall = Wall(1_800_000_000_000);

/// Parsing a request with a token of realistic length.
pub(crate) fn parsing(criterion: &mut Criterion) {
    let token = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.".repeat(24);
    let text = format!(
        r#"{{"auth": "{token}", "action": "attach", "event": {{"type": "issueUpdate", "id": "610217e481f6fc54736209e0"}}}}"#
    );
    criterion.bench_function("request", |bencher| {
        bencher.iter(|| Request::parse(black_box(&text)).expect("a valid request"));
    });
}

/// A new token, without and with its signature check, and a token from the cache.
pub(crate) fn tokens(criterion: &mut Criterion) {
    let (mut tokens, token) = real_tokens(1000);
    criterion.bench_function("token/new, all but the signature", |bencher| {
        bencher.iter(|| assert!(matches!(tokens.lookup(black_box(&token), NOW), Lookup::Unverified(_))));
    });
    let (mut uncached, _) = real_tokens(0);
    criterion.bench_function("token/new, RSA-4096", |bencher| {
        bencher.iter(|| verify(&mut uncached, &token));
    });
    verify(&mut tokens, &token);
    criterion.bench_function("token/known", |bencher| {
        bencher.iter(|| assert!(matches!(tokens.lookup(black_box(&token), NOW), Lookup::Known(Ok(_)))));
    });
}

/// A key id, as in verified claims.
pub(crate) fn key_id() -> KeyId {
    let (mut tokens, token) = real_tokens(0);
    verify(&mut tokens, &token).key
}

/// A verifier with the given cache size, and a valid token.
fn real_tokens(cache_entries: usize) -> (Tokens, String) {
    let private = include_bytes!("../../tests/fixtures/live-4096.pem");
    let public = include_bytes!("../../tests/fixtures/live-4096.pub.pem");
    let key = SigningKey::from_pem(private).expect("a private key");
    let token = key.sign(
        r#"{"iat":1711709116,"jti":"0cb7b1f0-2f0a-4c8e-9d6e-0d5f6a7b8c9d","iss":"dev.airlay.ru","exp":4000000000,"data":{"name":"a.kalinin","id":"5dad615eae019570fb4647ed"}}"#,
    );
    let mut keys = KeySet::new();
    keys.add_pem(public).expect("a public key");
    let rules = Rules {
        issuers: vec!["dev.airlay.ru".to_owned()],
        audience: None,
        leeway: Duration::from_secs(30),
        token_bytes: 8192,
    };
    (Tokens::new(keys, rules, cache_entries), token)
}

fn verify(tokens: &mut Tokens, token: &str) -> Claims {
    let Lookup::Unverified(unverified) = tokens.lookup(token, NOW) else { panic!("the token is new") };
    tokens.verify(&unverified).expect("a valid signature")
}

/// A producer's line of 128 bytes: split off, parsed, and encoded for subscribers.
pub(crate) fn lines(criterion: &mut Criterion) {
    let line = format!(
        "{{\"type\":\"issueUpdate\",\"id\":\"610217e481f6fc54736209e0\",\"data\":\"{}\"}}\n",
        ".".repeat(64)
    );
    let mut group = criterion.benchmark_group("line");
    group.throughput(Throughput::Bytes(line.len() as u64));
    group.bench_function("event", |bencher| {
        let mut reader = LineReader::default();
        let mut message = Vec::new();
        bencher.iter(|| {
            let mut input = black_box(line.as_bytes());
            let line = reader.read(&mut input, 1 << 20).expect("a line");
            let bytes = line.bytes.expect("a short line");
            let Ok(Line::Event(event)) = Line::parse(&bytes) else { panic!("an event") };
            message.clear();
            event.encode_message(&mut message);
            message.len()
        });
    });
}
