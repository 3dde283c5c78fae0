//! From the machine into the node: control group, new namespaces, PID 1.

use std::fs;
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, unshare};

use crate::cgroup::Group;
use crate::error::{Doing, Result};
use crate::paths;

/// Runs as long as the node has power.
pub(crate) fn boot(name: &str, services: bool) -> Result<ExitCode> {
    Group::make(&format!("node-{name}"))?.join()?;
    // The mounts become PID 1's own only in PID 1: this process keeps the machine's root.
    let apart =
        CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(apart).doing(|| format!("make the namespaces of node '{name}'"))?;
    let services = if services { "--services" } else { "--no-services" };
    let mut init = Command::new(paths::SELF)
        .args(["node-init", name, services])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .env("HOME", "/root")
        .spawn()
        .doing(|| format!("start PID 1 of node '{name}'"))?;
    let path = paths::node(name).join("pid");
    fs::write(&path, format!("{}\n", init.id())).doing(|| format!("write {}", path.display()))?;
    let status = init.wait().doing(|| format!("wait for PID 1 of node '{name}'"))?;
    eprintln!("node '{name}' has ended: {status}");
    Ok(ExitCode::SUCCESS)
}
