//! The table of all keys. One declaration of a section gives its struct, the reading of it, its documentation, and
//! its part of the shipped `config.ini`; so none of them can differ from the others.

use super::sections;

/// One key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The section's name, without brackets.
    pub section: &'static str,
    /// The key's name, in camelCase; a number's unit is its last word.
    pub name: String,
    /// The text of the default; empty if there is none.
    pub default: &'static str,
    /// Which values are allowed, completing the sentence "allowed: …".
    pub allowed: String,
    /// What the key is for: some lines of plain text.
    pub about: &'static str,
}

impl Key {
    /// The environment variable that overrides the key.
    #[must_use]
    pub fn variable(&self) -> String {
        self.variable_prefix() + &self.name.to_uppercase()
    }

    /// What the variables of all keys of the section start with.
    pub(super) fn variable_prefix(&self) -> String {
        format!("AIRLAY_{}_", self.section.to_uppercase())
    }
}

/// All keys, in the order of the shipped `config.ini`.
#[must_use]
pub fn keys() -> Vec<Key> {
    sections::keys()
}

/// Declares the struct of a section. Each field is one key: its documentation is the key's explanation, its name in
/// camelCase the key's name; then come the text of the default and the [`Kind`](super::kind::Kind) of the values.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        $visibility:vis struct $Section:ident = $section:literal {
            $($(#[doc = $about:literal])* $field:ident: $Type:ty = $default:expr, $kind:expr;)*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        $visibility struct $Section {
            $($(#[doc = $about])* pub $field: $Type,)*
        }

        impl $Section {
            pub(super) const SECTION: &'static str = $section;

            /// The section's rows of the table.
            fn keys() -> impl Iterator<Item = $crate::config::table::Key> {
                [$($crate::config::table::Key {
                    section: Self::SECTION,
                    name: $crate::config::table::camel_case(stringify!($field)),
                    default: $default,
                    allowed: $kind.allowed,
                    about: concat!($($about, "\n"),*).trim(),
                }),*]
                .into_iter()
            }

            /// The section's values. `None` if one of them is missing or bad; `source` has noted each.
            pub(super) fn take(source: &mut $crate::config::source::Source) -> Option<Self> {
                $(let $field = source.take(
                    Self::SECTION,
                    &$crate::config::table::camel_case(stringify!($field)),
                    $default,
                    &$kind,
                );)*
                Some(Self { $($field: $field?,)* })
            }
        }
    };
}
pub(super) use section;

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
    fn keys_have_the_names_of_the_contract() {
        assert_eq!(camel_case("port"), "port");
        assert_eq!(camel_case("queue_soft_bytes"), "queueSoftBytes");
        let port = keys().into_iter().find(|key| key.name == "port").unwrap();
        assert_eq!(port.variable(), "AIRLAY_WEBSOCKETEVENTS_PORT");
    }

    #[test]
    fn no_key_is_in_the_table_twice_and_none_lacks_its_explanation() {
        let keys = keys();
        let mut variables: Vec<_> = keys.iter().map(Key::variable).collect();
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), keys.len());
        for key in keys {
            assert!(key.about.ends_with('.') && !key.allowed.is_empty(), "{key:?}");
        }
    }

    /// `UPDATE_CONFIG_INI=1 cargo test config_ini` writes the shipped file and its page in the documentation anew.
    #[test]
    fn config_ini_and_its_page_are_the_table() {
        for (path, text) in [("config.ini", config_ini()), ("docs/configuration.md", page())] {
            let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("UPDATE_CONFIG_INI").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{path}");
        }
    }

    fn config_ini() -> String {
        let mut text = HEAD.to_owned();
        let mut section = "";
        for key in keys() {
            if key.section != section {
                section = key.section;
                text += &format!("\n\n[{section}]\n");
            }
            text += "\n";
            for line in key.about.lines() {
                text += &format!("# {}\n", line.trim());
            }
            let default = if key.default.is_empty() { "none" } else { key.default };
            text += &format!("# Allowed: {}\n# Default: {default}\n", key.allowed);
            text += &match (section, key.name.as_str()) {
                ("access", "mode") => "# mode = token\n# mode = file\n# mode = socket\n".to_owned(),
                ("metrics", "address") => "address = 127.0.0.1:9081\n".to_owned(),
                (_, name) => format!("{name} = {}", key.default).trim_end().to_owned() + "\n",
            };
        }
        text
    }

    fn page() -> String {
        let mut text = PAGE_HEAD.to_owned();
        let mut section = "";
        for key in keys() {
            if key.section != section {
                section = key.section;
                text += &format!(
                    "\n## [{section}]\n\n| key | default | allowed | what it is |\n|---|---|---|---|\n"
                );
            }
            let default =
                if key.default.is_empty() { "none".to_owned() } else { format!("`{}`", key.default) };
            let about = key.about.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            assert!(!format!("{about}{}", key.allowed).contains('|'), "a bar would end the cell: {key:?}");
            text += &format!("| `{}` | {default} | {} | {about} |\n", key.name, key.allowed);
        }
        text
    }

    const HEAD: &str = "\
# Settings of the Airlay event service (airlay-cli web_socket server).
#
# Two of them have no default and must be set: [access] mode, and [token] publicKey or jwks.
# Names are in camelCase; sizes are in bytes, times in the unit the name ends with. A relative path is relative to
# this file. A comment has a line of its own. An environment variable AIRLAY_<SECTION>_<KEY>, all in upper case,
# overrides the key: AIRLAY_WEBSOCKETEVENTS_PORT=8082.
# `airlay-cli web_socket check-config` says everything that is wrong with this file.
";
    const PAGE_HEAD: &str = "\
# Configuration

The server reads one INI file: the one that `--config` names, else `./config.ini`, else `/etc/airlay/config.ini`. The shipped
[`config.ini`](../config.ini) holds every key with its default. Two have no default and must be set: `[access] mode`, and `[token] publicKey` or
`jwks`.

- Names are in camelCase; sizes are in bytes, times in the unit the name ends with.
- A relative path is relative to the file.
- A comment has a line of its own.
- An environment variable `AIRLAY_<SECTION>_<KEY>`, all in upper case, overrides the key: `AIRLAY_WEBSOCKETEVENTS_PORT=8082`.
- `airlay-cli web_socket check-config` says everything that is wrong, all at once, with section, key and line; so does the server before it
  starts anything, and exits with 2.
- SIGHUP reads the keys and the access file that are named here again, not this file: for that, restart the server.
";
}
