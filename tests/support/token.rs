//! Tokens signed with test keys.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// A private key for tests.
#[derive(Clone, Copy)]
pub enum Key {
    /// RSA-2048, the key of most tokens.
    Usual,
    /// RSA-4096, the size in production.
    Large,
    /// RSA-2048, unknown to the server.
    Stranger,
}

impl Key {
    fn encoding(self) -> EncodingKey {
        let pem: &[u8] = match self {
            Self::Usual => include_bytes!("../fixtures/live-2048.pem"),
            Self::Large => include_bytes!("../fixtures/live-4096.pem"),
            Self::Stranger => include_bytes!("../fixtures/live-stranger.pem"),
        };
        EncodingKey::from_rsa_pem(pem).expect("a private key")
    }
}

/// A token of this user that is valid for an hour.
pub fn good_token(user: &str) -> String {
    token_until(user, now() + 3600)
}

/// A token of this user with this `exp`, seconds since 1970.
pub fn token_until(user: &str, expires: u64) -> String {
    sign(&claims(user, expires), Key::Usual)
}

/// The payload of a token as in the contract.
pub fn claims(user: &str, expires: u64) -> Value {
    json!({
        "iat": 1_711_709_116,
        "jti": "0cb7b1f0-2f0a-4c8e-9d6e-0d5f6a7b8c9d",
        "iss": "dev.airlay.ru",
        "exp": expires,
        "data": {"name": "a.kalinin", "id": user},
    })
}

/// A token with this payload, RS256.
pub fn sign(payload: &Value, key: Key) -> String {
    sign_with_header(&Header::new(Algorithm::RS256), payload, key)
}

/// A token with this header and payload.
pub fn sign_with_header(header: &Header, payload: &Value, key: Key) -> String {
    jsonwebtoken::encode(header, payload, &key.encoding()).expect("a payload that can be signed")
}

/// A token whose header and payload are these texts, valid or not; the signature is RS256 whatever they say.
pub fn sign_text(header: &str, payload: &str, key: Key) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.encoding(), Algorithm::RS256)
        .expect("any text can be signed");
    format!("{message}.{signature}")
}

/// The wall clock, seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}
