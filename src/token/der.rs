//! RSA public keys out of their DER encodings (X.690 §10): PKCS#1 (RFC 8017 §A.1.1), `SubjectPublicKeyInfo` and X.509
//! certificates (RFC 5280 §4.1). A certificate is only an envelope here: its dates, names and signature are not
//! looked at, since whoever configured it vouches for it.

/// The two numbers of an RSA public key, big-endian and without leading zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RsaNumbers<'a> {
    pub(super) modulus: &'a [u8],
    pub(super) exponent: &'a [u8],
}

/// What is left to read of a DER encoding.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> RsaNumbers<'a> {
    /// Out of an `RSAPublicKey`.
    pub(super) fn from_pkcs1(der: &'a [u8]) -> Option<Self> {
        let mut key = Reader::sequence(der)?;
        let numbers = Self { modulus: key.unsigned()?, exponent: key.unsigned()? };
        key.end()?;
        Some(numbers)
    }

    /// Out of a `SubjectPublicKeyInfo` whose algorithm is `rsaEncryption`; a key for another scheme only (RSASSA-PSS)
    /// is none for RS256.
    pub(super) fn from_spki(der: &'a [u8]) -> Option<Self> {
        let mut spki = Reader::sequence(der)?;
        let mut algorithm = Reader(spki.value(SEQUENCE)?);
        if algorithm.value(OBJECT_IDENTIFIER)? != RSA_ENCRYPTION {
            return None;
        }
        // No bit of the last byte is unused: the string holds bytes.
        let key = spki.value(BIT_STRING)?.strip_prefix(&[0])?;
        spki.end()?;
        Self::from_pkcs1(key)
    }

    /// Out of a `Certificate`.
    pub(super) fn from_certificate(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Reader::sequence(der)?;
        let mut fields = Reader(certificate.value(SEQUENCE)?);
        if fields.next_is(EXPLICIT_0) {
            fields.value(EXPLICIT_0)?; // version
        }
        fields.value(INTEGER)?; // serialNumber
        for _ in ["signature", "issuer", "validity", "subject"] {
            fields.value(SEQUENCE)?;
        }
        Self::from_spki(fields.element(SEQUENCE)?)
    }
}

impl<'a> Reader<'a> {
    /// The inside of the one sequence that `der` is.
    fn sequence(der: &'a [u8]) -> Option<Self> {
        let mut outer = Self(der);
        let inside = outer.value(SEQUENCE)?;
        outer.end()?;
        Some(Self(inside))
    }

    fn next_is(self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The contents of the next element, which must have this tag.
    fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&first, rest) = self.0.split_first()?;
        let (&length, rest) = rest.split_first()?;
        if first != tag {
            return None;
        }
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            // The long form, as short as can be; three bytes are more than any key needs.
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                let length = digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit));
                if digits[0] == 0 || length < 0x80 {
                    return None;
                }
                (length, rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }

    /// The next element as a whole, tag and length included.
    fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.value(tag)?;
        before.get(..before.len() - self.0.len())
    }

    /// The next element, which must be a positive INTEGER, without leading zeros.
    fn unsigned(&mut self) -> Option<&'a [u8]> {
        match self.value(INTEGER)? {
            [] | [0] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => None,
            [0, digits @ ..] | digits => Some(digits),
        }
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const EXPLICIT_0: u8 = 0xa0;

/// 1.2.840.113549.1.1.1 (RFC 8017 §A.1).
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
