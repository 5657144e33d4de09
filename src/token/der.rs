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

#[cfg(test)]
mod tests {
    use super::*;

    /// An element with this tag around these contents, of less than 128 bytes in all.
    fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
        let contents = contents.concat();
        [&[tag, u8::try_from(contents.len()).unwrap()], &*contents].concat()
    }

    fn pkcs1() -> Vec<u8> {
        element(SEQUENCE, &[&[INTEGER, 2, 0x00, 0xc5], &[INTEGER, 1, 3]])
    }

    fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[algorithm]), &[0x05, 0x00]]);
        element(SEQUENCE, &[&algorithm, &element(BIT_STRING, &[key])])
    }

    fn certificate(version: &[u8], spki: &[u8]) -> Vec<u8> {
        let empty: &[u8] = &[SEQUENCE, 0];
        let fields = element(SEQUENCE, &[version, &[INTEGER, 1, 7], empty, empty, empty, empty, spki]);
        element(SEQUENCE, &[&fields, empty, &[BIT_STRING, 1, 0]])
    }

    const NUMBERS: Option<RsaNumbers<'_>> = Some(RsaNumbers { modulus: &[0xc5], exponent: &[3] });

    #[test]
    fn the_numbers_are_found_in_every_envelope() {
        assert_eq!(RsaNumbers::from_pkcs1(&pkcs1()), NUMBERS);
        let spki = spki(RSA_ENCRYPTION, &[&[0], &*pkcs1()].concat());
        assert_eq!(RsaNumbers::from_spki(&spki), NUMBERS);
        for version in [&[][..], &[EXPLICIT_0, 3, INTEGER, 1, 2]] {
            assert_eq!(RsaNumbers::from_certificate(&certificate(version, &spki)), NUMBERS);
        }
    }

    #[test]
    fn a_cut_or_prolonged_encoding_is_refused() {
        let whole = spki(RSA_ENCRYPTION, &[&[0], &*pkcs1()].concat());
        for length in 0..whole.len() {
            assert_eq!(RsaNumbers::from_spki(&whole[..length]), None);
        }
        let longer = [&*whole, &[0]].concat();
        assert_eq!(RsaNumbers::from_spki(&longer), None);
        for length in 0..certificate(&[], &whole).len() {
            assert_eq!(RsaNumbers::from_certificate(&certificate(&[], &whole)[..length]), None);
        }
    }

    #[test]
    fn what_is_no_rsa_key_is_refused() {
        let ec = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
        assert_eq!(RsaNumbers::from_spki(&spki(&ec, &[&[0], &*pkcs1()].concat())), None);
        assert_eq!(RsaNumbers::from_spki(&spki(RSA_ENCRYPTION, &[&[1], &*pkcs1()].concat())), None);
        for modulus in [
            &[INTEGER, 0][..],
            &[INTEGER, 1, 0],
            &[INTEGER, 1, 0xc5],
            &[INTEGER, 2, 0x00, 0x45],
            &[BIT_STRING, 1, 0x45],
            // The length: not minimal, indefinite, more than there is.
            &[INTEGER, 0x81, 1, 0x45],
            &[INTEGER, 0x82, 0, 1, 0x45],
            &[INTEGER, 0x80, 0x45, 0, 0],
            &[INTEGER, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[INTEGER, 0x83, 0xff, 0xff, 0xff],
        ] {
            let der = element(SEQUENCE, &[modulus, &[INTEGER, 1, 3]]);
            assert_eq!(RsaNumbers::from_pkcs1(&der), None, "{modulus:02x?}");
        }
        let three_numbers = element(SEQUENCE, &[&[INTEGER, 1, 5], &[INTEGER, 1, 3], &[INTEGER, 1, 3]]);
        assert_eq!(RsaNumbers::from_pkcs1(&three_numbers), None);
    }
}
