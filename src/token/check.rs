//! The checks a token has to pass, for explaining why one is rejected.

use std::fmt;

use super::{Claims, TokenError};

/// One check. Its text is a statement about the token that is true if the check passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is short enough and has three parts.
    Form,
    /// The header is a JSON object.
    Header,
    /// `alg` is RS256.
    Algorithm,
    /// The header demands no extension.
    Extensions,
    /// There is a key that may have signed it.
    Key,
    /// The payload is a JSON object.
    Payload,
    /// `exp` and `nbf` are times.
    Times,
    /// `iss` is an accepted issuer.
    Issuer,
    /// `aud` is or contains the audience.
    Audience,
    /// `data.id` is an id.
    User,
    /// `exp` is not over, and `nbf` has come.
    Validity,
    /// The signature is good.
    Signature,
}

/// Why a token is accepted or not, step by step.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The checks passed, in their order, up to the first that failed.
    pub passed: Vec<Check>,
    /// The final outcome.
    pub outcome: Result<Claims, TokenError>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "it is short enough and has three parts",
            Self::Header => "its header is a JSON object",
            Self::Algorithm => "its algorithm is RS256",
            Self::Extensions => "its header demands no extension",
            Self::Key => "there is a key it may be signed with",
            Self::Payload => "its payload is a JSON object",
            Self::Times => "it says when it expires",
            Self::Issuer => "its issuer is believed",
            Self::Audience => "it is meant for this service",
            Self::User => "it names its user",
            Self::Validity => "it is valid at this moment",
            Self::Signature => "its signature is good",
        })
    }
}
