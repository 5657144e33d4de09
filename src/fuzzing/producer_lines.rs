//! Target `producer_lines`: a producer's stream, from bytes to answers.

use super::cuts;
use super::json::{Content, Json, NotJson};
use super::subject::{object_id, subject};
use crate::api::{Audience, Line, LineError, Subject, UserId, encode_refused};
use crate::ndjson::{LineReader, TooLong};

/// The first byte sets the limit on lines (16 times its value, plus 16 bytes), the rest is what a producer writes.
///
/// The lines must be those of the reference, however the stream is split, and the reader may hold at most twice the
/// limit. Each line must be accepted or refused as the contract says, whatever precedes it. An event must survive
/// encoding and parsing. A refusal must be one line of JSON with the line's number.
///
/// # Panics
///
/// If a check fails.
pub fn producer_lines(data: &[u8]) {
    let Some((&settings, stream)) = data.split_first() else { return };
    let limit = 16 * usize::from(settings) + 16;
    let expected = lines(stream, limit);
    cuts::for_each(stream, |pieces| assert_eq!(read(pieces, limit), expected));
    for (number, line) in expected {
        match line {
            Ok(line) => check(number, &line),
            Err(TooLong) => check_refusal(number, &LineError::too_long(limit), None),
        }
    }
}

/// A line's number, and its bytes unless it is too long.
type Numbered = (u64, Result<Vec<u8>, TooLong>);

fn lines(stream: &[u8], limit: usize) -> Vec<Numbered> {
    let numbered = (1..).zip(stream.split(|&byte| byte == b'\n'));
    numbered
        .map(|(number, line)| match line.len() {
            length if length > limit => (number, Err(TooLong)),
            _ => (number, Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())),
        })
        .filter(|(_, line)| line.as_ref().map(Vec::len) != Ok(0))
        .collect()
}

fn read(pieces: &[&[u8]], limit: usize) -> Vec<Numbered> {
    let mut reader = LineReader::default();
    let mut lines = Vec::new();
    for mut piece in pieces.iter().copied() {
        while let Some(line) = reader.read(&mut piece, limit) {
            lines.push((line.number, line.bytes.map(|bytes| bytes.into_owned())));
        }
        assert!(piece.is_empty() && reader.held() <= 2 * limit.max(8));
    }
    lines.extend(reader.finish().map(|line| (line.number, line.bytes.map(|bytes| bytes.into_owned()))));
    lines
}

/// The contents of a valid line.
#[derive(Debug, PartialEq, Eq)]
enum Said<'a> {
    Event { subject: Subject, data: &'a str, audience: Audience, ack: Option<&'a str> },
    Revoke { user: UserId, subject: Option<Subject>, ack: Option<&'a str> },
}

fn check(number: u64, line: &[u8]) {
    let expected = str::from_utf8(line).ok().and_then(|text| by_definition(text).ok().flatten());
    let read = Line::parse(line);
    let said = match &read {
        Ok(Line::Event(event)) => Some(Said::Event {
            subject: event.subject,
            data: event.data.get(),
            audience: event.audience.clone(),
            ack: event.ack,
        }),
        Ok(Line::Revoke { user, subject, ack }) => {
            Some(Said::Revoke { user: *user, subject: *subject, ack: *ack })
        }
        Err(_) => None,
    };
    assert_eq!(said, expected, "{}", line.escape_ascii());
    match read {
        Err(error) => check_refusal(number, &error, Some(line)),
        Ok(Line::Event(event)) => {
            let mut written = Vec::new();
            event.encode_line(&mut written);
            let written = written.strip_suffix(b"\n").expect("a line ends with a line feed");
            assert!(!written.contains(&b'\n'));
            let Ok(Line::Event(again)) = Line::parse(written) else {
                panic!("{} is not an event", written.escape_ascii())
            };
            assert_eq!(
                (again.subject, &again.audience, again.ack),
                (event.subject, &event.audience, event.ack)
            );
            assert_eq!(again.data.get(), event.data.get().replace('\n', " "));

            let mut message = Vec::new();
            event.encode_message(&mut message);
            let message = Json::parse(str::from_utf8(&message).expect("a message is text"));
            let message = message.expect("a message is JSON");
            assert_eq!(subject(&message), Ok(Some(event.subject)));
            let data = message.members("data").expect("a message is an object");
            assert_eq!(data.iter().map(|data| data.text).collect::<Vec<_>>(), [event.data.get()]);
        }
        Ok(Line::Revoke { .. }) => {}
    }
}

