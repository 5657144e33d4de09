//! Events written after a token's end, while the server is in the middle of a long turn, or stopped in one.

use crate::crowd::{Crowd, Manner, head};
use crate::frames::text;
use crate::scene::{Scene, alone, is_full, seconds, setup, size, token};
use crate::support::server::Server;
use crate::support::token::{Key, claims, sign};
use crate::support::{Client, ISSUE, Producer, USER, ended, event, reply, request};
use rustix::process::Signal;
use serde_json::json;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, SystemTime};

const TOPICS: [&str; 2] = ["0000000000000000000000d0", "0000000000000000000000d1"];
const USERS: usize = 20;
/// Lines written just before the token's end; two socket buffers' worth of work.
const LINES: usize = 2000;
/// How long after the token's end the event is written.
const AFTER: Duration = Duration::from_millis(60);

#[test]
fn s64_clock() {
    let _alone = alone();
    let mut scene = Scene::new(setup().set("token.leewaySeconds", 0));
    let mut crowd = Crowd::new(&scene.server);
    let tokens: Vec<String> = (0..USERS).map(token).collect();
    // The load that makes turns long.
    let who = crowd.join(size(1000, 2000), &Manner { replies: Some(2), ..Manner::default() }, |number| {
        let attach = |topic| text(&request("attach", &tokens[number % USERS], "issueUpdate", topic));
        [head(), attach(TOPICS[0]), attach(TOPICS[1])].concat()
    });
    scene.quiet();
    let tries = size(3, 8);
    let stop = size(seconds(0.5), seconds(3.0));
    let (mut late, mut late_stopped, mut wanted) = (0, 0, 2);
    scene.attack(|server| {
        for stop in [None, Some(stop)] {
            for _ in 0..tries {
                let delivered = u32::from(is_delivered(server, stop));
                match stop {
                    None => late += delivered,
                    Some(_) => late_stopped += delivered,
                }
                wanted += LINES as u64;
                let has_all = |crowd: &Crowd| {
                    crowd.members(who.clone()).iter().all(|m| m.messages >= wanted || m.ended.is_some())
                };
                assert!(crowd.run_until(seconds(30.0), has_all), "the load is delivered");
            }
        }
    });
    let lost = crowd.lost(who);
    let more =
        [("tries", f64::from(tries)), ("late", f64::from(late)), ("late_stopped", f64::from(late_stopped))];
    let figures = scene.finish("clock", lost, &BTreeMap::new(), &more);
    figures.expect_no_loss();
    if !is_full() {
        assert_eq!((late, late_stopped), (0, 0), "events written after the token's end and delivered");
    }
}

/// Whether an event that is written after the end of a subscriber's token is delivered to it. The server is stopped for so
/// long, from just before the end.
fn is_delivered(server: &Server, stop: Option<Duration>) -> bool {
    let burst: String =
        (0..LINES).map(|number| event("issueUpdate", TOPICS[number % 2], "0") + "\n").collect();
    let end = since_1970() + Duration::from_millis(400);
    let mut claims = claims(USER, 0);
    claims["exp"] = json!(end.as_secs_f64());
    let mut client = Client::connect(server);
    assert_eq!(
        client.ask(&request("attach", &sign(&claims, Key::Usual), "issueUpdate", ISSUE)),
        reply(0),
        "the token is good"
    );
    let mut producer = Producer::connect(server);
    sleep_until(end.saturating_sub(Duration::from_millis(30)));
    producer.write(&burst);
    if stop.is_some() {
        sleep_until(end.saturating_sub(Duration::from_millis(15)));
        server.process().signal(Signal::STOP);
    }
    sleep_until(end + AFTER);
    producer.line(&event("issueUpdate", ISSUE, "\"late\""));
    if let Some(stop) = stop {
        thread::sleep(stop);
        server.process().signal(Signal::CONT);
    }
    let first = client.next_text();
    let told = first == ended(2, "issueUpdate", ISSUE);
    assert!(told || first == event("issueUpdate", ISSUE, "\"late\""), "{first}");
    !told
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970")
}

fn sleep_until(moment: Duration) {
    thread::sleep(moment.saturating_sub(since_1970()));
}
