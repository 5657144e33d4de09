//! All tokens that are ever shown: signed once a process, since a signature costs more than a whole episode's turn.

use crate::names::{USERS, user_id};
use airlay::token::KeySet;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use std::sync::LazyLock;

/// The wall clock's moment at the begin of every episode, in milliseconds since 1970.
pub(crate) const START: u64 = 1_750_000_000_000;

/// The issuer that the server believes.
pub(crate) const ISSUER: &str = "dev.airlay.ru";

/// How the keys may stand: each a bit set of the two keys that the server may know. The third key is a stranger's.
pub(crate) const KEY_SETS: [usize; 3] = [0b11, 0b01, 0b10];

/// A token, and all that the oracle has to know of it.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) user: usize,
    /// `exp` and `nbf`, in milliseconds since 1970.
    pub(crate) expires: u64,
    pub(crate) not_before: u64,
    pub(crate) key: usize,
    pub(crate) flaw: Option<Flaw>,
}

/// Why a token is bad at all times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Its form or its claims: no signature is checked.
    Plain,
    /// Its signature.
    Signature,
}

/// Seconds from the start to `exp`, and the key, of each user's good tokens.
const GOOD: [(u64, usize); 7] = [(36_000, 0), (36_000, 1), (1, 0), (3, 1), (8, 0), (1800, 0), (7200, 1)];

/// How many tokens each user has: the good ones first.
pub(crate) const OF_USER: usize = GOOD.len() + 5;

/// The tokens that stay good for as long as an episode may last.
pub(crate) const LASTING: [usize; 2] = [0, 1];

/// A user's token that is good at first, by its variant.
pub(crate) const fn good(user: usize, variant: usize) -> usize {
    user * OF_USER + variant % GOOD.len()
}

/// A user's token that is bad at the start, by its variant.
pub(crate) const fn bad(user: usize, variant: usize) -> usize {
    user * OF_USER + GOOD.len() + variant % (OF_USER - GOOD.len())
}

pub(crate) fn token(number: usize) -> &'static Token {
    &POOL[number]
}

/// The keys of this bit set, as the server takes them.
pub(crate) fn key_set(set: usize) -> KeySet {
    let mut keys = KeySet::new();
    let public = [
        &include_bytes!("../fixtures/keys/rsa2048.spki.pem")[..],
        include_bytes!("../fixtures/keys/rsa2048-other.spki.pem"),
    ];
    for (key, pem) in public.into_iter().enumerate().filter(|(key, _)| set >> key & 1 == 1) {
        keys.add_pem(pem).unwrap_or_else(|error| panic!("key {key}: {error}"));
    }
    keys
}

static POOL: LazyLock<Vec<Token>> = LazyLock::new(|| {
    let keys = [
        &include_bytes!("../fixtures/keys/rsa2048.private.pem")[..],
        include_bytes!("../fixtures/keys/rsa2048-other.private.pem"),
        include_bytes!("../fixtures/live-stranger.pem"),
    ]
    .map(|pem| EncodingKey::from_rsa_pem(pem).expect("a private key"));
    let sign = |user, expires: u64, not_before: u64, issuer, key: usize, flaw| {
        let payload = serde_json::json!({
            "iat": START / 1000, "jti": format!("{user}-{expires}-{key}"), "iss": issuer,
            "exp": expires / 1000, "nbf": not_before / 1000, "data": {"name": "n", "id": user_id(user)},
        });
        let text = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &payload, &keys[key]);
        Token { text: text.expect("any payload can be signed"), user, expires, not_before, key, flaw }
    };
    let of_user = |user| {
        let later = |seconds: u64| START + seconds * 1000;
        let mut tokens: Vec<Token> =
            GOOD.iter().map(|&(seconds, key)| sign(user, later(seconds), 0, ISSUER, key, None)).collect();
        // Over since long; not yet good, unless the wall clock is stepped on by an hour.
        tokens.push(sign(user, START - 7_200_000, 0, ISSUER, 0, None));
        tokens.push(sign(user, later(36_000), later(1800), ISSUER, 1, None));
        tokens.push(sign(user, later(36_000), 0, "elsewhere", 0, Some(Flaw::Plain)));
        tokens.push(sign(user, later(36_000), 0, ISSUER, 2, Some(Flaw::Signature)));
        let text = format!("no.token.{user}");
        tokens.push(Token { text, user, expires: 0, not_before: 0, key: 0, flaw: Some(Flaw::Plain) });
        tokens
    };
    (0..USERS).flat_map(of_user).collect()
});
