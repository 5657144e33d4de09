//! The public keys that tokens are verified with, from PEM files and JWK sets. Keys come from the configuration only;
//! a token's `kid` does no more than choose among them.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::api::object::{self, Member, Value};

use super::der::RsaNumbers;
use super::jws::Kid;
use super::pem::{Pem, PemError};

/// The keys in use. Keys of both kinds may be mixed: one from a PEM file may have signed any token, one from a JWK set
/// those that have its `kid` or none.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// Names a key across key sets: the same key from another file, or from PEM in another encoding, has the same id; the
/// same key under another `kid` has not.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 8]);

/// Why a file's keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file is not one PEM block.
    #[error("{0}")]
    Pem(#[from] PemError),
    /// The file is not text at all (DER, perhaps).
    #[error("it is not text; a PEM file or a JWK set is wanted")]
    NotText,
    /// The file holds a private key, which has no business on this machine.
    #[error("it holds a private key; only the public key may be given to the server")]
    Private,
    /// The PEM block is something else.
    #[error("it holds neither an RSA public key (PKCS#1 or SPKI) nor an X.509 certificate with one")]
    NotRsa,
    /// The JWK set is not a JSON object with an array `keys`.
    #[error("it is not a JWK set: a JSON object with an array \"keys\" of objects")]
    NotJwks,
    /// The JWK set has no key for RS256 signatures.
    #[error("none of its keys is an RSA key for RS256 signatures")]
    NoneUsable,
    /// A key of the set is not as it should be.
    #[error("its key number {number}: {error}")]
    InSet {
        /// Its place in the set, from 1.
        number: usize,
        /// What is wrong with it.
        error: Box<Self>,
    },
    /// A member of a JWK is absent, twice there or of the wrong type.
    #[error("\"{0}\" is missing or not as it should be")]
    Member(&'static str),
    /// The modulus is too short to be safe, or longer than can be used.
    #[error("an RSA key of {bits} bits; from 2048 to 8192 are allowed")]
    Size {
        /// The length of the modulus.
        bits: usize,
    },
    /// Modulus and exponent are no RSA key.
    #[error("its numbers are no RSA key")]
    Numbers,
}

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    id: KeyId,
    origin: Origin,
    modulus_bytes: usize,
    public: ParsedPublicKey,
}

/// Where a key comes from, and so which tokens it may have signed.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    Pem,
    /// With its `kid`, if it has one.
    Jwks(Option<String>),
}

impl KeySet {
    /// No keys: no token is good.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the key in a PEM file's contents: PKCS#1 (`RSA PUBLIC KEY`), SPKI (`PUBLIC KEY`) or an X.509 certificate
    /// (`CERTIFICATE`; its dates are not looked at).
    ///
    /// # Errors
    ///
    /// There is not just one PEM block, or not an RSA public key of 2048 to 8192 bits in it.
    pub fn add_pem(&mut self, file: &[u8]) -> Result<(), KeyError> {
        let pem = Pem::parse(str::from_utf8(file).map_err(|_| KeyError::NotText)?)?;
        if pem.is_private() {
            return Err(KeyError::Private);
        }
        let numbers = match pem.label {
            "RSA PUBLIC KEY" => RsaNumbers::from_pkcs1(&pem.der),
            "PUBLIC KEY" => RsaNumbers::from_spki(&pem.der),
            "CERTIFICATE" => RsaNumbers::from_certificate(&pem.der),
            _ => None,
        };
        self.add(Key::new(Origin::Pem, numbers.ok_or(KeyError::NotRsa)?)?);
        Ok(())
    }

    /// Adds the keys in a JWK set's contents (RFC 7517 §5) that are for RS256 signatures; those that are for something
    /// else are passed over.
    ///
    /// # Errors
    ///
    /// It is no JWK set, none of its keys is usable, or one that should be is not: nothing is added then.
    pub fn add_jwks(&mut self, file: &[u8]) -> Result<(), KeyError> {
        let text = str::from_utf8(file).map_err(|_| KeyError::NotText)?;
        let ([Member::Once(keys)], Ok(())) = object::read(text, ["keys"]) else {
            return Err(KeyError::NotJwks);
        };
        let mut found = Vec::new();
        let is_array = keys.for_each_element(|jwk| found.push(read_jwk(jwk)));
        if !is_array {
            return Err(KeyError::NotJwks);
        }
        let mut usable = Vec::new();
        for (key, number) in found.into_iter().zip(1..) {
            let key = key.map_err(|error| KeyError::InSet { number, error: Box::new(error) })?;
            usable.extend(key);
        }
        if usable.is_empty() {
            return Err(KeyError::NoneUsable);
        }
        usable.into_iter().for_each(|key| self.add(key));
        Ok(())
    }

