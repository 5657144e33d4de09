//! Strangers that send 8 KB of messages, all at once: replies are longer than that.

use crate::crowd::{Crowd, Manner, head};
use crate::frames::text;
use crate::scene::{Scene, alone, seconds, setup, size};
use rustix::process::Signal;

#[test]
fn s62_backlog() {
    let _alone = alone();
    let (strangers, budget) = size((800, 4), (8000, 64));
    let mut scene = Scene::new(setup().set("limits.queueTotalBytes", budget << 20));
    let mut crowd = Crowd::new(&scene.server);
    let who = crowd.join(strangers, &Manner::default(), |_| head());
    let messages = text("x").repeat(8192 / text("x").len());
    scene.quiet();
    scene.attack(|server| {
        // What is written while the server is stopped is there at once.
        server.process().signal(Signal::STOP);
        crowd.write_at_once(who.clone(), &messages);
        server.process().signal(Signal::CONT);
        crowd.run(size(seconds(1.0), seconds(5.0)));
    });
    let replies = crowd.members(who.clone()).iter().map(|member| member.messages).sum::<u64>();
    let budget_mb = (budget << 20) as f64 / 1e6;
    let more = [("replies", replies as f64), ("budget_mb", budget_mb)];
    let figures = scene.finish(&format!("backlog:{strangers}"), 0, &crowd.ends(who), &more);
    figures.expect_no_loss();
    figures.expect_memory(budget_mb);
}
