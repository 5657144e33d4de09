//! Four bad tokens, whose signatures have to be checked, and a good one, over and over: never five bad ones in a row.

use crate::crowd::{Crowd, End, Manner, Pace, Source, head};
use crate::frames::text;
use crate::scene::{Scene, alone, is_full, seconds, setup, size};
use crate::support::token::{Key, claims, now, sign};
use crate::support::{ISSUE, Metrics, Server, USER, request};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::rc::Rc;
use std::time::Duration;

/// Bytes of a signature of RSA-4096.
const SIGNATURE: usize = 512;

#[test]
fn s58_rsa_flood() {
    // Within what a client may send at once.
    const MESSAGES: u64 = 250;
    let _alone = alone();
    let strangers = size(20, 1000);
    let mut scene = Scene::new(setup());
    let mut crowd = Crowd::new(&scene.server);
    let who = crowd.join(strangers, &Manner::default(), |_| head());
    let good = sign(&claims(USER, now() + 3600), Key::Large);
    let (signed, _) = good.rsplit_once('.').expect("three parts");
    let signed = signed.to_owned();
    let requests: Source = Rc::new(move |member, round| {
        if round % 5 == 4 {
            return text(&request("detach", &good, "issueUpdate", ISSUE)).into();
        }
        // No two are the same, and each is a number below the key's modulus.
        let mut signature = [0; SIGNATURE];
        signature[8..16].copy_from_slice(&(member as u64 + 1).to_be_bytes());
        signature[16..24].copy_from_slice(&round.to_be_bytes());
        let bad = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        text(&request("attach", &bad, "issueUpdate", ISSUE)).into()
    });
    scene.quiet();
    let checks = |server: &Server| Metrics::of(server).get("airlay_token_verification_seconds_count");
    let before = checks(&scene.server);
    scene.attack(|_| {
        if is_full() {
            crowd.write(who.clone(), &requests, Pace::Every(Duration::from_millis(50)), u64::MAX);
            crowd.run(seconds(10.0));
        } else {
            crowd.write(who.clone(), &requests, Pace::Flood, MESSAGES);
            let is_over = |crowd: &Crowd| {
                crowd
                    .members(who.clone())
                    .iter()
                    .all(|member| member.ended.is_some() || member.messages >= MESSAGES)
            };
            crowd.run_until(seconds(20.0), is_over);
        }
    });
    let more = [("signature_checks", checks(&scene.server) - before)];
    let ends = crowd.ends(who);
    let figures = scene.finish(&format!("rsa_flood:{strangers}"), 0, &ends, &more);
    figures.expect_no_loss();
    if !is_full() {
        assert_eq!(ends.get(&End::Close(1008)), Some(&strangers), "{ends:?}");
    }
}
