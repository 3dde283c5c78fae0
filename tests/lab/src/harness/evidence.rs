//! What is kept of a scenario that failed: everything somebody needs who was not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::lab::Lab;
use crate::cluster::node_shell::run_on;
use crate::error::{Doing, Result};
use crate::{paths, run};

const LIMIT: Duration = Duration::from_secs(20);
const LOGS: [&str; 3] = ["var/log/syslog", "var/log/pacemaker/pacemaker.log", "var/log/corosync/corosync.log"];

/// Writes the evidence, and says where it is. What cannot be had is left out: the rest is worth the more.
pub(crate) fn keep(lab: &Lab, scenario: &str, reason: &str) -> Result<PathBuf> {
    let dir = paths::failures().join(scenario);
    let _ = fs::remove_dir_all(&dir);
    keep_in(lab, &dir, reason)?;
    Ok(dir)
}

/// [`keep`] in a directory of the caller's choice.
pub(crate) fn keep_in(lab: &Lab, dir: &Path, reason: &str) -> Result<()> {
    fs::create_dir_all(dir).doing(|| format!("make {}", dir.display()))?;
    write(&dir.join("reason.txt"), reason);
    for (number, history) in lab.histories().iter().enumerate() {
        write(&dir.join(format!("client-{number}.txt")), history);
    }
    copy(&Path::new(paths::RUN).join("power-switch.log"), &dir.join("power-switch.log"));
    for node in lab.nodes() {
        let target = dir.join(&node);
        fs::create_dir_all(&target).doing(|| format!("make {}", target.display()))?;
        for log in LOGS {
            let log = paths::upper(&node).join(log);
            copy(&log, &target.join(log.file_name().unwrap_or_default()));
        }
        copy(&paths::data(&node).join("log/postgresql.log"), &target.join("postgresql.log"));
        list_volume(&node, &target)?;
        if lab.has_power(&node).unwrap_or(false) && !crate::switch::group(&node)?.is_frozen() {
            ask(&node, &["crm_mon", "-1rAfo"], &target.join("crm_mon.txt"));
            ask(&node, &["ps", "axfo", "pid,ppid,stat,lstart,args"], &target.join("processes.txt"));
            let control = lab.plan.bindir().join("pg_controldata").display().to_string();
            ask(&node, &[&control, &lab.plan.pgdata().display().to_string()], &target.join("control.txt"));
            ask(&node, &["cibadmin", "--query"], &target.join("cib.xml"));
        }
    }
    Ok(())
}

/// What lies beside the data directory, and what the agent has written about it.
fn list_volume(node: &str, target: &Path) -> Result<()> {
    let mut list = Command::new("ls");
    list.args(["-la", "--time-style=full-iso"]).arg(paths::volume(node));
    let listed = run::run(&mut list, LIMIT)?;
    write(&target.join("volume.txt"), &listed.stdout);
    for entry in fs::read_dir(paths::volume(node)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        copy(&entry.path().join("README.txt"), &target.join(format!("{name}.README.txt")));
    }
    Ok(())
}

fn ask(node: &str, command: &[&str], file: &Path) {
    match run_on(node, command, LIMIT) {
        Ok(output) => write(file, &format!("{}{}", output.stdout, output.stderr)),
        Err(error) => write(file, &error.to_string()),
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = run::run(Command::new("cp").arg(from).arg(to), LIMIT);
}

fn write(path: &Path, text: &str) {
    let _ = fs::write(path, text);
}
