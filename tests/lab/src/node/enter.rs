//! Running a command inside a node.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, setns};

use crate::cgroup::Group;
use crate::error::{Doing, Result};
use crate::switch;

/// Enters the node and runs the command there, as one of its processes: it dies with the node.
pub(crate) fn exec(node: &str, command: &[String]) -> Result<ExitCode> {
    let pid = switch::order(&format!("pid {node}"))?;
    let mut namespaces = Vec::new();
    for (name, flag) in [
        ("pid", CloneFlags::CLONE_NEWPID),
        ("net", CloneFlags::CLONE_NEWNET),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ] {
        let path = format!("/proc/{pid}/ns/{name}");
        namespaces.push((File::open(&path).doing(|| format!("open {path}"))?, flag));
    }
    Group::named(&format!("node-{node}"))?.join()?;
    for (namespace, flag) in namespaces {
        setns(namespace, flag).doing(|| format!("enter node '{node}'"))?;
    }
    let (program, arguments) = command.split_first().map_or(("bash", &[][..]), |(first, rest)| (first.as_str(), rest));
    let status = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .env("TERM", std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned()))
        .current_dir("/")
        .status()
        .doing(|| format!("run `{program}` in node '{node}'"))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
