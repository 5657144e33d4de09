//! The server's replies to a client, and the message that a subscription was lost.

use std::fmt;

use super::id::Subject;

/// `code`: the outcome of a request, or why a subscription was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// `auth` is absent, `null` or `""`.
    TokenNotSet = 1,
    /// The token is malformed, expired or badly signed, or has the wrong algorithm or issuer or no user.
    InvalidToken = 2,
    /// The token is good, but its user does not exist.
    UserNotExists = 3,
    /// The user may not see this object.
    NoAccess = 4,
    /// The request is malformed.
    InvalidRequest = 5,
    /// The connection is at its limit of subscriptions.
    TooManySubscriptions = 6,
    /// The connection exceeds its request rate.
    TooManyRequests = 7,
    /// The access service gave no answer in time.
    Unavailable = 8,
}

impl Code {
    /// Every code, each at the index of its number.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::TokenNotSet,
        Self::InvalidToken,
        Self::UserNotExists,
        Self::NoAccess,
        Self::InvalidRequest,
        Self::TooManySubscriptions,
        Self::TooManyRequests,
        Self::Unavailable,
    ];

    /// The code's number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// `status`: 200 or 400.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::TokenNotSet
            | Self::InvalidToken
            | Self::UserNotExists
            | Self::NoAccess
            | Self::InvalidRequest
            | Self::TooManySubscriptions
            | Self::TooManyRequests
            | Self::Unavailable => 400,
        }
    }

    /// `message`.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Ok => "Ok",
            Self::TokenNotSet => "Token not set",
            Self::InvalidToken => "Invalid token",
            Self::UserNotExists => "User not exists",
            Self::NoAccess => "Not access for dataset",
            Self::InvalidRequest => "Invalid request",
            Self::TooManySubscriptions => "Too many subscriptions",
            Self::TooManyRequests => "Too many requests",
            Self::Unavailable => "Temporarily unavailable",
        }
    }

    /// The whole text message that replies to a request.
    #[must_use]
    pub const fn reply(self) -> &'static str {
        match self {
            Self::Ok => r#"{"status":200,"message":"Ok","code":0}"#,
            Self::TokenNotSet => r#"{"status":400,"message":"Token not set","code":1}"#,
            Self::InvalidToken => r#"{"status":400,"message":"Invalid token","code":2}"#,
            Self::UserNotExists => r#"{"status":400,"message":"User not exists","code":3}"#,
            Self::NoAccess => r#"{"status":400,"message":"Not access for dataset","code":4}"#,
            Self::InvalidRequest => r#"{"status":400,"message":"Invalid request","code":5}"#,
            Self::TooManySubscriptions => r#"{"status":400,"message":"Too many subscriptions","code":6}"#,
            Self::TooManyRequests => r#"{"status":400,"message":"Too many requests","code":7}"#,
            Self::Unavailable => r#"{"status":400,"message":"Temporarily unavailable","code":8}"#,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.message())
    }
}

impl std::error::Error for Code {}

/// Appends the unsolicited message that the subscription to `subject` was lost, and why.
pub fn encode_loss(code: Code, subject: Subject, out: &mut Vec<u8>) {
    let reply = code.reply();
    out.extend_from_slice(&reply.as_bytes()[..reply.len() - 1]);
    out.extend_from_slice(b",\"event\":{");
    subject.write_members(out);
    out.extend_from_slice(b"}}");
}

#[cfg(test)]
mod tests {
    use super::super::event_type::EventType;
    use super::*;

    #[test]
    fn the_replies_of_the_contract() {
        assert_eq!(Code::Ok.reply(), r#"{"status":200,"message":"Ok","code":0}"#);
        assert_eq!(Code::InvalidRequest.reply(), r#"{"status":400,"message":"Invalid request","code":5}"#);
    }

    #[test]
    fn a_reply_is_made_of_its_codes_parts() {
        for (place, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), place);
            let (status, message) = (code.status(), code.message());
            let expected = format!(r#"{{"status":{status},"message":"{message}","code":{place}}}"#);
            assert_eq!(code.reply(), expected);
        }
    }

    #[test]
    fn a_loss_names_what_is_lost_and_why() {
        let id = Some("610217e481f6fc54736209e0".parse().unwrap());
        for (code, kind, id, expected) in [
            (
                Code::InvalidToken,
                EventType::IssueUpdate,
                id,
                r#"{"status":400,"message":"Invalid token","code":2,"event":{"type":"issueUpdate","id":"610217e481f6fc54736209e0"}}"#,
            ),
            (
                Code::UserNotExists,
                EventType::Notification,
                None,
                r#"{"status":400,"message":"User not exists","code":3,"event":{"type":"notification","id":""}}"#,
            ),
        ] {
            let mut message = Vec::new();
            encode_loss(code, Subject { kind, id }, &mut message);
            assert_eq!(String::from_utf8(message).unwrap(), expected);
        }
    }
}
