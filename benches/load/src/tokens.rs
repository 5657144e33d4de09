//! Realistic access tokens: RS256 with a key of 4096 bits, about 900 bytes.

use std::time::{SystemTime, UNIX_EPOCH};

use airlay::token::SigningKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Result;

/// The project's test key.
const PRIVATE: &str = include_str!("../../../tests/fixtures/live-4096.pem");
const PUBLIC: &str = include_str!("../../../tests/fixtures/live-4096.pub.pem");

/// Signs tokens that are valid for a day.
pub(crate) struct Tokens {
    key: SigningKey,
    expires: u64,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Tokens {
    pub(crate) fn new() -> Result<Self> {
        let key = SigningKey::from_pem(PRIVATE.as_bytes()).map_err(|error| error.to_string())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(Self { key, expires: now + 24 * 3600 })
    }

    pub(crate) fn public_key(&self) -> &'static str {
        PUBLIC
    }

    /// The public key as a bare `RSAPublicKey` (RFC 8017 §A.1.1).
    pub(crate) fn public_numbers(&self) -> Result<Vec<u8>> {
        let block = pem::parse(PUBLIC)?;
        Ok(block.into_contents())
    }

    /// A token for the user with this number.
    pub(crate) fn of_user(&self, user: usize) -> String {
        self.key.sign(&format!(
            r#"{{"iat":1711709116,"jti":"0cb7b1f0-2f0a-4c8e-9d6e-0d5f6a7b8c9d","iss":"dev.airlay.ru","exp":{},"data":{{"name":"a.kalinin","id":"5dad615eae019570{user:08x}"}}}}"#,
            self.expires
        ))
    }
}

/// Decodes a part of a token.
pub(crate) fn decode(part: &str) -> Result<Vec<u8>> {
    Ok(URL_SAFE_NO_PAD.decode(part)?)
}

/// The frame of an attach request, masked with a key of zeros, which RFC 6455 §5.3 allows and which costs the server as
/// much as any other.
pub(crate) fn attach(token: &str, topic: usize) -> Vec<u8> {
    let id = crate::event::topic_id(topic);
    let text =
        format!(r#"{{"auth":"{token}","action":"attach","event":{{"type":"issueUpdate","id":"{id}"}}}}"#);
    let mut frame = Vec::new();
    let mask = Some([0; 4]);
    airlay::websocket::frame::encode(
        airlay::websocket::frame::OpCode::Text,
        text.as_bytes(),
        mask,
        &mut frame,
    );
    frame
}
