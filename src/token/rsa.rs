//! RSA public keys from PEM files (RFC 7468): PKCS#1 (RFC 8017 §A.1.1), `SubjectPublicKeyInfo` and X.509 certificates
//! (RFC 5280 §4.1). A certificate is only a container here: its dates, names and signature are ignored, because the
//! operator who configured it vouches for the key.

use pem::Pem;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::asn1::UintRef;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{self, Decode as _, Reader as _, SliceReader};
use x509_cert::spki::{self, SubjectPublicKeyInfoOwned};

use super::KeyError;

/// RFC 8017 §A.1.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The two numbers of an RSA public key, big-endian and without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RsaNumbers {
    pub(super) modulus: Vec<u8>,
    pub(super) exponent: Vec<u8>,
}

/// Why a text is not exactly one PEM block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// It has no block.
    #[error("it has no -----BEGIN line")]
    None,
    /// It has several blocks.
    #[error("it has more than one -----BEGIN line; each key needs a file of its own")]
    Several,
    /// The labels of the block's first and last line differ, or the last line is missing.
    #[error("the -----END line is missing or is not that of the -----BEGIN line")]
    NoEnd,
    /// The block's contents are not base64.
    #[error("the contents between -----BEGIN and -----END are not base64")]
    NotBase64,
}

impl RsaNumbers {
    /// Reads the one block of a PEM file; explanatory text around it is ignored.
    ///
    /// # Errors
    ///
    /// There is not exactly one block, or it holds no RSA public key.
    pub(super) fn from_pem(file: &str) -> Result<Self, KeyError> {
        let block = only_block(file)?;
        let numbers = match block.tag() {
            "RSA PUBLIC KEY" => Self::from_pkcs1(block.contents()),
            "PUBLIC KEY" => Self::from_spki(block.contents()),
            "CERTIFICATE" => Self::from_certificate(block.contents()),
            label if label.ends_with("PRIVATE KEY") => return Err(KeyError::Private),
            _ => return Err(KeyError::NotRsa),
        };
        numbers.map_err(|_| KeyError::NotRsa)
    }

    /// Reads an `RSAPublicKey`.
    fn from_pkcs1(der: &[u8]) -> spki::Result<Self> {
        let mut key = SliceReader::new(der)?;
        let [modulus, exponent] = key.sequence(|numbers| {
            Ok::<_, der::Error>([UintRef::decode(numbers)?, UintRef::decode(numbers)?])
        })?;
        key.finish()?;
        Ok(Self { modulus: modulus.as_bytes().to_vec(), exponent: exponent.as_bytes().to_vec() })
    }

    fn from_spki(der: &[u8]) -> spki::Result<Self> {
        Self::from_key_info(&SubjectPublicKeyInfoOwned::from_der(der)?)
    }

    /// Reads a `Certificate`, even one with a serial number or dates that RFC 5280 does not allow.
    fn from_certificate(der: &[u8]) -> spki::Result<Self> {
        let certificate = CertificateInner::<Raw>::from_der(der)?;
        Self::from_key_info(certificate.tbs_certificate().subject_public_key_info())
    }

    /// Reads a `SubjectPublicKeyInfo` whose algorithm is `rsaEncryption`. A key restricted to another scheme (RSASSA-PSS)
    /// cannot be used for RS256.
    fn from_key_info(info: &SubjectPublicKeyInfoOwned) -> spki::Result<Self> {
        info.algorithm.assert_algorithm_oid(RSA_ENCRYPTION)?;
        let key = info.subject_public_key.as_bytes().ok_or(spki::Error::KeyMalformed)?;
        Self::from_pkcs1(key)
    }
}

/// The one block in `text`.
fn only_block(text: &str) -> Result<Pem, PemError> {
    match text.matches("-----BEGIN ").count() {
        0 => Err(PemError::None),
        1 => pem::parse(text).map_err(|error| match error {
            pem::PemError::InvalidData(_) | pem::PemError::InvalidHeader(_) => PemError::NotBase64,
            _ => PemError::NoEnd,
        }),
        _ => Err(PemError::Several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEGER: u8 = 0x02;
    const BIT_STRING: u8 = 0x03;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    const UTC_TIME: u8 = 0x17;
    const SEQUENCE: u8 = 0x30;
    const EXPLICIT_0: u8 = 0xa0;

    /// A DER element with this tag and these contents, of less than 128 bytes in all.
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

    fn certificate(version: &[u8], serial: &[u8], spki: &[u8]) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &[&[OBJECT_IDENTIFIER, 1, 0x2a]]);
        let name: &[u8] = &[SEQUENCE, 0];
        let moment = element(UTC_TIME, &[b"700101000000Z"]);
        let validity = element(SEQUENCE, &[&moment, &moment]);
        let fields = element(
            SEQUENCE,
            &[version, &element(INTEGER, &[serial]), &algorithm, name, &validity, name, spki],
        );
        element(SEQUENCE, &[&fields, &algorithm, &[BIT_STRING, 1, 0]])
    }

    fn numbers() -> RsaNumbers {
        RsaNumbers { modulus: vec![0xc5], exponent: vec![3] }
    }

    #[test]
    fn the_numbers_are_found_in_every_envelope() {
        assert_eq!(RsaNumbers::from_pkcs1(&pkcs1()).unwrap(), numbers());
        let spki = spki(RSA_ENCRYPTION.as_bytes(), &[&[0], &*pkcs1()].concat());
        assert_eq!(RsaNumbers::from_spki(&spki).unwrap(), numbers());
        // The old form and the usual one; the longest serial number allowed is of 20 bytes, and positive.
        for (version, serial) in [(&[][..], &[7][..]), (&[EXPLICIT_0, 3, INTEGER, 1, 2], &[0xc5; 22])] {
            assert_eq!(
                RsaNumbers::from_certificate(&certificate(version, serial, &spki)).unwrap(),
                numbers()
            );
        }
    }

    #[test]
    fn a_cut_or_prolonged_encoding_is_refused() {
        let whole = spki(RSA_ENCRYPTION.as_bytes(), &[&[0], &*pkcs1()].concat());
        for length in 0..whole.len() {
            assert!(RsaNumbers::from_spki(&whole[..length]).is_err());
        }
        let longer = [&*whole, &[0]].concat();
        assert!(RsaNumbers::from_spki(&longer).is_err());
        for length in 0..certificate(&[], &[7], &whole).len() {
            assert!(RsaNumbers::from_certificate(&certificate(&[], &[7], &whole)[..length]).is_err());
        }
    }

    #[test]
    fn other_contents_are_refused() {
        let ec = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
        assert!(RsaNumbers::from_spki(&spki(&ec, &[&[0], &*pkcs1()].concat())).is_err());
        assert!(
            RsaNumbers::from_spki(&spki(RSA_ENCRYPTION.as_bytes(), &[&[1], &*pkcs1()].concat())).is_err()
        );
        for modulus in [
            &[INTEGER, 0][..],
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
            assert!(RsaNumbers::from_pkcs1(&der).is_err(), "{modulus:02x?}");
        }
        let three_numbers = element(SEQUENCE, &[&[INTEGER, 1, 5], &[INTEGER, 1, 3], &[INTEGER, 1, 3]]);
        assert!(RsaNumbers::from_pkcs1(&three_numbers).is_err());
    }
}
