//! WebSocket URLs: `ws://host:port/path` (RFC 6455 §3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::config::WebSocketEvents;

/// A `ws://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Host and port as written, for the `Host` header.
    pub(super) authority: String,
    /// A name or an IP address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query.
    pub(super) target: String,
}

impl Url {
    /// The URL of the server with this configuration, from its own machine. `None` if the port is 0 and so unknown.
    pub(super) fn of_server(config: &WebSocketEvents) -> Option<Self> {
        let address = match config.address {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        (config.port != 0).then(|| Self {
            authority: SocketAddr::new(address, config.port).to_string(),
            host: address.to_string(),
            port: config.port,
            target: config.path.clone(),
        })
    }
}

impl FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(rest) = text.strip_prefix("ws://") else {
            return Err(match text.starts_with("wss://") {
                true => "TLS is not spoken here; connect to the server behind the proxy, with ws://",
                false => "a URL like ws://127.0.0.1:8081/ws is wanted",
            });
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| "the port is not a number from 0 to 65535")?)
            }
            _ => (authority, 80),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('#') {
            return Err("the URL needs a host, and may have neither spaces nor #");
        }
        let root = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
            target: format!("{root}{target}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        for (text, authority, host, port, target) in [
            ("ws://localhost:8081/ws", "localhost:8081", "localhost", 8081, "/ws"),
            ("ws://[::1]:8081/a/b?c=d:e", "[::1]:8081", "::1", 8081, "/a/b?c=d:e"),
            ("ws://[::1]/", "[::1]", "::1", 80, "/"),
            ("ws://host", "host", "host", 80, "/"),
            ("ws://host?q", "host", "host", 80, "/?q"),
        ] {
            let url: Url = text.parse().unwrap();
            let parts = (url.authority.as_str(), url.host.as_str(), url.port, url.target.as_str());
            assert_eq!(parts, (authority, host, port, target), "{text}");
        }
        for wrong in [
            "",
            "localhost",
            "http://a",
            "wss://a",
            "ws://",
            "ws://:1/",
            "ws://a:b/",
            "ws://a b/",
            "ws://a/#",
        ] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_servers_own_url_can_be_connected_to() {
        let config = |name: &str, value: &str| {
            WebSocketEvents::load(None, [(format!("AIRLAY_WEBSOCKETEVENTS_{name}").into(), value.into())])
                .unwrap()
        };
        let url = |config| Url::of_server(&config);
        assert_eq!(url(config("ADDRESS", "0.0.0.0")), Some("ws://127.0.0.1:8081/ws".parse().unwrap()));
        assert_eq!(url(config("ADDRESS", "::")), Some("ws://[::1]:8081/ws".parse().unwrap()));
        assert_eq!(url(config("ADDRESS", "10.0.0.1")), Some("ws://10.0.0.1:8081/ws".parse().unwrap()));
        assert_eq!(url(config("PORT", "0")), None);
    }
}
