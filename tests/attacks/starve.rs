//! Strangers that each send 8 KB of JSON, read the reply, and begin again: at once, or as often as is allowed. In the full form
//! also while the server has 30 % of a core only, by stopping it in between.

use crate::crowd::{Crowd, Manner, Member, Pace, head, same};
use crate::flood_invalid::expect_floods_ended;
use crate::frames::text;
use crate::scene::{Scene, alone, is_full, seconds, setup, size};
use crate::support::Server;
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The server runs and is stopped once in this time, if it has a share only.
const PERIOD: Duration = Duration::from_millis(100);
/// What it has of a core then, in percent.
const SHARE: u32 = 30;

#[test]
fn s60_starve_at_once() {
    let _alone = alone();
    attack_all("starve_at_once", Pace::Ask);
}

#[test]
fn s60_starve_as_allowed() {
    let _alone = alone();
    attack_all("starve_as_allowed", Pace::Every(Duration::from_millis(50)));
}

fn attack_all(name: &str, pace: Pace) {
    for share in size(vec![100], vec![100, SHARE]) {
        for strangers in size(vec![50], vec![50, 1000]) {
            attack(name, strangers, pace, share);
        }
    }
}

fn attack(name: &str, strangers: usize, pace: Pace, share: u32) {
    // What producers write adds up to their limit within a second, as long as nothing of it is forgotten.
    let mut scene = Scene::with_events(setup(), 4000);
    let mut crowd = Crowd::new(&scene.server);
    let who = crowd.join(strangers, &Manner::default(), |_| head());
    let message = text(&format!(r#"{{"a":[{}0]}}"#, "0,".repeat(4090)));
    scene.quiet();
    scene.attack(|server| {
        let stop = &AtomicBool::new(false);
        thread::scope(|scope| {
            if share < 100 {
                scope.spawn(move || throttle(server, share, stop));
            }
            crowd.write(who.clone(), &same(message), pace, u64::MAX);
            let is_over = |crowd: &Crowd| {
                let goes_on = |member: &Member| member.messages > 3000;
                !is_full()
                    && pace == Pace::Ask
                    && (crowd.lost(who.clone()) == strangers
                        || crowd.members(who.clone()).iter().any(goes_on))
            };
            crowd
                .run_until(size(seconds(if pace == Pace::Ask { 20.0 } else { 1.0 }), seconds(10.0)), is_over);
            stop.store(true, Ordering::SeqCst);
        });
    });
    let replies = crowd.members(who.clone()).iter().map(|member| member.messages).sum::<u64>();
    let more = [("replies", replies as f64), ("share_pct", share.into())];
    let figures = scene.finish(&format!("{name}:{strangers}"), 0, &crowd.ends(who.clone()), &more);
    figures.expect_no_loss();
    if !is_full() {
        match pace {
            Pace::Every(_) => assert_eq!(crowd.lost(who), 0, "who keeps to the rate is not closed"),
            Pace::Ask | Pace::Flood => expect_floods_ended(&crowd, who, 20.0),
        }
    }
}

/// Lets the server run for a share of the time.
fn throttle(server: &Server, share: u32, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        server.process().signal(Signal::STOP);
        thread::sleep(PERIOD * (100 - share) / 100);
        server.process().signal(Signal::CONT);
        thread::sleep(PERIOD * share / 100);
    }
}
