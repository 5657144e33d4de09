//! Why a token is not accepted.

use super::jws::Part;

/// Why a token is not accepted; to a client all of it is [`Code::InvalidToken`](crate::api::Code::InvalidToken).
/// Each text is a plain sentence about the token and holds no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It has more bytes than a token may have.
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
    /// A member we know stands twice where it may stand once (RFC 7519 §4).
    #[error("the token has {0} twice")]
    Twice(&'static str),
    /// `alg` is absent or anything else than RS256 (RFC 8725 §3.1).
    #[error("the token's algorithm is not RS256")]
    WrongAlgorithm,
    /// `crit` is there: it demands an extension, and none is understood (RFC 7515 §4.1.11).
    #[error("the token's header demands an extension (crit)")]
    Critical,
    /// No key is for tokens with this `kid`.
    #[error("no key is known for the token's kid")]
    UnknownKey,
    /// A required member is absent.
    #[error("the token has no {0}")]
    Missing(&'static str),
    /// A member is of the wrong type.
    #[error("the token's {member} is not {wanted}")]
    WrongType {
        /// Its name.
        member: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A time is beyond the year 9999.
    #[error("the token's {0} is beyond the year 9999")]
    BeyondYear9999(&'static str),
    /// `iss` is none of the issuers believed.
    #[error("the token's issuer is not one of those in the configuration")]
    WrongIssuer,
    /// `aud` is not, and does not contain, the audience configured.
    #[error("the token is not meant for the audience in the configuration")]
    WrongAudience,
    /// `exp` and the leeway are over.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come yet, even with the leeway.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The signature is by none of the keys, or of something else.
    #[error("the token's signature is not that of any known key")]
    BadSignature,
}
