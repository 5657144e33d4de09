//! The public keys that verify tokens, from PEM files and JWK sets. Keys come from the configuration only; a token's
//! `kid` merely chooses among them.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::jws::Kid;
use super::rsa::{PemError, RsaNumbers};
use super::sha256;
use crate::json::object::{self, Member};
use crate::json::value::Value;

/// The keys in use, of both origins: a key from a PEM file may have signed any token, one from a JWK set only tokens with
/// its `kid` or none.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// Identifies a key across key sets. The same key has the same id whatever its file and PEM encoding, but not under
/// another `kid`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

#[cfg(test)]
impl KeyId {
    /// An id that no real key has, for tests.
    pub(crate) const fn of_no_key(number: u8) -> Self {
        Self([number; 8])
    }
}

/// Why a file's keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file is not one PEM block.
    #[error("{0}")]
    Pem(#[from] PemError),
    /// The file is not text; it may be DER.
    #[error("it is not text; expected a PEM file or a JWK set")]
    NotText,
    /// The file holds a private key, which should not be on this machine.
    #[error("it holds a private key; only the public key may be given to the server")]
    Private,
    /// The PEM block is neither a public key nor a certificate.
    #[error("it holds neither an RSA public key (PKCS#1 or SPKI) nor an X.509 certificate with one")]
    NotRsa,
    /// The JWK set is not a JSON object with an array `keys`.
    #[error("it is not a JWK set: a JSON object with an array \"keys\" of objects")]
    NotJwks,
    /// The JWK set has no key for RS256 signatures.
    #[error("none of its keys is an RSA key for RS256 signatures")]
    NoneUsable,
    /// A key of the set is unusable.
    #[error("its key number {number}: {error}")]
    InSet {
        /// Its position in the set, from 1.
        number: usize,
        /// What is wrong with it.
        error: Box<Self>,
    },
    /// A member of a JWK is missing, occurs twice or has a wrong value.
    #[error("\"{0}\" is missing or wrong")]
    Member(&'static str),
    /// The modulus is too short to be safe, or too long to be used.
    #[error("an RSA key of {bits} bits; 2048 to 8192 are allowed")]
    Size {
        /// The length of the modulus, in bits.
        bits: usize,
    },
    /// Modulus and exponent do not form an RSA key.
    #[error("its numbers do not form an RSA key")]
    Numbers,
}

/// An RSA public key.
#[derive(Debug)]
pub(super) struct Key {
    id: KeyId,
    origin: Origin,
    modulus_bytes: usize,
    public: ParsedPublicKey,
}

/// Where a key comes from; it decides which tokens the key may have signed.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    Pem,
    /// The `kid`, if the key has one.
    Jwks(Option<String>),
}

impl KeySet {
    /// An empty set: no token is good.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the key from the contents of a PEM file: PKCS#1 (`RSA PUBLIC KEY`), SPKI (`PUBLIC KEY`) or an X.509
    /// certificate (`CERTIFICATE`; its dates are ignored).
    ///
    /// # Errors
    ///
    /// The file is not exactly one PEM block, or the block has no RSA public key of 2048 to 8192 bits.
    pub fn add_pem(&mut self, file: &[u8]) -> Result<(), KeyError> {
        let text = str::from_utf8(file).map_err(|_| KeyError::NotText)?;
        self.add(Key::new(Origin::Pem, &RsaNumbers::from_pem(text)?)?);
        Ok(())
    }

    /// Adds the keys for RS256 signatures from the contents of a JWK set (RFC 7517 §5). Keys for other purposes are
    /// skipped.
    ///
    /// # Errors
    ///
    /// It is not a JWK set, a key for RS256 is malformed, or there is none. Nothing is added then.
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

    /// The number of different keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether the set is empty.
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
    pub(super) fn candidates(&self, kid: &Kid<'_>) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.origin.may_sign(kid))
    }

    fn add(&mut self, key: Key) {
        if !self.knows(key.id) {
            self.keys.push(key);
        }
    }
}

/// Reads an element of `keys`; `None` if the key is not for RS256 signatures.
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
    Key::new(origin, &RsaNumbers { modulus, exponent }).map(Some)
}

