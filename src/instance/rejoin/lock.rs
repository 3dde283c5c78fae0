//! The lock of a rejoin, beside the data directory. It is held by the worker and by the programs that the worker runs, so
//! it is free when nobody of them writes in the directory any more.
//!
//! The file is the owner's, because the worker is, and so whoever has the owner's rights can hold it, too. Who holds it is
//! therefore looked up in `/proc`, and a holder that is no worker of ours keeps nobody from stopping the resource.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};
use nix::libc;

use crate::instance::files::beside;
use crate::sys::{Deadline, Pace};

fn lock_path(data: &Path) -> PathBuf {
    beside(data, ".rejoin.lock")
}

/// Whoever asks whether a worker is there has the lock for a moment, and is not taken for a worker.
const ASKING: Duration = Duration::from_secs(1);

fn lock_unless_at_work(mut file: File) -> io::Result<Option<Flock<File>>> {
    let deadline = Deadline::after(ASKING);
    let mut pace = Pace::up_to(Duration::from_millis(20));
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((file, nix::Error::EWOULDBLOCK)) if pace.step(deadline) => file,
            Err((_, nix::Error::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        };
    }
}

/// Takes the lock, for this process and all programs that it runs. `None` when another worker has it.
pub(super) fn take_lock(data: &Path) -> io::Result<Option<Flock<File>>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let Some(mut lock) = lock_unless_at_work(options.open(lock_path(data))?)? else { return Ok(None) };
    fcntl(&*lock, FcntlArg::F_SETFD(FdFlag::empty()))?;
    lock.set_len(0)?;
    lock.write_all(std::process::id().to_string().as_bytes())?;
    Ok(Some(lock))
}

/// The leader of the worker's process group, while anybody of the group is at work.
pub(super) fn worker(data: &Path) -> Option<i32> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(lock_path(data)).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((file, nix::Error::EWOULDBLOCK)) => {
            let mut text = String::new();
            file.take(20).read_to_string(&mut text).ok()?;
            // A worker that has not written its id yet is there all the same.
            Some(text.trim().parse().unwrap_or(0))
        }
        _ => None,
    }
}

/// The processes that hold the lock, workers or not.
pub(super) fn holders(data: &Path) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_held_by(data, *pid)).collect()
}

/// Whether this process is one of them.
pub(super) fn is_held_by(data: &Path, pid: i32) -> bool {
    fs::symlink_metadata(lock_path(data)).is_ok_and(|file| holds(pid, (file.dev(), file.ino())))
}

/// An open file whose description has the lock shows it in `fdinfo` (proc(5)), in each process that shares it.
fn holds(pid: i32, lock: (u64, u64)) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let is_lock = |path: &Path| fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == lock);
    let mut named = open.filter(|entry| is_lock(&entry.path())).map(|entry| entry.file_name());
    named.any(|number| {
        let text = fs::read_to_string(process.join("fdinfo").join(number)).unwrap_or_default();
        text.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK"))
    })
}

/// Whether a process runs the agent, or a program of this directory. After an upgrade the link ends in ` (deleted)`.
pub(super) fn is_ours(pid: i32, programs: &Path) -> bool {
    let link = |path: String| {
        let text = fs::read_link(path).unwrap_or_default().to_string_lossy().into_owned();
        PathBuf::from(text.trim_end_matches(" (deleted)"))
    };
    let (theirs, agent) = (link(format!("/proc/{pid}/exe")), link("/proc/self/exe".to_owned()));
    let programs = fs::canonicalize(programs).unwrap_or_else(|_| programs.to_owned());
    theirs == agent || theirs.parent() == Some(&programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_worker() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("main");
        assert_eq!(worker(&data), None);
        let lock = take_lock(&data).unwrap().unwrap();
        assert!(take_lock(&data).unwrap().is_none());
        assert_eq!(worker(&data), i32::try_from(std::process::id()).ok());
        drop(lock);
        assert_eq!(worker(&data), None);
    }

    #[test]
    fn who_only_asks_keeps_no_worker_from_its_work() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("main");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let _ = worker(&data);
                    }
                });
            }
            let taken = (0..200).filter(|_| take_lock(&data).unwrap().is_some()).count();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(taken, 200);
        });
    }

    #[test]
    fn who_holds_it_is_known_and_whether_that_is_a_worker() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("main");
        assert!(holders(&data).is_empty());
        let lock = take_lock(&data).unwrap().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let mut program = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let theirs = i32::try_from(program.id()).unwrap();
        let mut found = holders(&data);
        found.sort_unstable();
        assert_eq!(found, if own < theirs { [own, theirs] } else { [theirs, own] });
        let at = fs::canonicalize("/proc/self/exe").unwrap();
        assert!(is_ours(own, Path::new("/none")) && is_ours(own, at.parent().unwrap()));
        assert!(!is_ours(theirs, Path::new("/none")) && is_ours(theirs, Path::new("/usr/bin")));
        drop(lock);
        program.kill().unwrap();
        program.wait().unwrap();
        // Who has it open and does not hold it is none of them.
        let _open = File::open(lock_path(&data)).unwrap();
        assert!(holders(&data).is_empty());
    }
}
