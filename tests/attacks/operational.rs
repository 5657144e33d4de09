//! Files that are none: a FIFO where the access file should be, a FIFO or a link where the lock of the events socket is.

use crate::scene::{Scene, alone, is_full, seconds, setup};
use crate::support::process;
use crate::support::server::Setup;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start that fails may take at most.
const START: Duration = Duration::from_secs(5);

/// The lock of the events socket.
const LOCK: &str = "events.sock.lock";

#[test]
fn s66_operational_reload() {
    let _alone = alone();
    let access = r#"{"users":{"0000000000000000000000ab":{"datasets":[]}}}"#;
    let setup =
        setup().set("access.mode", "file").set("access.file", "access.json").file("access.json", access);
    let mut scene = Scene::new(setup);
    scene.quiet();
    scene.attack(|server| {
        let path = server.setup().path("access.json");
        std::fs::remove_file(&path).expect("the file is there");
        fifo(&path);
        server.process().signal(Signal::HUP);
        thread::sleep(seconds(2.0));
        // One that is stuck in opening it goes on.
        if let Ok(descriptor) = open_to_write(&path) {
            drop(descriptor);
        }
        thread::sleep(seconds(0.2));
    });
    let figures = scene.finish("operational_reload", 0, &BTreeMap::new(), &[]);
    figures.expect_no_loss();
    if !is_full() {
        assert!(!figures.stuck, "the loop stood still while the access file was a FIFO");
    }
}

#[test]
fn s66_operational_start() {
    let _alone = alone();
    let access = setup().set("access.mode", "file").set("access.file", "access.json");
    fifo(&access.path("access.json"));
    let with_fifo = setup();
    fifo(&with_fifo.path(LOCK));
    let with_link = setup();
    let elsewhere = with_link.path("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, with_link.path(LOCK)).expect("the folder can be written");
    let codes = [exit_code(&access), exit_code(&with_fifo), exit_code(&with_link)];
    let is_made = elsewhere.exists();
    // -1: it did not end.
    let texts = codes.map(|code| code.unwrap_or(-1).to_string());
    println!(
        "attack=operational_start access_fifo_exit={} lock_fifo_exit={} lock_link_exit={} file_made_elsewhere={}",
        texts[0],
        texts[1],
        texts[2],
        u8::from(is_made)
    );
    if !is_full() {
        assert!(!is_made, "a file made through a link");
        assert_eq!(codes, [Some(2), Some(1), Some(1)], "exit codes: access file, lock a FIFO, lock a link");
    }
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("the folder can be written");
}

/// Opens a FIFO as a writer without waiting, which a reader that waits takes for its other end.
fn open_to_write(path: &Path) -> rustix::io::Result<std::os::fd::OwnedFd> {
    use rustix::fs::OFlags;
    rustix::fs::open(path, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty())
}

/// The code that a server exits with; `None` if it does not end.
fn exit_code(setup: &Setup) -> Option<i32> {
    let mut command = process::command();
    command.args(["server", "--config"]).arg(setup.write_config());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let status = wait(&mut child);
    let _ = child.kill();
    let _ = child.wait();
    status.and_then(|status| status.code())
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let give_up = Instant::now() + START;
    while Instant::now() < give_up {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}
