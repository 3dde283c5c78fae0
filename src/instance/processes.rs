//! The server processes of a data directory, from `/proc`.
//!
//! Every process of a PostgreSQL server has the data directory as its working directory, also after
//! its postmaster died, and is the user's whose directory that is (`checkDataDir` in PostgreSQL's miscinit.c). That is what makes a
//! process ours; a process id alone may have been reused. The owner may swap the directory at any time for a link to another
//! user's, which makes no process of that user ours.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::signal::Signal;

use super::Instance;
use crate::sys::{Owner, Ownership, ProcessHandle, runs_as};

/// Identifies the processes of one data directory.
#[derive(Clone, Debug)]
pub(super) struct Processes {
    path: PathBuf,
    identity: Option<(u64, u64)>,
    ownership: Ownership,
    system_user: String,
}

impl Instance {
    /// The server processes of the data directory.
    pub(super) fn processes(&self) -> Processes {
        Processes::of(self.data_directory(), &self.parameters.system_user)
    }
}

impl Processes {
    /// The processes of this data directory, which may be gone or unmounted.
    fn of(data_directory: &Path, system_user: &str) -> Self {
        let identity = fs::metadata(data_directory).ok().map(|meta| (meta.dev(), meta.ino()));
        let path = fs::canonicalize(data_directory).unwrap_or_else(|_| data_directory.to_owned());
        Processes { path, identity, ownership: Ownership::of(data_directory), system_user: system_user.to_owned() }
    }

    /// Whether this process is alive and one of the server's. A zombie is not: it holds nothing.
    pub(super) fn is_server(&self, pid: i32) -> bool {
        let process = PathBuf::from(format!("/proc/{pid}"));
        self.works_here(&process) && is_postgres(&process) && is_alive(&process) && self.is_owners(pid)
    }

    /// Whether this process is alive and one of another data directory's server.
    pub(super) fn is_strangers(&self, pid: i32) -> bool {
        let process = PathBuf::from(format!("/proc/{pid}"));
        is_postgres(&process) && is_alive(&process) && !(self.works_here(&process) && self.is_owners(pid))
    }

    /// Every live server process of the data directory.
    pub(super) fn all(&self) -> Vec<i32> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| self.is_server(*pid)).collect()
    }

    /// Sends a signal to a server process, and to no other that may have its number by now: the process is held first, and
    /// looked at then. That it is gone is no failure.
    pub(super) fn send(&self, pid: i32, signal: Signal) {
        let sent = ProcessHandle::of(pid).and_then(|process| match self.is_server(pid) {
            true => process.send(signal),
            false => Ok(()),
        });
        if let Err(cause) = sent.or_else(unless_gone) {
            log::warn!("cannot send {signal} to process {pid}: {cause}");
        }
    }

    /// By the directory first: a slip in `system_user` hides no server. Where neither is known there is nobody to be mistaken for.
    fn is_owners(&self, pid: i32) -> bool {
        match self.ownership {
            Ownership::Of(uid) if runs_as(pid, uid) => true,
            known => {
                Owner::lookup(&self.system_user).map_or(known == Ownership::Unknown, |owner| owner.may_signal(pid))
            }
        }
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

/// How the process shows itself: a server's children have rewritten that.
pub(super) fn title(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// Whether this is the title of a login that waits for a lock, as `postgres: user database host startup waiting` (`WaitOnLock` in
/// lock.c). The startup process has no host in its title, but what it recovers.
pub(super) fn is_waiting_login(title: &str) -> bool {
    let words: Vec<_> = title.split_whitespace().collect();
    words.len() > 5 && matches!(words.as_slice(), ["postgres:", .., "startup" | "authentication", "waiting"])
}

pub(super) fn is_alive(process: &Path) -> bool {
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

fn unless_gone(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_login_that_waits_for_a_lock_shows_it() {
        for (title, waits) in [
            ("postgres: postgres postgres [local] startup waiting", true),
            ("postgres: main: postgres postgres 10.0.0.1(4711) authentication waiting", true),
            ("postgres: walsender postgres [local] startup waiting", true),
            ("postgres: postgres postgres [local] startup", false),
            ("postgres: postgres postgres [local] SELECT waiting", false),
            ("postgres: main: startup waiting", false),
            ("postgres: startup recovering 000000010000000000000005 waiting", false),
            ("postgres: startup waiting for 000000010000000000000005", false),
        ] {
            assert_eq!(is_waiting_login(title), waits, "{title}");
        }
    }

    #[test]
    fn a_process_that_is_no_server_is_never_ours() {
        let here = std::env::current_dir().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!Processes::of(&here, "postgres").is_server(own));
        assert!(!Processes::of(&here, "postgres").is_server(i32::MAX));
        assert!(Processes::of(Path::new("/does/not/exist"), "postgres").all().is_empty());
    }

    #[test]
    fn a_number_that_is_another_process_by_now_gets_no_signal() {
        let here = tempfile::tempdir().unwrap();
        let mut other = Command::new("sleep").arg("60").current_dir(here.path()).spawn().unwrap();
        let pid = i32::try_from(other.id()).unwrap();
        Processes::of(here.path(), "postgres").send(pid, Signal::SIGKILL);
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_server_process_gets_its_signal() {
        let here = tempfile::tempdir().unwrap();
        let program = here.path().join("postgres");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut server = Command::new(&program).arg("60").current_dir(here.path()).spawn().unwrap();
        Processes::of(here.path(), "postgres").send(i32::try_from(server.id()).unwrap(), Signal::SIGKILL);
        assert!(!server.wait().unwrap().success());
    }
}