fn by_definition(text: &str) -> Result<Option<Said<'_>>, NotJson> {
    let object = Json::parse(text)?;
    let ack = match &object.members("ack")?[..] {
        [] => None,
        [ack] if is_ack(ack) => Some(ack.text),
        _ => return Ok(None),
    };
    let controls = object.members("control")?;
    if controls.is_empty() {
        return event(&object, ack);
    }
    let (users, events) = (object.members("user")?, object.members("event")?);
    let ([control], [user], [] | [_]) = (&controls[..], &users[..], &events[..]) else { return Ok(None) };
    let (Some("revoke"), Some(user)) = (control.string(), object_id(user)) else { return Ok(None) };
    let subject = match events.first() {
        None => None,
        Some(event) => match subject(event).ok().flatten() {
            Some(subject) => Some(subject),
            None => return Ok(None),
        },
    };
    Ok(Some(Said::Revoke { user: UserId(user), subject, ack }))
}

fn event<'a>(object: &Json<'a>, ack: Option<&'a str>) -> Result<Option<Said<'a>>, NotJson> {
    let (datas, users) = (object.members("data")?, object.members("users")?);
    let ([] | [_], [] | [_]) = (&datas[..], &users[..]) else { return Ok(None) };
    let Some(subject) = subject(object)? else { return Ok(None) };
    let data = datas.first().map_or("[]", |data| data.text);
    let is_personal = subject.kind.is_personal();
    let audience = match users.first() {
        None if !is_personal => Audience::Attached,
        None => match subject.id {
            Some(id) => Audience::Users(vec![UserId(id)]),
            None => return Ok(None),
        },
        Some(_) if !is_personal => return Ok(None),
        Some(users) => match &users.content {
            Content::String(Some(text)) if text == "*" => Audience::Everyone,
            Content::Array(users) => {
                let ids: Option<std::collections::BTreeSet<_>> =
                    users.iter().map(|user| object_id(user).map(UserId)).collect();
                let Some(ids) = ids else { return Ok(None) };
                Audience::Users(ids.into_iter().collect())
            }
            _ => return Ok(None),
        },
    };
    Ok(Some(Said::Event { subject, data, audience, ack }))
}

fn is_ack(value: &Json<'_>) -> bool {
    matches!(value.content, Content::String(_) | Content::Number)
}

/// Checks a refusal: one line of JSON that says what is wrong, with the `ack` of the line if that is valid.
fn check_refusal(number: u64, error: &LineError<'_>, line: Option<&[u8]>) {
    let mut answer = Vec::new();
    encode_refused(number, error, &mut answer);
    let answer = str::from_utf8(&answer)
        .expect("an answer is text")
        .strip_suffix('\n')
        .expect("an answer ends with a line feed");
    assert!(!answer.contains('\n'), "{answer}");
    let answer = Json::parse(answer).expect("an answer is JSON");
    let only = |name| match answer.members(name).expect("an answer is an object")[..] {
        [] => None,
        [value] => Some(value.clone()),
        _ => panic!("{name} twice in {answer:?}"),
    };
    assert_eq!(only("status").map(|status| status.text), Some("400"));
    assert_eq!(only("code").map(|code| code.text), Some("5"));
    assert_eq!(only("line").map(|line| line.text.to_owned()), Some(number.to_string()));
    assert!(only("message").is_some_and(|message| message.string().is_some_and(|text| text.len() < 400)));
    let ack = only("ack").map(|ack| ack.text.to_owned());
    let line = line.and_then(|line| str::from_utf8(line).ok());
    if let Some(object) = line.and_then(|line| Json::parse(line).ok())
        && let Ok(acks) = object.members("ack")
    {
        let expected = acks.first().filter(|ack| acks.len() == 1 && is_ack(ack));
        assert_eq!(ack.as_deref(), expected.map(|ack| ack.text));
    }
}
