//! How events are named on the command line.

use crate::api::{EventType, ObjectId, Subject};

/// Reads the name of an event type.
pub(super) fn parse_type(name: &str) -> Result<EventType, String> {
    EventType::from_name(name).ok_or_else(|| {
        let names = EventType::ALL.map(EventType::as_str).join(", ");
        format!("the event types are {names}")
    })
}

/// Reads `TYPE [ID] [TYPE [ID]]…`: a word that is no id begins a new subject.
pub(super) fn parse_subjects(words: &[String]) -> Result<Vec<Subject>, String> {
    let mut subjects: Vec<Subject> = Vec::new();
    for word in words {
        match (word.parse::<ObjectId>(), subjects.last_mut()) {
            (Ok(id), Some(subject @ Subject { id: None, .. })) => subject.id = Some(id),
            (Ok(_), _) => return Err(format!("{word} is an id that follows no event type")),
            (Err(_), _) => {
                let kind = parse_type(word)
                    .map_err(|types| format!("{word} is neither an id (24 hexadecimal digits) nor an event type; {types}"))?;
                subjects.push(Subject { kind, id: None });
            }
        }
    }
    Ok(subjects)
}
