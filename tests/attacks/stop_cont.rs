//! The process is stopped for longer than its clients have for what they do, and they do it meanwhile.

use crate::crowd::{Crowd, Manner, head};
use crate::frames::{TEXT, frame, text};
use crate::scene::{Scene, alone, is_full, seconds, setup, size, token};
use crate::support::{Metrics, Producer, Server, Setup, event, request};
use rustix::process::Signal;
use std::ops::Range;
use std::thread;
use std::time::Duration;

const TOPIC: &str = "0000000000000000000000c0";

/// What must be done within the time that the server is stopped for.
struct Stop {
    name: &'static str,
    setup: Setup,
    span: Duration,
}

#[test]
fn s57_stop_cont_pongs() {
    let _alone = alone();
    // The short form: a pong has 2 s, the stop is 3 s.
    for (ping, pong, stop) in size(vec![(3, 2, 3.0)], vec![(12, 10, 11.0), (25, 10, 60.0)]) {
        let setup = setup().set("limits.pingSeconds", ping).set("limits.pongSeconds", pong);
        let stop = Stop { name: "stop_cont_pongs", setup, span: seconds(stop) };
        let join = |crowd: &mut Crowd| {
            let who = crowd.join(size(400, 3000), &Manner::default(), |_| head());
            crowd.each(who.clone(), |member| member.pongs = false);
            who
        };
        let before = |_: &Server, crowd: &mut Crowd, who: Range<usize>| {
            // The answers to the first pings must not be late themselves.
            let pinged =
                |crowd: &Crowd| crowd.members(who.clone()).iter().all(|member| !member.pings.is_empty());
            let first =
                |crowd: &Crowd| crowd.members(who.clone()).iter().any(|member| !member.pings.is_empty());
            assert!(crowd.run_until(seconds(60.0), first), "pings come");
            crowd.run_until(seconds(f64::from(pong) / 2.0), pinged);
        };
        let meanwhile = |crowd: &mut Crowd, who: Range<usize>| {
            crowd.run(seconds(0.2));
            crowd.answer_pings(who.clone());
            crowd.each(who, |member| member.pongs = true);
        };
        attack(stop, join, before, meanwhile, |_| true);
    }
}

#[test]
fn s57_stop_cont_heads() {
    let _alone = alone();
    let setup = setup().set("limits.handshakeSeconds", size(2, 5));
    let stop = Stop { name: "stop_cont_heads", setup, span: size(seconds(3.0), seconds(6.0)) };
    let count = size(400, 3000);
    let join =
        |crowd: &mut Crowd| crowd.join(count, &Manner { replies: None, ..Manner::default() }, |_| Vec::new());
    let before = |server: &Server, _: &mut Crowd, _: Range<usize>| {
        Metrics::wait_for(server, |metrics| metrics.get("airlay_connections_accepted_total") > count as f64);
    };
    let meanwhile = |crowd: &mut Crowd, who: Range<usize>| crowd.write_at_once(who, &head());
    attack(stop, join, before, meanwhile, |status| status == 101);
}

#[test]
fn s57_stop_cont_messages() {
    let _alone = alone();
    let setup = setup().set("limits.messageSeconds", size(2, 10));
    let stop = Stop { name: "stop_cont_messages", setup, span: size(seconds(3.5), seconds(11.5)) };
    // Half of a message before the stop, the rest during it.
    let message = frame(TEXT, b"[]");
    let half = |_| [head(), message[..message.len() - 1].to_vec()].concat();
    let join = |crowd: &mut Crowd| crowd.join(size(400, 3000), &Manner::default(), half);
    let meanwhile = |crowd: &mut Crowd, who: Range<usize>| crowd.write_at_once(who, b"]");
    attack(stop, join, |_, _, _| {}, meanwhile, |_| true);
}

#[test]
fn s57_stop_cont_readers() {
    const BEHIND: f64 = 5000.0;
    let _alone = alone();
    let setup = setup().set("limits.queueSoftSeconds", size(3, 10));
    let stop = Stop { name: "stop_cont_readers", setup, span: size(seconds(4.0), seconds(11.0)) };
    let attach = [head(), text(&request("attach", &token(1), "issueUpdate", TOPIC))].concat();
    let count = 20;
    let manner = Manner { receive: Some(4096), replies: Some(1), ..Manner::default() };
    let join = |crowd: &mut Crowd| crowd.join(count, &manner, |_| attach.clone());
    let before = |server: &Server, crowd: &mut Crowd, who: Range<usize>| {
        crowd.read(who, false);
        let mut producer = Producer::connect(server);
        let line = event("issueUpdate", TOPIC, &format!("\"{}\"", "x".repeat(4000)));
        // What the sockets of both sides hold is megabytes at most.
        for _ in 0..4000 {
            producer.publish(&line);
            if Metrics::of(server).get("airlay_queue_bytes") >= BEHIND * f64::from(20) {
                return;
            }
        }
        panic!("the clients are not behind");
    };
    let meanwhile = |crowd: &mut Crowd, who: Range<usize>| {
        crowd.read(who, true);
        crowd.run(seconds(1.0));
    };
    attack(stop, join, before, meanwhile, |_| true);
}

/// Stops the process after `before`, and lets the clients do their part `meanwhile`.
fn attack(
    stop: Stop,
    join: impl FnOnce(&mut Crowd) -> Range<usize>,
    before: impl FnOnce(&Server, &mut Crowd, Range<usize>),
    meanwhile: impl FnOnce(&mut Crowd, Range<usize>),
    is_well: impl Fn(u16) -> bool,
) {
    let Stop { name, setup, span } = stop;
    let mut scene = Scene::new(setup);
    let mut crowd = Crowd::new(&scene.server);
    let who = join(&mut crowd);
    before(&scene.server, &mut crowd, who.clone());
    let first = crowd.lost(who.clone());
    scene.attack(|server| {
        server.process().signal(Signal::STOP);
        meanwhile(&mut crowd, who.clone());
        thread::sleep(span);
        server.process().signal(Signal::CONT);
        // Whatever is decided is decided at once.
        crowd.run(seconds(1.0));
    });
    let members = crowd.members(who.clone()).iter();
    let lost = members.filter(|member| member.ended.is_some() || !is_well(member.status())).count();
    let more = [("lost_before", first as f64), ("clients", who.len() as f64), ("stop_s", span.as_secs_f64())];
    let figures = scene.finish(&format!("{name}:{:.0}s", span.as_secs_f64()), lost, &crowd.ends(who), &more);
    if !is_full() {
        assert_eq!(first, 0, "lost before the stop");
    }
    figures.expect_no_loss();
}
