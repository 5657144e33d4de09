//! The client's address behind proxies, from `X-Forwarded-For` and `Forwarded` (RFC 7239). Only headers from trusted
//! proxies are believed.

use std::net::{IpAddr, Ipv6Addr};

/// The proxies whose forwarding headers are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<Network>,
}

/// The addresses whose first `prefix` bits are those of `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    first: IpAddr,
    /// Length of the common prefix, in bits.
    prefix: u8,
}

/// Why a text is not an address or a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Neither an address nor a network.
    #[error("{0:?} is neither an IP address nor a network like 10.0.0.0/8")]
    Syntax(String),
    /// The address has bits set after the prefix.
    #[error("{text:?} is not the first address of its network; {first}/{prefix} is")]
    HostBits {
        /// The text as configured.
        text: String,
        /// The network's first address.
        first: IpAddr,
        /// The length of the prefix, in bits.
        prefix: u8,
    },
}

impl TrustedProxies {
    /// Trusts these addresses and networks (CIDR notation, RFC 4632 §3.1).
    ///
    /// # Errors
    ///
    /// [`ProxyError`] for the first text that is neither.
    pub fn parse<'a>(proxies: impl IntoIterator<Item = &'a str>) -> Result<Self, ProxyError> {
        let networks = proxies.into_iter().map(Network::parse).collect::<Result<_, _>>()?;
        Ok(Self { networks })
    }

    /// The address of the client behind a connection from `peer`; the header values are in the order of the request.
    ///
    /// The chain is read from its end, which the nearest proxy wrote: the first address that is not a trusted proxy is
    /// the client's. A malformed element ends the chain. If the two headers name different clients, the proxy did not
    /// write one of them, so neither is believed.
    #[must_use]
    pub fn client<'h>(
        &self,
        peer: IpAddr,
        x_forwarded_for: impl DoubleEndedIterator<Item = &'h [u8]>,
        forwarded: impl DoubleEndedIterator<Item = &'h [u8]>,
    ) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return peer;
        }
        let x_forwarded_for = self.walk(peer, x_forwarded_for, parse_node);
        let forwarded = self.walk(peer, forwarded, parse_forwarded);
        match (x_forwarded_for, forwarded) {
            (None, None) => peer,
            (Some(client), None) | (None, Some(client)) => client,
            (Some(one), Some(other)) => {
                if one == other {
                    one
                } else {
                    peer
                }
            }
        }
    }

    /// Whether `address` belongs to a trusted proxy.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// The client that one header's chain leads to; `None` if the header is absent.
    fn walk<'h>(
        &self,
        peer: IpAddr,
        values: impl DoubleEndedIterator<Item = &'h [u8]>,
        parse: impl Fn(&str) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let mut client = None;
        // A comma inside a quoted string splits it into two malformed elements, which end the chain.
        for hop in values.rev().flat_map(|value| value.rsplit(|&byte| byte == b',')) {
            let Some(address) = str::from_utf8(hop).ok().and_then(|hop| parse(hop.trim_matches([' ', '\t'])))
            else {
                return Some(client.unwrap_or(peer));
            };
            client = Some(address);
            if !self.contains(address) {
                break;
            }
        }
        client
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, ProxyError> {
        let syntax = || ProxyError::Syntax(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| syntax())?
            }
            Some(_) => return Err(syntax()),
        };
        if prefix > bits {
            return Err(syntax());
        }
        let first = first_address(address, prefix);
        if first != address {
            return Err(ProxyError::HostBits { text: text.to_owned(), first, prefix });
        }
        // An IPv4 network may be written in its IPv6-mapped form; addresses are compared as IPv4.
        match first.to_canonical() {
            canonical if canonical != first && prefix >= 96 => {
                Ok(Self { first: canonical, prefix: prefix - 96 })
            }
            _ => Ok(Self { first, prefix }),
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && first_address(address, self.prefix) == self.first
    }
}

/// `address` with all bits after the first `prefix` cleared.
fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

/// The address in an element of `Forwarded` (RFC 7239 §4): `for=192.0.2.60;proto=http`, `for="[2001:db8::1]:4711"`.
/// `None` unless the whole element is well-formed.
fn parse_forwarded(element: &str) -> Option<IpAddr> {
    let mut address = None;
    let mut rest = element;
    loop {
        let (name, value) = rest.split_once('=')?;
        let (value, after) = parse_value(value)?;
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && address.replace(parse_node(value)?).is_some() {
            return None;
        }
        if after.is_empty() {
            return address;
        }
        rest = after.strip_prefix(';')?;
    }
}

