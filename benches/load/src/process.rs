//! A server as the system sees it: its start on a core of its own, its processor time, its memory.

use crate::Result;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs;
use std::process::{Child, Command};

/// The core that the server runs on; the load runs on the other.
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// A running server process. It is killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// The process that does the work: the child itself, or the worker it has started.
    pid: i32,
}

/// What a process has cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Processor time as the scheduler counts it, user and system, in nanoseconds.
    pub(crate) cpu: u64,
    /// The part in user space, counted in ticks of 10 ms.
    pub(crate) user: u64,
}

impl Process {
    /// Starts `command` on the server's core; the caller stays on the load's.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        pin(SERVER_CORE)?;
        let child = command.spawn();
        pin(LOAD_CORE)?;
        let child = child.map_err(|error| format!("{command:?} cannot be started: {error}"))?;
        let pid = i32::try_from(child.id())?;
        Ok(Self { child, pid })
    }

    /// From now on the only child of the started process is what is measured.
    pub(crate) fn follow_worker(&mut self) -> Result<()> {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        loop {
            let children = fs::read_to_string(&path)?;
            if let Some(worker) = children.split_ascii_whitespace().next() {
                self.pid = worker.parse()?;
                return Ok(());
            }
            if self.child.try_wait()?.is_some() {
                return Err("the server ended before it had a worker".into());
            }
            std::thread::yield_now();
        }
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn cost(&self) -> Result<Cost> {
        cost_of(&format!("/proc/{}", self.pid))
    }

    /// Resident bytes that are the process's own, not a file's: heap and stack.
    pub(crate) fn anonymous_bytes(&self) -> Result<u64> {
        self.memory("Anonymous:")
    }

    /// All resident bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.memory("Rss:")
    }

    fn memory(&self, name: &str) -> Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_ascii_whitespace().next());
        Ok(number.ok_or("smaps_rollup has another form")?.parse::<u64>()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A worker first, for it would outlive its master.
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the calling thread, and what it starts from now on, on one core.
fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)
        .map_err(|error| format!("two cores are needed, and core {core} cannot be had: {error}").into())
}

/// Does something on the server's core.
pub(crate) fn on_servers_core<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    pin(SERVER_CORE)?;
    let result = work();
    pin(LOAD_CORE)?;
    result
}

/// The same as [`Process::cost`], of this program's only busy thread.
pub(crate) fn own_cost() -> Result<Cost> {
    cost_of("/proc/self")
}

fn cost_of(path: &str) -> Result<Cost> {
    let mut cost = Cost::default();
    for task in fs::read_dir(format!("{path}/task"))? {
        let task = task?.path();
        let schedstat = fs::read_to_string(task.join("schedstat"))?;
        cost.cpu += schedstat.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    let stat = fs::read_to_string(format!("{path}/stat"))?;
    // proc_pid_stat(5): utime is the twelfth field after the name in parentheses.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_ascii_whitespace().nth(11).ok_or("stat has another form")?;
    cost.user = ticks.parse::<u64>()? * (1_000_000_000 / rustix::param::clock_ticks_per_second());
    Ok(cost)
}
