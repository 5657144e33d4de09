//! The access file: `{"users":{"<user id>":{"datasets":["<id>",…]}}}`, `"*"` for all datasets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::marker::PhantomData;
use std::str::Utf8Error;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::api::{Code, ObjectId, UserId};

/// The contents of an access file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AccessFile {
    users: HashMap<UserId, Datasets>,
}

/// Why an access file is rejected. Errors in its JSON name line and column, bytes counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum AccessFileError {
    /// It is not text.
    #[error("not UTF-8 from byte {} on", .0.valid_up_to())]
    NotUtf8(#[from] Utf8Error),
    /// It is not JSON, or not of the expected shape.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

/// The datasets a user may see.
#[derive(Debug, PartialEq, Eq)]
enum Datasets {
    All,
    /// In ascending order.
    These(Box<[ObjectId]>),
}

impl AccessFile {
    /// Reads a file's contents. Unknown members are ignored.
    ///
    /// # Errors
    ///
    /// It is not such a JSON object, an id is malformed, or a user or a known member occurs twice.
    pub fn parse(file: &[u8]) -> Result<Self, AccessFileError> {
        Ok(serde_json::from_str(str::from_utf8(file)?)?)
    }

    /// Decides whether the user exists and, if a dataset is given, may see it: [`Code::Ok`], [`Code::UserNotExists`] or
    /// [`Code::NoAccess`].
    #[must_use]
    pub fn decide(&self, user: UserId, dataset: Option<ObjectId>) -> Code {
        match (self.users.get(&user), dataset) {
            (None, _) => Code::UserNotExists,
            (Some(Datasets::These(these)), Some(dataset)) if these.binary_search(&dataset).is_err() => {
                Code::NoAccess
            }
            (Some(_), _) => Code::Ok,
        }
    }

    /// The number of users.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.len()
    }
}

impl<'de> Deserialize<'de> for AccessFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Users(users) = deserializer.deserialize_map(OnlyMember::new("users"))?;
        Ok(Self { users })
    }
}

/// The member `users`.
struct Users(HashMap<UserId, Datasets>);

impl<'de> Deserialize<'de> for Users {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UsersVisitor).map(Self)
    }
}

struct UsersVisitor;

impl<'de> Visitor<'de> for UsersVisitor {
    type Value = HashMap<UserId, Datasets>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of users by their ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut users = HashMap::new();
        while let Some(Id(user)) = map.next_key()? {
            let Entry::Vacant(place) = users.entry(UserId(user)) else {
                return Err(A::Error::custom(format_args!("user {user} is given twice")));
            };
            let User(datasets) = map.next_value()?;
            place.insert(datasets);
        }
        Ok(users)
    }
}

/// The value of a user's member.
struct User(Datasets);

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnlyMember::new("datasets")).map(Self)
    }
}

impl<'de> Deserialize<'de> for Datasets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DatasetsVisitor)
    }
}

struct DatasetsVisitor;

impl<'de> Visitor<'de> for DatasetsVisitor {
    type Value = Datasets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of dataset ids or \"*\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Datasets, E> {
        if text == "*" { Ok(Datasets::All) } else { Err(E::custom("datasets are an array of ids or \"*\"")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Datasets, A::Error> {
        let (mut these, mut all) = (Vec::new(), false);
        while let Some(dataset) = array.next_element()? {
            match dataset {
                Dataset::All => all = true,
                Dataset::This(id) => these.push(id),
            }
        }
        these.sort_unstable();
        these.dedup();
        Ok(if all { Datasets::All } else { Datasets::These(these.into()) })
    }
}

/// An element of `datasets`.
enum Dataset {
    All,
    This(ObjectId),
}

impl<'de> Deserialize<'de> for Dataset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Cow::<str>::deserialize(deserializer)? {
            text if text == "*" => Ok(Self::All),
            text => text.parse().map(Self::This).map_err(D::Error::custom),
        }
    }
}

/// An id that is a member's name.
struct Id(ObjectId);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// Reads an object's one known member, which must occur exactly once.
struct OnlyMember<T> {
    name: &'static str,
    value: PhantomData<T>,
}

