//! The kinds of values a key can have: how each is parsed, and how the allowed values are described.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::accounts;
use crate::api::EventType;
use crate::forwarded::TrustedProxies;
use crate::origins::Origins;

/// One kind of value.
pub(super) struct Kind<T> {
    /// The allowed values, completing "allowed: …".
    pub(super) allowed: String,
    read: Box<Reader<T>>,
}

/// Parses a text; relative paths start at the given folder. The error says what is not allowed.
type Reader<T> = dyn Fn(&str, &Path) -> Result<T, String>;

impl<T: 'static> Kind<T> {
    fn new(allowed: impl Into<String>, read: impl Fn(&str) -> Option<T> + 'static) -> Self {
        Self {
            allowed: allowed.into(),
            read: Box::new(move |text, _| read(text).ok_or_else(|| not_allowed(text))),
        }
    }

    /// Parses `text`; relative paths start at `folder`.
    ///
    /// # Errors
    /// What in the text is not allowed.
    pub(super) fn read(&self, text: &str, folder: &Path) -> Result<T, String> {
        (self.read)(text, folder)
    }

    /// The same texts, with their values converted.
    fn map<U: 'static>(self, map: fn(T) -> U) -> Kind<U> {
        let read = self.read;
        Kind { allowed: self.allowed, read: Box::new(move |text, folder| read(text, folder).map(map)) }
    }

    /// The same values, and the empty text for `None`.
    pub(super) fn or_none(self) -> Kind<Option<T>> {
        Kind {
            allowed: format!("{}; may be empty", self.allowed),
            read: Box::new(
                move |text, folder| {
                    if text.is_empty() { Ok(None) } else { self.read(text, folder).map(Some) }
                },
            ),
        }
    }

    /// A comma-separated list of such values; the empty text is the empty list.
    pub(super) fn list(self) -> Kind<Vec<T>> {
        Kind {
            allowed: list_of(&self.allowed),
            read: Box::new(move |text, folder| items(text).map(|item| self.read(item, folder)).collect()),
        }
    }
}

/// One of these words.
pub(super) fn choice<T: Copy + 'static>(words: &'static [(&'static str, T)]) -> Kind<T> {
    let names: Vec<_> = words.iter().map(|&(word, _)| word).collect();
    Kind::new(names.join(", "), |text| words.iter().find(|(word, _)| *word == text).map(|&(_, value)| value))
}

/// An event type whose id is that of an object: every type that is not personal.
pub(super) fn object_type() -> Kind<EventType> {
    const fn has_object(kind: &EventType) -> bool {
        !kind.is_personal()
    }
    Kind::new(EventType::names(|kind| has_object(&kind)), |name| {
        EventType::from_name(name).filter(has_object)
    })
}

/// `on`/`true` or `off`/`false`.
pub(super) fn switch() -> Kind<bool> {
    Kind::new("true or on, false or off", |text| match text {
        "true" | "on" => Some(true),
        "false" | "off" => Some(false),
        _ => None,
    })
}

/// A whole number without unit.
pub(super) fn count<N>(range: RangeInclusive<N>) -> Kind<N>
where
    N: FromStr + PartialOrd + Display + 'static,
{
    whole("a whole number", range)
}

/// A size in bytes.
pub(super) fn bytes(range: RangeInclusive<usize>) -> Kind<usize> {
    whole("a whole number of bytes", range)
}

/// A time in whole seconds.
pub(super) fn seconds(range: RangeInclusive<u64>) -> Kind<Duration> {
    time("a whole number of seconds", range, Duration::from_secs)
}

/// A time in whole milliseconds.
pub(super) fn millis(range: RangeInclusive<u64>) -> Kind<Duration> {
    time("a whole number of milliseconds", range, Duration::from_millis)
}

/// A TCP port, 0 included.
pub(super) fn port() -> Kind<u16> {
    count(0..=u16::MAX)
}

/// An IP address without port.
pub(super) fn ip() -> Kind<IpAddr> {
    Kind::new("an IPv4 or IPv6 address", |text| text.parse().ok())
}

/// An IP address with port.
pub(super) fn ip_and_port() -> Kind<SocketAddr> {
    Kind::new("an IP address and a port, like 127.0.0.1:9081", |text| text.parse().ok())
}

/// The path of a URL.
pub(super) fn url_path() -> Kind<String> {
    Kind::new("the path of a URL, starting with /, without ?, # or space", |text| {
        let is_path = text.starts_with('/')
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
        is_path.then(|| text.to_owned())
    })
}

/// Any text that is not empty.
pub(super) fn text(allowed: &str) -> Kind<String> {
    Kind::new(allowed, |text| (!text.is_empty()).then(|| text.to_owned()))
}

/// Origins of web pages; an empty list allows any.
pub(super) fn origins() -> Kind<Origins> {
    Kind {
        allowed: list_of("origins like https://airlay.ru or http://localhost:3000"),
        read: Box::new(|text, _| {
            if text.is_empty() {
                return Ok(Origins::any());
            }
            Origins::only(items(text)).map_err(|error| error.to_string())
        }),
    }
}

/// Addresses and networks of proxies.
pub(super) fn proxies() -> Kind<TrustedProxies> {
    Kind {
        allowed: list_of("IP addresses, and networks like 10.0.0.0/8"),
        read: Box::new(|text, _| TrustedProxies::parse(items(text)).map_err(|error| error.to_string())),
    }
}

/// The path of a file or socket.
pub(super) fn path() -> Kind<PathBuf> {
    Kind {
        allowed: "a path, absolute or relative to the configuration file".to_owned(),
        read: Box::new(
            |text, folder| {
                if text.is_empty() { Err(not_allowed(text)) } else { Ok(folder.join(text)) }
            },
        ),
    }
}

/// The permission bits of a file.
pub(super) fn file_mode() -> Kind<u32> {
    Kind::new("octal permission bits from 0 to 0777", |text| {
        let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
        u32::from_str_radix(text, 8).ok().filter(|&mode| digits_only && mode <= 0o777)
    })
}

/// A user of this machine, by name or number.
pub(super) fn user() -> Kind<u32> {
    Kind::new("a user's name in /etc/passwd, or a numeric user id", accounts::user)
}

/// A group of this machine, by name or number.
pub(super) fn group() -> Kind<u32> {
    Kind::new("a group's name in /etc/group, or a numeric group id", accounts::group)
}

fn whole<N>(what: &str, range: RangeInclusive<N>) -> Kind<N>
where
    N: FromStr + PartialOrd + Display + 'static,
{
    Kind::new(format!("{what} from {} to {}", range.start(), range.end()), move |text| {
        text.parse().ok().filter(|number| range.contains(number))
    })
}

fn time(what: &str, range: RangeInclusive<u64>, unit: fn(u64) -> Duration) -> Kind<Duration> {
    whole(what, range).map(unit)
}

/// The items between the commas; none if `text` is empty.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let all = if text.is_empty() { None } else { Some(text.split(',').map(str::trim)) };
    all.into_iter().flatten()
}

