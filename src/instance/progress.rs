//! Watching whether server processes get anywhere, by what `/proc` counts of their work.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::processes::{is_alive, is_suspended, postmaster_among, title};
use super::{Instance, Session};
use crate::policy::progress::{Work, Works, has_worked};
use crate::sys::{Deadline, Pace, ms_since_boot};
use crate::types::Gather;

/// Between one look and the next.
const STEP: Duration = Duration::from_millis(200);

/// A clock tick, as `/proc` counts.
const MS_PER_TICK: u64 = 10;

/// Who is watched.
#[derive(Debug)]
enum Whom {
    /// These, as long as they live.
    These(Vec<i32>),
    /// The processes of this data directory that have one of these titles, whichever they are at the moment.
    Titled(Box<Instance>, &'static [&'static str]),
}

/// A watch over server processes and the programs that they run.
#[derive(Debug)]
pub struct Watch {
    whom: Whom,
    mark: Works,
    begun: Instant,
    worked: Instant,
    looked: Instant,
}

impl Watch {
    fn over(whom: Whom) -> Self {
        let (mark, now) = (whom.works(), Instant::now());
        Watch { whom, mark, begun: now, worked: now, looked: now }
    }

    /// How long nothing was done.
    pub fn idle_for(&mut self) -> Duration {
        if self.looked.elapsed() >= STEP {
            self.looked = Instant::now();
            let now = self.whom.works();
            if has_worked(&self.mark, &now) {
                (self.mark, self.worked) = (now, self.looked);
            }
        }
        self.worked.elapsed()
    }

    /// Whether anything was done since the watch began.
    pub fn has_worked(&mut self) -> bool {
        self.idle_for();
        self.worked > self.begun
    }

    /// Begins anew, as if something had been done just now.
    pub fn restart(&mut self) {
        self.worked = Instant::now();
    }
}

impl Whom {
    fn works(&self) -> Works {
        let pids = match self {
            Whom::These(pids) => pids.clone(),
            Whom::Titled(instance, titles) => instance.titled(titles),
        };
        let all = pids.iter().flat_map(|pid| family(*pid)).into_set();
        all.into_iter().filter_map(|pid| Some((pid, work(pid)?))).into_map()
    }
}

impl Instance {
    /// Watches the startup process, which replays and ends a recovery. What the checkpointer does beside it is no help to
    /// a promotion.
    #[must_use]
    pub fn watch_startup(&self) -> Watch {
        Watch::over(Whom::Titled(Box::new(self.clone()), &["startup"]))
    }

    /// Whether the startup process is seen to replay, until the deadline. What is delayed on purpose is not: that a promotion ends.
    #[must_use]
    pub fn is_replaying(&self, session: Option<&Session>, deadline: Deadline) -> bool {
        const DELAY: &str = "recovery_min_apply_delay";
        let delay = session.map(|session| session.settings(&[DELAY], deadline));
        let is_delayed = delay
            .is_some_and(|settings| !settings.is_ok_and(|found| found.get(DELAY).is_some_and(|delay| delay == "0")));
        let is_there = !self.titled(&["startup"]).is_empty();
        if !is_there || is_delayed || self.recovery_is_suspended() {
            return false;
        }
        let (mut watch, mut pace) = (self.watch_startup(), Pace::up_to(STEP));
        while !watch.has_worked() {
            if !pace.step(deadline) {
                return false;
            }
        }
        true
    }

    /// Watches a recovery that nothing can be asked of: its last checkpoint counts, too.
    #[must_use]
    pub fn watch_recovery(&self) -> Watch {
        Watch::over(Whom::Titled(Box::new(self.clone()), &["startup", "checkpointer"]))
    }

    /// Watches a checkpoint.
    #[must_use]
    pub fn watch_checkpointer(&self) -> Watch {
        Watch::over(Whom::Titled(Box::new(self.clone()), &["checkpointer"]))
    }

    /// Whether somebody has stopped the startup process by a signal or with a debugger.
    #[must_use]
    pub fn recovery_is_suspended(&self) -> bool {
        self.titled(&["startup"]).into_iter().any(is_suspended)
    }

    /// The process that receives WAL or replays it, with its title, if somebody has stopped it by a signal or with a debugger.
    #[must_use]
    pub fn suspended_follower(&self) -> Option<(i32, String)> {
        let of_server = self.postmaster().map(children).unwrap_or_default();
        let follows = |pid| ["startup", "walreceiver"].iter().any(|name| is_titled(pid, name));
        let pid = of_server.into_iter().find(|pid| is_suspended(*pid) && follows(*pid))?;
        Some((pid, title(pid)))
    }

    /// For how long the startup process has been running a program, as it does to ask its archive.
    #[must_use]
    pub fn fetches_for(&self) -> Option<Duration> {
        let waiting = self.titled(&["startup"]).into_iter().filter(|pid| !is_suspended(*pid));
        waiting.flat_map(children).filter_map(age).max()
    }

