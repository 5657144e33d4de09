//! Subscribers that do not read, and more events for them than may be queued.

use crate::crowd::{Crowd, Manner, head};
use crate::frames::text;
use crate::scene::{Scene, alone, seconds, setup, size, token};
use crate::support::{ISSUE, Metrics, Producer, Server, event, request};
use std::thread;

/// A user's connections are many; tokens cost time.
const USERS: usize = 50;

#[test]
fn s56_slow_large() {
    let _alone = alone();
    for (count, budget) in size(vec![(100, 16)], vec![(1500, 256), (500, 64)]) {
        attack(
            "slow_large",
            count,
            budget,
            |_| 0,
            |server| {
                let line = event("issueUpdate", &topic(0), &data(1_000_000)) + "\n";
                let mut producer = Producer::connect(server);
                (0..4).for_each(|_| producer.write(&line));
                producer.settle();
            },
        );
    }
}

#[test]
fn s62_slow_small() {
    let _alone = alone();
    for (count, budget) in size(vec![(300, 4)], vec![(1000, 64)]) {
        attack(
            "slow_small",
            count,
            budget,
            |_| 0,
            |server| {
                // Broadcasts, which are not joined: each is an entry in each queue. Nearly as many as `queueBytes` allows.
                let line = "{\"type\":\"notification\",\"users\":\"*\",\"data\":0}\n";
                let sent = event("notification", "", "0").len();
                let mut producer = Producer::connect(server);
                for _ in 0..(9 << 20) / 10 / sent / 500 {
                    producer.write(line.repeat(500));
                }
                producer.settle();
            },
        );
    }
}

#[test]
fn s62_slow_own_topics() {
    let _alone = alone();
    for (count, budget) in size(vec![(100, 16)], vec![(1000, 64)]) {
        attack(
            "slow_own_topics",
            count,
            budget,
            |number| number,
            |server| {
                let mut producer = Producer::connect(server);
                for _ in 0..size(8, 9) {
                    for number in 0..count {
                        producer.line(&event("issueUpdate", &topic(number), &data(100_000)));
                    }
                }
                producer.settle();
            },
        );
    }
}

fn topic(number: usize) -> String {
    format!("{:024x}", 0x5000 + number)
}

fn data(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes))
}

fn attack(
    name: &str,
    count: usize,
    budget_mib: usize,
    own: impl Fn(usize) -> usize,
    write: impl Fn(&Server),
) {
    let mut scene = Scene::new(setup().set("limits.queueTotalBytes", budget_mib << 20));
    let mut crowd = Crowd::new(&scene.server);
    let tokens: Vec<String> = (0..USERS).map(token).collect();
    let attach = |number: usize, kind, id: &str| text(&request("attach", &tokens[number % USERS], kind, id));
    let manner = Manner { replies: Some(2), receive: Some(4096), ..Manner::default() };
    let who = crowd.join(count, &manner, |number| {
        let topic = topic(own(number));
        [head(), attach(number, "issueUpdate", &topic), attach(number, "notification", "")].concat()
    });
    // Those of another topic must stay.
    let manner = Manner { replies: Some(1), source: 4, ..Manner::default() };
    let innocent = crowd.join(20, &manner, |number| [head(), attach(number, "issueUpdate", ISSUE)].concat());
    crowd.read(who.clone(), false);
    scene.quiet();
    scene.attack(|server| {
        write(server);
        thread::sleep(size(seconds(0.3), seconds(2.0)));
    });
    let metrics = Metrics::of(&scene.server);
    let more = [
        ("slow_closed", metrics.sum("airlay_slow_consumers_total")),
        ("queued_mb", metrics.get("airlay_queue_bytes") / 1e6),
        ("budget_mb", (budget_mib << 20) as f64 / 1e6),
    ];
    crowd.read(innocent.clone(), true);
    crowd.run(seconds(0.1));
    let figures = scene.finish(&format!("{name}:{count}"), crowd.lost(innocent), &crowd.ends(who), &more);
    figures.expect_no_loss();
    figures.expect_memory((budget_mib << 20) as f64 / 1e6);
}
