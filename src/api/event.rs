//! An event: what a producer publishes and subscribers receive.

use serde_json::value::RawValue;

use super::id::{Subject, UserId};

/// An event, as a producer wrote it.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What it is about.
    pub subject: Subject,
    /// `data`: any JSON value, exactly as it was written; `[]` if absent.
    pub data: &'a RawValue,
    /// Which subscribers it reaches.
    pub audience: Audience,
    /// `ack`: if present, the producer wants an answer. A JSON string or number, exactly as it was written.
    pub ack: Option<&'a str>,
}

/// Which of the subscribers attached to its subject an event reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All of them; the event's type is not personal.
    Attached,
    /// All of them; the type is personal and the event says `"users":"*"`.
    Everyone,
    /// Those of these users, in ascending order and each once; the type is personal. If `users` was absent, the user
    /// whose id is the event's.
    Users(Vec<UserId>),
}

impl Event<'_> {
    /// Appends the message to subscribers: `{"type":"…","id":"…","data":…}`.
    pub fn encode_message(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        self.subject.write_members(out);
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(self.data.get().as_bytes());
        out.push(b'}');
    }

    /// Appends the line that publishes the event, with its line feed. Line feeds inside `data`, which JSON allows only
    /// between tokens, become spaces.
    pub fn encode_line(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        if let Some(ack) = self.ack {
            out.extend_from_slice(b"\"ack\":");
            out.extend_from_slice(ack.as_bytes());
            out.push(b',');
        }
        self.subject.write_members(out);
        self.audience.write_member(out);
        out.extend_from_slice(b",\"data\":");
        out.extend(self.data.get().bytes().map(|byte| if byte == b'\n' { b' ' } else { byte }));
        out.extend_from_slice(b"}\n");
    }
}

impl Audience {
    /// Appends `,"users":…`, or nothing if the type is not personal.
    fn write_member(&self, out: &mut Vec<u8>) {
        match self {
            Self::Attached => {}
            Self::Everyone => out.extend_from_slice(b",\"users\":\"*\""),
            Self::Users(users) => {
                out.extend_from_slice(b",\"users\":[");
                for (place, UserId(user)) in users.iter().enumerate() {
                    out.extend_from_slice(if place == 0 { b"\"" } else { b",\"" });
                    out.extend_from_slice(&user.to_hex());
                    out.push(b'"');
                }
                out.push(b']');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event_type::EventType;
    use super::*;

    fn event(kind: EventType, audience: Audience, data: &str) -> Event<'_> {
        let id = (!kind.is_personal()).then(|| "610217e481f6fc54736209e0".parse().unwrap());
        Event {
            subject: Subject { kind, id },
            data: serde_json::from_str(data).unwrap(),
            audience,
            ack: None,
        }
    }

    #[test]
    fn a_message_has_type_id_and_data_in_this_order() {
        for (event, expected) in [
            (
                event(EventType::IssueUpdate, Audience::Attached, "[]"),
                r#"{"type":"issueUpdate","id":"610217e481f6fc54736209e0","data":[]}"#,
            ),
            (
                event(EventType::Notification, Audience::Everyone, r#" { "a" : 1E400 } "#),
                r#"{"type":"notification","id":"","data":{ "a" : 1E400 }}"#,
            ),
        ] {
            let mut message = Vec::new();
            event.encode_message(&mut message);
            assert_eq!(String::from_utf8(message).unwrap(), expected);
        }
    }

    #[test]
    fn a_published_event_is_one_line() {
        let users = ["5dad615eae019570fb4647ed", "610217e481f6fc54736209e0"];
        let users = Audience::Users(users.map(|user| user.parse().unwrap()).into());
        for (event, expected) in [
            (
                event(EventType::UploadFile, Audience::Attached, "{\n\"a\":\r\n1}"),
                "{\"type\":\"uploadFile\",\"id\":\"610217e481f6fc54736209e0\",\"data\":{ \"a\":\r 1}}\n",
            ),
            (
                Event { ack: Some("-1e3"), ..event(EventType::Notification, users, r#""\n""#) },
                "{\"ack\":-1e3,\"type\":\"notification\",\"id\":\"\",\
                 \"users\":[\"5dad615eae019570fb4647ed\",\"610217e481f6fc54736209e0\"],\"data\":\"\\n\"}\n",
            ),
            (
                event(EventType::Notification, Audience::Users(vec![]), "0"),
                "{\"type\":\"notification\",\"id\":\"\",\"users\":[],\"data\":0}\n",
            ),
            (
                event(EventType::Notification, Audience::Everyone, "null"),
                "{\"type\":\"notification\",\"id\":\"\",\"users\":\"*\",\"data\":null}\n",
            ),
        ] {
            let mut line = Vec::new();
            event.encode_line(&mut line);
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        }
    }
}
