//! The textual encoding of keys and certificates (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What stands between a `BEGIN` and an `END` line.
pub(super) struct Pem<'a> {
    /// What it is said to be: `PUBLIC KEY`.
    pub(super) label: &'a str,
    /// What it is, in DER.
    pub(super) der: Vec<u8>,
}

/// Why a text is not one PEM block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// There is none.
    #[error("it has no -----BEGIN line")]
    None,
    /// There are several.
    #[error("it has more than one -----BEGIN line; each key needs a file of its own")]
    Several,
    /// The block does not end as it begins.
    #[error("the -----END line is missing or is not that of the -----BEGIN line")]
    NoEnd,
    /// Between them is something else than base64.
    #[error("what stands between -----BEGIN and -----END is not base64")]
    NotBase64,
}

impl<'a> Pem<'a> {
    /// The one block in `text`; explanatory text before and after it is ignored (RFC 7468 §5.2).
    pub(super) fn parse(text: &'a str) -> Result<Self, PemError> {
        let (_, rest) = text.split_once(BEGIN).ok_or(PemError::None)?;
        if rest.contains(BEGIN) {
            return Err(PemError::Several);
        }
        let (label, rest) = rest.split_once(DASHES).ok_or(PemError::NoEnd)?;
        let (base64, rest) = rest.split_once(END).ok_or(PemError::NoEnd)?;
        let (end_label, _) = rest.split_once(DASHES).ok_or(PemError::NoEnd)?;
        if end_label != label {
            return Err(PemError::NoEnd);
        }
        let base64: String = base64.split_ascii_whitespace().collect();
        let der = STANDARD.decode(base64).map_err(|_| PemError::NotBase64)?;
        Ok(Self { label, der })
    }

    /// Whether it is said to be a private key of any kind.
    pub(super) fn is_private(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }
}

/// The block with this label around `der`, in lines of 64 digits (RFC 7468 §2).
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let mut pem = format!("{BEGIN}{label}{DASHES}");
    for (place, digit) in STANDARD.encode(der).chars().enumerate() {
        if place % 64 == 0 {
            pem.push('\n');
        }
        pem.push(digit);
    }
    pem + "\n" + END + label + DASHES + "\n"
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
