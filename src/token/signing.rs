//! The other side of verification: tokens made by the command line and by tests. The server never signs.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::pem::{Pem, PemError};

/// An RSA private key.
#[derive(Debug)]
pub struct SigningKey(KeyPair);

/// Why a file's key cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// The file is not one PEM block.
    #[error("{0}")]
    Pem(#[from] PemError),
    /// The file is not text.
    #[error("it is not text; a PEM file is wanted")]
    NotText,
    /// The PEM block is something else, or the key is shorter than 2048 bits.
    #[error("it holds no unencrypted RSA private key (PKCS#1 or PKCS#8) of 2048 to 8192 bits")]
    NotRsa,
}

impl SigningKey {
    /// The private key in a PEM file's contents: PKCS#1 (`RSA PRIVATE KEY`) or PKCS#8 (`PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// There is not just one PEM block, or not such a key in it.
    pub fn from_pem(file: &[u8]) -> Result<Self, SigningKeyError> {
        let pem = Pem::parse(str::from_utf8(file).map_err(|_| SigningKeyError::NotText)?)?;
        let key = match pem.label {
            "RSA PRIVATE KEY" => KeyPair::from_der(&pem.der),
            "PRIVATE KEY" => KeyPair::from_pkcs8(&pem.der),
            _ => return Err(SigningKeyError::NotRsa),
        };
        key.map(Self).map_err(|_| SigningKeyError::NotRsa)
    }

    /// A token with this payload, a JSON object, and the plain RS256 header.
    #[must_use]
    pub fn sign(&self, payload: &str) -> String {
        self.sign_with_header(r#"{"alg":"RS256","typ":"JWT"}"#, payload)
    }

    /// A token with this header and payload, whatever they are, and an RS256 signature of both.
    #[must_use]
    pub fn sign_with_header(&self, header: &str, payload: &str) -> String {
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .expect("a whole key pair signs any message");
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }
}