    /// For how long the postmaster has been alive.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        age(self.postmaster()?)
    }

    /// Watches all that a shutdown waits for: the processes of now but the postmaster, which waits, and the logging
    /// collector, which writes what clients are told meanwhile.
    #[must_use]
    pub fn watch_shutdown(&self) -> Watch {
        Watch::over(Whom::These(self.workers()))
    }

    /// The titles of the processes that a shutdown waits for.
    #[must_use]
    pub fn workers_in_words(&self) -> String {
        let titles = self.workers().into_iter().map(|pid| format!("{pid} ({})", title(pid)));
        titles.collect::<Vec<_>>().join(", ")
    }

    /// The process that replays, as it shows itself.
    #[must_use]
    pub fn startup_in_words(&self) -> String {
        let pid = self.titled(&["startup"]).first().copied();
        pid.map_or("not seen".to_owned(), |pid| {
            let suspended = if is_suspended(pid) { ", suspended by a signal or a debugger" } else { "" };
            format!("{pid}, '{}'{suspended}", title(pid))
        })
    }

    /// Whether a WAL receiver streams, by what its process shows of itself: `walreceiver streaming 0/3000060` (PostgreSQL's
    /// `walreceiver.c`). Unknown while one is just trying, and where `update_process_title` is off.
    #[must_use]
    pub fn streams_by_title(&self) -> Option<bool> {
        let receivers = self.titled(&["walreceiver"]);
        let streams = receivers.iter().any(|pid| title(*pid).contains("walreceiver streaming"));
        (streams || receivers.is_empty()).then_some(streams)
    }

    fn workers(&self) -> Vec<i32> {
        let all = self.processes().all();
        let postmaster = self.postmaster().or_else(|| postmaster_among(&all));
        all.into_iter().filter(|pid| Some(*pid) != postmaster && !is_titled(*pid, "logger")).collect()
    }

    fn titled(&self, titles: &[&str]) -> Vec<i32> {
        let is_meant = |pid: &i32| titles.iter().any(|title| is_titled(*pid, title));
        self.processes().all().into_iter().filter(is_meant).collect()
    }

    /// When the live postmaster began, by the kernel's count, with its id: no other process has both.
    #[must_use]
    pub fn postmaster_identity(&self) -> Option<(i32, u64)> {
        let pid = self.postmaster()?;
        Some((pid, stat(pid)?.get(19)?.parse().ok()?))
    }
}

/// `postgres: startup recovering 00..`, with `cluster_name` `postgres: NAME: startup ..` (ps_status.c).
fn is_titled(pid: i32, name: &str) -> bool {
    let title = title(pid);
    let Some(rest) = title.strip_prefix("postgres: ") else { return false };
    let begins = |rest: &str| rest.split_whitespace().next() == Some(name);
    begins(rest) || rest.split_once(": ").is_some_and(|(_, rest)| begins(rest))
}

/// The process and those that it has begun, `restore_command` and `archive_command` among them. What they do is of no use to
/// one that is suspended.
fn family(pid: i32) -> Vec<i32> {
    if is_suspended(pid) {
        return vec![pid];
    }
    std::iter::once(pid).chain(children(pid).into_iter().flat_map(family)).collect()
}

fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The kernel counts the beginning of a process in ticks since boot.
fn age(pid: i32) -> Option<Duration> {
    let begin: u64 = stat(pid)?.get(19)?.parse().ok()?;
    Some(Duration::from_millis(ms_since_boot().saturating_sub(begin * MS_PER_TICK)))
}

/// None when the process is gone.
fn work(pid: i32) -> Option<Work> {
    if !is_alive(Path::new(&format!("/proc/{pid}"))) {
        return None;
    }
    let fields = stat(pid)?;
    let ticks = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some(Work { bytes: bytes(pid), ticks })
}

/// The fields that follow the command: the first is the state, the third of proc(5).
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// All that went through read and write calls, pages in memory included. A kernel without the count has no such file.
fn bytes(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    Some(value("rchar:")?.saturating_add(value("wchar:")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_that_sleeps_does_nothing_and_its_program_is_seen() {
        let script = "read -r line; dd if=/dev/zero of=/dev/null bs=8k count=2 2>/dev/null; exec sleep 60";
        let mut shell = Command::new("sh");
        let mut shell = shell.args(["-c", script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        let mut watch = Watch::over(Whom::These(vec![pid]));
        std::thread::sleep(STEP * 3);
        assert!(watch.idle_for() >= STEP * 3);
        drop(shell.stdin.take());
        let begin = Instant::now();
        while watch.idle_for() >= STEP * 3 {
            assert!(begin.elapsed() < Duration::from_secs(10), "the work is not seen");
            std::thread::sleep(STEP / 4);
        }
        assert!(children(pid).is_empty());
        assert!(age(pid).is_some_and(|age| age >= STEP && age < Duration::from_secs(60)), "{:?}", age(pid));
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert_eq!(work(pid), None);
    }
}
