//! Strangers that each send nearly all of a head, or of a message, and then nothing.

use crate::crowd::{Crowd, Manner, head};
use crate::frames::{TEXT, frame};
use crate::scene::{Scene, alone, seconds, setup, size};
use crate::support::Metrics;

/// Just below `headBytes` and `messageBytes`.
const HELD: usize = 16_000;

#[test]
fn s62_memory_heads() {
    let _alone = alone();
    let unfinished = format!("GET /ws HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(HELD));
    attack("memory_heads", &Manner { replies: None, ..Manner::default() }, b"", unfinished.as_bytes());
}

#[test]
fn s62_memory_messages() {
    let _alone = alone();
    let mut unfinished = frame(TEXT, "x".repeat(HELD).as_bytes());
    unfinished.pop();
    attack("memory_messages", &Manner::default(), &head(), &unfinished);
}

fn attack(name: &str, manner: &Manner, greeting: &[u8], unfinished: &[u8]) {
    let (strangers, budget) = size((1000, 4), (8000, 64));
    let mut scene = Scene::new(
        setup()
            .set("limits.queueTotalBytes", budget << 20)
            .set("limits.handshakeSeconds", size(30, 5))
            .set("limits.messageSeconds", size(30, 10)),
    );
    let mut crowd = Crowd::new(&scene.server);
    let who = crowd.join(strangers, manner, |_| greeting.to_vec());
    let accepted = |metrics: &Metrics| metrics.get("airlay_connections_accepted_total") > strangers as f64;
    Metrics::wait_for(&scene.server, accepted);
    // A head has 5 s in all: there is no time for a quiet phase.
    if !greeting.is_empty() {
        scene.quiet();
    }
    let before = Metrics::of(&scene.server).get("airlay_received_bytes_total");
    let sent = (strangers * unfinished.len()) as f64;
    scene.attack(|server| {
        crowd.write_at_once(who.clone(), unfinished);
        // All is read; or those who sent it are gone, or are not read from.
        for _ in 0..20 {
            if Metrics::of(server).get("airlay_received_bytes_total") - before >= sent {
                break;
            }
            crowd.run(seconds(0.1));
        }
        crowd.run(size(seconds(0.2), seconds(12.0)));
    });
    let budget_mb = (budget << 20) as f64 / 1e6;
    let more = [("sent_mb", sent / 1e6), ("budget_mb", budget_mb)];
    let figures = scene.finish(&format!("{name}:{strangers}"), 0, &crowd.ends(who), &more);
    figures.expect_no_loss();
    figures.expect_memory(budget_mb);
}