/// Splits off the value, a token or a quoted string, that `text` starts with. Quoted pairs are not decoded: no address
/// needs them.
fn parse_value(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_at(text.find(';').unwrap_or(text.len()));
        return is_token(value).then_some((value, after));
    };
    let mut escaped = false;
    let end = quoted.find(|char| {
        let ends = char == '"' && !escaped;
        escaped = char == '\\' && !escaped;
        ends
    })?;
    Some((&quoted[..end], &quoted[end + 1..]))
}

/// Whether `text` is a token (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A node with or without a port (RFC 7239 §6): `192.0.2.60`, `192.0.2.60:80`, `[2001:db8::1]`, `[2001:db8::1]:80`; for
/// `X-Forwarded-For` also `2001:db8::1`.
fn parse_node(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[') {
        Some(text) => {
            let (address, port) = text.split_once(']')?;
            if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
                return None;
            }
            IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_port(port) => IpAddr::V4(address.parse().ok()?),
            _ => text.parse().ok()?,
        },
    };
    Some(address.to_canonical())
}

/// Whether `text` is a port, in digits or obfuscated (RFC 7239 §6.3).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => is_token(name),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies() -> TrustedProxies {
        TrustedProxies::parse(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"]).unwrap()
    }

    /// The client behind `peer`, given the values of both headers.
    fn client(peer: &str, x_forwarded_for: &[&str], forwarded: &[&str]) -> String {
        let [x_forwarded_for, forwarded] =
            [x_forwarded_for, forwarded].map(|values| values.iter().map(|value| value.as_bytes()));
        proxies().client(ip(peer), x_forwarded_for, forwarded).to_string()
    }

    #[test]
    fn s07_x_forwarded_for_is_believed_from_trusted_proxies_only() {
        for (peer, values, expected) in [
            // An untrusted peer's headers are ignored.
            ("203.0.113.9", &["1.2.3.4"][..], "203.0.113.9"),
            ("192.0.2.2", &["1.2.3.4"], "192.0.2.2"),
            ("2001:db9::1", &["1.2.3.4"], "2001:db9::1"),
            ("11.0.0.1", &["10.0.0.1"], "11.0.0.1"),
            // One trusted proxy.
            ("10.255.255.255", &["1.2.3.4"], "1.2.3.4"),
            ("192.0.2.1", &["1.2.3.4"], "1.2.3.4"),
            ("2001:db8:ffff::1", &["2001:db9::7"], "2001:db9::7"),
            ("::ffff:10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &[], "10.0.0.1"),
            // What the client wrote itself is to the left of what the proxy appended.
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["10.0.0.7,1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["garbage, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["\u{0}\"", "1.2.3.4"], "1.2.3.4"),
            // Several trusted proxies.
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2,\t192.0.2.1"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4, 10.0.0.2", "::1"], "1.2.3.4"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // A malformed element ends the chain.
            ("10.0.0.1", &["1.2.3.4, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["1.2.3.4,"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4", ""], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4.5"], "10.0.0.1"),
            ("10.0.0.1", &["01.2.3.4"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4 5.6.7.8"], "10.0.0.1"),
            ("10.0.0.1", &["for=1.2.3.4"], "10.0.0.1"),
            // Some proxies include the port.
            ("10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4"),
            ("10.0.0.1", &["[2001:db9::7]:5678"], "2001:db9::7"),
            ("10.0.0.1", &["[2001:db9::7]"], "2001:db9::7"),
            ("10.0.0.1", &["[1.2.3.4]:80"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4:"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4:http"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db9::7]5678"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db9::7"], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, values, &[]), expected, "{peer} {values:?}");
        }
    }

    #[test]
    fn s07_forwarded_is_believed_from_trusted_proxies_only() {
        for (peer, values, expected) in [
            ("203.0.113.9", &["for=1.2.3.4"][..], "203.0.113.9"),
            ("10.0.0.1", &["for=1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["For=1.2.3.4;proto=https;by=10.0.0.1"], "1.2.3.4"),
            ("10.0.0.1", &["proto=https;FOR=\"1.2.3.4:47011\""], "1.2.3.4"),
            ("10.0.0.1", &["for=\"[2001:db9::7]:_obfuscated\""], "2001:db9::7"),
            ("10.0.0.1", &["for=\"[2001:db9::7]\""], "2001:db9::7"),
            ("10.0.0.1", &["for=6.6.6.6, for=1.2.3.4;proto=http"], "1.2.3.4"),
            ("10.0.0.1", &["for=6.6.6.6", "for=1.2.3.4, for=10.0.0.2"], "1.2.3.4"),
            ("10.0.0.1", &["for=1.2.3.4;host=\"a;for=6.6.6.6\""], "1.2.3.4"),
            // The client's unclosed quote does not swallow what the proxy appended.
            ("10.0.0.1", &["for=\"6.6.6.6, for=1.2.3.4"], "1.2.3.4"),
            // A malformed element ends the chain.
            ("10.0.0.1", &["for=1.2.3.4;host=\"a, for=6.6.6.6\""], "10.0.0.1"),
            ("10.0.0.1", &["for=1.2.3.4;host=\"a, for=6.6.6.6;x=\\\"\""], "10.0.0.1"),
            ("10.0.0.1", &["for=unknown"], "10.0.0.1"),
            ("10.0.0.1", &["for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["for=2001:db9::7"], "10.0.0.1"),
            ("10.0.0.1", &["for=1.2.3.4;for=6.6.6.6"], "10.0.0.1"),
            ("10.0.0.1", &["by=1.2.3.4"], "10.0.0.1"),
            ("10.0.0.1", &["for=1.2.3.4;"], "10.0.0.1"),
            ("10.0.0.1", &["for=1.2.3.4;proto"], "10.0.0.1"),
            ("10.0.0.1", &["for = 1.2.3.4"], "10.0.0.1"),
            ("10.0.0.1", &["for=\"1.2.3.4"], "10.0.0.1"),
            ("10.0.0.1", &["for=\"1.2.3.4\"x"], "10.0.0.1"),
            ("10.0.0.1", &["for=\"1.2.3\\.4\""], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["for=я"], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, &[], values), expected, "{peer} {values:?}");
        }
    }

    #[test]
    fn s07_headers_that_contradict_each_other_are_not_believed() {
        assert_eq!(client("10.0.0.1", &["1.2.3.4"], &["for=1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["1.2.3.4"], &["for=6.6.6.6"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6"], &["for=1.2.3.4"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["1.2.3.4"], &["nonsense"]), "10.0.0.1");
    }

    #[test]
    fn bytes_that_are_not_utf_8_end_the_chain() {
        let value: &[u8] = b"1.2.3.4, \xff";
        let client = proxies().client(ip("10.0.0.1"), [value].into_iter(), std::iter::empty());
        assert_eq!(client, ip("10.0.0.1"));
    }

    #[test]
    fn networks_contain_their_first_and_last_addresses_and_not_the_next() {
        for (network, inside, outside) in [
            (
                "192.0.2.7",
                &["192.0.2.7", "::ffff:192.0.2.7"][..],
                &["192.0.2.6", "192.0.2.8", "::192.0.2.7"][..],
            ),
            ("192.0.2.7/32", &["192.0.2.7"], &["192.0.2.6"]),
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0", "a00::"]),
            ("172.16.0.0/12", &["172.16.0.0", "172.31.255.255"], &["172.15.255.255", "172.32.0.0"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "::1"]),
            ("::/0", &["::", "ffff::"], &["1.2.3.4", "::ffff:1.2.3.4"]),
            ("::1", &["::1"], &["::", "::2", "0.0.0.1"]),
            ("fd00::/8", &["fd00::", "fdff:ffff::1"], &["fc00::", "fe00::"]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3", "::ffff:10.1.2.3"], &["11.0.0.0"]),
            ("::ffff:10.0.0.1", &["10.0.0.1"], &["10.0.0.2"]),
        ] {
            let proxies = TrustedProxies::parse([network]).unwrap();
            for (addresses, trusted) in [(inside, true), (outside, false)] {
                for address in addresses {
                    assert_eq!(proxies.contains(ip(address).to_canonical()), trusted, "{network} {address}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_network_is_refused() {
        for wrong in [
            "",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0",
            "localhost",
            "*",
            "[::1]",
            "1.2.3.4:80",
        ] {
            assert_eq!(TrustedProxies::parse([wrong]).unwrap_err(), ProxyError::Syntax(wrong.to_owned()));
        }
        let error = TrustedProxies::parse(["::1", "10.1.2.3/8"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"10.1.2.3/8\" is not the first address of its network; 10.0.0.0/8 is"
        );
    }
}
