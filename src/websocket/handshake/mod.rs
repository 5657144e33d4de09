//! The opening handshake (RFC 6455 §4). For the server, a request's head becomes an [`Upgrade`], a [`PageRequest`] or a
//! [`Rejection`] with its HTTP status. The client's half is for the command line.
//!
//! Does not know which paths, origins and addresses are allowed; the caller decides.

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
pub(super) use upgrade::ClientRequest;
pub use upgrade::{PageRequest, Upgrade};

/// The length of a key: 16 bytes in base64.
const KEY_LENGTH: usize = 24;

/// The length of a SHA-1 digest in base64.
const ACCEPT_LENGTH: usize = 28;

/// The GUID that both sides append to the key (§1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Most headers in a head.
const MAX_HEADERS: usize = 100;

/// The `Sec-WebSocket-Accept` for this `Sec-WebSocket-Key` (§4.2.2).
fn accept_value(key: &[u8; KEY_LENGTH]) -> [u8; ACCEPT_LENGTH] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut value = [0; ACCEPT_LENGTH];
    STANDARD.encode_slice(digest, &mut value).expect("20 bytes are 28 digits");
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
