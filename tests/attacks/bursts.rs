//! A few thousand short lines in one write, for many subscribers that read.

use crate::crowd::{Crowd, Manner, head};
use crate::frames::text;
use crate::scene::{Scene, alone, is_full, seconds, setup, size, token};
use crate::support::{Producer, event, request};
use std::collections::BTreeMap;
use std::thread;

const USERS: usize = 100;

/// `queueTotalBytes` of the short form, in MiB. In the full one it is the default.
const BUDGET: usize = 8;

#[test]
fn s59_bursts_broadcast() {
    let _alone = alone();
    let (subscribers, lines) = size((800, 4600), (16_000, 4600));
    let line = |_: usize| r#"{"type":"notification","users":"*","data":"0000"}"#.to_owned();
    attack("bursts_broadcast", subscribers, lines, &[("notification", "")], line);
}

#[test]
fn s59_bursts_alternation() {
    let _alone = alone();
    let (subscribers, lines) = size((600, 4000), (4000, 4000));
    let topics = [("issueUpdate", "0000000000000000000000b0"), ("issueUpdate", "0000000000000000000000b1")];
    attack("bursts_alternation", subscribers, lines, &topics, |number| {
        event("issueUpdate", topics[number % 2].1, "0")
    });
}

fn attack(
    name: &str,
    subscribers: usize,
    lines: usize,
    topics: &[(&str, &str)],
    line: impl Fn(usize) -> String,
) {
    let short = setup().set("limits.queueTotalBytes", BUDGET << 20);
    let mut scene = Scene::new(if is_full() { setup() } else { short });
    let mut crowd = Crowd::new(&scene.server);
    let tokens: Vec<String> = (0..USERS).map(token).collect();
    let manner = Manner { replies: Some(topics.len() as u64), ..Manner::default() };
    let who = crowd.join(subscribers, &manner, |number| {
        let attach = |(kind, id): &(&str, &str)| text(&request("attach", &tokens[number % USERS], kind, id));
        [head()].into_iter().chain(topics.iter().map(attach)).collect::<Vec<_>>().concat()
    });
    let burst: String = (0..lines).map(|number| line(number) + "\n").collect();
    let wanted = (topics.len() + lines) as u64;
    scene.quiet();
    let all_came = scene.attack(|server| {
        thread::scope(|scope| {
            scope.spawn(|| Producer::connect(server).write(&burst));
            let has_all = |crowd: &Crowd| {
                crowd
                    .members(who.clone())
                    .iter()
                    .all(|member| member.messages >= wanted || member.ended.is_some())
            };
            crowd.run_until(seconds(120.0), has_all)
        })
    });
    let lost = crowd.lost(who.clone());
    let members = crowd.members(who.clone()).iter();
    let holes = members.filter(|member| member.ended.is_none() && member.messages != wanted).count();
    let more = [("holes", holes as f64), ("burst_kb", burst.len() as f64 / 1e3)];
    let ends = if lost > 0 { crowd.ends(who) } else { BTreeMap::new() };
    let figures = scene.finish(&format!("{name}:{subscribers}x{lines}"), lost, &ends, &more);
    figures.expect_no_loss();
    figures.expect_memory((BUDGET << 20) as f64 / 1e6);
    if !is_full() {
        assert!(all_came && holes == 0, "{holes} subscribers have not had {wanted} messages");
    }
}
