//! Server processes: starting them on a core of their own, their processor time and memory.

use std::fs;
use std::process::{Child, Command};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Result;

/// The core of the server; the load runs on the other.
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// A running server process. It is killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// The process that does the work: the child itself, or its worker.
    pid: i32,
}

/// The processor time of a process so far, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// User and system time, counted by the scheduler.
    pub(crate) cpu: u64,
    /// User time, counted in ticks of 10 ms.
    pub(crate) user: u64,
}

impl Process {
    /// Starts `command` on the server's core; this thread stays on the load's core.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        pin(SERVER_CORE)?;
        let child = command.spawn();
        pin(LOAD_CORE)?;
        let child = child.map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let pid = i32::try_from(child.id())?;
        Ok(Self { child, pid })
    }

    /// Measures the only child of the started process instead of the process itself.
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

    /// Resident bytes not backed by a file: heap and stack.
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
        Ok(number.ok_or("smaps_rollup has an unknown format")?.parse::<u64>()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The worker first: it would outlive its master.
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pins the calling thread, and processes it starts, to one core.
fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)
        .map_err(|error| format!("two cores are needed, but core {core} is not available: {error}").into())
}

/// Runs `work` on the server's core.
pub(crate) fn on_servers_core<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    pin(SERVER_CORE)?;
    let result = work();
    pin(LOAD_CORE)?;
    result
}

/// The same as [`Process::cost`] for this program, which has only one busy thread.
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
    let ticks = fields.split_ascii_whitespace().nth(11).ok_or("stat has an unknown format")?;
    cost.user = ticks.parse::<u64>()? * (1_000_000_000 / rustix::param::clock_ticks_per_second());
    Ok(cost)
}
