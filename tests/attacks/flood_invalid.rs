//! Strangers that send what is no request as fast as the server takes it, and read every reply.

use crate::crowd::{Crowd, End, Manner, Member, Pace, head, same};
use crate::frames::text;
use crate::scene::{Scene, alone, is_full, seconds, setup, size, token};
use crate::support::{ISSUE, request};
use std::ops::Range;

/// Messages over the rate that a client may send before it is closed.
const OVER_RATE: u64 = 1000;
/// `requestBurst` and `requestsPerSecond`.
const BURST: u64 = 256;
const RATE: f64 = 20.0;

/// Asserts that each of these floods was ended with 1008, after no more replies than the rate and 1,000 messages over it allow
/// in `seconds`.
#[track_caller]
pub(crate) fn expect_floods_ended(crowd: &Crowd, who: Range<usize>, seconds: f64) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
    let most = BURST + (RATE * seconds) as u64 + OVER_RATE;
    for member in crowd.members(who) {
        assert_eq!(member.ended, Some(End::Close(1008)), "after {} replies", member.messages);
        assert!(member.messages <= most, "closed after {} replies instead of {most}", member.messages);
    }
}

#[test]
fn s58_flood_invalid() {
    let _alone = alone();
    for strangers in size(vec![1, 20], vec![1, 300]) {
        attack("flood_invalid", strangers, text("x").repeat(8000));
    }
}

#[test]
fn s58_flood_invalid_among_refused() {
    let _alone = alone();
    // All that is over the rate is refused; one that is invalid comes before the count is full.
    let valid = text(&request("detach", &token(1), "issueUpdate", ISSUE));
    attack("flood_invalid_among_refused", size(4, 20), [valid.repeat(250), text("x")].concat());
}

fn attack(name: &str, strangers: usize, messages: Vec<u8>) {
    let mut scene = Scene::new(setup());
    let mut crowd = Crowd::new(&scene.server);
    let who = crowd.join(strangers, &Manner::default(), |_| head());
    scene.quiet();
    let most = size(10.0, 5.0);
    scene.attack(|_| {
        crowd.write(who.clone(), &same(messages), Pace::Flood, u64::MAX);
        // The short form ends as soon as it is clear that a flood is not.
        let is_over = |crowd: &Crowd| {
            let goes_on = |member: &Member| member.messages > 100_000;
            crowd.lost(who.clone()) == strangers
                || (!is_full() && crowd.members(who.clone()).iter().any(goes_on))
        };
        crowd.run_until(seconds(most), is_over);
    });
    let replies = crowd.members(who.clone()).iter().map(|member| member.messages).sum::<u64>();
    let refused = crowd.members(who.clone()).iter().map(|member| member.codes[7]).sum::<u64>();
    let more = [("replies", replies as f64), ("code7", refused as f64)];
    let figures = scene.finish(&format!("{name}:{strangers}"), 0, &crowd.ends(who.clone()), &more);
    figures.expect_no_loss();
    if !is_full() {
        expect_floods_ended(&crowd, who, most);
    }
}
