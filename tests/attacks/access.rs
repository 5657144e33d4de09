//! One user asks for more than the access service answers; another one asks for a little.

use crate::crowd::{Crowd, Manner, Pace, Source, head};
use crate::frames::text;
use crate::scene::{Scene, alone, is_full, seconds, setup, size, token};
use crate::support::{Client, OTHER_USER, good_token, reply, request};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

/// The user without rights.
const ATTACKER: usize = 0xbad;

#[test]
fn s65_access() {
    let _alone = alone();
    let (connections, answers) = size((40, 1000), (250, 2000));
    let setup = setup()
        .set("limits.connectionsPerUser", 32)
        .set("access.mode", "socket")
        .set("access.socket", "access.sock")
        .set("access.timeoutMs", size(1000, 2000));
    let listener = UnixListener::bind(setup.path("access.sock")).expect("the path is free");
    // It ends with the server.
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the server connects");
        answer(stream, Duration::from_secs(1) / answers);
    });
    let mut scene = Scene::new(setup);
    let mut crowd = Crowd::new(&scene.server);
    let who = crowd.join(connections, &Manner::default(), |_| head());
    let bad = token(ATTACKER);
    let requests: Source = Rc::new(move |member, round| {
        let id = format!("{:024x}", (member as u64) << 32 | round);
        text(&request("attach", &bad, "datasetUpdate", &id)).into()
    });
    scene.quiet();
    let good = good_token(OTHER_USER);
    let (mut refused, tries) = (0, size(3, 5));
    scene.attack(|server| {
        // The whole burst at once, or at the rate that lasts.
        match is_full() {
            true => crowd.write(who.clone(), &requests, Pace::Every(Duration::from_millis(50)), u64::MAX),
            false => crowd.write(who.clone(), &requests, Pace::Flood, 250),
        }
        crowd.run(size(seconds(0.3), seconds(4.0)));
        thread::scope(|scope| {
            let innocent = scope.spawn(|| {
                let mut client = Client::connect(server);
                let ask = |number| {
                    let id = format!("{number:024x}");
                    client.ask(&request("attach", &good, "datasetUpdate", &id)) != reply(0)
                };
                (0..tries).map(ask).filter(|refused| *refused).count()
            });
            crowd.run_until(seconds(20.0), |_| innocent.is_finished());
            refused = innocent.join().expect("the server replies");
        });
    });
    let codes =
        |code: usize| crowd.members(who.clone()).iter().map(|member| member.codes[code]).sum::<u64>() as f64;
    let more = [
        ("refused", refused as f64),
        ("tries", f64::from(tries)),
        ("attackers_code4", codes(4)),
        ("attackers_code8", codes(8)),
    ];
    let figures = scene.finish("access", 0, &crowd.ends(who.clone()), &more);
    figures.expect_no_loss();
    if !is_full() {
        assert_eq!(refused, 0, "requests of another user refused");
    }
}

/// Answers each question in this time, one after another: 4 for the attacker, 0 for others.
fn answer(stream: UnixStream, each: Duration) {
    let attacker = format!("{ATTACKER:024x}");
    let mut answers = stream.try_clone().expect("a descriptor is free");
    let mut due = Instant::now();
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let question: Value = serde_json::from_str(&line).expect("a question is JSON");
        due = due.max(Instant::now() - Duration::from_millis(20)) + each;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let code = if question["user"] == attacker.as_str() { 4 } else { 0 };
        if answers.write_all(format!("{{\"ref\":{},\"code\":{code}}}\n", question["ref"]).as_bytes()).is_err()
        {
            return;
        }
    }
}
