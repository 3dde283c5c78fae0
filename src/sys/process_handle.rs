//! A process that is held by a file descriptor: its number may be given to another process, the descriptor never is.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One process, alive or not. What is found out about its number while this exists is true of the process that gets the
/// signals, if it was still alive then.
#[derive(Debug)]
pub struct ProcessHandle {
    pid: i32,
    /// `None` where there are no such descriptors: before Linux 5.3, or where a container's filter forbids them. A stop must
    /// work there, too.
    descriptor: Option<OwnedFd>,
}

impl ProcessHandle {
    /// Takes hold of a process.
    ///
    /// # Errors
    /// When there is none of that number.
    pub fn of(pid: i32) -> io::Result<ProcessHandle> {
        if pid < 2 {
            // 0 and negative numbers are groups for kill(2); nobody ends init.
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: pidfd_open(2) takes two integers and no pointer.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let error = io::Error::last_os_error();
        let descriptor = match libc::c_int::try_from(result) {
            // SAFETY: a descriptor that the kernel has just made for this call; nobody else has it.
            Ok(raw) if raw >= 0 => Some(unsafe { OwnedFd::from_raw_fd(raw) }),
            _ if error.raw_os_error() == Some(libc::ESRCH) => return Err(error),
            _ => None,
        };
        Ok(ProcessHandle { pid, descriptor })
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone (`ESRCH`), or may not be signalled.
    pub fn send(&self, signal: Signal) -> io::Result<()> {
        let Some(descriptor) = &self.descriptor else {
            return kill(Pid::from_raw(self.pid), signal).map_err(io::Error::from);
        };
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: pidfd_send_signal(2) takes a descriptor that is open for the duration of the call, an integer, a null
        // pointer, which it takes for the information that kill(2) gives, and an integer.
        let result = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, descriptor.as_raw_fd(), signal as libc::c_int, none, 0)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn a_signal_reaches_the_process_that_is_held() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let handle = ProcessHandle::of(i32::try_from(child.id()).unwrap()).unwrap();
        handle.send(Signal::SIGKILL).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        // Whoever has the number now is another one.
        assert_eq!(handle.send(Signal::SIGKILL).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn numbers_that_kill_takes_for_many_processes_are_none() {
        for pid in [-1, 0, 1, i32::MIN, i32::MAX] {
            assert!(ProcessHandle::of(pid).is_err(), "{pid}");
        }
    }
}
