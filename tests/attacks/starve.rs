//! Strangers that each send 8 KB of JSON, read the reply, and begin again: at once, or as often as is allowed. `SHARE=30` lets
//! the server have that percentage of a core, by stopping it in between.

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
const PERIOD: Duration = Duration::from_millis(10);

#[test]
fn starve_at_once() {
    let _alone = alone();
    for strangers in size(vec![50], vec![50, 1000]) {
        attack("starve_at_once", strangers, Pace::Ask);
    }
}

#[test]
fn starve_as_allowed() {
    let _alone = alone();
    for strangers in size(vec![50], vec![50, 1000]) {
        attack("starve_as_allowed", strangers, Pace::Every(Duration::from_millis(50)));
    }
}

fn attack(name: &str, strangers: usize, pace: Pace) {
    let mut scene = Scene::new(setup());
    let mut crowd = Crowd::new(&scene.server);
    let who = crowd.join(strangers, &Manner::default(), |_| head());
    let message = text(&format!(r#"{{"a":[{}0]}}"#, "0,".repeat(4090)));
    scene.quiet();
    let share: Option<u32> = std::env::var("SHARE").ok().map(|share| share.parse().expect("a percentage"));
    scene.attack(|server| {
        let stop = &AtomicBool::new(false);
        thread::scope(|scope| {
            if let Some(share) = share {
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
    let more = [("replies", replies as f64), ("share_pct", share.unwrap_or(100).into())];
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
