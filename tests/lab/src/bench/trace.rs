//! Counts the programs that an agent executes, exactly: every process of it is traced, and each exec is an event.

use std::collections::{BTreeMap, HashSet};
use std::fs;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::in_node::stub;
use crate::error::{Doing, Error, Result, unexpected};

/// What one traced run showed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Trace {
    /// Programs executed, the agent itself included.
    pub(super) programs: usize,
    /// Their names, in the order of execution.
    pub(super) names: Vec<String>,
    /// The most memory that the agent's own process had resident.
    pub(super) resident_kb: u64,
}

pub(super) fn trace(command: &[String], environment: &BTreeMap<String, String>) -> Result<Trace> {
    let child = stub(command, environment).spawn().doing(|| "start the traced agent".to_owned())?;
    let id = i32::try_from(child.id()).map_err(|_| Error::Unexpected(format!("process id {}", child.id())))?;
    let agent = Pid::from_raw(id);
    match waitpid(agent, Some(WaitPidFlag::WUNTRACED)) {
        Ok(WaitStatus::Stopped(_, Signal::SIGSTOP)) => {}
        other => return unexpected(format!("the traced agent did not stop before it began: {other:?}")),
    }
    let options = Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXIT
        | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(agent, options).doing(|| "trace the agent".to_owned())?;
    ptrace::cont(agent, None).doing(|| "let the agent begin".to_owned())?;
    follow(agent)
}

fn follow(agent: Pid) -> Result<Trace> {
    let mut trace = Trace::default();
    let mut known = HashSet::from([agent]);
    loop {
        let status = waitpid(None, Some(WaitPidFlag::__WALL)).doing(|| "wait for the traced agent".to_owned())?;
        let (process, signal) = match status {
            WaitStatus::Exited(process, _) | WaitStatus::Signaled(process, _, _) if process == agent => {
                return Ok(trace);
            }
            WaitStatus::PtraceEvent(process, _, event) => {
                note(&mut trace, event, process, agent);
                (process, None)
            }
            // Every new process begins with a stop that is the tracer's, not its own.
            WaitStatus::Stopped(process, Signal::SIGSTOP) if known.insert(process) => (process, None),
            WaitStatus::Stopped(process, signal) => (process, Some(signal)),
            _ => continue,
        };
        // It may have been killed in between: then there is nothing to continue.
        let _ = ptrace::cont(process, signal);
    }
}

fn note(trace: &mut Trace, event: i32, process: Pid, agent: Pid) {
    match event {
        libc::PTRACE_EVENT_EXEC => {
            trace.programs += 1;
            let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
            trace.names.push(name.trim_end().to_owned());
        }
        libc::PTRACE_EVENT_EXIT if process == agent => {
            trace.resident_kb = peak_resident_kb(process).unwrap_or_default()
        }
        _ => {}
    }
}

fn peak_resident_kb(process: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
