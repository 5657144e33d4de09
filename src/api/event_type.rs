//! The event types, and every fact that depends on the type alone.
//!
//! A new type is one row of [`event_types!`]; code elsewhere asks for a fact and never compares with a type.

use std::fmt;

event_types! {
    /// An issue (task) was updated; the id is the issue's.
    IssueUpdate = "issueUpdate": Class::Object,
    /// A user has a notification; the id is optional.
    Notification = "notification": Class::Personal,
    /// A dataset was updated; the id is the dataset's.
    DatasetUpdate = "datasetUpdate": Class::Dataset,
    /// An upload into a dataset has finished; the id is the dataset's.
    UploadFile = "uploadFile": Class::Dataset,
    /// A download of objects or of a report has finished; the id is that of what was downloaded.
    DownloadFile = "downloadFile": Class::Dataset,
}

/// What a type's id names, and with it who may attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// An object; with an access file, every user may attach.
    Object,
    /// A dataset; with an access file, only users who may see it may attach.
    Dataset,
    /// Anything or nothing; each event names the users it is for.
    Personal,
}

/// One row of the table.
struct Facts {
    name: &'static str,
    class: Class,
}

impl EventType {
    /// The type's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.facts().name
    }

    /// Whether an event or a subscription of this type may lack the id.
    #[must_use]
    pub const fn id_optional(self) -> bool {
        self.is_personal()
    }

    /// Whether its events reach only the users they are for: the line names them in `users`, and a subscription is to
    /// the events of the subscriber itself.
    #[must_use]
    pub const fn is_personal(self) -> bool {
        matches!(self.facts().class, Class::Personal)
    }

    /// Whether `[access] datasetEvents` lists it by default: attaching needs access to the dataset that the id names.
    #[must_use]
    pub const fn dataset_by_default(self) -> bool {
        matches!(self.facts().class, Class::Dataset)
    }

    /// The type with this name; names are exact, case included.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The names of the types that `belongs` accepts, in the order of [`Self::ALL`], separated by `, `.
    #[must_use]
    pub fn names(belongs: impl Fn(Self) -> bool) -> String {
        let kinds = Self::ALL.into_iter().filter(|&kind| belongs(kind));
        kinds.map(Self::as_str).collect::<Vec<_>>().join(", ")
    }

    const fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Declares the enum, the list of its variants and their facts from one table.
macro_rules! event_types {
    ($($(#[doc = $doc:literal])* $Kind:ident = $name:literal: $class:expr,)*) => {
        /// What happened: `event.type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum EventType {
            $($(#[doc = $doc])* $Kind,)*
        }

        impl EventType {
            /// Every type, in the order of the wire contract; a type's place is its number.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$Kind),*];
        }

        /// The facts of each type, at its place in [`EventType::ALL`].
        const FACTS: [Facts; EventType::ALL.len()] = [$(Facts { name: $name, class: $class }),*];
    };
}
use event_types;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_have_their_wire_names_and_no_others() {
        for kind in EventType::ALL {
            assert_eq!(EventType::from_name(kind.as_str()), Some(kind));
        }
        for wrong in ["", "IssueUpdate", "issueupdate", "issueUpdate ", "notifications"] {
            assert_eq!(EventType::from_name(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_facts_of_the_contract() {
        let facts = |name: &str| {
            let kind = EventType::from_name(name).unwrap();
            (kind.id_optional(), kind.is_personal(), kind.dataset_by_default())
        };
        assert_eq!(facts("issueUpdate"), (false, false, false));
        assert_eq!(facts("notification"), (true, true, false));
        for dataset in ["datasetUpdate", "uploadFile", "downloadFile"] {
            assert_eq!(facts(dataset), (false, false, true), "{dataset}");
        }
    }

    #[test]
    fn names_are_listed_in_the_order_of_the_contract() {
        let first = ["issueUpdate", "notification", "datasetUpdate", "uploadFile", "downloadFile"].join(", ");
        assert!(EventType::names(|_| true).starts_with(&first));
        assert_eq!(EventType::names(EventType::is_personal), "notification");
    }
}
