//! Authentication: JSON Web Tokens (RFC 7519) signed with RS256 (RFC 7518 §3.3) and nothing else.
//!
//! [`Tokens`] owns the keys, the rules a token has to satisfy, and the cache of verified tokens. A signature check is
//! the most expensive operation of the server, so it is a step of its own: [`Tokens::lookup`] decides what it can
//! without one, and the caller hands the rest to [`Tokens::verify`], as many in a turn as its budget allows.
//!
//! Does not know files, requests or the access policy. Neither errors nor log lines contain any part of a token.

mod cache;
mod check;
mod claims;
mod error;
mod jws;
mod keys;
mod rsa;
mod signing;

use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};

use crate::api::UserId;
use crate::time::Wall;
use cache::Cache;
use claims::Payload;
use jws::{Compact, Header};

pub use check::{Check, Explanation};
pub use error::TokenError;
pub use jws::Part;
pub use keys::{KeyError, KeyId, KeySet};
pub use rsa::PemError;
pub use signing::{SigningKey, SigningKeyError};

/// What a token has to satisfy besides its signature.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The issuers accepted in `iss`; empty: any or none.
    pub issuers: Vec<String>,
    /// What `aud` has to be or contain (RFC 7519 §4.1.3); `None`: `aud` is ignored.
    pub audience: Option<String>,
    /// How far the issuer's clock may be off: added to `exp`, subtracted from `nbf`.
    pub leeway: Duration,
    /// The longest token accepted, in bytes.
    pub token_bytes: usize,
}

/// What a good token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `data.id`.
    pub user: UserId,
    /// `exp`, without leeway: see [`Tokens::ends_at`].
    pub expires: Wall,
    /// The key that verified it: see [`Tokens::knows_key`].
    pub key: KeyId,
}

/// The outcome of [`Tokens::lookup`].
#[derive(Debug)]
pub enum Lookup {
    /// The final outcome.
    Known(Result<Claims, TokenError>),
    /// The signature has to be checked.
    Unverified(Box<Unverified>),
}

/// A token that has passed every check except its signature's. If it had to wait, call [`Tokens::settle`] before
/// [`Tokens::verify`].
#[derive(Debug)]
pub struct Unverified {
    digest: Digest,
    /// SHA-256 of the signed part.
    signed: digest::Digest,
    signature: Vec<u8>,
    /// The keys that may have made the signature. Invariant: not empty.
    candidates: Vec<KeyId>,
    payload: Payload,
}

/// SHA-256 of a whole token.
type Digest = [u8; 32];

/// Keys, rules, and the tokens verified with them.
///
/// Invariant: every token in `cache` was verified with `keys`.
#[derive(Debug)]
pub struct Tokens {
    keys: KeySet,
    rules: Rules,
    cache: Cache,
    counters: TokenCounters,
}

/// Counters of token checks.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenCounters {
    /// Found in the cache.
    pub cached: u64,
    /// Refused without a signature check: malformed, expired, of another issuer …
    pub refused: u64,
    /// Signatures found good.
    pub verified: u64,
    /// Signatures found bad.
    pub bad_signatures: u64,
}

impl Tokens {
    /// Caches up to `cache_entries` verified tokens, at about 75 bytes each; 0 turns the cache off.
    #[must_use]
    pub fn new(keys: KeySet, rules: Rules, cache_entries: usize) -> Self {
        Self { keys, rules, cache: Cache::new(cache_entries), counters: TokenCounters::default() }
    }

    /// Checks `token` at `wall`, except its signature. The cache never changes the final outcome.
    pub fn lookup(&mut self, token: &str, wall: Wall) -> Lookup {
        // Not even a digest is spent on a token that is too long or malformed.
        let compact = match Compact::split(token, self.rules.token_bytes) {
            Ok(compact) => compact,
            Err(error) => {
                self.counters.refused += 1;
                return Lookup::Known(Err(error));
            }
        };
        let digest = digest_of(token);
        if let Some((claims, payload)) = self.cache.get(&digest) {
            self.counters.cached += 1;
            return Lookup::Known(payload.check_validity(wall, self.rules.leeway).map(|()| claims));
        }
        match self.examine(&compact, digest, wall, |_| {}) {
            Ok(unverified) => Lookup::Unverified(Box::new(unverified)),
            Err(error) => {
                self.counters.refused += 1;
                Lookup::Known(Err(error))
            }
        }
    }

    /// The outcome for a token that has expired, or was verified for another request, since its lookup; `None` if its
    /// signature still has to be checked.
    pub fn settle(&mut self, unverified: &Unverified, wall: Wall) -> Option<Result<Claims, TokenError>> {
        if let Err(error) = unverified.payload.check_validity(wall, self.rules.leeway) {
            self.counters.refused += 1;
            return Some(Err(error));
        }
        let (claims, _) = self.cache.get(&unverified.digest)?;
        self.counters.cached += 1;
        Some(Ok(claims))
    }

