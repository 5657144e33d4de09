//! Why a token is rejected.

use super::jws::Part;

/// Why a token is rejected; a client only gets [`Code::InvalidToken`](crate::api::Code::InvalidToken).
/// Each text is a sentence about the token and contains no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than allowed.
    #[error("the token is longer than {limit} bytes")]
    TooLong {
        /// `[limits] tokenBytes`.
        limit: usize,
    },
    /// It is not `header.payload.signature` (RFC 7515 §7.1).
    #[error("the token is not three parts joined by two dots")]
    NotThreeParts,
    /// A part is not base64url without padding, in its one canonical form (RFC 7515 §2, RFC 4648 §3.5).
    #[error("the token's {0} is not canonical base64url without padding")]
    NotBase64url(Part),
    /// A part is not the UTF-8 text of one JSON object.
    #[error("the token's {0} is not a JSON object")]
    NotAnObject(Part),
    /// A part nests arrays and objects deeper than 128 levels.
    #[error("the token's {0} nests too deep")]
    TooDeep(Part),
    /// A known member occurs twice (RFC 7519 §4).
    #[error("the token has {0} twice")]
    Twice(&'static str),
    /// `alg` is absent or not RS256 (RFC 8725 §3.1).
    #[error("the token's algorithm is not RS256")]
    WrongAlgorithm,
    /// `crit` demands an extension, and none is supported (RFC 7515 §4.1.11).
    #[error("the token's header demands an extension (crit)")]
    Critical,
    /// No key can have signed a token with this `kid`.
    #[error("no key is known for the token's kid")]
    UnknownKey,
    /// A required member is absent.
    #[error("the token has no {0}")]
    Missing(&'static str),
    /// A member has the wrong type.
    #[error("the token's {member} is not {wanted}")]
    WrongType {
        /// The member's path.
        member: &'static str,
        /// The type it should have.
        wanted: &'static str,
    },
    /// A time is beyond the year 9999.
    #[error("the token's {0} is beyond the year 9999")]
    BeyondYear9999(&'static str),
    /// `iss` is none of the accepted issuers.
    #[error("the token's issuer is not one of those in the configuration")]
    WrongIssuer,
    /// `aud` neither is nor contains the configured audience.
    #[error("the token is not meant for the audience in the configuration")]
    WrongAudience,
    /// `exp` plus the leeway is over.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come yet, even with the leeway.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The signature does not verify with any candidate key.
    #[error("the token's signature is not that of any known key")]
    BadSignature,
}