    /// How many different keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(Key::id)
    }

    pub(super) fn knows(&self, id: KeyId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn get(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The keys that may have signed a token with this `kid`.
    pub(super) fn candidates(&self, kid: &Kid) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.origin.may_sign(kid))
    }

    fn add(&mut self, key: Key) {
        if !self.knows(key.id) {
            self.keys.push(key);
        }
    }
}

/// The key that a member of `keys` is; `None` if it is for something else than RS256 signatures.
fn read_jwk(jwk: Value<'_>) -> Result<Option<Key>, KeyError> {
    let (members, outcome) = object::read(jwk.text(), ["kty", "use", "alg", "kid", "n", "e", "d"]);
    outcome.map_err(|_| KeyError::NotJwks)?;
    let [kind, purpose, algorithm, kid, modulus, exponent, private] = members;
    if text("kty", kind)?.ok_or(KeyError::Member("kty"))? != "RSA"
        || text("use", purpose)?.is_some_and(|purpose| purpose != "sig")
        || text("alg", algorithm)?.is_some_and(|algorithm| algorithm != "RS256")
    {
        return Ok(None);
    }
    if !matches!(private, Member::Absent) {
        return Err(KeyError::Private);
    }
    let (modulus, exponent) = (number("n", modulus)?, number("e", exponent)?);
    let origin = Origin::Jwks(text("kid", kid)?.map(Cow::into_owned));
    Key::new(origin, RsaNumbers { modulus: &modulus, exponent: &exponent }).map(Some)
}

/// A string member of a JWK.
fn text<'a>(name: &'static str, member: Member<'a>) -> Result<Option<Cow<'a, str>>, KeyError> {
    match member {
        Member::Absent => Ok(None),
        Member::Once(value) => value.string().ok_or(KeyError::Member(name)).map(Some),
        Member::Twice(_) => Err(KeyError::Member(name)),
    }
}

/// A `Base64urlUInt` member of a JWK (RFC 7518 §2), which has no leading zeros.
fn number(name: &'static str, member: Member<'_>) -> Result<Vec<u8>, KeyError> {
    let text = text(name, member)?;
    let digits = text.and_then(|text| URL_SAFE_NO_PAD.decode(&*text).ok());
    digits.filter(|digits| digits.first().is_some_and(|&first| first != 0)).ok_or(KeyError::Member(name))
}

impl Key {
    fn new(origin: Origin, numbers: RsaNumbers<'_>) -> Result<Self, KeyError> {
        let RsaNumbers { modulus, exponent } = numbers;
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::Size { bits });
        }
        // With the exponent 1 anybody could sign.
        let public = RsaPublicKeyComponents { n: modulus, e: exponent }
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .ok()
            .filter(|_| exponent != [1])
            .ok_or(KeyError::Numbers)?;
        Ok(Self { id: KeyId::new(&origin, numbers), origin, modulus_bytes: modulus.len(), public })
    }

    pub(super) const fn id(&self) -> KeyId {
        self.id
    }

    /// The length of a signature by this key (RFC 8017 §8.2.1), in bytes.
    pub(super) const fn signature_bytes(&self) -> usize {
        self.modulus_bytes
    }

    /// Whether `signature` is this key's RSASSA-PKCS1-v1_5 signature of `message` with SHA-256 (RFC 8017 §8.2.2).
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }
}

impl Origin {
    fn may_sign(&self, kid: &Kid) -> bool {
        match (self, kid) {
            (Self::Pem, _) | (Self::Jwks(_), Kid::Absent) => true,
            (Self::Jwks(Some(own)), Kid::Named(wanted)) => own == wanted,
            (Self::Jwks(None), Kid::Named(_)) | (Self::Jwks(_), Kid::NotText) => false,
        }
    }
}

impl KeyId {
    fn new(origin: &Origin, numbers: RsaNumbers<'_>) -> Self {
        let mut digest = Sha256::new();
        let (kind, kid) = match origin {
            Origin::Pem => (0_u8, ""),
            Origin::Jwks(None) => (1, ""),
            Origin::Jwks(Some(kid)) => (2, kid.as_str()),
        };
        digest.update([kind]);
        for part in [numbers.exponent, numbers.modulus, kid.as_bytes()] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let digest: [u8; 32] = digest.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
