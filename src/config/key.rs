//! One key of the configuration: its names, its default, its explanation.
//!
//! It must not know which keys there are; [`sections`](super::sections) declares them.

/// One key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The section's name, without brackets.
    pub section: &'static str,
    /// The key's name, in camelCase; the last word of a number's name is its unit.
    pub name: String,
    /// The default as text; empty if there is none.
    pub default: &'static str,
    /// The allowed values, completing "allowed: …".
    pub allowed: String,
    /// What the key is for: plain text, one or more lines.
    pub about: &'static str,
}

impl Key {
    /// The environment variable that overrides the key.
    #[must_use]
    pub fn variable(&self) -> String {
        self.variable_prefix() + &self.name.to_uppercase()
    }

    /// The prefix that the variables of all keys in this section share.
    pub(super) fn variable_prefix(&self) -> String {
        format!("AIRLAY_{}_", self.section.to_uppercase())
    }
}

/// `head_bytes` → `headBytes`.
pub(super) fn camel_case(snake_case: &str) -> String {
    let mut words = snake_case.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        name += &first.to_ascii_uppercase();
        name += rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_camel_case_and_variables_upper_case() {
        assert_eq!(camel_case("port"), "port");
        assert_eq!(camel_case("queue_soft_bytes"), "queueSoftBytes");
        let key = Key {
            section: "webSocketEvents",
            name: camel_case("compression_min_bytes"),
            default: "",
            allowed: String::new(),
            about: "",
        };
        assert_eq!(key.variable(), "AIRLAY_WEBSOCKETEVENTS_COMPRESSIONMINBYTES");
    }
}
