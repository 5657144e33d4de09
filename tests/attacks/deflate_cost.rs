//! Strangers whose messages are 56 bytes on the wire and 16 KiB of JSON when inflated.

use crate::crowd::{Crowd, Manner, Member, Pace, same};
use crate::flood_invalid::expect_floods_ended;
use crate::frames::{COMPRESSED, frame};
use crate::scene::{Scene, alone, is_full, seconds, setup, size};
use crate::support::deflate::deflate;
use crate::support::http::upgrade;

#[test]
fn s55_deflate_cost() {
    let _alone = alone();
    for strangers in size(vec![4], vec![1, 20]) {
        let mut scene = Scene::new(setup().set("webSocketEvents.compression", "on"));
        let mut crowd = Crowd::new(&scene.server);
        let head = upgrade("/ws", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
        let who = crowd.join(strangers, &Manner::default(), |_| head.clone().into_bytes());
        let message = format!("{{{}", r#""":0,"#.repeat((16 << 10) / 5));
        let message = frame(COMPRESSED, &deflate(message.as_bytes()));
        let many = message.repeat(200);
        scene.quiet();
        scene.attack(|_| {
            crowd.write(who.clone(), &same(many), Pace::Flood, u64::MAX);
            // The short form ends as soon as it is clear that a flood is not.
            let is_over = |crowd: &Crowd| {
                let goes_on = |member: &Member| member.messages > 5000;
                crowd.lost(who.clone()) == strangers
                    || (!is_full() && crowd.members(who.clone()).iter().any(goes_on))
            };
            crowd.run_until(seconds(size(10.0, 5.0)), is_over);
        });
        let replies = crowd.members(who.clone()).iter().map(|member| member.messages).sum::<u64>();
        let written = crowd.members(who.clone()).iter().map(|member| member.written).sum::<u64>();
        let more = [
            ("replies", replies as f64),
            ("written_mb", written as f64 / 1e6),
            ("frame_bytes", message.len() as f64),
        ];
        let figures = scene.finish(&format!("deflate_cost:{strangers}"), 0, &crowd.ends(who.clone()), &more);
        figures.expect_no_loss();
        if !is_full() {
            expect_floods_ended(&crowd, who, 10.0);
        }
    }
}
