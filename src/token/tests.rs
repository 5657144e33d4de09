use std::collections::BTreeSet;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use proptest::prelude::*;

use super::*;

const PRIVATE: &[u8] = include_bytes!("../../tests/fixtures/keys/rsa4096.private.pem");
const PUBLIC: &[u8] = include_bytes!("../../tests/fixtures/keys/rsa4096.spki.pem");
const SECOND_PRIVATE: &[u8] = include_bytes!("../../tests/fixtures/keys/rsa2048.private.pem");
const SECOND_PUBLIC: &[u8] = include_bytes!("../../tests/fixtures/keys/rsa2048.spki.pem");
const OTHER_PRIVATE: &[u8] = include_bytes!("../../tests/fixtures/keys/rsa2048-other.private.pem");
const OTHER_PUBLIC: &[u8] = include_bytes!("../../tests/fixtures/keys/rsa2048-other.spki.pem");
const JWKS: &[u8] = include_bytes!("../../tests/fixtures/keys/jwks.json");

/// The header real tokens have.
const HEADER: &str = r#"{"typ":"JWT","alg":"RS256"}"#;

/// The payload of a real token.
const PAYLOAD: &str = concat!(
    r#"{"iat":1711709116,"jti":"7e5bb0c4b2f3d7d7b3c0f5d0a1d0b9e29b0c3b7f2f0f54a19c3a6f8d2f0d6a1b","#,
    r#""iss":"dev.airlay.ru","exp":1711716316,"data":{"name":"a.kalinin","id":"5dad615eae019570fb4647ed"}}"#
);

/// A moment the payload is valid at.
const NOW: Wall = Wall(1_711_709_200_000);

/// `exp` of the payload.
const EXPIRES: Wall = Wall(1_711_716_316_000);

const LEEWAY: u64 = 30_000;

fn rules() -> Rules {
    Rules {
        issuers: vec!["other.airlay.ru".to_owned(), "dev.airlay.ru".to_owned()],
        audience: None,
        leeway: Duration::from_millis(LEEWAY),
        token_bytes: 8192,
    }
}

fn pem_keys(files: &[&[u8]]) -> KeySet {
    let mut keys = KeySet::new();
    files.iter().for_each(|file| keys.add_pem(file).unwrap());
    keys
}

fn jwks_keys() -> KeySet {
    let mut keys = KeySet::new();
    keys.add_jwks(JWKS).unwrap();
    keys
}

fn tokens(keys: KeySet) -> Tokens {
    Tokens::new(keys, rules(), 100)
}

/// What comes of a token in the end.
fn outcome(tokens: &mut Tokens, token: &str, wall: Wall) -> Result<Claims, TokenError> {
    match tokens.lookup(token, wall) {
        Lookup::Known(outcome) => outcome,
        Lookup::Unverified(unverified) => tokens.verify(&unverified),
    }
}

fn sign(header: &str, payload: &str) -> String {
    // A key is checked thoroughly when it is read, which takes longer than signing.
    static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_pem(PRIVATE).unwrap());
    KEY.sign_with_header(header, payload)
}

/// The good payload with `this` text replaced by `that`.
fn altered(this: &str, that: &str) -> String {
    assert!(PAYLOAD.contains(this), "{this}");
    PAYLOAD.replace(this, that)
}

/// A token with these parts, the last a signature of nothing in particular.
fn assemble(header: &str, payload: &str, signature: impl AsRef<[u8]>) -> String {
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    [encode(header.as_bytes()), encode(payload.as_bytes()), encode(signature.as_ref())].join(".")
}