impl<T> OnlyMember<T> {
    const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMember<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the member \"{}\"", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut value = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name != self.name {
                map.next_value::<IgnoredAny>()?;
            } else if value.replace(map.next_value()?).is_some() {
                return Err(A::Error::duplicate_field(self.name));
            }
        }
        value.ok_or_else(|| A::Error::missing_field(self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "5dad615eae019570fb4647ed";
    const OTHER: &str = "610217e481f6fc54736209e0";

    fn user(text: &str) -> UserId {
        text.parse().unwrap()
    }

    fn dataset(text: &str) -> Option<ObjectId> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn users_see_the_datasets_listed_for_them() {
        let file = format!(
            r#"{{"comment":[1],"users":{{
                "{}":{{"datasets":["{OTHER}","000000000000000000000001","{OTHER}"],"name":"x","name":{{}}}},
                "000000000000000000000002":{{"datasets":[]}},
                "000000000000000000000003":{{"datasets":"*"}},
                "000000000000000000000004":{{"datasets":["*"]}}}}}}"#,
            ONE.to_uppercase()
        );
        let file = AccessFile::parse(file.as_bytes()).unwrap();
        assert_eq!(file.users(), 4);
        for (who, what, code) in [
            (ONE, dataset(OTHER), Code::Ok),
            (ONE, dataset("000000000000000000000001"), Code::Ok),
            (ONE, dataset("000000000000000000000002"), Code::NoAccess),
            (ONE, None, Code::Ok),
            (OTHER, dataset(OTHER), Code::UserNotExists),
            (OTHER, None, Code::UserNotExists),
            ("000000000000000000000002", dataset(OTHER), Code::NoAccess),
            ("000000000000000000000002", None, Code::Ok),
            ("000000000000000000000003", dataset(OTHER), Code::Ok),
            ("000000000000000000000004", dataset(OTHER), Code::Ok),
        ] {
            assert_eq!(file.decide(user(who), what), code, "{who} {what:?}");
        }
        let nobody = AccessFile::parse(b"{\"users\":{}}").unwrap();
        assert_eq!(nobody.decide(user(ONE), None), Code::UserNotExists);
    }

    #[test]
    fn a_file_with_a_mistake_is_refused_and_says_where() {
        let of_user = |inside: &str| format!("{{\n\"users\":{{\n\"{ONE}\":{inside}\n}}}}");
        for (file, says) in [
            (String::new(), "line 1 column 0"),
            ("[]".into(), "\"users\""),
            ("{}".into(), "`users`"),
            ("{\"users\":[]}".into(), "users by their ids"),
            ("{\"users\":null}".into(), "line 1 column 13"),
            ("{\"users\":{},\"users\":{}}".into(), "duplicate field `users`"),
            ("{\"users\":{}} x".into(), "line 1 column 14"),
            ("{\"users\":{\n\"5dad\":{\"datasets\":[]}}}".into(), "24 hexadecimal digits at line 2"),
            ("{\"users\":{\"\":{\"datasets\":[]}}}".into(), "24 hexadecimal digits"),
            (of_user("{}"), "`datasets` at line 3"),
            (of_user("[\"*\"]"), "\"datasets\" at line 3"),
            (of_user("{\"datasets\":[],\"datasets\":[]}"), "duplicate field `datasets`"),
            (of_user("{\"datasets\":\"all\"}"), "an array of ids or \"*\" at line 3"),
            (of_user("{\"datasets\":null}"), "dataset ids"),
            (of_user("{\"datasets\":[\n\"*\",\n\"610217e4\"]}"), "24 hexadecimal digits at line 5"),
            (of_user("{\"datasets\":[7]}"), "line 3"),
            (
                of_user(&format!("{{\"datasets\":[]}},\n\"{}\":{{\"datasets\":[]}}", ONE.to_uppercase())),
                "twice at line 4",
            ),
        ] {
            let error = AccessFile::parse(file.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{file}: {error}");
        }
        let error = AccessFile::parse(b"{\"users\":{},\"x\":\"\xff\"}").unwrap_err();
        assert_eq!(error.to_string(), "not UTF-8 from byte 17 on");
        let deep = format!("{{\"x\":{}{},\"users\":{{}}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(
            AccessFile::parse(deep.as_bytes()).is_ok(),
            "unknown members are passed over without recursion"
        );
    }
}
