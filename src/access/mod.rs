//! Who exists and who may see what: everybody everything, what a file lists, or what a backend service answers.
//!
//! [`Access::decide`] answers at once, or says that the service has to be asked and which question's answer to wait
//! for. Nothing here knows tokens, connections, files or sockets: the file's text and the service's lines come in
//! from outside.

mod answers;
mod file;
mod service;
mod turns;

use crate::api::{Code, EventType, Subject, UserId};
use crate::time::Monotonic;

pub use file::{AccessFile, AccessFileError};
pub use service::{QuestionId, Service, ServiceSettings};

/// `[access] mode`.
#[derive(Debug)]
pub enum Access {
    /// `token`: every good token's user exists and may attach to everything.
    Token,
    /// `file`: what the file says; the object's id counts for these types only.
    File {
        /// `[access] datasetEvents`.
        dataset_events: Vec<EventType>,
        /// The file as it was last read without a mistake. To be replaced when there is a new one.
        file: AccessFile,
    },
    /// `socket`: what the service answers.
    Service(Box<Service>),
}

/// The answer to a question of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// [`Code::Ok`], [`Code::UserNotExists`], [`Code::NoAccess`] or [`Code::Unavailable`].
    Now(Code),
    /// It will be the service's: the question's id comes back with its answer.
    Later(QuestionId),
}

impl Access {
    /// May `user` attach to `subject`? With `None`, and for a notification of any id, the question is only whether
    /// the user exists.
    pub fn decide(&mut self, user: UserId, subject: Option<Subject>, now: Monotonic) -> Decision {
        match self {
            Self::Token => Decision::Now(Code::Ok),
            Self::File { dataset_events, file } => {
                let dataset = subject.filter(|subject| dataset_events.contains(&subject.kind));
                Decision::Now(file.decide(user, dataset.and_then(|subject| subject.id)))
            }
            Self::Service(service) => {
                let subject = subject.filter(|subject| !subject.kind.is_personal());
                service.decide(user, subject, now)
            }
        }
    }

    /// What a producer has taken back: no answer given before counts for a later question, and a question on its way
    /// is not answered with what was true when it was asked. `subject` is `None` if all of the user's rights are gone.
    pub fn revoke(&mut self, user: UserId, subject: Option<Subject>, now: Monotonic) {
        if let Self::Service(service) = self {
            service.revoke(user, subject, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dataset_events_ask_about_the_object() {
        let user: UserId = "5dad615eae019570fb4647ed".parse().unwrap();
        let stranger: UserId = "000000000000000000000001".parse().unwrap();
        let id = Some("610217e481f6fc54736209e0".parse().unwrap());
        let file = AccessFile::parse(br#"{"users":{"5dad615eae019570fb4647ed":{"datasets":[]}}}"#).unwrap();
        let dataset_events = vec![EventType::DatasetUpdate, EventType::UploadFile];
        let mut access = Access::File { dataset_events, file };
        let mut decide = |user, subject| match access.decide(user, subject, Monotonic(0)) {
            Decision::Now(code) => code,
            Decision::Later(_) => panic!("a file answers at once"),
        };
        for kind in EventType::ALL {
            let subject = Some(Subject { kind, id });
            let is_dataset_event = matches!(kind, EventType::DatasetUpdate | EventType::UploadFile);
            let expected = if is_dataset_event { Code::NoAccess } else { Code::Ok };
            assert_eq!(decide(user, subject), expected, "{kind}");
            assert_eq!(decide(stranger, subject), Code::UserNotExists, "{kind}");
        }
        assert_eq!(decide(user, None), Code::Ok);
        assert_eq!(Access::Token.decide(stranger, None, Monotonic(0)), Decision::Now(Code::Ok));
    }
}