/// A token signed with HMAC, the secret being what the forger knows of the server: its public key.
fn hmac_signed(header: &str, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
    let unsigned = assemble(header, PAYLOAD, "");
    let signed = unsigned.trim_end_matches('.');
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The good token, its parts changed by `change`.
fn rejoined(change: impl FnOnce(&mut [String; 3])) -> String {
    let good = sign(HEADER, PAYLOAD);
    let parts: Vec<_> = good.split('.').map(str::to_owned).collect();
    let mut parts: [String; 3] = parts.try_into().unwrap();
    change(&mut parts);
    parts.join(".")
}

/// base64url of this JSON with the padding that tokens have to do without.
fn padded(json: &str) -> String {
    let spaces = ["", " "].into_iter().find(|spaces| !(json.len() + spaces.len()).is_multiple_of(3));
    URL_SAFE.encode(format!("{json}{}", spaces.unwrap()))
}

/// The last character of canonical base64url with one of its unused bits set.
fn with_unused_bit_set(part: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(part.len() % 4, 0, "every bit of it is used");
    let (rest, last) = part.split_at(part.len() - 1);
    let value = ALPHABET.iter().position(|digit| last.as_bytes() == [*digit]).unwrap();
    format!("{rest}{}", char::from(ALPHABET[value | 1]))
}

#[test]
fn the_token_of_the_contract_is_accepted() {
    let token = sign(HEADER, PAYLOAD);
    assert!((850..1000).contains(&token.len()), "{} bytes", token.len());
    let mut tokens = tokens(pem_keys(&[SECOND_PUBLIC, PUBLIC]));
    let first = outcome(&mut tokens, &token, NOW).unwrap();
    assert_eq!(first.user.to_string(), "5dad615eae019570fb4647ed");
    assert_eq!(first.expires, EXPIRES);
    assert_eq!(tokens.ends_at(&first), Wall(EXPIRES.0 + LEEWAY));
    assert!(tokens.knows_key(first.key));
    assert!(matches!(tokens.lookup(&token, NOW), Lookup::Known(Ok(again)) if again == first));
}

#[test]
fn irrelevant_members_are_ignored() {
    for (header, payload) in [
        // Unknown members of any value, even twice.
        (
            HEADER.replace('}', r#","x":1,"x":[{"alg":"none"}]}"#),
            altered("{\"iat\"", "{\"\":null,\"x\":1,\"x\":2,\"iat\""),
        ),
        // `iat` of any kind, no `jti`, no `typ`.
        (r#"{"alg":"RS256"}"#.to_owned(), altered("1711709116", "\"x\"")),
        (r#"{"alg":"RS256","typ":7}"#.to_owned(), altered("1711709116", "99999999999999")),
        // `kid` has no meaning for keys from PEM files.
        (r#"{"alg":"RS256","kid":"../../dev/null"}"#.to_owned(), PAYLOAD.to_owned()),
        (r#"{"alg":"RS256","kid":[1]}"#.to_owned(), PAYLOAD.to_owned()),
        // `aud` is ignored unless an audience is configured.
        (HEADER.to_owned(), altered("{\"iat\"", "{\"aud\":[1],\"iat\"")),
        // A fraction, an exponent, escapes, upper case and white space.
        (HEADER.to_owned(), altered("1711716316", "1711716316.75")),
        (HEADER.to_owned(), altered("1711716316", "1.711716316e9")),
        (HEADER.to_owned(), altered("\"exp\"", r#""\u0065xp""#)),
        (HEADER.to_owned(), altered("dev.airlay.ru", r"dev.airl\u0061y.ru")),
        (HEADER.to_owned(), altered("5dad615eae019570fb4647ed", "5DAD615EAE019570FB4647ED")),
        (format!(" \n{HEADER}\r\n\t"), format!(" {PAYLOAD} ")),
        // The last second of the year 9999, and times long ago.
        (HEADER.to_owned(), altered("1711716316", "253402300799.999")),
        (HEADER.to_owned(), altered("{\"iat\"", "{\"nbf\":-1e300,\"iat\"")),
        // Keys in the header are ignored.
        (
            HEADER.replace('}', r#","jwk":{"kty":"RSA"},"jku":"https://example.com/","x5u":""}"#),
            PAYLOAD.to_owned(),
        ),
    ] {
        let token = sign(&header, &payload);
        let outcome = outcome(&mut tokens(pem_keys(&[PUBLIC])), &token, NOW);
        assert!(outcome.is_ok(), "{header} {payload}: {outcome:?}");
    }
}

/// Every forged token, by what is wrong with it, and the error it is refused with by the keys of [`pem_keys`].
static FORGED: LazyLock<Vec<(&str, String, TokenError)>> = LazyLock::new(|| {
    use TokenError::{
        BadSignature, BeyondYear9999, Critical, Expired, Missing, NotAnObject, NotBase64url, NotThreeParts,
        NotYetValid, TooDeep, TooLong, Twice, WrongAlgorithm, WrongIssuer, WrongType,
    };
    let der = STANDARD.decode(
        str::from_utf8(PUBLIC).unwrap().lines().filter(|line| !line.starts_with("---")).collect::<String>(),
    );
    let der = der.unwrap();
    let foreign = SigningKey::from_pem(OTHER_PRIVATE).unwrap();
    let number = |member| WrongType { member, wanted: "a number" };
    let hexadecimal = WrongType { member: "data.id", wanted: "a string of 24 hexadecimal digits" };
    let with_alg = |alg: &str| sign(&format!(r#"{{"alg":{alg}}}"#), PAYLOAD);
    let with_exp = |exp: &str| sign(HEADER, &altered("1711716316", exp));
    let with_nbf = |nbf: &str| sign(HEADER, &altered("{\"iat\"", &format!("{{\"nbf\":{nbf},\"iat\"")));
    let with_iss = |iss: &str| sign(HEADER, &altered("\"dev.airlay.ru\"", iss));
    let with_id = |id: &str| sign(HEADER, &altered("\"5dad615eae019570fb4647ed\"", id));
    vec![
        // RFC 8725 §2.1: another algorithm.
        ("alg none, no signature", assemble(r#"{"alg":"none"}"#, PAYLOAD, ""), WrongAlgorithm),
        ("alg None", assemble(r#"{"alg":"None"}"#, PAYLOAD, ""), WrongAlgorithm),
        ("alg none, good signature", with_alg("\"none\""), WrongAlgorithm),
        ("HS256 with the PEM", hmac_signed(r#"{"alg":"HS256"}"#, hmac::HMAC_SHA256, PUBLIC), WrongAlgorithm),
        ("HS256 with the DER", hmac_signed(r#"{"alg":"HS256"}"#, hmac::HMAC_SHA256, &der), WrongAlgorithm),
        ("HS512 with the PEM", hmac_signed(r#"{"alg":"HS512"}"#, hmac::HMAC_SHA512, PUBLIC), WrongAlgorithm),
        ("HMAC said to be RS256", hmac_signed(HEADER, hmac::HMAC_SHA256, PUBLIC), BadSignature),
        ("alg RS384", with_alg("\"RS384\""), WrongAlgorithm),
        ("alg RS512", with_alg("\"RS512\""), WrongAlgorithm),
        ("alg PS256", with_alg("\"PS256\""), WrongAlgorithm),
        ("alg ES256", with_alg("\"ES256\""), WrongAlgorithm),
        ("alg EdDSA", with_alg("\"EdDSA\""), WrongAlgorithm),
        ("alg in lower case", with_alg("\"rs256\""), WrongAlgorithm),
        ("alg with a space", with_alg("\"RS256 \""), WrongAlgorithm),
        ("alg with a NUL", with_alg(r#""RS256\u0000""#), WrongAlgorithm),
        ("alg empty", with_alg("\"\""), WrongAlgorithm),
        ("alg null", with_alg("null"), WrongAlgorithm),
        ("alg in an array", with_alg("[\"RS256\"]"), WrongAlgorithm),
        ("alg absent", sign("{}", PAYLOAD), WrongAlgorithm),
        ("alg twice", sign(r#"{"alg":"none","alg":"RS256"}"#, PAYLOAD), Twice("alg")),
        ("alg twice, once escaped", sign(r#"{"alg":"RS256","\u0061lg":"RS256"}"#, PAYLOAD), Twice("alg")),
        ("alg under another name", sign(r#"{"ALG":"RS256"}"#, PAYLOAD), WrongAlgorithm),
        // RFC 7515 §4.1: the header contains a key, names one or demands an extension.
        (
            "its own key as jwk",
            foreign.sign_with_header(r#"{"alg":"RS256","jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}}"#, PAYLOAD),
            BadSignature,
        ),
        (
            "a key elsewhere as jku, x5u and x5c",
            foreign.sign_with_header(
                r#"{"alg":"RS256","jku":"https://evil.example/","x5u":"file:///x","x5c":["MII"]}"#,
                PAYLOAD,
            ),
            BadSignature,
        ),
        (
            "kid of a file",
            foreign.sign_with_header(r#"{"alg":"RS256","kid":"../../../dev/null"}"#, PAYLOAD),
            BadSignature,
        ),
        ("kid twice", sign(r#"{"alg":"RS256","kid":"a","kid":"a"}"#, PAYLOAD), Twice("kid")),
        ("typ twice", sign(r#"{"alg":"RS256","typ":"JWT","typ":"JWT"}"#, PAYLOAD), Twice("typ")),
        ("crit of what we know", sign(r#"{"alg":"RS256","crit":["exp"]}"#, PAYLOAD), Critical),
        ("crit empty", sign(r#"{"alg":"RS256","crit":[]}"#, PAYLOAD), Critical),
        ("crit null", sign(r#"{"alg":"RS256","crit":null}"#, PAYLOAD), Critical),
        ("b64 false", sign(r#"{"alg":"RS256","b64":false,"crit":["b64"]}"#, PAYLOAD), Critical),
        ("header an array", sign(r#"["alg","RS256"]"#, PAYLOAD), NotAnObject(Part::Header)),
        ("header a string", sign("\"RS256\"", PAYLOAD), NotAnObject(Part::Header)),
        ("header empty", sign("", PAYLOAD), NotAnObject(Part::Header)),
        ("header cut", sign(r#"{"alg":"RS256""#, PAYLOAD), NotAnObject(Part::Header)),
        ("header with more behind it", sign(r#"{"alg":"RS256"}{}"#, PAYLOAD), NotAnObject(Part::Header)),
        (
            "header after a byte order mark",
            sign("\u{feff}{\"alg\":\"RS256\"}", PAYLOAD),
            NotAnObject(Part::Header),
        ),
        ("header with a comma too many", sign(r#"{"alg":"RS256",}"#, PAYLOAD), NotAnObject(Part::Header)),
        (
            "header not UTF-8",
            rejoined(|parts| parts[0] = URL_SAFE_NO_PAD.encode(b"{\"alg\":\"RS256\",\"x\":\"\xff\"}")),
            NotAnObject(Part::Header),
        ),
        // The form.
        ("nothing", String::new(), NotThreeParts),
        ("one part", "eyJhbGciOiJSUzI1NiJ9".to_owned(), NotThreeParts),
        ("two parts", rejoined(|parts| parts[1].clear()).replace("..", "."), NotThreeParts),
        ("four parts", sign(HEADER, PAYLOAD) + ".x", NotThreeParts),
        ("five parts, as if encrypted", "a.b.c.d.e".to_owned(), NotThreeParts),
        ("many dots", ".".repeat(8192), NotThreeParts),
        ("only the dots", "..".to_owned(), NotAnObject(Part::Header)),
        ("9 KB", sign(HEADER, &altered("a.kalinin", &"x".repeat(7000))), TooLong { limit: 8192 }),
        ("9 KB of dots", ".".repeat(9 << 10), TooLong { limit: 8192 }),
        ("header padded", rejoined(|parts| parts[0] = padded(HEADER)), NotBase64url(Part::Header)),
        ("payload padded", rejoined(|parts| parts[1] = padded(PAYLOAD)), NotBase64url(Part::Payload)),
        ("signature padded", sign(HEADER, PAYLOAD) + "=", NotBase64url(Part::Signature)),
        ("a byte after it", sign(HEADER, PAYLOAD) + "\n", NotBase64url(Part::Signature)),
        ("a NUL after it", sign(HEADER, PAYLOAD) + "\0", NotBase64url(Part::Signature)),
        ("a space before it", " ".to_owned() + &sign(HEADER, PAYLOAD), NotBase64url(Part::Header)),
        ("Bearer before it", "Bearer ".to_owned() + &sign(HEADER, PAYLOAD), NotBase64url(Part::Header)),
        ("a line break inside", rejoined(|parts| parts[1].insert(20, '\n')), NotBase64url(Part::Payload)),
        (
            "a letter that is no ASCII",
            rejoined(|parts| parts[1].insert(20, 'я')),
            NotBase64url(Part::Payload),
        ),
        (
            "base64 of the other alphabet",
            rejoined(|parts| parts[2] = "+/".repeat(342)),
            NotBase64url(Part::Signature),
        ),
        (
            "signature written in another way",
            rejoined(|parts| parts[2] = with_unused_bit_set(&parts[2])),
            NotBase64url(Part::Signature),
        ),
        (
            "signature of a length no bytes have",
            rejoined(|parts| parts[2].truncate(681)),
            NotBase64url(Part::Signature),
        ),
        // The payload.
        ("payload an array", sign(HEADER, "[]"), NotAnObject(Part::Payload)),
        ("payload a string", sign(HEADER, "\"5dad615eae019570fb4647ed\""), NotAnObject(Part::Payload)),
        ("payload empty", sign(HEADER, ""), NotAnObject(Part::Payload)),
        ("payload not closed", sign(HEADER, PAYLOAD.trim_end_matches('}')), NotAnObject(Part::Payload)),
        ("payload with NaN", sign(HEADER, &altered("1711709116", "NaN")), NotAnObject(Part::Payload)),
        (
            "payload nested deep",
            sign(HEADER, &altered("1711709116", &format!("{}{}", "[".repeat(128), "]".repeat(128)))),
            TooDeep(Part::Payload),
        ),
        ("exp absent", sign(HEADER, &altered("\"exp\":1711716316,", "")), Missing("exp")),
        ("exp a string", with_exp("\"1711716316\""), number("exp")),
        ("exp true", with_exp("true"), number("exp")),
        ("exp null", with_exp("null"), number("exp")),
        ("exp an array", with_exp("[1711716316]"), number("exp")),
        ("exp an object", with_exp("{\"$numberLong\":1711716316}"), number("exp")),
        ("exp negative", with_exp("-1711716316"), Expired),
        ("exp zero", with_exp("0"), Expired),
        ("exp minus zero", with_exp("-0.0"), Expired),
        ("exp over, with the leeway", with_exp("1711709170"), Expired),
        ("exp in the year 10000", with_exp("253402300800"), BeyondYear9999("exp")),
        ("exp in milliseconds", with_exp("1711716316000"), BeyondYear9999("exp")),
        ("exp beyond 64 bits", with_exp("18446744073709551617"), BeyondYear9999("exp")),
        ("exp with a giant exponent", with_exp("1e300"), BeyondYear9999("exp")),
        ("exp beyond any number", with_exp("1e400"), BeyondYear9999("exp")),
        ("exp twice", with_exp("1711716316,\"exp\":1711716316"), Twice("exp")),
        ("nbf in the future", with_nbf("1711709231"), NotYetValid),
        ("nbf a fraction beyond the leeway", with_nbf("1711709230.001"), NotYetValid),
        ("nbf a string", with_nbf("\"0\""), number("nbf")),
        ("nbf false", with_nbf("false"), number("nbf")),
        ("nbf null", with_nbf("null"), number("nbf")),
        ("nbf in the year 10000", with_nbf("253402300800"), BeyondYear9999("nbf")),
        ("nbf twice", with_nbf("0,\"nbf\":0"), Twice("nbf")),
        ("iat twice", sign(HEADER, &altered("{\"iat\"", "{\"iat\":0,\"iat\"")), Twice("iat")),
        ("another issuer", with_iss("\"evil.example\""), WrongIssuer),
        ("issuer in upper case", with_iss("\"DEV.AIRLAY.RU\""), WrongIssuer),
        ("issuer with a slash", with_iss("\"dev.airlay.ru/\""), WrongIssuer),
        ("issuer empty", with_iss("\"\""), WrongIssuer),
        ("issuer null", with_iss("null"), WrongType { member: "iss", wanted: "a string" }),
        (
            "issuer in an array",
            with_iss("[\"dev.airlay.ru\"]"),
            WrongType { member: "iss", wanted: "a string" },
        ),
        ("issuer absent", sign(HEADER, &altered("\"iss\":\"dev.airlay.ru\",", "")), Missing("iss")),
        ("issuer twice", with_iss("\"evil\",\"iss\":\"dev.airlay.ru\""), Twice("iss")),
        ("data absent", sign(HEADER, &altered("\"data\"", "\"date\"")), Missing("data")),
        (
            "data an array",
            sign(HEADER, r#"{"iss":"dev.airlay.ru","exp":1711716316,"data":["5dad615eae019570fb4647ed"]}"#),
            WrongType { member: "data", wanted: "an object" },
        ),
        (
            "data null",
            sign(HEADER, r#"{"iss":"dev.airlay.ru","exp":1711716316,"data":null}"#),
            WrongType { member: "data", wanted: "an object" },
        ),
        ("data twice", sign(HEADER, &altered("\"data\"", "\"data\":{},\"data\"")), Twice("data")),
        ("id absent", sign(HEADER, &altered("\"id\"", "\"sub\"")), Missing("data.id")),
        (
            "id beside data",
            sign(
                HEADER,
                &altered(r#","id":"5dad615eae019570fb4647ed"}"#, r#"},"id":"5dad615eae019570fb4647ed""#),
            ),
            Missing("data.id"),
        ),
        ("id null", with_id("null"), hexadecimal),
        ("id a number", with_id("5"), hexadecimal),
        ("id empty", with_id("\"\""), hexadecimal),
        ("id too short", with_id("\"5dad615eae019570fb4647e\""), hexadecimal),
        ("id too long", with_id("\"5dad615eae019570fb4647edd\""), hexadecimal),
        ("id not hexadecimal", with_id("\"5dad615eae019570fb4647eg\""), hexadecimal),
        ("id in full-width digits", with_id("\"５dad615eae019570fb4647ed\""), hexadecimal),
        ("id a lone surrogate", with_id(r#""\ud800""#), hexadecimal),
        (
            "id twice",
            with_id("\"5dad615eae019570fb4647ed\",\"id\":\"5dad615eae019570fb4647ee\""),
            Twice("id"),
        ),
        ("name twice", sign(HEADER, &altered("{\"name\"", "{\"name\":\"\",\"name\"")), Twice("name")),
        // The signature.
        ("another key", foreign.sign(PAYLOAD), BadSignature),
        ("no signature", rejoined(|parts| parts[2].clear()), BadSignature),
        (
            "signature cut",
            rejoined(|parts| {
                parts[2] = URL_SAFE_NO_PAD.encode(&URL_SAFE_NO_PAD.decode(&parts[2]).unwrap()[..511])
            }),
            BadSignature,
        ),
        (
            "signature with a byte more",
            rejoined(|parts| parts[2].push_str("AA")),
            NotBase64url(Part::Signature),
        ),
        ("signature of zeros", assemble(HEADER, PAYLOAD, [0; 512]), BadSignature),
        (
            "signature the number one",
            assemble(HEADER, PAYLOAD, {
                let mut one = [0; 512];
                one[511] = 1;
                one
            }),
            BadSignature,
        ),
        ("signature of 0xff", assemble(HEADER, PAYLOAD, [0xff; 512]), BadSignature),
        (
            "signature with zeros before it",
            rejoined(|parts| {
                let signature = URL_SAFE_NO_PAD.decode(&parts[2]).unwrap();
                parts[2] = URL_SAFE_NO_PAD.encode([&[0], &*signature].concat());
            }),
            BadSignature,
        ),
        (
            "signature over another payload",
            rejoined(|parts| parts[1] = URL_SAFE_NO_PAD.encode(altered("5dad", "6dad"))),
            BadSignature,
        ),
        (
            "signature over another header",
            rejoined(|parts| parts[0] = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#)),
            BadSignature,
        ),
        (
            "one bit of the signature",
            rejoined(|parts| {
                let mut signature = URL_SAFE_NO_PAD.decode(&parts[2]).unwrap();
                signature[300] ^= 1;
                parts[2] = URL_SAFE_NO_PAD.encode(signature);
            }),
            BadSignature,
        ),
        (
            "RSA-PSS said to be RS256",
            {
                let token = assemble(HEADER, PAYLOAD, "");
                let signed = token.trim_end_matches('.');
                format!("{signed}.{}", sign_pss(signed))
            },
            BadSignature,
        ),
    ]
});

/// The right key, the wrong padding.
fn sign_pss(message: &str) -> String {
    let key = EncodingKey::from_rsa_pem(PRIVATE).unwrap();
    crypto::sign(message.as_bytes(), &key, Algorithm::PS256).unwrap()
}

#[test]
fn s31_forged_tokens() {
    let mut tokens = tokens(pem_keys(&[PUBLIC]));
    assert!(FORGED.len() >= 40);
    let names: BTreeSet<_> = FORGED.iter().map(|(name, ..)| name).collect();
    assert_eq!(names.len(), FORGED.len(), "each is there once");
    for (name, token, error) in FORGED.iter() {
        // Twice: a refusal must not be cached as anything else.
        for _ in 0..2 {
            assert_eq!(outcome(&mut tokens, token, NOW), Err(*error), "{name}");
        }
        assert_eq!(tokens.explain(token, NOW).outcome, Err(*error), "{name}");
    }
    assert!(outcome(&mut tokens, &sign(HEADER, PAYLOAD), NOW).is_ok());
}

#[test]
fn forged_tokens_cost_no_signature_check_but_for_their_signature() {
    let mut tokens = tokens(pem_keys(&[PUBLIC]));
    for (name, token, error) in FORGED.iter() {
        if let Lookup::Unverified(unverified) = tokens.lookup(token, NOW) {
            assert_eq!(*error, TokenError::BadSignature, "{name}");
            assert_eq!(unverified.cost(), 1, "{name}");
        }
    }
}

#[test]
fn no_error_holds_a_part_of_the_token() {
    let mut tokens = tokens(pem_keys(&[PUBLIC]));
    for (name, token, _) in FORGED.iter() {
        let error = outcome(&mut tokens, token, NOW).unwrap_err();
        for text in [error.to_string(), format!("{error:?}")] {
            for part in ["5dad", "kalinin", "dev.airlay", "17117", "evil", "eyJ"] {
                assert!(!text.contains(part), "{name}: {text}");
            }
            assert!(!text.contains('\n') && text.is_ascii(), "{name}: {text}");
        }
    }
}

#[test]
fn s32_kid_only_chooses_among_the_configured_keys() {
    let main = SigningKey::from_pem(PRIVATE).unwrap();
    let second = SigningKey::from_pem(SECOND_PRIVATE).unwrap();
    let foreign = SigningKey::from_pem(OTHER_PRIVATE).unwrap();
    let cases = [
        (&main, r#"{"alg":"RS256","kid":"main"}"#, None),
        (&second, r#"{"alg":"RS256","kid":"second"}"#, None),
        (&main, r#"{"alg":"RS256"}"#, None),
        (&second, r#"{"alg":"RS256"}"#, None),
        (&main, r#"{"alg":"RS256","kid":"ma\u0069n"}"#, None),
        (&main, r#"{"alg":"RS256","kid":"second"}"#, Some(TokenError::BadSignature)),
        (&second, r#"{"alg":"RS256","kid":"main"}"#, Some(TokenError::BadSignature)),
        (&main, r#"{"alg":"RS256","kid":"Main"}"#, Some(TokenError::UnknownKey)),
        (&main, r#"{"alg":"RS256","kid":""}"#, Some(TokenError::UnknownKey)),
        (&main, r#"{"alg":"RS256","kid":"elliptic"}"#, Some(TokenError::UnknownKey)),
        (&main, r#"{"alg":"RS256","kid":null}"#, Some(TokenError::UnknownKey)),
        (&main, r#"{"alg":"RS256","kid":0}"#, Some(TokenError::UnknownKey)),
        (&main, r#"{"alg":"RS256","kid":["main"]}"#, Some(TokenError::UnknownKey)),
        (&foreign, r#"{"alg":"RS256","kid":"for encryption"}"#, Some(TokenError::UnknownKey)),
        (&foreign, r#"{"alg":"RS256"}"#, Some(TokenError::BadSignature)),
        (&foreign, r#"{"alg":"RS256","kid":"x","jku":"https://evil.example"}"#, Some(TokenError::UnknownKey)),
    ];
    let mut tokens = tokens(jwks_keys());
    for (key, header, error) in cases {
        let outcome = outcome(&mut tokens, &key.sign_with_header(header, PAYLOAD), NOW);
        assert_eq!(outcome.err(), error, "{header}");
    }
    // Keys from PEM files are candidates whatever the `kid`.
    let mut keys = jwks_keys();
    keys.add_pem(OTHER_PUBLIC).unwrap();
    tokens.replace_keys(keys);
    let token = foreign.sign_with_header(r#"{"alg":"RS256","kid":"x"}"#, PAYLOAD);
    assert!(outcome(&mut tokens, &token, NOW).is_ok());
}

#[test]
fn s32_a_key_without_a_kid_verifies_only_tokens_that_name_none() {
    let named = str::from_utf8(JWKS).unwrap();
    let nameless = named.replacen("\"kid\":", "\"was\":", 1);
    let mut keys = KeySet::new();
    keys.add_jwks(nameless.as_bytes()).unwrap();
    let mut tokens = tokens(keys);
    let main = SigningKey::from_pem(PRIVATE).unwrap();
    for (header, error) in [
        (r#"{"alg":"RS256"}"#, None),
        (r#"{"alg":"RS256","kid":"main"}"#, Some(TokenError::UnknownKey)),
        (r#"{"alg":"RS256","kid":"second"}"#, Some(TokenError::BadSignature)),
        (r#"{"alg":"RS256","kid":""}"#, Some(TokenError::UnknownKey)),
    ] {
        let outcome = outcome(&mut tokens, &main.sign_with_header(header, PAYLOAD), NOW);
        assert_eq!(outcome.err(), error, "{header}");
    }
}

proptest! {
    /// `exp` and `nbf` are valid only if they are numbers in range.
    #[test]
    fn s33_times_of_every_type(
        exp in prop_oneof![number(), not_a_number(), Just(None)],
        nbf in prop_oneof![number(), not_a_number(), Just(None)],
    ) {
        let member = |name: &str, value: &Option<String>| {
            value.as_ref().map_or_else(String::new, |value| format!("\"{name}\":{value},"))
        };
        let payload = altered("\"exp\":1711716316,", &(member("exp", &exp) + &member("nbf", &nbf)));
        let token = assemble(HEADER, &payload, [1; 512]);
        let seconds = |text: &String| text.parse::<f64>().ok();
        let leeway = 30.0;
        let now = 1_711_709_200.0;
        let exp_holds = exp.as_ref().and_then(seconds).is_some_and(|exp| exp < 253_402_300_800.0 && exp > now - leeway);
        let nbf_holds = nbf.as_ref().is_none_or(|nbf| seconds(nbf).is_some_and(|nbf| nbf <= now + leeway));
        let mut tokens = tokens(pem_keys(&[PUBLIC]));
        // What is left to check is the signature, or nothing.
        prop_assert_eq!(matches!(tokens.lookup(&token, NOW), Lookup::Unverified(_)), exp_holds && nbf_holds);
    }
}

/// A JSON number, more often one near now.
fn number() -> impl Strategy<Value = Option<String>> {
    let near = 1_711_709_000..1_711_709_400_i64;
    prop_oneof![
        near.clone().prop_map(|seconds| seconds.to_string()),
        (near, 1..1000_u32).prop_map(|(seconds, thousandths)| format!("{seconds}.{thousandths:03}")),
        any::<i64>().prop_map(|seconds| seconds.to_string()),
        any::<u64>().prop_map(|seconds| seconds.to_string()),
        any::<f64>()
            .prop_filter("JSON has no others", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        Just("253402300799".to_owned()),
        Just("253402300800".to_owned()),
    ]
    .prop_map(Some)
}

/// JSON of another type.
fn not_a_number() -> impl Strategy<Value = Option<String>> {
    prop::sample::select(vec!["null", "true", "false", "\"1711716316\"", "\"\"", "[]", "[1711716316]", "{}"])
        .prop_map(|text| Some(text.to_owned()))
}

#[test]
fn s33_leeway_goes_both_ways() {
    let mut tokens = tokens(pem_keys(&[PUBLIC]));
    let token = sign(HEADER, &altered("{\"iat\"", "{\"nbf\":1711709300,\"iat\""));
    let first = Wall(1_711_709_300_000 - LEEWAY);
    let end = Wall(EXPIRES.0 + LEEWAY);
    // First without the cache, then with it.
    for _ in 0..2 {
        assert_eq!(outcome(&mut tokens, &token, Wall(first.0 - 1)), Err(TokenError::NotYetValid));
        assert_eq!(outcome(&mut tokens, &token, end), Err(TokenError::Expired));
        let claims = outcome(&mut tokens, &token, first).unwrap();
        assert!(outcome(&mut tokens, &token, Wall(end.0 - 1)).is_ok());
        assert_eq!(tokens.ends_at(&claims), end);
    }
}

#[test]
fn the_audience_is_checked_if_one_is_configured() {
    let rules = Rules { audience: Some("events".to_owned()), ..rules() };
    let mut tokens = Tokens::new(pem_keys(&[PUBLIC]), rules, 0);
    let not_text = TokenError::WrongType { member: "aud", wanted: "a string or an array of strings" };
    for (audience, error) in [
        ("\"aud\":\"events\",", None),
        ("\"aud\":[\"x\",\"events\"],", None),
        ("", Some(TokenError::Missing("aud"))),
        ("\"aud\":\"\",", Some(TokenError::WrongAudience)),
        ("\"aud\":\"Events\",", Some(TokenError::WrongAudience)),
        ("\"aud\":\"events,x\",", Some(TokenError::WrongAudience)),
        ("\"aud\":[],", Some(TokenError::WrongAudience)),
        ("\"aud\":[\"x\"],", Some(TokenError::WrongAudience)),
        ("\"aud\":[\"events\",1],", Some(not_text)),
        ("\"aud\":[[\"events\"]],", Some(not_text)),
        ("\"aud\":{\"events\":\"events\"},", Some(not_text)),
        ("\"aud\":null,", Some(not_text)),
        ("\"aud\":\"events\",\"aud\":\"events\",", Some(TokenError::Twice("aud"))),
    ] {
        let token = sign(HEADER, &altered("\"iss\"", &format!("{audience}\"iss\"")));
        assert_eq!(outcome(&mut tokens, &token, NOW).err(), error, "{audience}");
    }
}

#[test]
fn any_issuer_will_do_when_none_is_configured() {
    let rules = Rules { issuers: Vec::new(), ..rules() };
    let mut tokens = Tokens::new(pem_keys(&[PUBLIC]), rules, 0);
    for (issuer, error) in [
        ("\"iss\":\"whoever\",", None),
        ("", None),
        ("\"iss\":1,", Some(TokenError::WrongType { member: "iss", wanted: "a string" })),
    ] {
        let token = sign(HEADER, &altered("\"iss\":\"dev.airlay.ru\",", issuer));
        assert_eq!(outcome(&mut tokens, &token, NOW).err(), error, "{issuer}");
    }
}

#[test]
fn s35_too_long_before_anything_else() {
    let mut tokens = Tokens::new(pem_keys(&[PUBLIC]), Rules { token_bytes: 2048, ..rules() }, 0);
    let just = |bytes: usize| {
        let short = sign(HEADER, &altered("a.kalinin", "a"));
        let missing = (bytes - short.len()) / 4 * 3;
        sign(HEADER, &altered("a.kalinin", &"a".repeat(1 + missing)))
    };
    let token = just(2048);
    assert!((2044..=2048).contains(&token.len()));
    assert!(outcome(&mut tokens, &token, NOW).is_ok());
    let token = just(2056);
    assert_eq!(outcome(&mut tokens, &token, NOW), Err(TokenError::TooLong { limit: 2048 }));
    let dots = ".".repeat(1 << 20);
    assert_eq!(outcome(&mut tokens, &dots, NOW), Err(TokenError::TooLong { limit: 2048 }));
}

#[test]
fn s36_cached_tokens_do_not_outlive_their_key() {
    let mut tokens = tokens(pem_keys(&[PUBLIC, SECOND_PUBLIC]));
    let token = SigningKey::from_pem(SECOND_PRIVATE).unwrap().sign(PAYLOAD);
    let claims = outcome(&mut tokens, &token, NOW).unwrap();
    // The same keys in another order: nothing changes.
    assert!(!tokens.replace_keys(pem_keys(&[SECOND_PUBLIC, PUBLIC])));
    assert!(matches!(tokens.lookup(&token, NOW), Lookup::Known(Ok(again)) if again == claims));
    // One more key: the token is checked again.
    assert!(!tokens.replace_keys(pem_keys(&[SECOND_PUBLIC, PUBLIC, OTHER_PUBLIC])));
    assert!(matches!(tokens.lookup(&token, NOW), Lookup::Unverified(_)));
    assert_eq!(outcome(&mut tokens, &token, NOW), Ok(claims));
    // Its key was removed.
    assert!(tokens.replace_keys(pem_keys(&[PUBLIC, OTHER_PUBLIC])));
    assert!(!tokens.knows_key(claims.key));
    assert_eq!(outcome(&mut tokens, &token, NOW), Err(TokenError::BadSignature));
    // No keys at all.
    assert!(tokens.replace_keys(KeySet::new()));
    assert_eq!(outcome(&mut tokens, &token, NOW), Err(TokenError::UnknownKey));
}

#[test]
fn a_token_that_has_waited_is_checked_again() {
    let mut tokens = tokens(pem_keys(&[PUBLIC]));
    let token = sign(HEADER, PAYLOAD);
    let Lookup::Unverified(unverified) = tokens.lookup(&token, NOW) else { panic!("nothing is known yet") };
    assert_eq!(tokens.settle(&unverified, NOW), None);
    assert_eq!(tokens.settle(&unverified, Wall(EXPIRES.0 + LEEWAY)), Some(Err(TokenError::Expired)));
    let claims = outcome(&mut tokens, &token, NOW).unwrap();
    assert_eq!(tokens.settle(&unverified, NOW), Some(Ok(claims)));
}

#[test]
fn an_unverified_token_does_not_outlive_its_key_either() {
    let mut tokens = tokens(pem_keys(&[PUBLIC]));
    let token = sign(HEADER, PAYLOAD);
    let Lookup::Unverified(unverified) = tokens.lookup(&token, NOW) else { panic!("nothing is known yet") };
    tokens.replace_keys(pem_keys(&[SECOND_PUBLIC]));
    assert_eq!(tokens.verify(&unverified), Err(TokenError::UnknownKey));
}

#[derive(Clone, Debug)]
enum Step {
    Token(prop::sample::Index),
    Clock(i64),
    Keys(Vec<bool>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => any::<prop::sample::Index>().prop_map(Step::Token),
        2 => (-4_000_000..4_000_000_i64).prop_map(Step::Clock),
        1 => prop::collection::vec(any::<bool>(), 3).prop_map(Step::Keys),
    ];
    prop::collection::vec(step, 1..80)
}

/// Tokens of three keys and several users with different times, some of them forged.
static SOME_TOKENS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for key in [PRIVATE, SECOND_PRIVATE, OTHER_PRIVATE].map(|pem| SigningKey::from_pem(pem).unwrap()) {
        for (exp, nbf) in [("1711709300", "0"), ("1711710000", "1711709500"), ("1711716316", "1711708000")] {
            let payload = altered("1711716316", &format!("{exp},\"nbf\":{nbf}"));
            let good = key.sign(&payload);
            // The same contents under another header, a foreign signature, another user's payload.
            let (signed, signature) = good.rsplit_once('.').unwrap();
            let (header, _) = signed.split_once('.').unwrap();
            all.push(format!(
                "{header}.{}.{signature}",
                URL_SAFE_NO_PAD.encode(payload.replace("5dad", "aaaa"))
            ));
            all.push(key.sign_with_header(r#"{"alg":"RS256","kid":"second"}"#, &payload));
            all.push(good);
        }
    }
    all
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The cache and its size make no difference, whatever tokens are presented in whatever order while clocks step and
    /// keys change.
    #[test]
    fn s36_cache_equals_no_cache(steps in steps()) {
        let keys = |which: &[bool]| {
            let files = [PUBLIC, SECOND_PUBLIC, OTHER_PUBLIC];
            pem_keys(&files.into_iter().zip(which).filter(|(_, chosen)| **chosen).map(|(file, _)| file).collect::<Vec<_>>())
        };
        let mut wall = NOW;
        let mut each = [0, 1, 3, 1000].map(|entries| Tokens::new(keys(&[true, true, false]), rules(), entries));
        for step in steps {
            match step {
                Step::Token(index) => {
                    let token = index.get(&SOME_TOKENS);
                    let outcomes = each.each_mut().map(|tokens| outcome(tokens, token, wall));
                    prop_assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{:?}", outcomes);
                }
                Step::Clock(by) => wall = Wall(wall.0.saturating_add_signed(by)),
                Step::Keys(which) => {
                    let gone = each.each_mut().map(|tokens| tokens.replace_keys(keys(&which)));
                    prop_assert!(gone.iter().all(|is_gone| *is_gone == gone[0]));
                }
            }
        }
    }
}

#[test]
fn a_token_is_explained_step_by_step() {
    let tokens = tokens(pem_keys(&[PUBLIC]));
    let good = tokens.explain(&sign(HEADER, PAYLOAD), NOW);
    assert!(good.outcome.is_ok());
    assert_eq!(good.passed.len(), 12);
    assert_eq!(good.passed.first().unwrap().to_string(), "it is short enough and has three parts");
    assert_eq!(good.passed.last(), Some(&Check::Signature));
    let expired = tokens.explain(&sign(HEADER, PAYLOAD), Wall(EXPIRES.0 + LEEWAY));
    assert_eq!(expired.passed, good.passed[..10]);
    assert_eq!(expired.outcome.unwrap_err().to_string(), "the token has expired");
    assert_eq!(tokens.explain("", NOW).passed, []);
}
