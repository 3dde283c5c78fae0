//! The control groups (v2) that hold the nodes' processes: power off is `cgroup.kill`, freeze is `cgroup.freeze`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Doing, Error, Result};
use crate::wait;

const PARENT: &str = "pgbaton-lab";
const EMPTY_LIMIT: Duration = Duration::from_secs(10);

/// One control group below the lab's own.
#[derive(Debug, Clone)]
pub(crate) struct Group(PathBuf);

impl Group {
    /// The group of this name, which is made when it is missing.
    pub(crate) fn make(name: &str) -> Result<Self> {
        let group = Self::named(name)?;
        fs::create_dir_all(&group.0).doing(|| format!("make control group {}", group.0.display()))?;
        match group.0.join("cgroup.kill").exists() {
            true => Ok(group),
            false => Err(Error::Missing(format!(
                "{} has no cgroup.kill: the lab needs Linux 5.14 or newer",
                group.0.display()
            ))),
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        Ok(Self(lab_group()?.join(name)))
    }

    /// Moves the calling process into the group.
    pub(crate) fn join(&self) -> Result<()> {
        self.write("cgroup.procs", "0")
    }

    pub(crate) fn freeze(&self) -> Result<()> {
        self.write("cgroup.freeze", "1")?;
        wait::until_true("control group frozen", EMPTY_LIMIT, || self.event("frozen 1"))
    }

    /// A group that is gone has nothing left that stands still.
    pub(crate) fn thaw(&self) -> Result<()> {
        match self.0.exists() {
            true => self.write("cgroup.freeze", "0"),
            false => Ok(()),
        }
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.event("frozen 1").unwrap_or(false)
    }

    /// Its processes, as the machine counts them.
    pub(crate) fn processes(&self) -> Result<Vec<i32>> {
        let path = self.0.join("cgroup.procs");
        let text = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Kills every process of the group at once, waits until none is left, removes the group.
    pub(crate) fn kill_and_remove(&self) -> Result<()> {
        if !self.0.exists() {
            return Ok(());
        }
        self.write("cgroup.kill", "1")?;
        wait::until_true("control group empty", EMPTY_LIMIT, || self.event("populated 0"))?;
        fs::remove_dir(&self.0).doing(|| format!("remove control group {}", self.0.display()))
    }

    fn event(&self, line: &str) -> Result<bool> {
        let path = self.0.join("cgroup.events");
        let events = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
        Ok(events.lines().any(|there| there == line))
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, value).doing(|| format!("write {value} to {}", path.display()))
    }
}

/// Kills everything that a lab has ever started on this machine, and removes its groups.
pub(crate) fn sweep() -> Result<()> {
    let parent = lab_group()?;
    let Ok(entries) = fs::read_dir(&parent) else {
        return Ok(());
    };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        Group(entry.path()).kill_and_remove()?;
    }
    fs::remove_dir(&parent).doing(|| format!("remove control group {}", parent.display()))
}

fn lab_group() -> Result<PathBuf> {
    Ok(mount_point()?.join(PARENT))
}

/// Where cgroup2 is mounted: alone on most machines, beside v1 on some.
fn mount_point() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").doing(|| "read /proc/mounts".to_owned())?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let point = fields.next()?;
            (fields.next()? == "cgroup2").then(|| Path::new(point).to_path_buf())
        })
        .next()
        .ok_or_else(|| {
            Error::Missing("no cgroup2 file system is mounted: mount one with `mount -t cgroup2 none DIR`".to_owned())
        })
}
