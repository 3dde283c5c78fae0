//! PID 1 of a node: builds its root, starts its services, reaps its orphans.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::wait;
use nix::unistd::{Gid, Uid, sethostname};

use super::{disk, mounts, syslog};
use crate::error::{Doing, Result};
use crate::plan::{Duty, Node, Plan};
use crate::profile::ARCHIVE;
use crate::{net, paths, run, wait as waiting};

const CABLE_LIMIT: Duration = Duration::from_secs(10);
const COROSYNC_LIMIT: Duration = Duration::from_secs(20);

/// Never returns while the node has power.
pub(crate) fn init(name: &str, services: bool) -> Result<ExitCode> {
    let plan = Plan::load()?;
    let node = plan.node(name)?;
    build_root(&plan, node)?;
    sethostname(name).doing(|| format!("set host name '{name}'"))?;
    syslog::listen(Path::new("/var/log/syslog"))?;
    make_run_directories()?;
    wait_for_cable()?;
    net::address_eth0(&node.address)?;
    match (services, node.duty) {
        (true, Duty::Cluster) => start_cluster_services(plan.witness().is_some())?,
        (true, Duty::Witness) => start_witness()?,
        (false, _) => {}
    }
    reap()
}

/// The services of a cluster node, in the order of their unit files.
pub(crate) fn start_cluster_services(qdevice: bool) -> Result<()> {
    // It leaves a daemon behind, which answers a moment later.
    run::check(&mut Command::new("corosync"), COROSYNC_LIMIT)?;
    waiting::until_true("answer of corosync", COROSYNC_LIMIT, || {
        Ok(run::run(Command::new("corosync-cmapctl").arg("totem.cluster_name"), COROSYNC_LIMIT)?.code == 0)
    })?;
    if qdevice {
        start(Command::new("corosync-qdevice").arg("-f"))?;
    }
    disk::seed_cib()?;
    start(Command::new("pacemakerd").env("PCMK_logfile", "/var/log/pacemaker/pacemaker.log"))
}

fn start_witness() -> Result<()> {
    mounts::make_dir(Path::new("/run/corosync-qnetd"))?;
    start(Command::new("corosync-qnetd").args(["-f", "-s", "off"]))
}

/// Starts a service that PID 1 reaps when it ends.
fn start(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).spawn().doing(|| format!("start {name}"))?;
    Ok(())
}

fn build_root(plan: &Plan, node: &Node) -> Result<()> {
    mounts::make_private()?;
    let dir = paths::node(&node.name);
    mounts::overlay(&paths::image(&plan.suite), &dir)?;
    let root = dir.join("root");
    mounts::system(&root)?;
    mounts::bind(&paths::power_socket(), &root.join(paths::SWITCH_IN_NODE.trim_start_matches('/')))?;
    if node.duty == Duty::Cluster {
        let volume = plan.volume();
        mounts::bind(&paths::volume(&node.name), &root.join(volume.strip_prefix("/").unwrap_or(&volume)))?;
        mounts::bind(&paths::archive(), &root.join(ARCHIVE.trim_start_matches('/')))?;
    }
    mounts::enter(&root)
}

/// What systemd-tmpfiles makes at boot elsewhere.
pub(crate) fn make_run_directories() -> Result<()> {
    let directories = [
        ("/run/lock", "root", "root", 0o1777),
        ("/run/crm", "hacluster", "haclient", 0o750),
        ("/run/corosync-qdevice", "root", "root", 0o770),
        ("/run/resource-agents", "root", "root", 0o755),
        ("/run/postgresql", "postgres", "postgres", 0o2775),
    ];
    for (path, user, group, mode) in directories {
        let path = Path::new(path);
        mounts::make_dir(path)?;
        let owner = Uid::from_raw(disk::user_id(Path::new("/"), user)?);
        let group = Gid::from_raw(disk::group_id(Path::new("/"), group)?);
        chown(path, Some(owner.as_raw()), Some(group.as_raw()))
            .doing(|| format!("give {} its owner", path.display()))?;
        mounts::set_mode(path, mode)?;
    }
    Ok(())
}

fn wait_for_cable() -> Result<()> {
    waiting::until_true("network cable", CABLE_LIMIT, || Ok(fs::exists("/sys/class/net/eth0").unwrap_or(false)))
}

/// Orphans end here; when no process is left there is still the power to wait for.
pub(crate) fn reap() -> Result<ExitCode> {
    loop {
        match wait() {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
