//! A client's request.

use std::borrow::Cow;

use super::id::Subject;
use super::object::{self, Member};
use super::reply::Code;

/// What a client asks for: `{"auth": …, "action": …, "event": {"type": …, "id": …}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The token, never empty; nothing of it has been looked at.
    pub auth: Cow<'a, str>,
    /// What to do.
    pub action: Action,
    /// Which events it is about.
    pub subject: Subject,
}

/// What a request wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Subscribe.
    Attach,
    /// Unsubscribe.
    Detach,
}

impl<'a> Request<'a> {
    /// Reads a text message.
    ///
    /// # Errors
    ///
    /// The first of these that applies:
    /// - [`Code::InvalidRequest`]: the text is no JSON object, or nests deeper than 128 levels;
    /// - [`Code::TokenNotSet`]: `auth` is absent, `null` or `""`;
    /// - [`Code::InvalidRequest`]: anything else is not as it should be, `auth` of another type included, or a known
    ///   member is there twice. (A string that holds an escaped lone surrogate is no text, so no `auth` either.)
    pub fn parse(text: &'a str) -> Result<Self, Code> {
        let ([auth, action, event], outcome) = object::read(text, ["auth", "action", "event"]);
        outcome.map_err(|_| Code::InvalidRequest)?;
        let auth = match auth {
            Member::Absent => return Err(Code::TokenNotSet),
            Member::Once(auth) if auth.is_null() => return Err(Code::TokenNotSet),
            Member::Once(auth) => auth.string().ok_or(Code::InvalidRequest)?,
            Member::Twice(_) => return Err(Code::InvalidRequest),
        };
        if auth.is_empty() {
            return Err(Code::TokenNotSet);
        }
        let (Member::Once(action), Member::Once(event)) = (action, event) else {
            return Err(Code::InvalidRequest);
        };
        let action = action.string().and_then(|name| Action::from_name(&name)).ok_or(Code::InvalidRequest)?;
        let subject = Subject::read_event(event).map_err(|_| Code::InvalidRequest)?;
        Ok(Self { auth, action, subject })
    }

    /// Appends the request as JSON.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"auth\":");
        out.extend_from_slice(serde_json::Value::from(&*self.auth).to_string().as_bytes());
        out.extend_from_slice(b",\"action\":\"");
        out.extend_from_slice(self.action.as_str().as_bytes());
        out.extend_from_slice(b"\",\"event\":{");
        self.subject.write_members(out);
        out.extend_from_slice(b"}}");
    }
}

impl Action {
    /// The action's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Detach => "detach",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Attach, Self::Detach].into_iter().find(|action| action.as_str() == name)
    }
}
