//! A client that is closed for its bad tokens and sends pongs from then on, without end.

use crate::crowd::{Crowd, End, Manner, Pace, head, same};
use crate::frames::{PONG, frame, text};
use crate::scene::{Scene, alone, is_full, seconds, setup, size};
use crate::support::{ISSUE, Metrics, Server, request};

/// Frames that may be read after the Close: what was underway, far from what is sent.
const READ_AFTER_CLOSE: f64 = 100_000.0;

/// Bad tokens in a row that close a connection.
const BAD_TOKENS: usize = 5;

#[test]
fn s58_after_close() {
    let _alone = alone();
    let mut scene = Scene::new(setup());
    let mut crowd = Crowd::new(&scene.server);
    let who = crowd.join(1, &Manner::default(), |_| head());
    crowd.each(who.clone(), |member| member.persists = true);
    let bad = text(&request("attach", "x", "issueUpdate", ISSUE)).repeat(BAD_TOKENS);
    scene.quiet();
    let frames = |server: &Server| Metrics::of(server).get("airlay_other_frames_received_total");
    let before = frames(&scene.server);
    scene.attack(|_| {
        crowd.write_at_once(who.clone(), &bad);
        let is_closed = |crowd: &Crowd| crowd.lost(who.clone()) == 1;
        assert!(crowd.run_until(seconds(10.0), is_closed), "bad tokens close a connection");
        crowd.write(who.clone(), &same(frame(PONG, b"").repeat(20_000)), Pace::Flood, u64::MAX);
        crowd.run_until(seconds(size(2.0, 7.0)), |crowd| crowd.members(who.clone())[0].is_gone());
    });
    let read = frames(&scene.server) - before;
    let written = crowd.members(who.clone())[0].written_closed;
    let ends = crowd.ends(who.clone());
    let more = [("frames_read", read), ("written_after_close_mb", written as f64 / 1e6)];
    let figures = scene.finish("after_close:1", 0, &ends, &more);
    figures.expect_no_loss();
    if !is_full() {
        assert!(ends.contains_key(&End::Close(1008)), "{ends:?}");
        assert!(read <= READ_AFTER_CLOSE, "{read} frames were read");
    }
}
