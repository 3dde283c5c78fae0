//! The agent dies in the middle of an action: its process on the node is killed as soon as it is seen there.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lab::Lab;
use crate::cgroup::Group;
use crate::error::{Error, Result, unexpected};
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
    action: String,
    moment: Moment,
}

impl Lab {
    /// The next time that the agent runs this action on that node, it is killed by SIGKILL.
    pub(crate) fn ambush(&self, node: &str, action: &str, moment: Moment) -> Result<Ambush> {
        let prey = Prey { group: switch::group(node)?, data: paths::data(node), action: action.to_owned(), moment };
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
            let agents = self.agents()?;
            if !agents.is_empty() && (self.moment == Moment::AtOnce || self.is_halfway()) {
                return agents.into_iter().try_for_each(shoot);
            }
            thread::sleep(STEP);
        }
        unexpected(format!("no agent to kill was seen in {} ({:?}) within {LIMIT:?}", self.action, self.moment))
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
        words.first().is_some_and(|program| program.ends_with(b"/pgbaton"))
            && words.get(1..3).is_some_and(|rest| rest == [b"ocf".as_slice(), self.action.as_bytes()])
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

fn shoot(pid: i32) -> Result<()> {
    kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|error| Error::Unexpected(format!("kill the agent: {error}")))
}
