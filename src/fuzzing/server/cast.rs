//! The fixtures of a script: users and their tokens, subjects, and the access file.

use std::sync::OnceLock;

use crate::api::{Audience, Event, EventType, ObjectId, Subject, UserId};
use crate::subscriptions::Topic;
use crate::time::Wall;
use crate::token::{KeySet, SigningKey};

pub(super) const USERS: [&str; 2] = ["5dad615eae019570fb4647ed", "5dad615eae019570fb4647ee"];

pub(super) const SUBJECTS: [Subject; 5] = [
    subject(EventType::IssueUpdate, Some(1)),
    subject(EventType::DatasetUpdate, Some(1)),
    subject(EventType::DatasetUpdate, Some(2)),
    subject(EventType::Notification, None),
    subject(EventType::Notification, Some(1)),
];

/// The first user may see the first dataset; the second user does not exist.
pub(super) const ACCESS_FILE: &str =
    r#"{"users":{"5dad615eae019570fb4647ed":{"datasets":["010101010101010101010101"]}}}"#;

pub(super) const START: Wall = Wall(1_711_709_200_000);

/// The topic of a subject that is requested with this token.
pub(super) fn topic(auth: &str, subject: Subject) -> Topic {
    let user = tokens().iter().position(|token| token == auth).unwrap_or_default() % 2;
    Topic::new(USERS[user].parse().expect("an id"), subject).expect("a well-formed request")
}

/// The topics of an event, for all users of the script.
pub(super) fn topics(event: &Event<'_>) -> Vec<Topic> {
    let Subject { kind, id } = event.subject;
    if !kind.is_personal() {
        return vec![Topic::Object(kind, id.expect("an object has an id"))];
    }
    let users = USERS.map(|user| user.parse::<UserId>().expect("an id"));
    let is_for = |user: &UserId| match &event.audience {
        Audience::Users(users) => users.contains(user),
        Audience::Everyone | Audience::Attached => true,
    };
    let with_id = id.map(Some);
    let topics_of = |user| [None].into_iter().chain(with_id).map(move |id| Topic::Personal(kind, user, id));
    users.into_iter().filter(is_for).flat_map(topics_of).collect()
}

/// Tokens of the two users in turn: two long-lived ones, one that ends after a minute, one signed by another key.
pub(super) fn tokens() -> &'static [String; 4] {
    static TOKENS: OnceLock<[String; 4]> = OnceLock::new();
    TOKENS.get_or_init(|| {
        let private = include_bytes!("../../../tests/fixtures/keys/rsa2048.private.pem");
        let other = include_bytes!("../../../tests/fixtures/keys/rsa2048-other.private.pem");
        let [key, other] = [&private[..], other].map(|file| SigningKey::from_pem(file).expect("a good key"));
        let payload = |user: usize, seconds: u64| {
            let exp = START.0 / 1000 + seconds;
            format!("{{\"exp\":{exp},\"data\":{{\"id\":\"{}\"}}}}", USERS[user])
        };
        [
            key.sign(&payload(0, 1_000_000)),
            key.sign(&payload(1, 1_000_000)),
            key.sign(&payload(0, 60)),
            other.sign(&payload(1, 1_000_000)),
        ]
    })
}

pub(super) fn keys() -> KeySet {
    let mut keys = KeySet::new();
    keys.add_pem(include_bytes!("../../../tests/fixtures/keys/rsa2048.spki.pem")).expect("a good key");
    keys
}

const fn subject(kind: EventType, id: Option<u8>) -> Subject {
    let id = match id {
        Some(id) => Some(ObjectId::from_bytes([id; 12])),
        None => None,
    };
    Subject { kind, id }
}
