//! Whose a request is: JSON Web Tokens (RFC 7519), signed with RS256 (RFC 7518 §3.3) and nothing else.
//!
//! [`Tokens`] holds all that an answer depends on: the keys, what a token must say, and what has been verified
//! before. A signature check is the costliest thing the server does, so it is asked for by itself: [`Tokens::lookup`]
//! refuses whatever can be refused without one and answers from the cache; only what is left has to be handed to
//! [`Tokens::verify`], as many a turn as the caller can afford.
//!
//! Nothing here knows files, requests or who may see what. No error, and nothing that is logged, holds any part of a
//! token.

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

/// What a token must be besides well signed.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The issuers believed, one of which `iss` must be; empty: any, even none.
    pub issuers: Vec<String>,
    /// What `aud` must be or contain (RFC 7519 §4.1.3); `None`: `aud` is not looked at.
    pub audience: Option<String>,
    /// How far the clock of whoever makes the tokens may be off: `exp` counts as so much later, `nbf` as so much
    /// earlier.
    pub leeway: Duration,
    /// The most bytes a token may have.
    pub token_bytes: usize,
}

/// What a good token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `data.id`: whose it is.
    pub user: UserId,
    /// `exp`, without leeway: see [`Tokens::ends_at`].
    pub expires: Wall,
    /// The key that verified it: see [`Tokens::knows_key`].
    pub key: KeyId,
}

/// What can be said of a token without a signature check.
#[derive(Debug)]
pub enum Lookup {
    /// All there is to say.
    Known(Result<Claims, TokenError>),
    /// Only that its signature has to be checked.
    Unverified(Box<Unverified>),
}

/// A token that is good if its signature is: all of it that still matters. If it has waited for its turn it is first to be
/// handed to [`Tokens::settle`], then to [`Tokens::verify`].
#[derive(Debug)]
pub struct Unverified {
    digest: Digest,
    /// SHA-256 of what was signed.
    signed: digest::Digest,
    signature: Vec<u8>,
    /// The keys that may have made the signature; never empty.
    candidates: Vec<KeyId>,
    payload: Payload,
}

/// SHA-256 of a whole token.
type Digest = [u8; 32];

/// Keys, rules, and the tokens that have been verified with them.
#[derive(Debug)]
pub struct Tokens {
    keys: KeySet,
    rules: Rules,
    cache: Cache,
    counters: TokenCounters,
}

/// What has been found out about tokens since the start, in numbers that only grow.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenCounters {
    /// Looked up and found in the cache.
    pub cached: u64,
    /// Looked up and refused without a signature check: malformed, expired, of another issuer …
    pub refused: u64,
    /// Signatures checked and found good.
    pub verified: u64,
    /// Signatures checked and found bad.
    pub bad_signatures: u64,
}

impl Tokens {
    /// Remembers up to `cache_entries` verified tokens, in about 75 bytes each; none if it is 0.
    #[must_use]
    pub fn new(keys: KeySet, rules: Rules, cache_entries: usize) -> Self {
        Self { keys, rules, cache: Cache::new(cache_entries), counters: TokenCounters::default() }
    }

    /// What can be said of `token` at the moment `wall` without checking a signature. What comes of a token in the end
    /// is the same whether it is remembered or not.
    pub fn lookup(&mut self, token: &str, wall: Wall) -> Lookup {
        // Nothing more is spent on what is too long or has the wrong form, not even a digest.
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

    /// What has been found out about a token since it was looked up, without checking its signature: its time is over, or
    /// it has been verified for another request. `None` if there is nothing new.
    pub fn settle(&mut self, unverified: &Unverified, wall: Wall) -> Option<Result<Claims, TokenError>> {
        if let Err(error) = unverified.payload.check_validity(wall, self.rules.leeway) {
            self.counters.refused += 1;
            return Some(Err(error));
        }
        let (claims, _) = self.cache.get(&unverified.digest)?;
        self.counters.cached += 1;
        Some(Ok(claims))
    }

    /// Checks the signature (about 60 µs with RSA-4096, for each key that may have made it) and remembers the token
    /// if it is good.
    ///
    /// # Errors
    ///
    /// [`TokenError::BadSignature`], or [`TokenError::UnknownKey`] if the keys were replaced since.
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

    /// What has been found out since the start.
    #[must_use]
    pub const fn counters(&self) -> TokenCounters {
        self.counters
    }

    /// How many verified tokens are remembered.
    #[must_use]
    pub const fn cached(&self) -> usize {
        self.cache.len()
    }

    /// The moment from which the claims count no more: `exp` and the leeway.
    #[must_use]
    pub fn ends_at(&self, claims: &Claims) -> Wall {
        claims.expires + self.rules.leeway
    }

    /// The keys, for another use.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn into_keys(self) -> KeySet {
        self.keys
    }

    /// Takes other keys into use and forgets every verified token, unless they are the same keys. Returns whether a
    /// key is gone, so that there may be subscriptions whose key is not known any more.
    pub fn replace_keys(&mut self, keys: KeySet) -> bool {
        let key_is_gone = !self.keys.ids().all(|id| keys.knows(id));
        let key_is_new = !keys.ids().all(|id| self.keys.knows(id));
        if key_is_gone || key_is_new {
            self.cache.clear();
        }
        self.keys = keys;
        key_is_gone
    }

    /// Whether the key is in use: a subscription whose token it verified goes on as long as it is.
    #[must_use]
    pub fn knows_key(&self, key: KeyId) -> bool {
        self.keys.knows(key)
    }

    /// Why `token` is accepted or not at the moment `wall`, step by step. It checks the signature and leaves the cache
    /// alone.
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

    /// Everything but form and signature, cheapest first; tells `passed` what the token satisfies.
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
    /// The most signatures [`Tokens::verify`] may have to check, at least 1: what to charge to a budget.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.candidates.len()
    }

    /// One that no key has signed.
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
