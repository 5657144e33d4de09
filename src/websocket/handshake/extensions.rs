//! Negotiation of extensions (RFC 6455 §9.1): reads all offers and accepts the first permessage-deflate offer that the
//! server supports (RFC 7692 §5, §7.1).
//!
//! It must not know whether compression is enabled.

use super::fields::{Lexer, Malformed};
use crate::websocket::deflate::WindowBits;

const PARAMETERS: [&str; 4] = [
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits",
    "client_max_window_bits",
];

/// A permessage-deflate offer that the server can accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The limit on the server's window, if the client set one: the response must repeat it.
    pub(super) server_max_window_bits: Option<WindowBits>,
}

impl Offer {
    /// The element of `Sec-WebSocket-Extensions` that accepts this offer. It disables context takeover in both
    /// directions.
    pub(super) fn answer(self) -> String {
        let mut answer =
            String::from("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        if let Some(bits) = self.server_max_window_bits {
            answer.push_str("; server_max_window_bits=");
            answer.push_str(&bits.get().to_string());
        }
        answer
    }
}

/// The first acceptable offer in the values of all `Sec-WebSocket-Extensions` headers.
pub(super) fn negotiate<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Offer>, Malformed> {
    let mut chosen = None;
    for value in values {
        let mut lexer = Lexer::new(value);
        loop {
            let offer = read_offer(&mut lexer)?;
            chosen = chosen.or(offer);
            if lexer.is_at_end() {
                break;
            }
            if !lexer.accept(b',') {
                return Err(Malformed);
            }
        }
    }
    Ok(chosen)
}

/// Reads one element of the list: an acceptable offer, or `None` for one to decline.
fn read_offer(lexer: &mut Lexer<'_>) -> Result<Option<Offer>, Malformed> {
    let mut acceptable = lexer.token()? == b"permessage-deflate";
    let mut offer = Offer { server_max_window_bits: None };
    let mut seen = [false; PARAMETERS.len()];
    while lexer.accept(b';') {
        let name = lexer.token()?;
        let value = if lexer.accept(b'=') { Some(lexer.token_or_quoted()?) } else { None };
        let Some(parameter) = PARAMETERS.iter().position(|&known| known.as_bytes() == name) else {
            acceptable = false;
            continue;
        };
        // A parameter may occur only once (§7.1).
        acceptable &= !std::mem::replace(&mut seen[parameter], true);
        match (PARAMETERS[parameter], value.as_deref()) {
            ("server_max_window_bits", Some(value)) => {
                // The RFC allows windows of 256 bytes, but zlib does not support them.
                offer.server_max_window_bits = window_bits(value).and_then(WindowBits::new);
                acceptable &= offer.server_max_window_bits.is_some();
            }
            // The value is ignored: the server always inflates with the largest window.
            ("client_max_window_bits", Some(value)) => acceptable &= window_bits(value).is_some(),
            (
                "client_max_window_bits" | "server_no_context_takeover" | "client_no_context_takeover",
                None,
            ) => {}
            _ => acceptable = false,
        }
    }
    Ok(acceptable.then_some(offer))
}

/// Parses a window size: 8 to 15, in decimal, without leading zeros (§7.1.2).
const fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(*digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + *digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The window bits of the accepted offer, 0 if it does not limit them.
    fn negotiated(values: &[&str]) -> Result<Option<u8>, Malformed> {
        let offer = negotiate(values.iter().map(|value| value.as_bytes()))?;
        Ok(offer.map(|offer| offer.server_max_window_bits.map_or(0, WindowBits::get)))
    }

    #[test]
    fn the_first_acceptable_offer_is_taken() {
        for (values, expected) in [
            (&[][..], None),
            (&["permessage-deflate"], Some(0)),
            (&["permessage-deflate; client_max_window_bits"], Some(0)),
            (&["permessage-deflate ; client_max_window_bits = 8"], Some(0)),
            (&["permessage-deflate;client_no_context_takeover;server_no_context_takeover"], Some(0)),
            (&["permessage-deflate; server_max_window_bits=10"], Some(10)),
            (&["permessage-deflate; server_max_window_bits=\"15\""], Some(15)),
            (&["permessage-deflate; server_max_window_bits=\"1\\5\""], Some(15)),
            (&["permessage-deflate; server_max_window_bits=9, permessage-deflate"], Some(9)),
            (&["permessage-deflate; server_max_window_bits=8, permessage-deflate"], Some(0)),
            (
                &["x-webkit-deflate-frame", "foo; bar=1, permessage-deflate; server_max_window_bits=12"],
                Some(12),
            ),
            (&["permessage-deflate; unknown", "permessage-deflate; server_max_window_bits=11"], Some(11)),
        ] {
            assert_eq!(negotiated(values), Ok(expected), "{values:?}");
        }
    }

    #[test]
    fn unsupported_offers_are_declined() {
        for offer in [
            "permessage-bzip2",
            "Permessage-Deflate",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=1",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
        ] {
            assert_eq!(negotiated(&[offer]), Ok(None), "{offer}");
        }
    }

    #[test]
    fn s09_malformed_offers() {
        for value in [
            "",
            ",",
            "permessage-deflate,",
            "permessage-deflate;",
            "permessage-deflate; =1",
            "permessage-deflate; a=",
            "permessage-deflate; a=\"",
            "permessage-deflate; a=\"\"",
            "permessage-deflate; a=\"b c\"",
            "permessage-deflate; a b",
            "permessage deflate",
            "permessage-deflate, \u{e9}",
            "permessage-deflate; server_max_window_bits=10, ;",
        ] {
            assert_eq!(negotiated(&[value]), Err(Malformed), "{value}");
            assert_eq!(negotiated(&["permessage-deflate", value]), Err(Malformed), "{value}");
        }
    }

    #[test]
    fn s09_a_long_offer_is_read_once() {
        let hostile = "permessage-deflate; a=\"".to_owned() + &"\\a".repeat(8_000);
        assert_eq!(negotiated(&[&hostile]), Err(Malformed));
        let many = vec!["a;b;c=d"; 2_000].join(",");
        assert_eq!(negotiated(&[&many]), Ok(None));
    }

    #[test]
    fn the_response_repeats_the_requested_window() {
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(Offer { server_max_window_bits: None }.answer(), plain);
        let offer = Offer { server_max_window_bits: WindowBits::new(9) };
        assert_eq!(offer.answer(), plain.to_owned() + "; server_max_window_bits=9");
    }
}
