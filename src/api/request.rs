//! A client's request.

use std::borrow::Cow;

use super::id::Subject;
use super::reply::Code;
use crate::json::object::{self, Member};

/// A client's request: `{"auth": …, "action": …, "event": {"type": …, "id": …}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The token, not empty and not checked.
    pub auth: Cow<'a, str>,
    /// What to do.
    pub action: Action,
    /// What to subscribe to or unsubscribe from.
    pub subject: Subject,
}

/// What a request asks for.
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
    /// - [`Code::InvalidRequest`]: the text is not a JSON object, or nests deeper than 128 levels;
    /// - [`Code::TokenNotSet`]: `auth` is absent, `null` or `""`;
    /// - [`Code::InvalidRequest`]: a known member occurs twice or has a wrong value. That includes an `auth` that is not a
    ///   string, or is one with an escaped lone surrogate.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::event_type::EventType;
    use super::super::id::ObjectId;
    use super::*;

    const ID: &str = "610217e481f6fc54736209e0";

    fn subject(kind: EventType, id: Option<&str>) -> Subject {
        Subject { kind, id: id.map(|id| id.parse().unwrap()) }
    }

    /// A request whose `event` is this text.
    fn about(event: &str) -> String {
        format!(r#"{{"auth":"t","action":"attach","event":{event}}}"#)
    }

    #[test]
    fn the_request_of_the_contract() {
        let text = r#"{"auth": "string", "action": "attach", "event": {"type": "issueUpdate", "id": "610217e481f6fc54736209e0"}}"#;
        let expected = Request {
            auth: "string".into(),
            action: Action::Attach,
            subject: subject(EventType::IssueUpdate, Some(ID)),
        };
        assert_eq!(Request::parse(text), Ok(expected));
        let unfilled =
            r#"{"auth": "string", "action": "string", "event": {"type": "string", "id": "string"}}"#;
        assert_eq!(Request::parse(unfilled), Err(Code::InvalidRequest));
    }

    #[test]
    fn each_type_needs_its_id() {
        for kind in EventType::ALL {
            let name = kind.as_str();
            let optional = kind.id_optional();
            let without = if optional { Ok(subject(kind, None)) } else { Err(Code::InvalidRequest) };
            for (event, expected) in [
                (format!(r#"{{"type":"{name}","id":"{ID}"}}"#), Ok(subject(kind, Some(ID)))),
                (format!(r#"{{"id":"{}","type":"{name}"}}"#, ID.to_uppercase()), Ok(subject(kind, Some(ID)))),
                (format!(r#"{{"type":"{name}","id":"\u0036{}"}}"#, &ID[1..]), Ok(subject(kind, Some(ID)))),
                (format!(r#"{{"type":"{name}"}}"#), without),
                (format!(r#"{{"type":"{name}","id":null}}"#), without),
                (format!(r#"{{"type":"{name}","id":""}}"#), without),
                (format!(r#"{{"type":"{name}","id":"*"}}"#), Err(Code::InvalidRequest)),
                (format!(r#"{{"type":"{name}","id":" "}}"#), Err(Code::InvalidRequest)),
                (format!(r#"{{"type":"{name}","id":"{}"}}"#, &ID[1..]), Err(Code::InvalidRequest)),
                (format!(r#"{{"type":"{name}","id":"{ID}0"}}"#), Err(Code::InvalidRequest)),
                (format!(r#"{{"type":"{name}","id":"\ud800"}}"#), Err(Code::InvalidRequest)),
                (format!(r#"{{"type":"{name}","id":610217}}"#), Err(Code::InvalidRequest)),
                (format!(r#"{{"type":"{name}","id":["{ID}"]}}"#), Err(Code::InvalidRequest)),
                (format!(r#"{{"type":"{name}","id":false}}"#), Err(Code::InvalidRequest)),
            ] {
                assert_eq!(
                    Request::parse(&about(&event)).map(|request| request.subject),
                    expected,
                    "{event}"
                );
            }
        }
    }

    #[test]
    fn refusals_come_in_the_order_of_the_contract() {
        use Code::{InvalidRequest, TokenNotSet};
        let event = r#""event":{"type":"notification"}"#;
        for (text, code) in [
            // Not a JSON object.
            ("".into(), InvalidRequest),
            ("null".into(), InvalidRequest),
            ("[]".into(), InvalidRequest),
            (r#""attach""#.into(), InvalidRequest),
            ("attach".into(), InvalidRequest),
            (r#"{"auth":"""#.into(), InvalidRequest),
            ("{} {}".into(), InvalidRequest),
            ("\u{feff}{}".into(), InvalidRequest),
            (r#"{"auth":null,"x":NaN}"#.into(), InvalidRequest),
            (format!(r#"{{"auth":null,"x":{}1{}}}"#, "[".repeat(128), "]".repeat(128)), InvalidRequest),
            // Then the token.
            ("{}".into(), TokenNotSet),
            (r#"{"auth":null}"#.into(), TokenNotSet),
            (r#"{"auth":""}"#.into(), TokenNotSet),
            (r#"{"action":5,"event":[]}"#.into(), TokenNotSet),
            (r#"{"auth":"","action":"attach","action":"attach"}"#.into(), TokenNotSet),
            (format!(r#"{{"Auth":"t","action":"attach",{event}}}"#), TokenNotSet),
            // Then the shape of the rest.
            (format!(r#"{{"auth":5,"action":"attach",{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":false,"action":"attach",{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":["t"],"action":"attach",{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":{{}},"action":"attach",{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":"\udc00","action":"attach",{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":"t","auth":"t","action":"attach",{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":null,"auth":null,"action":"attach",{event}}}"#), InvalidRequest),
            (r#"{"auth":"t"}"#.into(), InvalidRequest),
            (r#"{"auth":"t","action":"attach"}"#.into(), InvalidRequest),
            (format!(r#"{{"auth":"t",{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":"t","action":null,{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":"t","action":"Attach",{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":"t","action":"","event":{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":"t","action":"attach","action":"attach",{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":"t","action":"attach","acti\u006fn":"attach",{event}}}"#), InvalidRequest),
            (format!(r#"{{"auth":"t","action":"attach",{event},{event}}}"#), InvalidRequest),
            (about("null"), InvalidRequest),
            (about("[]"), InvalidRequest),
            (about(r#""notification""#), InvalidRequest),
            (about("{}"), InvalidRequest),
            (about(r#"{"type":null}"#), InvalidRequest),
            (about(r#"{"type":"Notification"}"#), InvalidRequest),
            (about(r#"{"type":["notification"]}"#), InvalidRequest),
            (about(r#"{"type":"notification","type":"notification"}"#), InvalidRequest),
            (about(r#"{"type":"notification","id":null,"id":null}"#), InvalidRequest),
        ] {
            assert_eq!(Request::parse(&text), Err(code), "{text}");
        }
    }

    #[test]
    fn unknown_members_are_ignored_whatever_they_hold() {
        let deep = format!("{}1e999{}", "[".repeat(126), "]".repeat(126));
        for unknown in ["null", r#""\ud800""#, r#"{"auth":1,"auth":2}"#, "-1E+400", &deep] {
            let event = format!(r#"{{"x":{unknown},"type":"notification","x":{unknown},"data":{unknown}}}"#);
            let text = format!(
                r#"{{"":{unknown},"auth":"t","id":{unknown},"event":{event},"action":"detach","x":0,"x":0}}"#
            );
            let expected = Request {
                auth: "t".into(),
                action: Action::Detach,
                subject: subject(EventType::Notification, None),
            };
            assert_eq!(Request::parse(&text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_token_as_usual_is_borrowed_and_an_escaped_one_decoded() {
        let text = about(r#"{"type":"notification"}"#);
        assert!(matches!(Request::parse(&text).unwrap().auth, Cow::Borrowed("t")));
        let text = text.replace(r#""t""#, r#""\u0074\/\ud83d\ude00""#);
        assert_eq!(Request::parse(&text).unwrap().auth, "t/😀");
    }

    #[test]
    fn s38_a_request_of_brackets() {
        for brackets in ["[", "{", r#"{"auth":"#, r#"{"auth":"t","action":"attach","event":"#] {
            let text = brackets.repeat(1_000_000 / brackets.len());
            assert_eq!(Request::parse(&text), Err(Code::InvalidRequest), "{brackets}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_was_encoded_is_read_back(
            auth in ".+",
            action in prop::sample::select(vec![Action::Attach, Action::Detach]),
            kind in prop::sample::select(EventType::ALL.to_vec()),
            id: [u8; 12],
            lacks_id: bool,
        ) {
            let id = (!(lacks_id && kind.id_optional())).then(|| ObjectId::from_bytes(id));
            let request = Request { auth: auth.into(), action, subject: Subject { kind, id } };
            let mut text = Vec::new();
            request.encode(&mut text);
            prop_assert_eq!(Request::parse(std::str::from_utf8(&text).unwrap()), Ok(request));
        }

        #[test]
        fn a_request_cut_anywhere_is_no_request(cut in 0usize..1000) {
            let text = about(&format!(r#"{{"type":"issueUpdate","id":"{ID}"}}"#));
            let cut = cut % text.len();
            prop_assert_eq!(Request::parse(&text[..cut]), Err(Code::InvalidRequest));
        }
    }
}
