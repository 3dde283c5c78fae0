//! The processes that work in a directory, seen from outside.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait_until;

/// A live process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) title: String,
    is_server: bool,
}

/// Every live process whose working directory this is. Zombies do not count.
pub(crate) fn working_in(directory: &Path) -> Vec<Process> {
    let directory = &fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| look(pid, directory)).collect()
}

/// The server processes of a data directory.
pub(crate) fn servers_in(directory: &Path) -> Vec<Process> {
    working_in(directory).into_iter().filter(|process| process.is_server).collect()
}

fn look(pid: i32, directory: &Path) -> Option<Process> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    if fs::read_link(process.join("cwd")).ok()? != directory {
        return None;
    }
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let state = stat.rsplit_once(") ")?.1.chars().next()?;
    let exe = fs::read_link(process.join("exe")).ok()?;
    let title = String::from_utf8_lossy(&fs::read(process.join("cmdline")).ok()?).replace('\0', " ");
    (state != 'Z').then(|| Process { pid, title, is_server: exe.ends_with("postgres") })
}

/// The server process whose title begins so, for instance `postgres: startup`.
pub(crate) fn await_titled(directory: &Path, title: &str) -> i32 {
    let mut found = None;
    wait_until(&format!("a process '{title}'"), || {
        found = servers_in(directory).into_iter().find(|process| process.title.starts_with(title));
        found.is_some()
    });
    found.unwrap().pid
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Kills everything that works in the directory and waits until it is gone.
pub(crate) fn kill_all_in(directory: &Path) {
    wait_until("processes end", || {
        let left = working_in(directory);
        left.iter().for_each(|process| signal(process.pid, Signal::SIGKILL));
        left.is_empty()
    });
}
