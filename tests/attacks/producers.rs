//! Many producers, each with a line of a megabyte that does not end.

use crate::scene::{Scene, alone, seconds, setup, size};
use crate::support::ISSUE;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// Just below `lineBytes`.
const LINE: usize = 1_000_000;

#[test]
fn s63_producers() {
    let _alone = alone();
    let (count, budget) = size((150, 64), (300, 64));
    let mut scene = Scene::new(setup().set("limits.queueTotalBytes", budget << 20));
    let begin = format!(r#"{{"type":"issueUpdate","id":"{ISSUE}","data":""#);
    let line = format!("{begin}{}", "x".repeat(LINE - begin.len()));
    scene.quiet();
    let mut producers: Vec<(Option<UnixStream>, usize)> = Vec::new();
    scene.attack(|server| {
        for _ in 0..count {
            let stream = UnixStream::connect(server.socket()).expect("the server listens");
            stream.set_nonblocking(true).expect("can be set");
            producers.push((Some(stream), 0));
        }
        let end = Instant::now() + size(seconds(3.0), seconds(10.0));
        let mut moved = true;
        let mut idle = Instant::now();
        while Instant::now() < end && idle.elapsed() < Duration::from_secs(1) {
            if !std::mem::take(&mut moved) {
                thread::sleep(Duration::from_millis(1));
            }
            for (stream, written) in &mut producers {
                let Some(socket) = stream.as_mut().filter(|_| *written < line.len()) else { continue };
                match socket.write(&line.as_bytes()[*written..]) {
                    Ok(count) => {
                        *written += count;
                        (moved, idle) = (true, Instant::now());
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                    Err(_) => *stream = None,
                }
            }
        }
    });
    let written = producers.iter().map(|(_, written)| written).sum::<usize>();
    let closed = producers.iter().filter(|(stream, _)| stream.is_none()).count();
    let budget_mb = (budget << 20) as f64 / 1e6;
    let more =
        [("written_mb", written as f64 / 1e6), ("producers_closed", closed as f64), ("budget_mb", budget_mb)];
    let figures = scene.finish(&format!("producers:{count}"), 0, &BTreeMap::new(), &more);
    figures.expect_no_loss();
    figures.expect_memory(budget_mb);
}