fn list_of(allowed: &str) -> String {
    format!("{allowed}; several separated by commas; may be empty")
}

fn not_allowed(text: &str) -> String {
    format!("{text:?} is not allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes<T: 'static>(kind: &Kind<T>, text: &str) -> bool {
        kind.read(text, Path::new("/etc/airlay")).is_ok()
    }

    #[test]
    fn numbers_are_whole_and_in_their_range() {
        let kind = bytes(16..=64);
        assert!(["16", "64", "+20", "020"].iter().all(|text| takes(&kind, text)));
        assert!(
            ["", "15", "65", "-20", "2e1", "20k", "20 ", "99999999999999999999"]
                .iter()
                .all(|t| !takes(&kind, t))
        );
        assert_eq!(kind.allowed, "a whole number of bytes from 16 to 64");
        assert_eq!(millis(1..=9).read("7", Path::new("")), Ok(Duration::from_millis(7)));
        assert!(takes(&port(), "0") && takes(&port(), "65535") && !takes(&port(), "65536"));
    }

    #[test]
    fn a_list_names_the_item_that_is_not_allowed() {
        let kind = ip().list();
        assert_eq!(kind.read("", Path::new("")), Ok(vec![]));
        assert_eq!(kind.read("::1, 10.0.0.1", Path::new("")).unwrap().len(), 2);
        assert_eq!(kind.read("::1, ten, 10.0.0.1", Path::new("")), Err("\"ten\" is not allowed".to_owned()));
        assert_eq!(kind.read("::1,", Path::new("")), Err("\"\" is not allowed".to_owned()));
    }

    #[test]
    fn an_origin_or_a_proxy_that_is_none_is_named() {
        let wrong = origins().read("https://a, https://b/path", Path::new("")).unwrap_err();
        assert!(wrong.starts_with("\"https://b/path\" is not an origin"), "{wrong}");
        let wrong = proxies().read("10.0.0.0/8, 10.0.0.1/8", Path::new("")).unwrap_err();
        assert!(wrong.starts_with("\"10.0.0.1/8\" is not"), "{wrong}");
        assert!(takes(&origins(), "") && takes(&proxies(), ""));
    }

    #[test]
    fn paths_are_relative_to_the_folder() {
        let folder = Path::new("/etc/airlay");
        assert_eq!(path().read("keys/a.pem", folder).unwrap(), Path::new("/etc/airlay/keys/a.pem"));
        assert_eq!(path().read("/keys/a.pem", folder).unwrap(), Path::new("/keys/a.pem"));
        assert!(!takes(&path(), ""));
        assert_eq!(path().or_none().read("", folder), Ok(None));
    }

    #[test]
    fn a_file_mode_is_octal() {
        assert_eq!(file_mode().read("0660", Path::new("")), Ok(0o660));
        assert!(
            ["", "0680", "+660", "1777", "0o660", "rw-rw----"].iter().all(|text| !takes(&file_mode(), text))
        );
    }

    #[test]
    fn a_url_path_has_no_query() {
        assert!(takes(&url_path(), "/ws") && takes(&url_path(), "/") && takes(&url_path(), "/a/%20b"));
        assert!(["", "ws", "/ws?x", "/w s", "/ws#", "/ў"].iter().all(|text| !takes(&url_path(), text)));
    }
}
