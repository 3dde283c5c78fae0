//! The agent dies in the middle of an action: its process on the node is killed as soon as it is seen there.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lab::Lab;
use crate::cgroup::Group;
use crate::error::{Result, unexpected};
use crate::wait;
use crate::{paths, switch};

const LIMIT: Duration = Duration::from_secs(60);
/// Between one look at the node's processes and the next.
const STEP: Duration = Duration::from_millis(1);

/// When in its action the agent is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// As soon as it is seen.
    AtOnce,
    /// When the server has been told what to do and has not done it yet.
    Halfway,
    /// So long after it is seen, if it is still at work then.
    After(Duration),
}

/// Waits for the agent, and kills it once.
#[derive(Debug)]
pub(crate) struct Ambush {
    give_up: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What the thread looks at.
struct Prey {
    group: Group,
    data: PathBuf,
    /// How the path of the agent's program ends, and what follows it.
    program: &'static [u8],
    arguments: Vec<Vec<u8>>,
    action: String,
    moment: Moment,
}

impl Lab {
    /// The next time that the agent runs this action on that node, it is killed by SIGKILL.
    pub(crate) fn ambush(&self, node: &str, action: &str, moment: Moment) -> Result<Ambush> {
        let (program, arguments) = how_it_is_called(&self.plan.agent, action);
        let (group, data, action) = (switch::group(node)?, paths::data(node), action.to_owned());
        let prey = Prey { group, data, program, arguments, action, moment };
        let give_up = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&give_up);
        Ok(Ambush { give_up, thread: Some(thread::spawn(move || prey.hunt(&told))) })
    }
}

impl Ambush {
    /// Waits until the agent has been killed.
    pub(crate) fn wait(mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => unexpected("the ambush has panicked"),
        }
    }

    /// Whether the agent has been killed within that time.
    pub(crate) fn is_over_within(&self, limit: Duration) -> bool {
        let is_over = || Ok(self.thread.as_ref().is_none_or(JoinHandle::is_finished));
        wait::until_true("agent that is killed", limit, is_over).is_ok()
    }
}

impl Drop for Ambush {
    /// A scenario that failed kills no agent of the next one.
    fn drop(&mut self) {
        self.give_up.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Prey {
    fn hunt(&self, give_up: &AtomicBool) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < LIMIT && !give_up.load(Ordering::Relaxed) {
            if self.is_ripe()? && shoot(&self.agents()?)? {
                return Ok(());
            }
            thread::sleep(STEP);
        }
        unexpected(format!("no agent to kill was seen in {} ({:?}) within {LIMIT:?}", self.action, self.moment))
    }

    /// Whether the agent is at work, and has been for as long as was wanted.
    fn is_ripe(&self) -> Result<bool> {
        if self.agents()?.is_empty() {
            return Ok(false);
        }
        match self.moment {
            Moment::AtOnce => return Ok(true),
            Moment::Halfway => return Ok(self.is_halfway()),
            Moment::After(delay) => thread::sleep(delay),
        }
        Ok(true)
    }

    /// The processes that are the agent in this action, as the machine counts them.
    fn agents(&self) -> Result<Vec<i32>> {
        let mut processes = self.group.processes()?;
        processes.retain(|pid| self.is_agent(*pid));
        Ok(processes)
    }

    fn is_agent(&self, pid: i32) -> bool {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = words.split(|byte| *byte == 0).collect();
        // An interpreter's name may come first.
        let place = words.iter().take(2).position(|word| word.ends_with(self.program));
        let follows = |place: usize| words.get(place + 1..=place + self.arguments.len());
        place.and_then(follows).is_some_and(|rest| rest == self.arguments)
    }

    fn is_halfway(&self) -> bool {
        match self.action.as_str() {
            "start" => self.postmaster_says("starting") || self.postmaster_says("standby"),
            "stop" | "demote" => self.postmaster_says("stopping"),
            "promote" => self.data.join("promote").exists() || !self.data.join("standby.signal").exists(),
            _ => false,
        }
    }

    /// Line 8 of postmaster.pid.
    fn postmaster_says(&self, word: &str) -> bool {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        text.lines().nth(7).is_some_and(|line| line.trim() == word)
    }
}

/// How the agent's process shows itself: the end of its program's path, and what follows.
fn how_it_is_called(agent: &str, action: &str) -> (&'static [u8], Vec<Vec<u8>>) {
    let action = action.as_bytes().to_vec();
    match agent {
        "ocf:heartbeat:pgsqlms" => (b"/heartbeat/pgsqlms", vec![action]),
        "ocf:heartbeat:pgsql" => (b"/heartbeat/pgsql", vec![action]),
        _ => (b"/pgbaton", vec![b"ocf".to_vec(), action]),
    }
}

/// Whether one of them was still there to be killed.
fn shoot(pids: &[i32]) -> Result<bool> {
    let mut killed = false;
    for pid in pids {
        match kill(Pid::from_raw(*pid), Signal::SIGKILL) {
            Ok(()) => killed = true,
            Err(Errno::ESRCH) => {}
            Err(error) => return unexpected(format!("kill the agent: {error}")),
        }
    }
    Ok(killed)
}
