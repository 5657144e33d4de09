//! Target `token`: compares the verification of tokens with a part-by-part reading of RFC 7519, 7515 and 4648.

use std::cell::RefCell;
use std::time::Duration;

use super::json::{Content, Json};
use crate::api::UserId;
use crate::time::Wall;
use crate::token::{Claims, KeySet, Lookup, Rules, SigningKey, TokenError, Tokens};

const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const TOKEN_BYTES: usize = 2048;

const LEEWAY: Duration = Duration::from_secs(30);

/// A time at which tokens are valid.
const NOW: Wall = Wall(1_711_709_200_000);

/// `NOW`, other times, and the limits of the leeway for a token that starts or ends at `NOW`.
const MOMENTS: [Wall; 6] =
    [NOW, Wall(0), Wall(NOW.0 - 30_000), Wall(NOW.0 - 30_001), Wall(NOW.0 + 29_999), Wall(NOW.0 + 30_000)];

/// The first byte holds the settings (1: the rest is a complete token, else header, `\0` and payload, which get a
/// signature; 2: the keys have `kid`s; 4: an audience is required).
///
/// A token must be valid exactly when the reference says so, with the same claims, also when it is cached and at any
/// time. `explain` must agree. Only signatures of the key may be valid.
///
/// # Panics
///
/// If a check fails.
pub fn token(data: &[u8]) {
    let Some((&settings, bytes)) = data.split_first() else { return };
    let Ok(text) = str::from_utf8(bytes) else { return };
    let is_jwks = settings & 2 != 0;
    let audience = (settings & 4 != 0).then_some("airlay");
    let rules = Rules {
        issuers: vec!["dev.airlay.ru".to_owned(), "\u{e9}\n".to_owned()],
        audience: audience.map(str::to_owned),
        leeway: LEEWAY,
        token_bytes: TOKEN_BYTES,
    };
    MADE_ONCE.with_borrow_mut(|made| {
        let Made { signing, pem, jwks } = made.get_or_insert_with(Made::new);
        let keys = if is_jwks { jwks } else { pem };
        // `Tokens` owns its key set, so the set is moved in and out.
        let mut tokens = Tokens::new(std::mem::take(keys), rules, 2);
        if settings & 1 != 0 {
            check_text(&mut tokens, text, signing);
        } else if let Some((header, payload)) = text.split_once('\0') {
            let wanted = definition(header, payload, is_jwks, audience);
            check_claims(&mut tokens, header, payload, signing, wanted);
        }
        *keys = tokens.into_keys();
    });
}

/// The keys, kept between inputs: reading them takes longer than everything else.
struct Made {
    signing: SigningKey,
    pem: KeySet,
    jwks: KeySet,
}

impl Made {
    fn new() -> Self {
        let (mut pem, mut jwks) = (KeySet::new(), KeySet::new());
        pem.add_pem(include_bytes!("../../tests/fixtures/keys/rsa2048.spki.pem")).expect("a good key");
        jwks.add_jwks(include_bytes!("../../tests/fixtures/keys/jwks.json")).expect("good keys");
        let private = include_bytes!("../../tests/fixtures/keys/rsa2048.private.pem");
        Self { signing: SigningKey::from_pem(private).expect("a good key"), pem, jwks }
    }
}

thread_local! {
    static MADE_ONCE: RefCell<Option<Made>> = const { RefCell::new(None) };
}

/// Checks a complete token: only the key's owner can make one with a valid signature.
fn check_text(tokens: &mut Tokens, text: &str, signing: &SigningKey) {
    let outcome = outcome(tokens, text, NOW);
    assert_eq!(tokens.explain(text, NOW).outcome, outcome);
    if outcome.is_ok() {
        // RS256 is deterministic: signing the same parts must give the same token.
        let mut parts = text.split('.').map(|part| decode(part).expect("a valid token is base64url"));
        let mut part = || String::from_utf8(parts.next().unwrap_or_default()).expect("a valid token is text");
        let (header, payload) = (part(), part());
        assert_eq!(text, signing.sign_with_header(&header, &payload));
    } else if text.len() <= TOKEN_BYTES
        && let Ok([header, payload, _]) = <[&str; 3]>::try_from(text.split('.').collect::<Vec<_>>())
        && let (Some(header), Some(payload)) = (decode(header), decode(payload))
        && let (Ok(header), Ok(payload)) = (String::from_utf8(header), String::from_utf8(payload))
    {
        let signed = [encode(header.as_bytes()), encode(payload.as_bytes())].join(".");
        assert_eq!(
            Some(signed.as_str()),
            text.rsplit_once('.').map(|(signed, _)| signed),
            "the encoding is canonical"
        );
    }
}

