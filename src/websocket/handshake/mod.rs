//! The opening handshake (RFC 6455 §4): parses a request's head into an [`Upgrade`], a [`PageRequest`], or a
//! [`Rejection`] with its HTTP status. Also the client side, for our own command line.
//!
//! It must not know which paths, origins or addresses are allowed: the caller decides.

mod client;
mod extensions;
mod fields;
mod head;
mod rejection;
mod upgrade;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

pub(super) use client::ExpectedAccept;
pub use client::{Refusal, UpgradeRequest};
pub(super) use head::{HeadError, HeadReader};
pub use rejection::Rejection;
pub(super) use upgrade::Asked;
pub use upgrade::{PageRequest, Upgrade};

/// Length of a key: 16 bytes in base64.
const KEY_LENGTH: usize = 24;

/// Length of a SHA-1 digest in base64.
const ACCEPT_LENGTH: usize = 28;

/// The GUID that both sides append to the key (§1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Most headers in a head.
const MAX_HEADERS: usize = 100;

/// The value of `Sec-WebSocket-Accept` that answers `key` (§4.2.2).
fn accept_value(key: &[u8; KEY_LENGTH]) -> [u8; ACCEPT_LENGTH] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut value = [0; ACCEPT_LENGTH];
    STANDARD.encode_slice(digest, &mut value).expect("20 bytes are 28 digits in base64");
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3.
    #[test]
    fn the_accept_value_of_the_rfc() {
        assert_eq!(&accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