/// Reads a string member of a JWK.
fn text<'a>(name: &'static str, member: Member<'a>) -> Result<Option<Cow<'a, str>>, KeyError> {
    match member {
        Member::Absent => Ok(None),
        Member::Once(value) => value.string().ok_or(KeyError::Member(name)).map(Some),
        Member::Twice(_) => Err(KeyError::Member(name)),
    }
}

/// Reads a `Base64urlUInt` member of a JWK (RFC 7518 §2), which has no leading zeros.
fn number(name: &'static str, member: Member<'_>) -> Result<Vec<u8>, KeyError> {
    let text = text(name, member)?;
    let digits = text.and_then(|text| URL_SAFE_NO_PAD.decode(&*text).ok());
    digits.filter(|digits| digits.first().is_some_and(|&first| first != 0)).ok_or(KeyError::Member(name))
}

impl Key {
    fn new(origin: Origin, numbers: &RsaNumbers) -> Result<Self, KeyError> {
        let RsaNumbers { modulus, exponent } = numbers;
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::Size { bits });
        }
        // With the exponent 1 anyone could sign; a long one makes verification slow (aws-lc accepts up to 33 bits).
        let exponent_value =
            exponent.iter().fold(0_u64, |value, &byte| value.saturating_mul(256) | u64::from(byte));
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !is_odd(modulus) || !is_odd(exponent) || !(3..1 << 33).contains(&exponent_value) {
            return Err(KeyError::Numbers);
        }
        let public = RsaPublicKeyComponents { n: modulus, e: exponent }
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .map_err(|_| KeyError::Numbers)?;
        Ok(Self { id: KeyId::new(&origin, numbers), origin, modulus_bytes: modulus.len(), public })
    }

    pub(super) const fn id(&self) -> KeyId {
        self.id
    }

    /// The length of a signature by this key (RFC 8017 §8.2.1), in bytes.
    pub(super) const fn signature_bytes(&self) -> usize {
        self.modulus_bytes
    }

    /// Whether `signature` is this key's RSASSA-PKCS1-v1_5 signature of the message with this SHA-256 digest (RFC 8017
    /// §8.2.2).
    pub(super) fn verify(&self, message: &Digest, signature: &[u8]) -> bool {
        // `jsonwebtoken::crypto::verify` calls the same provider but parses the key each time, which takes 11 % longer with
        // RSA-4096 (70 µs instead of 63) and 15 % longer with RSA-2048.
        self.public.verify_digest_sig(message, signature).is_ok()
    }
}

impl Origin {
    fn may_sign(&self, kid: &Kid<'_>) -> bool {
        match (self, kid) {
            (Self::Pem, _) | (Self::Jwks(_), Kid::Absent) => true,
            (Self::Jwks(Some(own)), Kid::Named(wanted)) => own == wanted,
            (Self::Jwks(None), Kid::Named(_)) | (Self::Jwks(_), Kid::NotText) => false,
        }
    }
}

