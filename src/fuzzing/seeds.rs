//! The seeds of the corpus: the examples of the RFCs, the lengths at which headers change, and an example of everything
//! in the wire contract. The corpus also contains inputs that fuzzing has found, under other names.

use crate::websocket::frame::{self, OpCode};

const EVENT: &str = r#"{"type":"issueUpdate","id":"610217e481f6fc54736209e0"}"#;

/// Every seed: target, name and bytes.
pub(super) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (target, named) in [
        ("request_head", heads()),
        ("frame_decoder", headers()),
        ("messages", messages()),
        ("request", requests()),
        ("producer_lines", lines()),
        ("token", tokens()),
        ("server", scripts()),
    ] {
        seeds.extend(named.into_iter().map(|(name, bytes)| (target, name, bytes)));
    }
    seeds
}

type Named = Vec<(String, Vec<u8>)>;

fn heads() -> Named {
    let upgrade = "GET /ws HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let with = |header: &str| upgrade.replacen("Host", &format!("{header}\r\nHost"), 1);
    let texts = [
        ("upgrade", upgrade.to_owned()),
        ("upgrade_and_frame", upgrade.to_owned() + "\u{1}\0"),
        ("origin", with("Origin: http://example.com")),
        ("origins", with("Origin: a\r\nOrigin: b")),
        ("protocol", with("Sec-WebSocket-Protocol: chat, superchat")),
        ("protocol_malformed", with("Sec-WebSocket-Protocol: chat,,")),
        ("deflate", with("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")),
        (
            "deflate_window",
            with("Sec-WebSocket-Extensions: foo;a=\"b\", permessage-deflate;server_max_window_bits=\"1\\0\""),
        ),
        ("deflate_twice", with("Sec-WebSocket-Extensions: permessage-deflate; a; a")),
        ("deflate_malformed", with("Sec-WebSocket-Extensions: permessage-deflate;=1")),
        ("forwarded", with("X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nForwarded: for=\"[::1]\"")),
        ("absolute", upgrade.replacen("/ws", "http://example.com/ws?a=/b", 1)),
        ("absolute_without_path", upgrade.replacen("/ws", "http://example.com?a=/b", 1)),
        ("page", "GET /?a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("post", upgrade.replacen("GET", "POST", 1)),
        ("http_1_0", upgrade.replacen("1.1", "1.0", 1)),
        ("length", with("Content-Length: 0")),
        ("chunked", with("Transfer-Encoding: chunked")),
        ("hosts", with("Host: a")),
        ("folded", with("A: b\r\n c")),
        ("space_before_colon", with("A : b")),
        ("not_ascii", with("A: \u{e9}")),
        ("version_8", upgrade.replacen("Version: 13", "Version: 8", 1)),
        ("key_short", upgrade.replacen("dGhl", "", 1)),
        ("key_not_canonical", upgrade.replacen("ZQ==", "ZR==", 1)),
        ("bare_line_feed", upgrade.replacen("\r\nUpgrade", "\nUpgrade", 1)),
        ("headers", with(&vec!["A:"; 96].join("\r\n"))),
        ("long", with(&format!("A: {}", "a".repeat(2048)))),
        ("cut", upgrade[..upgrade.len() - 1].to_owned()),
        ("empty", String::new()),
    ];
    texts.map(|(name, text)| (name.to_owned(), text.into_bytes())).to_vec()
}

/// Headers at every length where their form changes, and the examples of RFC 6455 §5.7.
fn headers() -> Named {
    let mut seeds = Vec::new();
    for length in [0_u64, 1, 125, 126, 127, 65_535, 65_536, (1 << 63) - 1, 1 << 63] {
        for (kind, settings, masked) in [("masked", 1, 0x80), ("plain", 0, 0)] {
            let mut bytes = vec![settings, 0x82];
            match u8::try_from(length) {
                Ok(length @ 0..=125) => bytes.push(masked | length),
                _ if length <= 0xffff => {
                    bytes.push(masked | 126);
                    bytes.extend_from_slice(&length.to_be_bytes()[6..]);
                }
                _ => {
                    bytes.push(masked | 127);
                    bytes.extend_from_slice(&length.to_be_bytes());
                }
            }
            if masked > 0 {
                bytes.extend_from_slice(b"\x37\xfa\x21\x3d");
            }
            bytes.extend_from_slice(b"Hello");
            seeds.push((format!("length_{length}_{kind}"), bytes));
        }
    }
    for (name, bytes) in [
        ("text", &b"\x00\x81\x05Hello"[..]),
        ("text_masked", b"\x01\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        ("fragments", b"\x00\x01\x03Hel\x80\x02lo"),
        ("ping", b"\x00\x89\x05Hello"),
        ("pong_masked", b"\x01\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        ("compressed", b"\x02\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"),
        ("reserved", b"\x00\xb1\x00"),
        ("opcode_3", b"\x00\x83\x00"),
        ("ping_long", b"\x01\x89\xfe\x00\x7e"),
        ("ping_fragment", b"\x01\x09\x80\0\0\0\0"),
        ("not_minimal", b"\x01\x82\xfe\x00\x7d\0\0\0\0"),
        ("not_minimal_64", b"\x01\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0"),
    ] {
        seeds.push((name.to_owned(), bytes.to_vec()));
    }
    seeds
}

/// A client's frame: its first byte (FIN, RSV1, opcode) and its payload.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(OpCode::Text, payload, Some([0x37, 0xfa, 0x21, 0x3d]), &mut bytes);
    bytes[0] = first;
    bytes
}

fn messages() -> Named {
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let (plain, compressed) = (&[0][..], &[1][..]);
    let [large, larger] = [&[4][..], &[6]];
    [
        ("text", [plain, &masked(0x81, b"Hello")].concat()),
        ("fragments", [plain, &masked(1, b"Hel"), &masked(0x89, b"a"), &masked(0x80, b"lo")].concat()),
        ("binary_empty", [plain, &masked(0x82, b"")].concat()),
        ("text_125", [plain, &masked(0x81, &[b'a'; 125])].concat()),
        ("text_126", [plain, &masked(0x81, &[b'a'; 126])].concat()),
        ("binary_1000", [&[2][..], &masked(2, &[0; 127]), &masked(0x80, &[0; 873])].concat()),
        ("binary_1001", [&[2][..], &masked(2, &[0; 127]), &masked(0x80, &[0; 874])].concat()),
        ("binary_65535", [large, &masked(0x82, &[0; 65_535])].concat()),
        ("binary_65536", [larger, &masked(0x82, &[0; 65_536])].concat()),
        ("too_big", [large, b"\x82\xff\0\0\0\0\0\x01\0\0\0\0\0\0"].concat()),
        ("nine_fragments", [plain, &masked(1, b""), &masked(0, b"a").repeat(8)].concat()),
        ("continues_nothing", [plain, &masked(0x80, b"a")].concat()),
        ("begins_twice", [plain, &masked(1, b"a"), &masked(0x81, b"b")].concat()),
        ("utf8", [plain, &masked(0x81, "κόσμε 😀".as_bytes())].concat()),
        ("utf8_cut", [plain, &masked(1, b"\xce"), &masked(0x80, b"\xba")].concat()),
        ("utf8_surrogate", [plain, &masked(0x81, b"\xed\xa0\x80")].concat()),
        ("utf8_beyond", [plain, &masked(1, b"\xf4"), &masked(0x80, b"\x90\x80\x80")].concat()),
        ("utf8_end", [plain, &masked(0x81, b"\xf0\x9f\x98")].concat()),
        ("close", [plain, &masked(0x88, b"")].concat()),
        ("close_1000", [plain, &masked(0x88, b"\x03\xe8bye"), &masked(0x81, b"a")].concat()),
        ("close_1005", [plain, &masked(0x88, b"\x03\xed")].concat()),
        ("close_1", [plain, &masked(0x88, b"\x03")].concat()),
        ("close_not_utf8", [plain, &masked(0x88, b"\x03\xe8\xff")].concat()),
        ("pings", [plain, &masked(0x89, &[7; 125]), &masked(0x8a, b""), &masked(0x89, b"")].concat()),
        // RFC 7692 §7.2.3.
        ("deflate", [compressed, &masked(0xc1, hello)].concat()),
        ("deflate_fragments", [compressed, &masked(0x41, &hello[..3]), &masked(0x80, &hello[3..])].concat()),
        ("deflate_stored", [compressed, &masked(0xc1, b"\x00\x05\x00\xfa\xffHello\x00")].concat()),
        ("deflate_final", [compressed, &masked(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00")].concat()),
        (
            "deflate_two_blocks",
            [compressed, &masked(0xc1, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")].concat(),
        ),
        ("deflate_empty", [compressed, &masked(0xc2, b"\x00")].concat()),
        ("deflate_window", [compressed, &masked(0xc1, b"\xf2\x00\x11\x00\x00")].concat()),
        ("deflate_broken", [compressed, &masked(0xc1, b"\xff\xff")].concat()),
        ("deflate_cut", [compressed, &masked(0xc2, b"\x00\x05\x00\xfa\xffH")].concat()),
        // The appended bytes (§7.2.2) do not end the block.
        ("deflate_cut_before_tail", [compressed, &masked(0xc2, b"\x01\x06\x00\xf9\xff")].concat()),
        ("deflate_bomb", [&[3][..], &masked(0xc2, &bomb())].concat()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

/// Slightly more than 100,000 zeros, in a block with the fixed codes (RFC 1951 §3.2.6).
fn bomb() -> Vec<u8> {
    // Not final, fixed codes; a zero.
    let mut bits = "0".to_owned() + "10" + "00110000";
    // Copies of 258 bytes at distance 1.
    bits.push_str(&("11000101".to_owned() + "00000").repeat(388));
    // The end of the block, and the beginning of the empty stored block, whose rest is not sent.
    bits.push_str("0000000");
    bits.push_str("000");
    let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
    bits.as_bytes().chunks(8).map(byte).collect()
}

fn requests() -> Named {
    let text = format!(r#"{{"auth":"a.b.c","action":"attach","event":{EVENT}}}"#);
    [
        ("attach", text.clone()),
        ("detach", text.replace("attach", "detach")),
        ("notification", text.replace(EVENT, r#"{"type":"notification"}"#)),
        ("notification_null", text.replace(EVENT, r#"{"type":"notification","id":null}"#)),
        ("notification_empty", text.replace(EVENT, r#"{"type":"notification","id":""}"#)),
        ("dataset", text.replace("issueUpdate", "datasetUpdate")),
        ("upload", text.replace("issueUpdate", "uploadFile")),
        ("download", text.replace("issueUpdate", "downloadFile")),
        ("upper_case", text.replace("e481f6fc", "E481F6FC")),
        ("escaped", text.replace("a.b.c", r"\u0061\/\ud83d\ude00\n")),
        ("surrogate", text.replace("a.b.c", r"\ud800")),
        ("no_auth", text.replace(r#""auth":"a.b.c","#, "")),
        ("auth_null", text.replace(r#""a.b.c""#, "null")),
        ("auth_empty", text.replace("a.b.c", "")),
        ("auth_number", text.replace(r#""a.b.c""#, "-1.5e+3")),
        ("auth_twice", text.replacen('{', r#"{"auth":"a","#, 1)),
        ("unknown", text.replacen('{', r#" { "x" : [ true , false , { "y" : 0.1E-9 } ] , "#, 1)),
        ("action_unknown", text.replace("attach", "Attach")),
        ("id_short", text.replace("9e0", "9e")),
        ("array", "[]".to_owned()),
        ("not_json", text.replace("}}", "}")),
        ("deep", text.replacen('{', &format!(r#"{{"x":{}{},"#, "[".repeat(127), "]".repeat(127)), 1)),
        ("too_deep", text.replacen('{', &format!(r#"{{"x":{}{},"#, "[".repeat(128), "]".repeat(128)), 1)),
        ("brackets", "[".repeat(1000)),
        ("byte_order_mark", "\u{feff}{}".to_owned()),
    ]
    .map(|(name, text)| (name.to_owned(), text.into_bytes()))
    .to_vec()
}

fn lines() -> Named {
    let event = r#"{"type":"issueUpdate","id":"610217e481f6fc54736209e0","data":[],"ack":7}"#;
    let notification =
        r#"{"type":"notification","users":["5dad615eae019570fb4647ed"],"data":[{"text":"Hello"}]}"#;
    let revoke = r#"{"control":"revoke","user":"5dad615eae019570fb4647ed"}"#;
    [
        ("event", format!("\u{ff}{event}\n")),
        ("events", format!("\u{20}{event}\r\n\n{notification}\n{revoke}")),
        ("no_data", format!("\u{20}{}\n", event.replace(r#""data":[],"#, ""))),
        ("data", format!("\u{20}{}\n", event.replace("[]", "{ \"a\" : [ 1E400 , null ] }"))),
        ("ack_text", format!("\u{20}{}\n", event.replace('7', "\"\\u0041\""))),
        ("ack_number", format!("\u{20}{}\n", event.replace('7', "-1.50e+99"))),
        ("ack_null", format!("\u{20}{}\n", event.replace('7', "null"))),
        ("ack_of_bad", format!("\u{20}{}\n", event.replace("issue", "Issue"))),
        ("ack_of_cut", format!("\u{20}{}\n", r#"{"ack":12"#)),
        ("everyone", format!("\u{20}{}\n", notification.replace(r#"["5dad615eae019570fb4647ed"]"#, "\"*\""))),
        ("nobody", format!("\u{20}{}\n", notification.replace(r#""5dad615eae019570fb4647ed""#, ""))),
        ("bad_user", format!("\u{20}{}\n", notification.replace("4647ed", "4647"))),
        ("by_id", format!("\u{20}{}\n", r#"{"type":"notification","id":"610217e481f6fc54736209e0"}"#)),
        ("no_audience", format!("\u{20}{}\n", r#"{"type":"notification","id":null}"#)),
        ("users_misplaced", format!("\u{20}{}\n", event.replace("[]", "[],\"users\":\"*\""))),
        ("revoke", format!("\u{20}{revoke}\n")),
        ("revoke_event", format!("\u{20}{}\n", revoke.replace('}', &format!(",\"event\":{EVENT}}}")))),
        ("revoke_ack", format!("\u{20}{}\n", revoke.replace('}', ",\"ack\":\"a\"}"))),
        ("control_unknown", format!("\u{20}{}\n", revoke.replace("\"revoke\"", "1"))),
        ("too_long", format!("\u{1}{event}\n{}\n", "a".repeat(33))),
        ("nul", "\u{20}\0\n{}\n \n".to_owned()),
        ("deep", format!("\u{7f}{}\n", event.replace("[]", &("[".repeat(128) + &"]".repeat(128))))),
    ]
    .map(|(name, text)| (name.to_owned(), text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()))
    .into_iter()
    .chain([("not_utf8".to_owned(), b"\x20{\"type\":\"\xff\"}\n".to_vec())])
    .collect()
}

fn tokens() -> Named {
    let header = r#"{"typ":"JWT","alg":"RS256"}"#;
    let payload = r#"{"iat":1711709116,"jti":"7e","iss":"dev.airlay.ru","exp":1711716316,"data":{"name":"a.kalinin","id":"5dad615eae019570fb4647ed"}}"#;
    let parts = |settings: char, header: &str, payload: &str| format!("{settings}{header}\0{payload}");
    let good = |settings| parts(settings, header, payload);
    let payload_with = |this: &str, that: &str| parts('\0', header, &payload.replace(this, that));
    let header_with =
        |settings, this: &str, that: &str| parts(settings, &header.replace(this, that), payload);
    [
        ("good", good('\0')),
        ("good_jwks", good('\u{2}')),
        ("kid", header_with('\u{2}', "\"JWT\"", "\"JWT\",\"kid\":\"second\"")),
        ("kid_other", header_with('\u{2}', "\"JWT\"", "\"JWT\",\"kid\":\"main\"")),
        ("kid_unknown", header_with('\u{2}', "\"JWT\"", "\"JWT\",\"kid\":\"third\"")),
        ("kid_number", header_with('\u{2}', "\"JWT\"", "\"JWT\",\"kid\":2")),
        ("none", header_with('\0', "RS256", "none")),
        ("hmac", header_with('\0', "RS256", "HS256")),
        ("critical", header_with('\0', "\"JWT\"", "\"JWT\",\"crit\":[]")),
        ("algorithm_twice", header_with('\0', "\"JWT\"", "\"JWT\",\"alg\":\"RS256\"")),
        ("jku", header_with('\0', "\"JWT\"", "\"JWT\",\"jku\":\"http://a\",\"jwk\":{}")),
        ("fraction", payload_with("1711716316", "1711709200.0009")),
        ("now", payload_with("1711716316", "1711709200")),
        ("exponent", payload_with("1711716316", "1.711709230e9")),
        ("negative", payload_with("1711716316", "-1")),
        ("beyond", payload_with("1711716316", "253402300800")),
        ("text_time", payload_with("1711716316", "\"1711716316\"")),
        ("not_before", payload_with("\"iat\":1711709116", "\"nbf\":1711709230")),
        ("no_expiry", payload_with(",\"exp\":1711716316", "")),
        ("issuer", payload_with("dev.airlay.ru", "\\u00e9\\n")),
        ("issuer_other", payload_with("dev", "prod")),
        ("audience", parts('\u{4}', header, &payload.replace("\"jti\":\"7e\"", "\"aud\":\"airlay\""))),
        (
            "audiences",
            parts('\u{4}', header, &payload.replace("\"jti\":\"7e\"", "\"aud\":[\"a\",\"airlay\"]")),
        ),
        ("user_upper_case", payload_with("fb4647ed", "FB4647ED")),
        ("user_short", payload_with("fb4647ed", "fb4647e")),
        ("user_twice", payload_with("\"name\":\"a.kalinin\"", "\"id\":\"5dad615eae019570fb4647ed\"")),
        ("as_it_comes", "\u{1}eyJhbGciOiJSUzI1NiJ9.e30.AA".to_owned()),
        ("not_canonical", "\u{1}eyJhbGciOiJSUzI1NiJ9.e31.AB".to_owned()),
        ("dots", format!("\u{1}{}", ".".repeat(100))),
        ("long", format!("\u{1}{}", "a".repeat(2049))),
    ]
    .map(|(name, text)| (name.to_owned(), text.into_bytes()))
    .into_iter()
    .chain([("signed".to_owned(), signed(header, payload))])
    .collect()
}

/// A complete token with a valid signature.
fn signed(header: &str, payload: &str) -> Vec<u8> {
    let key = include_bytes!("../../tests/fixtures/keys/rsa2048.private.pem");
    let key = crate::token::SigningKey::from_pem(key).expect("a good key");
    [&[1], key.sign_with_header(header, payload).as_bytes()].concat()
}

/// Scripts are decoded from both ends, so the seeds are pseudorandom bytes; the fuzzer keeps inputs that reach new
/// code.
fn scripts() -> Named {
    (0..12_u32)
        .map(|number| {
            let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(12_345);
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state.to_le_bytes()[1]
            };
            // The access mode and the limits come first.
            let start = [
                u8::try_from(number % 3).unwrap_or_default(),
                u8::try_from(number / 3 % 2).unwrap_or_default(),
            ];
            let bytes = start.into_iter().chain((0..300).map(|_| next())).collect();
            (format!("noise_{number}"), bytes)
        })
        .collect()
}
