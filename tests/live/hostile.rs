//! Hostile input: floods of bad tokens, endless brackets, text that would forge lines of the log.

use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::Signal;

use crate::support::server::field;
use crate::support::token::{Key, claims, now, sign};
use crate::support::{
    AccessService, Client, ISSUE, Producer, Server, Setup, USER, event, good_token, reply, request,
};

#[test]
fn s37_a_flood_of_bad_tokens_ends_its_connections_only() {
    const FLOODERS: usize = 4;
    const CONNECTIONS: usize = 50;
    const EVENTS: usize = 500;
    let server = Server::start();
    let mut subscriber = Client::connect(&server);
    subscriber.attach(&good_token(USER), "issueUpdate", ISSUE);
    let mut producer = Producer::connect(&server);
    thread::scope(|scope| {
        for flooder in 0..FLOODERS {
            let server = &server;
            scope.spawn(move || {
                // Only the signature is wrong, so each costs a verification. No two are the same.
                let payload = claims(&format!("{flooder:024x}"), now() + 3600);
                let good = sign(&payload, Key::Stranger);
                let (signed, _) = good.rsplit_once('.').expect("three parts");
                for connection in 0..CONNECTIONS {
                    let mut client = Client::connect(server);
                    let requests: Vec<String> = (0..20)
                        .map(|number| {
                            let signature = format!("{flooder}-{connection}-{number}/").repeat(256);
                            let signature = URL_SAFE_NO_PAD.encode(&signature[..256]);
                            request("attach", &format!("{signed}.{signature}"), "issueUpdate", ISSUE)
                        })
                        .collect();
                    client.send_all(requests.iter().map(String::as_str));
                    for _ in 0..5 {
                        client.expect(&reply(2));
                    }
                    client.expect_close(1008);
                }
            });
        }
        for number in 0..EVENTS {
            assert_eq!(producer.publish(&event("issueUpdate", ISSUE, &number.to_string())), 1);
            subscriber.expect(&event("issueUpdate", ISSUE, &number.to_string()));
        }
    });
    subscriber.expect_nothing();
}

#[test]
fn s38_a_million_brackets() {
    let server = Setup::new()
        .set("limits.messageBytes", 4 << 20)
        .set("limits.tokenBytes", 1 << 20)
        .set("limits.lineBytes", 4 << 20)
        .start();
    let mut client = Client::connect(&server);
    let good = good_token(USER);
    for open in ["[", "{\"a\":", "[{\"\":"] {
        let brackets = open.repeat(1_000_000 / open.len());
        assert_eq!(client.ask(&brackets), reply(5));
        assert_eq!(client.ask(&format!("{{\"auth\":{brackets}")), reply(5));
        assert_eq!(client.ask(&format!("{{\"auth\":\"{good}\",\"x\":{brackets}")), reply(5));
        let deep = open.repeat(500_000 / open.len());
        let token = format!(
            "{}.{}.AAAA",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#),
            URL_SAFE_NO_PAD.encode(&deep)
        );
        assert_eq!(client.ask(&request("attach", &token, "issueUpdate", ISSUE)), reply(2));
        client.attach(&good, "issueUpdate", ISSUE);
        let mut producer = Producer::connect(&server);
        producer.line(&brackets);
        producer.expect_refusal(1);
        producer.line(&format!("{{\"type\":\"issueUpdate\",\"id\":\"{ISSUE}\",\"data\":{brackets}"));
        producer.expect_refusal(2);
        assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "1")), 1);
        client.expect(&event("issueUpdate", ISSUE, "1"));
    }
}

#[test]
fn s40_no_input_forges_a_line_of_the_log() {
    const HOSTILE: &str = "\nts=forged level=error msg=\"forged\" \u{1b}[31m\u{7}\u{85}\u{202e}\r\n";
    for format in ["logfmt", "json"] {
        // Names of files and sockets in the environment may have any byte but NUL and the slash.
        let name = |suffix: &str| format!("x{HOSTILE}{suffix}");
        let setup = Setup::new()
            .set("log.level", "trace")
            .set("log.format", format)
            .set("limits.lineBytes", 1 << 16)
            .without("token.publicKey")
            .environment("AIRLAY_TOKEN_PUBLICKEY", name("key.pem"))
            .file(&name("key.pem"), include_str!("../fixtures/live-2048.pub.pem"))
            .set("access.mode", "socket")
            .environment("AIRLAY_ACCESS_SOCKET", name("access.sock"));
        let process = setup.spawn();
        // The server is ready after lines that the hostile text cannot imitate.
        process.stderr().wait_for("line that says ready", 0, |line| line.contains("ready"));
        process.stderr().wait_for("report", 0, |line| line.contains("no connection to the access service"));
        let service = AccessService::listen_at(&setup.path(&name("access.sock")));
        let mut consultation = service.accept();
        consultation.write(format!("{}\n", HOSTILE.replace('\n', " ")));
        consultation.write(format!("{{\"ref\":\"{}\"}}\n", HOSTILE.escape_default()));
        process.stderr().wait_for("report", 0, |line| line.contains("is not an answer"));
        setup.write_file(&name("key.pem"), HOSTILE);
        process.signal(Signal::HUP);
        process.stderr().wait_for("report", 0, |line| line.contains("keys not taken"));
        process.signal(Signal::TERM);
        let mut process = process;
        let log = process.finish().expect_code(0).stderr;
        for line in log.split_terminator('\n') {
            let is_text = |character: char| !character.is_control() && character != '\u{202e}';
            assert!(line.chars().all(is_text) && line.len() <= 4096, "{line:?}");
            if format == "json" {
                let parsed: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
                assert!(parsed["ts"] != "forged" && parsed["msg"] != "forged", "{line}");
            } else {
                assert!(field(line, "ts").is_some_and(|time| time.starts_with("20")), "{line:?}");
                assert_ne!(field(line, "msg").as_deref(), Some("forged"), "{line:?}");
            }
        }
        assert!(log.contains("forged"), "the hostile text is logged, escaped:\n{log}");
    }
}
