//! The server processes of a data directory, from `/proc`.
//!
//! Every process of a PostgreSQL server has the data directory as its working directory, also after
//! its postmaster died. That is what makes a process ours; a process id alone may have been reused.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Identifies the processes of one data directory.
#[derive(Clone, Debug)]
pub(super) struct Processes {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Processes {
    /// The processes of this data directory, which may be gone or unmounted.
    pub(super) fn of(data_directory: &Path) -> Self {
        let identity = fs::metadata(data_directory).ok().map(|meta| (meta.dev(), meta.ino()));
        let path = fs::canonicalize(data_directory).unwrap_or_else(|_| data_directory.to_owned());
        Processes { path, identity }
    }

    /// Whether this process is alive and one of the server's. A zombie is not: it holds nothing.
    pub(super) fn is_server(&self, pid: i32) -> bool {
        let process = PathBuf::from(format!("/proc/{pid}"));
        self.works_here(&process) && is_postgres(&process) && is_alive(&process)
    }

    /// Every live server process of the data directory.
    pub(super) fn all(&self) -> Vec<i32> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| self.is_server(*pid)).collect()
    }

    fn works_here(&self, process: &Path) -> bool {
        let cwd = process.join("cwd");
        if let (Some(identity), Ok(meta)) = (self.identity, fs::metadata(&cwd)) {
            return identity == (meta.dev(), meta.ino());
        }
        // The directory was unmounted or renamed below a running server: the link still shows its name.
        let Ok(link) = fs::read_link(&cwd) else { return false };
        let link = link.to_string_lossy();
        Path::new(link.trim_end_matches(" (deleted)")) == self.path
    }
}

/// After an upgrade of the package the link ends in ` (deleted)`.
fn is_postgres(process: &Path) -> bool {
    let Ok(link) = fs::read_link(process.join("exe")) else { return false };
    let name = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
    matches!(name.trim_end_matches(" (deleted)"), "postgres" | "postmaster" | "edb-postgres")
}

/// The postmaster among these, for the case that `postmaster.pid` does not tell: children have rewritten
/// their command line to `postgres: ...`.
pub(super) fn postmaster_among(pids: &[i32]) -> Option<i32> {
    let is_child = |pid: &i32| {
        let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        title.starts_with(b"postgres: ") || title.is_empty()
    };
    pids.iter().find(|pid| !is_child(pid)).copied()
}

fn is_alive(process: &Path) -> bool {
    state(process).is_some_and(|state| !matches!(state, 'Z' | 'X' | 'x'))
}

/// The state is the first field after the command's closing parenthesis (proc(5)).
fn state(process: &Path) -> Option<char> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.trim_start().chars().next()
}

/// Whether somebody stopped the process with SIGSTOP or a debugger. It obeys SIGKILL only.
pub(super) fn is_suspended(pid: i32) -> bool {
    matches!(state(Path::new(&format!("/proc/{pid}"))), Some('T' | 't'))
}

/// Whether the process has been reaped: until then the kernel and PostgreSQL hold its id for in use.
pub(super) fn is_gone(pid: i32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Sends a signal; that the process is gone is no failure.
pub(super) fn send(pid: i32, signal: Signal) {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(nix::Error::ESRCH) => {}
        Err(cause) => log::warn!("cannot send {signal} to process {pid}: {cause}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_no_server_is_never_ours() {
        let here = std::env::current_dir().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!Processes::of(&here).is_server(own));
        assert!(!Processes::of(&here).is_server(i32::MAX));
        assert!(Processes::of(Path::new("/does/not/exist")).all().is_empty());
    }
}
