//! Target `request`: a client's request.

use super::json::Json;
use super::subject::subject;
use crate::api::{Action, Code, Request, Subject};

/// The input is a text message; bytes that are not UTF-8 are ignored.
///
/// The parser must return the request, or the refusal, that the contract defines. A request must survive encoding and
/// parsing.
///
/// # Panics
///
/// If a check fails.
pub fn request(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let read = Request::parse(text);
    let expected = by_definition(text);
    match (&read, &expected) {
        (Ok(request), Ok((auth, action, subject))) => {
            assert_eq!((&*request.auth, request.action, request.subject), (auth.as_str(), *action, *subject));
            let mut written = Vec::new();
            request.encode(&mut written);
            let written = str::from_utf8(&written).expect("a request is text");
            assert_eq!(Request::parse(written).as_ref(), Ok(request), "{written}");
        }
        (Err(code), Err(expected)) => assert_eq!(code, expected),
        _ => panic!("{read:?}, not {expected:?}"),
    }
}

fn by_definition(text: &str) -> Result<(String, Action, Subject), Code> {
    let invalid = |_| Code::InvalidRequest;
    let object = Json::parse(text).map_err(invalid)?;
    let auth = match object.members("auth").map_err(invalid)?[..] {
        [] => return Err(Code::TokenNotSet),
        [auth] if auth.is_null() || auth.string() == Some("") => return Err(Code::TokenNotSet),
        [auth] => auth.string().ok_or(Code::InvalidRequest)?,
        _ => return Err(Code::InvalidRequest),
    };
    let [action] = object.members("action").map_err(invalid)?[..] else { return Err(Code::InvalidRequest) };
    let action = match action.string() {
        Some("attach") => Action::Attach,
        Some("detach") => Action::Detach,
        _ => return Err(Code::InvalidRequest),
    };
    let [event] = object.members("event").map_err(invalid)?[..] else { return Err(Code::InvalidRequest) };
    let subject = subject(event).map_err(invalid)?.ok_or(Code::InvalidRequest)?;
    Ok((auth.to_owned(), action, subject))
}
