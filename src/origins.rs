//! Which web pages may connect: the allowlist against cross-site WebSocket hijacking (RFC 6455 §10.2).

/// The origins whose pages may connect.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// `None`: every origin.
    allowed: Option<Vec<Origin<Box<str>>>>,
}

/// An origin (RFC 6454 §4): scheme, host and port.
#[derive(Clone, Copy, Debug)]
struct Origin<S> {
    scheme: S,
    host: S,
    /// `None`: the scheme's default port.
    port: Option<u16>,
}

/// A text that is not an origin as browsers send it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{origin:?} is not an origin: scheme://host or scheme://host:port, without a path and without wildcards"
)]
pub struct OriginError {
    origin: String,
}

impl Origins {
    /// Admits every page.
    #[must_use]
    pub const fn any() -> Self {
        Self { allowed: None }
    }

    /// Admits only pages of these origins.
    ///
    /// # Errors
    ///
    /// [`OriginError`] for the first text that is not `scheme://host` or `scheme://host:port`.
    pub fn only<'a>(origins: impl IntoIterator<Item = &'a str>) -> Result<Self, OriginError> {
        let allowed = origins.into_iter().map(|text| match Origin::parse(text) {
            Some(Origin { scheme, host, port }) => {
                Ok(Origin { scheme: scheme.into(), host: host.into(), port })
            }
            None => Err(OriginError { origin: text.to_owned() }),
        });
        Ok(Self { allowed: Some(allowed.collect::<Result<_, _>>()?) })
    }

    /// Whether every page is admitted.
    #[must_use]
    pub const fn admit_any(&self) -> bool {
        self.allowed.is_none()
    }

    /// Whether a request with this `Origin` header is admitted. One without the header does not come from a web page
    /// and is always admitted.
    #[must_use]
    pub fn admit(&self, origin: Option<&[u8]>) -> bool {
        let (Some(allowed), Some(origin)) = (&self.allowed, origin) else { return true };
        let Some(origin) = str::from_utf8(origin).ok().and_then(Origin::parse) else { return false };
        allowed.iter().any(|allowed| {
            allowed.scheme.eq_ignore_ascii_case(origin.scheme)
                && allowed.host.eq_ignore_ascii_case(origin.host)
                && allowed.port == origin.port
        })
    }
}

impl<'a> Origin<&'a str> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (host, port) = match authority.rsplit_once(':') {
            // An IPv6 address has its colons inside the brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(parse_port(port)?)),
            _ => (authority, None),
        };
        let is_own = matches!(port, Some(port) if default_port(scheme) == Some(port));
        let port = port.filter(|_| !is_own);
        (is_scheme(scheme) && is_host(host)).then_some(Self { scheme, host, port })
    }
}

/// A port in decimal digits, without the sign that `parse` would accept.
fn parse_port(text: &str) -> Option<u16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The scheme's default port (RFC 6455 §3, RFC 9110 §4.2).
const fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss") {
        Some(443)
    } else if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("ws") {
        Some(80)
    } else {
        None
    }
}

/// Whether `text` is a URI scheme (RFC 3986 §3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Whether `text` is a host as browsers write it: an ASCII name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s06_only_listed_origins_are_admitted() {
        let listed = [
            "https://airlay.ru",
            "HTTP://Dev.Airlay.RU:80",
            "http://localhost:3000",
            "https://[2001:DB8::1]:8443",
        ];
        let origins = Origins::only(listed).unwrap();
        for (origin, admitted) in [
            ("https://airlay.ru", true),
            ("https://airlay.ru:443", true),
            ("HTTPS://AIRLAY.ru", true),
            ("http://dev.airlay.ru", true),
            ("http://dev.airlay.ru:80", true),
            ("http://localhost:3000", true),
            ("https://[2001:db8::1]:8443", true),
            // Another scheme, another port.
            ("http://airlay.ru", false),
            ("https://airlay.ru:80", false),
            ("https://airlay.ru:8443", false),
            ("http://airlay.ru:443", false),
            ("wss://airlay.ru", false),
            ("https://dev.airlay.ru", false),
            ("http://dev.airlay.ru:443", false),
            ("http://localhost", false),
            ("http://localhost:30000", false),
            ("https://[2001:db8::1]", false),
            ("https://[2001:db8::2]:8443", false),
            // Another host.
            ("https://airlay.ru.evil.example", false),
            ("https://evil.example/airlay.ru", false),
            ("https://evilairlay.ru", false),
            ("https://www.airlay.ru", false),
            ("https://airlay.ru.", false),
            ("https://airlay", false),
            ("https://airlay.ru@evil.example", false),
            ("https://evil.example#https://airlay.ru", false),
            ("https://evil.example?https://airlay.ru", false),
            // Not an origin as browsers write it.
            ("null", false),
            ("", false),
            ("airlay.ru", false),
            ("//airlay.ru", false),
            ("https:airlay.ru", false),
            ("https://", false),
            ("://airlay.ru", false),
            ("https://airlay.ru/", false),
            ("https://airlay.ru:", false),
            ("https://airlay.ru:+443", false),
            ("https://airlay.ru:65979", false),
            ("https://airlay.ru:443:443", false),
            (" https://airlay.ru", false),
            ("https://airlay.ru https://airlay.ru", false),
            ("https://airlay.ru, https://airlay.ru", false),
            ("https://airlay.ru\0", false),
            ("https://*.ru", false),
            ("*", false),
        ] {
            assert_eq!(origins.admit(Some(origin.as_bytes())), admitted, "{origin:?}");
        }
        assert!(!origins.admit(Some(b"https://airlay.ru\xff")));
        assert!(origins.admit(None), "a request without Origin is not from a browser");
    }

    #[test]
    fn s06_any_origin_is_admitted_if_none_is_listed() {
        for origin in [None, Some(&b"https://evil.example"[..]), Some(b"null"), Some(b"\xff")] {
            assert!(Origins::any().admit(origin));
            assert!(!Origins::only([]).unwrap().admit(origin) || origin.is_none());
        }
    }

    #[test]
    fn what_no_browser_sends_cannot_be_listed() {
        for wrong in [
            "",
            "*",
            "null",
            "airlay.ru",
            "https://",
            "https://airlay.ru/",
            "https://airlay.ru/ws",
            "https://*.airlay.ru",
            "https://user@airlay.ru",
            "https://airlay.ru:x",
            "https://airlay.ru:99999",
            "https://эйрлей.рф",
            "1https://airlay.ru",
            "https://[::1",
            "https://::1",
            "https://[x]",
        ] {
            let error = Origins::only(["https://good.example", wrong]).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{wrong:?} is not an origin")), "{error}");
        }
        assert!(Origins::only(["app://bundle", "chrome-extension://abcdef"]).is_ok());
    }
}
