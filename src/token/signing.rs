//! Signing of tokens, for the command line and tests. The server never signs.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use pem::{EncodeConfig, LineEnding, Pem};

/// An RSA private key.
pub struct SigningKey(EncodingKey);

/// The error for a key that cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds no unencrypted RSA private key (PKCS#1 or PKCS#8, in PEM) of 2048 to 8192 bits")]
pub struct SigningKeyError;

impl SigningKey {
    /// Reads the private key from the contents of a PEM file: PKCS#1 (`RSA PRIVATE KEY`) or PKCS#8 (`PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// The file has no such key.
    pub fn from_pem(file: &[u8]) -> Result<Self, SigningKeyError> {
        let key = EncodingKey::from_rsa_pem(file).map_err(|_| SigningKeyError)?;
        // Only signing shows whether the key can sign.
        crypto::sign(b"", &key, Algorithm::RS256).map_err(|_| SigningKeyError)?;
        Ok(Self(key))
    }

    /// Generates a key of 2048 bits. Also returns the public key as the contents of a PEM file.
    ///
    /// # Errors
    ///
    /// The system has no random numbers to offer.
    pub fn generate() -> Result<(Self, String), SigningKeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| SigningKeyError)?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| SigningKeyError)?;
        let key = Self::from_pem(in_pem("PRIVATE KEY", private.as_ref()).as_bytes())?;
        Ok((key, in_pem("RSA PUBLIC KEY", pair.public_key().as_ref())))
    }

    /// Makes a token with this payload, a JSON object, and the plain RS256 header.
    #[must_use]
    pub fn sign(&self, payload: &str) -> String {
        self.sign_with_header(r#"{"alg":"RS256","typ":"JWT"}"#, payload)
    }

    /// Makes a token with any header and payload and their RS256 signature.
    #[must_use]
    pub fn sign_with_header(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = crypto::sign(signed.as_bytes(), &self.0, Algorithm::RS256);
        format!("{signed}.{}", signature.expect("a key that has signed can sign any message"))
    }
}

/// Encodes `der` as a PEM block with this label.
fn in_pem(label: &str, der: &[u8]) -> String {
    pem::encode_config(&Pem::new(label, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

#[cfg(test)]
mod tests {
    use super::super::{KeySet, Lookup, Rules, Tokens};
    use super::*;
    use crate::time::Wall;
    use std::time::Duration;

    #[test]
    fn a_generated_key_signs_what_its_public_half_verifies() {
        let (key, public) = SigningKey::generate().unwrap();
        let mut keys = KeySet::new();
        keys.add_pem(public.as_bytes()).unwrap();
        let rules = Rules { issuers: Vec::new(), audience: None, leeway: Duration::ZERO, token_bytes: 8192 };
        let mut tokens = Tokens::new(keys, rules, 0);
        let token = key.sign(r#"{"exp":10,"data":{"id":"5dad615eae019570fb4647ed"}}"#);
        let Lookup::Unverified(unverified) = tokens.lookup(&token, Wall(0)) else { panic!("{token}") };
        assert!(tokens.verify(&unverified).is_ok());
    }
}
