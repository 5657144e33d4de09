//! A token's payload: its claims (RFC 7519 §4), and whether they hold at a moment.

use std::time::Duration;

use super::TokenError;
use super::jws::{Part, read_members};
use crate::api::UserId;
use crate::json::value::Value;
use crate::time::Wall;

/// 10000-01-01T00:00:00Z in seconds since 1970.
const YEAR_10000: f64 = 253_402_300_800.0;

/// The claims that are needed after the payload's text is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) user: UserId,
    /// `exp`.
    pub(super) expires: Wall,
    /// `nbf`; 0 if absent.
    pub(super) not_before: Wall,
}

/// The members of a payload that are checked, each as JSON text.
pub(super) struct Members<'j> {
    expires: Option<Value<'j>>,
    not_before: Option<Value<'j>>,
    issuer: Option<Value<'j>>,
    audience: Option<Value<'j>>,
    data: Option<Value<'j>>,
}

impl Payload {
    /// Checks `exp` and `nbf` at `wall`; the issuer's clock may be off by `leeway`.
    ///
    /// # Errors
    ///
    /// [`TokenError::Expired`] or [`TokenError::NotYetValid`].
    pub(super) fn check_validity(&self, wall: Wall, leeway: Duration) -> Result<(), TokenError> {
        if wall >= self.expires + leeway {
            Err(TokenError::Expired)
        } else if wall + leeway < self.not_before {
            Err(TokenError::NotYetValid)
        } else {
            Ok(())
        }
    }
}

impl<'j> Members<'j> {
    /// Reads a decoded payload.
    pub(super) fn read(json: &'j str) -> Result<Self, TokenError> {
        let names = ["exp", "nbf", "iss", "aud", "data", "iat", "jti"];
        let [expires, not_before, issuer, audience, data, _, _] = read_members(Part::Payload, json, names)?;
        Ok(Self { expires, not_before, issuer, audience, data })
    }

    /// Reads `exp` and `nbf`.
    pub(super) fn times(&self) -> Result<(Wall, Wall), TokenError> {
        let expires = self.expires.ok_or(TokenError::Missing("exp"))?;
        let expires = numeric_date("exp", expires)?;
        let not_before = self.not_before.map(|value| numeric_date("nbf", value)).transpose()?;
        Ok((expires, not_before.unwrap_or_default()))
    }

    /// Checks that `iss`, if present, is a string, and that it is one of `issuers`, if there are any.
    pub(super) fn check_issuer(&self, issuers: &[String]) -> Result<(), TokenError> {
        let issuer = match self.issuer {
            None if issuers.is_empty() => return Ok(()),
            None => return Err(TokenError::Missing("iss")),
            Some(issuer) => {
                issuer.string().ok_or(TokenError::WrongType { member: "iss", wanted: "a string" })?
            }
        };
        if issuers.is_empty() || issuers.iter().any(|accepted| *accepted == issuer) {
            Ok(())
        } else {
            Err(TokenError::WrongIssuer)
        }
    }

    /// Checks that `aud`, a string or an array of strings, is or contains `audience` (RFC 7519 §4.1.3).
    pub(super) fn check_audience(&self, audience: Option<&str>) -> Result<(), TokenError> {
        let Some(wanted) = audience else { return Ok(()) };
        let audience = self.audience.ok_or(TokenError::Missing("aud"))?;
        let (mut is_wanted, mut all_text) = (false, true);
        let mut check = |value: Value<'_>| match value.string() {
            Some(text) => is_wanted |= text == wanted,
            None => all_text = false,
        };
        if !audience.for_each_element(&mut check) {
            check(audience);
        }
        match (all_text, is_wanted) {
            (false, _) => {
                Err(TokenError::WrongType { member: "aud", wanted: "a string or an array of strings" })
            }
            (true, false) => Err(TokenError::WrongAudience),
            (true, true) => Ok(()),
        }
    }

    /// Reads `data.id`.
    pub(super) fn user(&self) -> Result<UserId, TokenError> {
        let data = self.data.ok_or(TokenError::Missing("data"))?;
        if !data.text().starts_with('{') {
            return Err(TokenError::WrongType { member: "data", wanted: "an object" });
        }
        let [id, _] = read_members(Part::Payload, data.text(), ["id", "name"])?;
        let id = id.ok_or(TokenError::Missing("data.id"))?;
        id.string()
            .and_then(|id| id.parse().ok())
            .ok_or(TokenError::WrongType { member: "data.id", wanted: "a string of 24 hexadecimal digits" })
    }
}

/// Reads a `NumericDate` (RFC 7519 §2): seconds since 1970, with or without a fraction.
fn numeric_date(member: &'static str, value: Value<'_>) -> Result<Wall, TokenError> {
    if !value.text().starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Err(TokenError::WrongType { member, wanted: "a number" });
    }
    // The JSON is well formed, so a number that does not parse is too large.
    match value.text().parse::<f64>() {
        Ok(seconds) if seconds < YEAR_10000 => Ok(milliseconds(seconds)),
        _ => Err(TokenError::BeyondYear9999(member)),
    }
}

/// Whole milliseconds of `seconds`, which are less than [`YEAR_10000`]; times before 1970 become 1970.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates and drops the fraction"
)]
fn milliseconds(seconds: f64) -> Wall {
    Wall((seconds * 1000.0) as u64)
}