impl KeyId {
    fn new(origin: &Origin, numbers: &RsaNumbers) -> Self {
        let (kind, kid) = match origin {
            Origin::Pem => (0, ""),
            Origin::Jwks(None) => (1, ""),
            Origin::Jwks(Some(kid)) => (2, kid.as_str()),
        };
        let RsaNumbers { modulus, exponent } = numbers;
        // The lengths tell where one number ends and the next part begins.
        let lengths = [exponent.len(), modulus.len()].map(usize::to_le_bytes).concat();
        let [a, b, c, d, e, f, g, h, ..] =
            sha256(&[&[kind], &lengths[..], exponent, modulus, kid.as_bytes()].concat());
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

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/fixtures/keys/", $name))
        };
    }

    fn pem(file: &[u8]) -> Result<KeySet, KeyError> {
        let mut keys = KeySet::new();
        keys.add_pem(file).map(|()| keys)
    }

    fn jwks(file: &str) -> Result<KeySet, KeyError> {
        let mut keys = KeySet::new();
        let outcome = keys.add_jwks(file.as_bytes());
        assert!(outcome.is_ok() || keys.is_empty(), "nothing is added by halves");
        outcome.map(|()| keys)
    }

    /// A JWK set of one RSA key with this modulus and exponent.
    fn rsa_jwks(modulus: &[u8], exponent: &[u8]) -> String {
        let [n, e] = [modulus, exponent].map(|number| URL_SAFE_NO_PAD.encode(number));
        format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"{e}"}}]}}"#)
    }

    #[test]
    fn a_key_is_the_same_in_every_pem_encoding() {
        let forms: [&[u8]; 3] = [
            fixture!("rsa4096.spki.pem"),
            fixture!("rsa4096.pkcs1.pem"),
            fixture!("rsa4096.certificate.pem"),
        ];
        let mut keys = KeySet::new();
        for form in forms {
            keys.add_pem(form).unwrap();
        }
        assert_eq!(keys.len(), 1);
        assert_eq!(keys.keys[0].signature_bytes(), 512);
        let with_carriage_returns = str::from_utf8(forms[0]).unwrap().replace('\n', "\r\n");
        let with_text = format!("My key:\n{with_carriage_returns}\nThat was it.\n");
        assert_eq!(pem(with_text.as_bytes()).unwrap().keys[0].id(), keys.keys[0].id());
        assert_ne!(pem(fixture!("rsa2048.spki.pem")).unwrap().keys[0].id(), keys.keys[0].id());
    }

    #[test]
    fn a_pem_file_without_a_usable_key_is_refused() {
        let spki = str::from_utf8(fixture!("rsa2048.spki.pem")).unwrap();
        let body: String = spki.lines().filter(|line| !line.starts_with('-')).collect();
        let labelled =
            |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for (file, error) in [
            (fixture!("rsa1024.spki.pem").to_vec(), KeyError::Size { bits: 1024 }),
            (fixture!("rsa2047.spki.pem").to_vec(), KeyError::Size { bits: 2047 }),
            (fixture!("rsapss.spki.pem").to_vec(), KeyError::NotRsa),
            (fixture!("p256.spki.pem").to_vec(), KeyError::NotRsa),
            (fixture!("p256.certificate.pem").to_vec(), KeyError::NotRsa),
            (fixture!("rsa2048.private.pem").to_vec(), KeyError::Private),
            (fixture!("rsa4096.private.pkcs1.pem").to_vec(), KeyError::Private),
            (labelled("CERTIFICATE", &body).into(), KeyError::NotRsa),
            (labelled("RSA PUBLIC KEY", &body).into(), KeyError::NotRsa),
            (labelled("RSA PUBLIC KEY", "MAYCAQACAQM=").into(), KeyError::Size { bits: 0 }),
            (labelled("SOMETHING", &body).into(), KeyError::NotRsa),
            (labelled("PUBLIC KEY", &body[..64]).into(), KeyError::NotRsa),
            (labelled("PUBLIC KEY", "").into(), KeyError::NotRsa),
            (labelled("PUBLIC KEY", "MII*").into(), KeyError::Pem(PemError::NotBase64)),
            ([spki, spki].concat().into(), KeyError::Pem(PemError::Several)),
            (spki.replace("-----END PUBLIC", "-----END RSA PUBLIC").into(), KeyError::Pem(PemError::NoEnd)),
            (spki[..200].into(), KeyError::Pem(PemError::NoEnd)),
            (Vec::new(), KeyError::Pem(PemError::None)),
            (body.clone().into(), KeyError::Pem(PemError::None)),
            (fixture!("jwks.json").to_vec(), KeyError::Pem(PemError::None)),
            (vec![0x30, 0x82, 0x01, 0xff], KeyError::NotText),
        ] {
            assert_eq!(pem(&file).err(), Some(error), "{}", String::from_utf8_lossy(&file));
        }
    }

    #[test]
    fn a_jwk_set_gives_its_keys_for_rs256() {
        let keys = jwks(str::from_utf8(fixture!("jwks.json")).unwrap()).unwrap();
        let origins: Vec<_> = keys.keys.iter().map(|key| &key.origin).collect();
        assert_eq!(origins, [&Origin::Jwks(Some("main".into())), &Origin::Jwks(Some("second".into()))]);
        let same_key_from_pem = pem(fixture!("rsa4096.spki.pem")).unwrap();
        assert_ne!(keys.keys[0].id(), same_key_from_pem.keys[0].id(), "other tokens are for it");
    }

    #[test]
    fn a_jwk_set_with_a_mistake_is_refused_as_a_whole() {
        let [good, second] = ["main", "second"].map(|kid| {
            let file = str::from_utf8(fixture!("jwks.json")).unwrap();
            let start = file[..file.find(&format!("\"{kid}\"")).unwrap()].rfind('{').unwrap();
            &file[start..=start + file[start..].find('}').unwrap()]
        });
        let set = |keys: &[&str]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let of_second = |error| KeyError::InSet { number: 2, error: Box::new(error) };
        let changed = |this: &str, that: &str| set(&[good, &second.replace(this, that)]);
        assert_eq!(jwks(&set(&[good, second])).unwrap().len(), 2);
        assert_eq!(jwks(&set(&[good, good])).unwrap().len(), 1);
        assert_eq!(jwks(&changed("\"use\"", "\"x\":[1],\"use\"")).unwrap().len(), 2);
        for (file, error) in [
            (String::new(), KeyError::NotJwks),
            ("[]".into(), KeyError::NotJwks),
            ("{}".into(), KeyError::NotJwks),
            (r#"{"keys":{}}"#.into(), KeyError::NotJwks),
            (r#"{"keys":[],"keys":[]}"#.into(), KeyError::NotJwks),
            (set(&[good]) + "x", KeyError::NotJwks),
            (set(&[]), KeyError::NoneUsable),
            (set(&[r#"{"kty":"EC"}"#, r#"{"kty":"oct","k":"AAAA"}"#]), KeyError::NoneUsable),
            (set(&[&good.replace("\"sig\"", "\"enc\"")]), KeyError::NoneUsable),
            (set(&[&good.replace("RS256", "RS512")]), KeyError::NoneUsable),
            (set(&[good, "1"]), of_second(KeyError::NotJwks)),
            (set(&[good, "{}"]), of_second(KeyError::Member("kty"))),
            (changed("\"RSA\"", "7"), of_second(KeyError::Member("kty"))),
            (changed("\"second\"", "2"), of_second(KeyError::Member("kid"))),
            (changed("\"n\"", "\"N\""), of_second(KeyError::Member("n"))),
            (changed("\"AQAB\"", "65537"), of_second(KeyError::Member("e"))),
            (changed("\"AQAB\"", "\"AQAB=\""), of_second(KeyError::Member("e"))),
            (changed("\"AQAB\"", "\"AAEAAQ\""), of_second(KeyError::Member("e"))),
            (changed("\"AQAB\"", "\"\""), of_second(KeyError::Member("e"))),
            (changed("\"kid\"", "\"n\":\"\",\"kid\""), of_second(KeyError::Member("n"))),
            (changed("\"kid\"", "\"d\":\"AQ\",\"kid\""), of_second(KeyError::Private)),
        ] {
            assert_eq!(jwks(&file).err(), Some(error), "{file}");
        }
    }

    #[test]
    fn numbers_that_make_no_safe_key_are_refused() {
        let mut modulus = [0xab; 256];
        let refused = |modulus: &[u8], exponent: &[u8]| match jwks(&rsa_jwks(modulus, exponent)) {
            Err(KeyError::InSet { number: 1, error }) => *error,
            other => panic!("{other:?}"),
        };
        assert!(jwks(&rsa_jwks(&modulus, &[3])).is_ok());
        for exponent in [&[1][..], &[2], &[0x01, 0x00, 0x00], &[2, 0, 0, 0, 1], &[0xff; 9], &[0xff; 256]] {
            assert_eq!(refused(&modulus, exponent), KeyError::Numbers, "{exponent:02x?}");
        }
        assert_eq!(refused(&[0xab; 255], &[3]), KeyError::Size { bits: 2040 });
        assert_eq!(refused(&[0xab; 1025], &[3]), KeyError::Size { bits: 8200 });
        modulus[0] = 0x7f;
        assert_eq!(refused(&modulus, &[3]), KeyError::Size { bits: 2047 });
        modulus[0] = 0x80;
        modulus[255] = 0xaa;
        assert_eq!(refused(&modulus, &[3]), KeyError::Numbers, "an even modulus");
    }
}