    /// Checks the signature, which takes about 60 µs with RSA-4096 for each candidate key, and caches a good token.
    ///
    /// # Errors
    ///
    /// [`TokenError::BadSignature`], or [`TokenError::UnknownKey`] if the keys were replaced since the lookup.
    pub fn verify(&mut self, unverified: &Unverified) -> Result<Claims, TokenError> {
        let checked = self.check_signature(unverified);
        match checked {
            Ok(_) => self.counters.verified += 1,
            Err(_) => self.counters.bad_signatures += 1,
        }
        let claims = checked?;
        self.cache.insert(unverified.digest, claims, unverified.payload);
        Ok(claims)
    }

    /// The counters since the start.
    #[must_use]
    pub const fn counters(&self) -> TokenCounters {
        self.counters
    }

    /// The number of cached tokens.
    #[must_use]
    pub const fn cached(&self) -> usize {
        self.cache.len()
    }

    /// When the claims expire: `exp` plus the leeway.
    #[must_use]
    pub fn ends_at(&self, claims: &Claims) -> Wall {
        claims.expires + self.rules.leeway
    }

    /// The keys, to be reused.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn into_keys(self) -> KeySet {
        self.keys
    }

    /// Replaces the keys and, unless they are the same, clears the cache. Returns whether a key was removed: then
    /// subscriptions may rest on a key that is no longer known.
    pub fn replace_keys(&mut self, keys: KeySet) -> bool {
        let key_is_gone = !self.keys.ids().all(|id| keys.knows(id));
        let key_is_new = !keys.ids().all(|id| self.keys.knows(id));
        if key_is_gone || key_is_new {
            self.cache.clear();
        }
        self.keys = keys;
        key_is_gone
    }

    /// Whether the key is in use. A subscription ends with the key that verified its token.
    #[must_use]
    pub fn knows_key(&self, key: KeyId) -> bool {
        self.keys.knows(key)
    }

    /// Explains, step by step, why `token` is accepted or not at `wall`. Checks the signature and does not use the cache.
    #[must_use]
    pub fn explain(&self, token: &str, wall: Wall) -> Explanation {
        let mut passed = Vec::new();
        let outcome = Compact::split(token, self.rules.token_bytes).and_then(|compact| {
            passed.push(Check::Form);
            let unverified = self.examine(&compact, digest_of(token), wall, |check| passed.push(check))?;
            let claims = self.check_signature(&unverified)?;
            passed.push(Check::Signature);
            Ok(claims)
        });
        Explanation { passed, outcome }
    }

    /// Runs every check except form and signature, cheapest first, and calls `passed` for each that succeeds.
    fn examine(
        &self,
        compact: &Compact<'_>,
        digest: Digest,
        wall: Wall,
        mut passed: impl FnMut(Check),
    ) -> Result<Unverified, TokenError> {
        let header = jws::decode_json(Part::Header, compact.header)?;
        let header = Header::parse(&header)?;
        passed(Check::Header);
        header.check_algorithm()?;
        passed(Check::Algorithm);
        header.check_extensions()?;
        passed(Check::Extensions);
        let mut candidates = self.keys.candidates(&header.kid).peekable();
        candidates.peek().ok_or(TokenError::UnknownKey)?;
        passed(Check::Key);
        let payload = jws::decode_json(Part::Payload, compact.payload)?;
        let payload = claims::Members::read(&payload)?;
        passed(Check::Payload);
        let (expires, not_before) = payload.times()?;
        passed(Check::Times);
        payload.check_issuer(&self.rules.issuers)?;
        passed(Check::Issuer);
        payload.check_audience(self.rules.audience.as_deref())?;
        passed(Check::Audience);
        let payload = Payload { user: payload.user()?, expires, not_before };
        passed(Check::User);
        payload.check_validity(wall, self.rules.leeway)?;
        passed(Check::Validity);
        let signature = jws::decode(Part::Signature, compact.signature)?;
        let candidates: Vec<_> =
            candidates.filter(|key| key.signature_bytes() == signature.len()).map(keys::Key::id).collect();
        if candidates.is_empty() {
            return Err(TokenError::BadSignature);
        }
        let signed = digest::digest(&SHA256, compact.signed.as_bytes());
        Ok(Unverified { digest, signed, signature, candidates, payload })
    }

    fn check_signature(&self, unverified: &Unverified) -> Result<Claims, TokenError> {
        let mut error = TokenError::UnknownKey;
        for key in unverified.candidates.iter().filter_map(|id| self.keys.get(*id)) {
            if key.verify(&unverified.signed, &unverified.signature) {
                let Payload { user, expires, .. } = unverified.payload;
                return Ok(Claims { user, expires, key: key.id() });
            }
            error = TokenError::BadSignature;
        }
        Err(error)
    }
}

impl Unverified {
    /// The most signature checks [`Tokens::verify`] can need: at least 1.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.candidates.len()
    }

    /// A token that no key has signed.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let payload = Payload {
            user: UserId(crate::api::ObjectId::from_bytes([0; 12])),
            expires: Wall(0),
            not_before: Wall(0),
        };
        let signed = digest::digest(&SHA256, b"");
        Self { digest: Digest::default(), signed, signature: Vec::new(), candidates: Vec::new(), payload }
    }
}

fn digest_of(token: &str) -> Digest {
    sha256(token.as_bytes())
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
    digest
}

#[cfg(test)]
mod tests;
