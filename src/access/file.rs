//! The access file: `{"users":{"<user id>":{"datasets":["<id>",…]}}}`, `"*"` for all datasets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::api::{Code, ObjectId, UserId};

/// What an access file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AccessFile {
    users: HashMap<UserId, Datasets>,
}

/// What is wrong with an access file, and in which line and column.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AccessFileError(#[from] serde_json::Error);

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
    /// It is no such JSON object, an id is bad, or a user or a known member stands twice. Then nothing of it counts.
    pub fn parse(file: &[u8]) -> Result<Self, AccessFileError> {
        Ok(serde_json::from_slice(file)?)
    }

    /// Whether the user exists and, if a dataset is named, may see it: [`Code::Ok`], [`Code::UserNotExists`] or
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

    /// How many users exist.
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
            let User(datasets) = map.next_value()?;
            if users.insert(UserId(user), datasets).is_some() {
                return Err(A::Error::custom(format_args!("user {user} stands twice")));
            }
        }
        Ok(users)
    }
}

/// What a user's id leads to.
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

/// An id in a member's name.
struct Id(ObjectId);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// An object of which one member counts, which must be there once.
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
