//! The access policy: which users exist and what each may attach to, decided by the token alone, by a file, or by the
//! access service.
//!
//! [`Access::decide`] answers at once or names the question whose answer to wait for. Owns the policy, the questions
//! and the answers kept. Does not know tokens, connections, files or sockets: the caller passes in the file's text and
//! the service's lines.

mod answers;
mod file;
mod service;
mod turns;

use crate::api::{Code, EventType, Subject, UserId};
use crate::time::Monotonic;

pub use file::{AccessFile, AccessFileError};
pub use service::{AccessService, QuestionId, ServiceSettings};

/// `[access] mode`.
#[derive(Debug)]
pub enum Access {
    /// `token`: every good token's user exists and may attach to everything.
    Token,
    /// `file`: the file lists the users, and the datasets of each.
    File {
        /// `[access] datasetEvents`: the types whose id has to be one of the user's datasets.
        dataset_events: Vec<EventType>,
        /// The last version of the file that was read without an error.
        file: AccessFile,
    },
    /// `socket`: the access service decides.
    Service(Box<AccessService>),
}

/// The outcome of [`Access::decide`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// [`Code::Ok`], [`Code::UserNotExists`], [`Code::NoAccess`] or [`Code::Unavailable`].
    Now(Code),
    /// The access service has to be asked; its answer comes with this id.
    Later(QuestionId),
}

impl Access {
    /// Decides whether `user` may attach to `subject`. For `None`, and for a personal type with any id, it only decides
    /// whether the user exists.
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

    /// Records a producer's revocation; `subject` is `None` if it is of all the user's rights. Answers given before it are
    /// dropped, and those to questions asked before it are overruled.
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
