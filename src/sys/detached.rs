//! Processes that outlive the action that starts them.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, setsid};

/// Gives the command a session of its own, because Pacemaker kills the action's whole process group, and a mask for files
/// that nobody else can read, which is what PostgreSQL wants (`pg_ctl` sets the same). It works in `home` from its first
/// instruction on, where that can be entered.
pub fn detach<'a>(command: &'a mut Command, home: Option<&Path>) -> &'a mut Command {
    let home = home.and_then(|home| CString::new(home.as_os_str().as_bytes()).ok());
    let prepare = move || -> io::Result<()> {
        if let Some(home) = &home {
            let _ = chdir(home.as_c_str());
        }
        umask(Mode::from_bits_truncate(0o077));
        setsid().map(drop).map_err(io::Error::from)
    };
    // SAFETY: the closure runs in the forked child before exec, makes three system calls, reads memory that was allocated
    // before the fork, allocates nothing and takes no lock.
    unsafe { command.pre_exec(prepare) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_process_has_a_session_and_a_directory_of_its_own() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $(pwd) $$ $(cut -d' ' -f6 /proc/self/stat) $(umask)"]);
        let output = detach(&mut command, Some(Path::new("/proc"))).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let words: Vec<_> = text.split_whitespace().collect();
        assert_eq!((words[0], words[1], words[3]), ("/proc", words[2], "0077"));
    }
}
