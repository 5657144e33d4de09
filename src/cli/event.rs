//! Event types and subjects as written on the command line.

use crate::api::{EventType, ObjectId, Subject};

/// Parses the name of an event type.
///
/// # Errors
/// A clause that lists the event types.
pub(super) fn parse_type(name: &str) -> Result<EventType, String> {
    EventType::from_name(name).ok_or_else(|| format!("event types are {}", EventType::names(|_| true)))
}

/// Parses `TYPE [ID] [TYPE [ID]]…`: a word that is not an id starts a new subject.
///
/// # Errors
/// A clause that names the wrong word.
pub(super) fn parse_subjects(words: &[String]) -> Result<Vec<Subject>, String> {
    let mut subjects: Vec<Subject> = Vec::new();
    for word in words {
        match (word.parse::<ObjectId>(), subjects.last_mut()) {
            (Ok(id), Some(subject @ Subject { id: None, .. })) => subject.id = Some(id),
            (Ok(_), _) => return Err(format!("the id {word} does not follow an event type")),
            (Err(_), _) => {
                let kind = parse_type(word).map_err(|types| {
                    format!("{word} is neither an id (24 hexadecimal digits) nor an event type; {types}")
                })?;
                subjects.push(Subject { kind, id: None });
            }
        }
    }
    Ok(subjects)
}

/// A subject as written on the command line.
pub(super) fn describe(subject: Subject) -> String {
    match subject.id {
        Some(id) => format!("{} {id}", subject.kind),
        None => subject.kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_may_be_followed_by_an_id() {
        const ID: &str = "610217e481f6fc54736209e0";
        let parse = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            parse_subjects(&words)
                .map(|subjects| subjects.into_iter().map(describe).collect::<Vec<_>>().join(", "))
        };
        assert_eq!(parse("notification").unwrap(), "notification");
        let subjects = parse(&format!("notification issueUpdate {ID} notification {ID}")).unwrap();
        assert_eq!(subjects, format!("notification, issueUpdate {ID}, notification {ID}"));
        assert_eq!(parse(ID).unwrap_err(), format!("the id {ID} does not follow an event type"));
        assert!(parse(&format!("issueUpdate {ID} {ID}")).is_err());
        assert!(parse("issueUpdate 610217").unwrap_err().starts_with("610217 is neither an id"));
    }
}