/// Checks a token with a valid signature: only its claims decide.
fn check_claims(
    tokens: &mut Tokens,
    header: &str,
    payload: &str,
    signing: &SigningKey,
    wanted: Option<Said>,
) {
    // Signing is slow, so the token is signed only if its claims are valid at one of the times.
    let unsigned = with_invalid_signature(header, payload);
    if unsigned.len() > TOKEN_BYTES {
        assert!(matches!(outcome(tokens, &unsigned, NOW), Err(TokenError::TooLong { .. })));
        return;
    }
    for wall in MOMENTS {
        let is_good = wanted.as_ref().is_some_and(|wanted| wanted.counts_at(wall));
        let outcome = outcome(tokens, &unsigned, wall);
        assert_eq!(outcome == Err(TokenError::BadSignature), is_good, "{outcome:?} of {wanted:?}");
        assert_eq!(tokens.explain(&unsigned, wall).outcome, outcome);
    }
    let Some(wanted) = wanted.filter(|wanted| MOMENTS.iter().any(|wall| wanted.counts_at(*wall))) else {
        return;
    };
    let token = signing.sign_with_header(header, payload);
    // Twice, so that each time is also tried with a cached token.
    for wall in MOMENTS.into_iter().chain(MOMENTS) {
        match outcome(tokens, &token, wall) {
            Ok(Claims { user, expires, .. }) => {
                assert!(wanted.is_ours && wanted.counts_at(wall));
                assert_eq!((user, expires), (wanted.user, wanted.expires));
            }
            Err(error) => assert!(!(wanted.is_ours && wanted.counts_at(wall)), "{error:?} of {wanted:?}"),
        }
        assert_eq!(tokens.explain(&token, wall).outcome, outcome(tokens, &token, wall));
    }
}

/// The final outcome for a token.
fn outcome(tokens: &mut Tokens, token: &str, wall: Wall) -> Result<Claims, TokenError> {
    match tokens.lookup(token, wall) {
        Lookup::Known(outcome) => outcome,
        Lookup::Unverified(unverified) => tokens.verify(&unverified),
    }
}

/// A token with an invalid signature of the right length.
fn with_invalid_signature(header: &str, payload: &str) -> String {
    [encode(header.as_bytes()), encode(payload.as_bytes()), encode(&[0x5a; 256])].join(".")
}

/// The claims of a correctly signed token.
#[derive(Debug)]
struct Said {
    user: UserId,
    expires: Wall,
    not_before: Wall,
    /// Whether the header names our key, or none.
    is_ours: bool,
}

impl Said {
    fn counts_at(&self, wall: Wall) -> bool {
        let leeway = u64::try_from(LEEWAY.as_millis()).expect("half a minute");
        wall.0 < self.expires.0 + leeway && wall.0 + leeway >= self.not_before.0
    }
}

/// The claims of these parts; `None` if they are invalid.
fn definition(header: &str, payload: &str, is_jwks: bool, audience: Option<&str>) -> Option<Said> {
    let (header, payload) = (Json::parse(header).ok()?, Json::parse(payload).ok()?);
    let at_most_once = |object: &Json<'_>, names: &[&str]| {
        names.iter().all(|name| object.members(name).is_ok_and(|found| found.len() < 2))
    };
    if !at_most_once(&header, &["alg", "kid", "crit", "typ"]) {
        return None;
    }
    if !at_most_once(&payload, &["exp", "nbf", "iss", "aud", "data", "iat", "jti"]) {
        return None;
    }
    if the(&header, "alg")?.string() != Some("RS256") || the(&header, "crit").is_some() {
        return None;
    }
    let is_ours = match the(&header, "kid").filter(|_| is_jwks).map(Json::string) {
        None | Some(Some("second")) => true,
        Some(Some("main")) => false,
        Some(_) => return None,
    };
    let expires = moment(the(&payload, "exp")?)?;
    let not_before = the(&payload, "nbf").map_or(Some(Wall(0)), moment)?;
    if !matches!(the(&payload, "iss")?.string(), Some("dev.airlay.ru" | "\u{e9}\n")) {
        return None;
    }
    if let Some(audience) = audience {
        let found = the(&payload, "aud")?;
        let all = match &found.content {
            Content::Array(all) => all.iter().collect(),
            _ => vec![found],
        };
        let texts: Option<Vec<_>> = all.into_iter().map(Json::string).collect();
        if !texts?.contains(&audience) {
            return None;
        }
    }
    let data = the(&payload, "data")?;
    if !at_most_once(data, &["id", "name"]) {
        return None;
    }
    let id = the(data, "id")?.string()?;
    let is_id = id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let user = is_id.then(|| id.to_ascii_lowercase().parse().ok()).flatten()?;
    Some(Said { user, expires, not_before, is_ours })
}

/// The first member with this name.
fn the<'j, 'a>(object: &'j Json<'a>, name: &str) -> Option<&'j Json<'a>> {
    object.members(name).ok()?.first().copied()
}

/// A `NumericDate` in milliseconds, if it is before the year 10000; one before 1970 counts as 1970.
fn moment(date: &Json<'_>) -> Option<Wall> {
    if date.content != Content::Number {
        return None;
    }
    let seconds: f64 = date.text.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is neither large nor negative"
    )]
    let wall = |seconds: f64| Wall((seconds * 1000.0).trunc() as u64);
    (seconds < 253_402_300_800.0).then(|| wall(seconds.max(0.0)))
}

/// Decodes base64url without padding (RFC 4648 §5); `None` if it is not canonical.
fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0 && count < 6).then_some(bytes)
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        text.extend((0..=chunk.len()).map(|place| char::from(DIGITS[bits >> (18 - 6 * place) & 63])));
    }
    text
}
