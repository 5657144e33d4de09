//! What a token has to satisfy, one by one: for telling a person why his token is not accepted.

use std::fmt;

use super::{Claims, TokenError};

/// One thing a token has to satisfy. Its text is a plain statement about the token, true once it is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Its length, and that it is three parts.
    Form,
    /// The header can be read.
    Header,
    /// `alg` is RS256.
    Algorithm,
    /// The header demands no extension.
    Extensions,
    /// There is a key that may have signed it.
    Key,
    /// The payload can be read.
    Payload,
    /// `exp` and `nbf` are times.
    Times,
    /// `iss`.
    Issuer,
    /// `aud`.
    Audience,
    /// `data.id`.
    User,
    /// Neither expired nor from the future.
    Validity,
    /// The signature.
    Signature,
}

/// Why a token is accepted or not, step by step.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What the token satisfies, in the order of the checks, up to the first it does not.
    pub passed: Vec<Check>,
    /// What comes of it.
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
