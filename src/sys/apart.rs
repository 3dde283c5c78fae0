//! The agent's work in a process of its own, so that nothing in there keeps the process from ending that Pacemaker waits for.
//!
//! A thread that waits for a disk, or for a file system that is frozen, obeys no signal, and the parent learns of a process's end
//! when its last thread has ended (`delay_group_leader` in Linux' exit.c). Pacemaker would wait in vain, also after SIGKILL: for
//! the action's timeout and 60 s. For the end of the output it does not wait (`finish_op_output` in its services_linux.c).

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use super::{Deadline, Pace};

/// How long a process may take to end that has answered. One that hangs is left to init.
const ENDS: Duration = Duration::from_millis(100);

/// Does the work in a child, and returns the exit code that it tells. Where there can be no child it is done here.
///
/// # Errors
/// When no code was told in time, or the child was killed: what to tell of that.
pub fn apart(patience: Duration, work: impl FnOnce() -> i32) -> Result<i32, String> {
    let (agent, Ok((here, there))) = (getpid(), UnixStream::pair()) else { return Ok(work()) };
    if !is_single_threaded() {
        return Ok(work());
    }
    // SAFETY: this process has a single thread, so that the child finds no lock taken and may do all that its parent may.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            drop(here);
            work_as_child(agent, there, work)
        }
        Ok(ForkResult::Parent { child }) => {
            drop(there);
            answer_of(child, here, patience)
        }
        Err(_) => Ok(work()),
    }
}

fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// Whoever ends the agent ends its work.
fn work_as_child(agent: Pid, mut there: UnixStream, work: impl FnOnce() -> i32) -> ! {
    if set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != agent {
        std::process::exit(1);
    }
    let code = work();
    let _ = std::io::stdout().flush();
    let _ = there.write_all(&code.to_le_bytes());
    std::process::exit(code)
}

fn answer_of(child: Pid, mut here: UnixStream, patience: Duration) -> Result<i32, String> {
    let mut code = [0; 4];
    let told = here.set_read_timeout(Some(patience)).and_then(|()| here.read_exact(&mut code));
    match told {
        Ok(()) => {
            reap(child, ENDS);
            Ok(i32::from_le_bytes(code))
        }
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => match reap(child, patience) {
            Some(WaitStatus::Exited(_, code)) => Ok(code),
            Some(WaitStatus::Signaled(_, signal, _)) => Err(format!("the agent was ended by {signal} while it worked")),
            _ => Err("the agent has ended without an answer".to_owned()),
        },
        Err(_) => {
            // It is not reaped yet, so its number is nobody else's.
            let _ = kill(child, Signal::SIGKILL);
            let s = patience.as_secs();
            Err(format!(
                "the agent hangs and was given up after {s} s; see whether the disk of the data directory answers"
            ))
        }
    }
}

fn reap(child: Pid, within: Duration) -> Option<WaitStatus> {
    let (deadline, mut pace) = (Deadline::after(within), Pace::up_to(Duration::from_millis(10)));
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if pace.step(deadline) => {}
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(status) => return Some(status),
        }
    }
}
