//! Which programs does a call execute? The kernel is asked, by ptrace: nothing can be executed unseen.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;

/// Runs the command to its end and returns the command lines that it and its descendants have executed, its own left
/// out.
pub(crate) fn executed_by(mut command: Command) -> Vec<String> {
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    // SAFETY: one system call in the forked child, before exec; no memory is touched.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = libc::pid_t::try_from(command.spawn().unwrap().id()).unwrap();
    let stopped = wait_for(child).expect("the traced process");
    assert!(libc::WIFSTOPPED(stopped.1), "it did not stop at its exec");
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE;
    // SAFETY: the tracee is stopped and this thread's; the arguments are integers.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, options) };
    go_on(child, 0);
    follow(child)
}

fn follow(child: libc::pid_t) -> Vec<String> {
    let mut executed = Vec::new();
    while let Some((pid, status)) = wait_for(-1) {
        if libc::WIFSTOPPED(status) {
            let event = status >> 16;
            if event == libc::PTRACE_EVENT_EXEC {
                let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                executed.push(String::from_utf8_lossy(&words).replace('\0', " "));
            }
            let signal = libc::WSTOPSIG(status);
            let is_ours = event != 0 || signal == libc::SIGTRAP || signal == libc::SIGSTOP;
            go_on(pid, if is_ours { 0 } else { signal });
        } else if pid == child {
            return executed;
        }
    }
    executed
}

/// Waits for this thread's own children and tracees only.
fn wait_for(pid: libc::pid_t) -> Option<(libc::pid_t, i32)> {
    let mut status = 0;
    // SAFETY: `status` is a live integer for the duration of the call.
    let found = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
    (found > 0).then_some((found, status))
}

fn go_on(pid: libc::pid_t, signal: i32) {
    // SAFETY: the tracee is stopped and this thread's; the arguments are integers.
    unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, signal) };
}
