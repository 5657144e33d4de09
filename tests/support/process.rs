//! The real binary as a child process: its two outputs collected line by line, its end awaited with a deadline.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use super::LONG_DEADLINE;

/// `airlay-cli web_socket …`, running.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
}

/// How a process ended, and its output.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, whole.
    pub stdout: String,
    /// Standard error, whole.
    pub stderr: String,
}

/// One output of a process, collected by a thread until its end.
#[derive(Clone)]
pub struct Lines(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Default)]
struct Collected {
    lines: Vec<String>,
    ended: bool,
}

/// The command `airlay-cli web_socket`, without overrides in its environment.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AIRLAY_") {
            command.env_remove(name);
        }
    }
    command.arg("web_socket");
    command
}

/// The binary under test: the one `AIRLAY_CLI` names, so that two can be compared, else the one cargo has built.
pub fn binary() -> PathBuf {
    std::env::var_os("AIRLAY_CLI").map_or_else(|| env!("CARGO_BIN_EXE_airlay-cli").into(), PathBuf::from)
}

/// Runs `airlay-cli web_socket ARGUMENTS…` in `directory` until it exits by itself, with this standard input.
#[track_caller]
pub fn run_in<A: AsRef<OsStr>>(
    directory: &Path,
    arguments: impl IntoIterator<Item = A>,
    input: &str,
) -> Finished {
    let mut command = command();
    command.args(arguments).current_dir(directory);
    let mut process = Process::spawn(&mut command);
    process.write(input);
    process.finish()
}

impl Process {
    /// Starts the command with all three standard streams piped.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdin = child.stdin.take();
        let stdout = Lines::collect(child.stdout.take().expect("a piped output"));
        let stderr = Lines::collect(child.stderr.take().expect("a piped output"));
        Self { child, stdin, stdout, stderr }
    }

    /// Writes to standard input. It is no failure if the process does not read it: its exit code tells.
    pub fn write(&mut self, input: &str) {
        let _ = self.stdin.as_mut().expect("the input is open").write_all(input.as_bytes());
    }

    /// Closes standard input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Standard output, past and future.
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// Standard error, past and future.
    pub fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process runs");
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Closes standard input and waits for the exit.
    #[track_caller]
    pub fn finish(&mut self) -> Finished {
        self.end_input();
        self.stdout.wait_for_end();
        self.stderr.wait_for_end();
        let status = self.child.wait().expect("a child can be waited for");
        Finished { code: status.code(), stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- standard error of the process:\n{}---", self.stderr.text());
        }
    }
}

impl Finished {
    /// Asserts the exit code, and that the process did not panic.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of {self:#?}");
        assert!(!self.stderr.contains("panicked at"), "{self:#?}");
        self
    }

    /// Asserts that standard error contains each of these.
    #[track_caller]
    pub fn expect_named(self, names: &[&str]) -> Self {
        for name in names {
            assert!(self.stderr.contains(name), "{name:?} is not in {self:#?}");
        }
        self
    }
}

impl Lines {
    fn collect(output: impl Read + Send + 'static) -> Self {
        let lines = Self(Arc::default());
        let collector = lines.clone();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                line.clear();
                collector.lock().lines.push(text);
                collector.0.1.notify_all();
            }
            collector.lock().ended = true;
            collector.0.1.notify_all();
        });
        lines
    }

    /// The text so far, each line ended.
    pub fn text(&self) -> String {
        self.lock().lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The number of lines so far: a mark to wait from.
    pub fn count(&self) -> usize {
        self.lock().lines.len()
    }

    /// Waits for a line that `is_wanted`, after the first `skip` lines.
    #[track_caller]
    pub fn wait_for(&self, what: &str, skip: usize, is_wanted: impl Fn(&str) -> bool) -> String {
        self.find(skip, is_wanted)
            .unwrap_or_else(|| panic!("awaited a {what}; the output is:\n{}", self.text()))
    }

    /// The first line that `is_wanted`, after the first `skip` lines; `None` if the output or the deadline ends without one.
    pub fn find(&self, skip: usize, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
        let found =
            |collected: &Collected| collected.lines.iter().skip(skip).find(|line| is_wanted(line)).cloned();
        found(&self.wait_while(|collected| found(collected).is_none() && !collected.ended))
    }

    #[track_caller]
    fn wait_for_end(&self) {
        let has_ended = self.wait_while(|collected| !collected.ended).ended;
        assert!(has_ended, "awaited the end of the process; its output is:\n{}", self.text());
    }

    fn wait_while(&self, is_unfinished: impl Fn(&Collected) -> bool) -> MutexGuard<'_, Collected> {
        let give_up = Instant::now() + LONG_DEADLINE;
        let left = || give_up.saturating_duration_since(Instant::now());
        self.0
            .1
            .wait_timeout_while(self.lock(), left(), |collected| is_unfinished(collected))
            .expect("no collector panics")
            .0
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.0.lock().expect("no collector panics")
    }
}
