//! A token's compact serialization (RFC 7515 §7.1) and its header (§4).

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::TokenError;
use crate::json::object::{self, Member};
use crate::json::problem::What;
use crate::json::value::Value;

/// A part of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first.
    Header,
    /// The second.
    Payload,
    /// The third.
    Signature,
}

/// A token's parts, still encoded.
pub(super) struct Compact<'t> {
    /// The first two parts and the dot between them: the text that is signed (RFC 7515 §5.1).
    pub(super) signed: &'t str,
    pub(super) header: &'t str,
    pub(super) payload: &'t str,
    pub(super) signature: &'t str,
}

/// The members of a header that are checked. Those that name or contain a key (`jku`, `jwk`, `x5u`, `x5c`) are ignored.
pub(super) struct Header<'j> {
    algorithm: Option<Value<'j>>,
    has_critical: bool,
    pub(super) kid: Kid<'j>,
}

/// The header's `kid`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kid<'j> {
    Absent,
    Named(Cow<'j, str>),
    /// Not a string, so it matches no key.
    NotText,
}

impl<'t> Compact<'t> {
    /// Splits a token at its dots.
    ///
    /// # Errors
    ///
    /// It is longer than `limit` bytes, or has not exactly two dots.
    pub(super) fn split(token: &'t str, limit: usize) -> Result<Self, TokenError> {
        if token.len() > limit {
            return Err(TokenError::TooLong { limit });
        }
        let mut dots = memchr::memchr_iter(b'.', token.as_bytes());
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(TokenError::NotThreeParts);
        };
        Ok(Self {
            signed: &token[..second],
            header: &token[..first],
            payload: &token[first + 1..second],
            signature: &token[second + 1..],
        })
    }
}

/// Decodes a part of a token.
pub(super) fn decode(part: Part, text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::NotBase64url(part))
}

/// Decodes a part of a token that is JSON text.
pub(super) fn decode_json(part: Part, text: &str) -> Result<String, TokenError> {
    String::from_utf8(decode(part, text)?).map_err(|_| TokenError::NotAnObject(part))
}

/// Reads the members with these names from `json`, a decoded part. Other members are ignored.
pub(super) fn read_members<'j, const N: usize>(
    part: Part,
    json: &'j str,
    names: [&'static str; N],
) -> Result<[Option<Value<'j>>; N], TokenError> {
    let (members, outcome) = object::read(json, names);
    match outcome.map_err(|problem| problem.what) {
        Ok(()) => {}
        Err(What::TooDeep { .. }) => return Err(TokenError::TooDeep(part)),
        Err(_) => return Err(TokenError::NotAnObject(part)),
    }
    let mut values = [None; N];
    for ((value, member), name) in values.iter_mut().zip(members).zip(names) {
        *value = match member {
            Member::Absent => None,
            Member::Once(value) => Some(value),
            Member::Twice(_) => return Err(TokenError::Twice(name)),
        };
    }
    Ok(values)
}

impl<'j> Header<'j> {
    /// Reads a decoded header.
    pub(super) fn parse(json: &'j str) -> Result<Self, TokenError> {
        let [algorithm, kid, critical, _] = read_members(Part::Header, json, ["alg", "kid", "crit", "typ"])?;
        let kid = match kid.map(Value::string) {
            None => Kid::Absent,
            Some(Some(kid)) => Kid::Named(kid),
            Some(None) => Kid::NotText,
        };
        Ok(Self { algorithm, has_critical: critical.is_some(), kid })
    }

    /// Checks that the algorithm is RS256.
    pub(super) fn check_algorithm(&self) -> Result<(), TokenError> {
        match self.algorithm.and_then(Value::string) {
            Some(algorithm) if algorithm == "RS256" => Ok(()),
            _ => Err(TokenError::WrongAlgorithm),
        }
    }

    /// Checks that there is no `crit`: no extension is supported.
    pub(super) const fn check_extensions(&self) -> Result<(), TokenError> {
        if self.has_critical { Err(TokenError::Critical) } else { Ok(()) }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}
