//! What is on a node's disk before its first boot, and who owns it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::mounts;
use crate::error::{Doing, Result, unexpected};
use crate::plan::{Duty, NETWORK_CIDR, Node, Plan, VIP};
use crate::profile::{MONITOR_ROLE, PASSWORD_IN_FILE, Role};
use crate::{paths, run};

const COPY_LIMIT: Duration = Duration::from_secs(30);
const CIB: &str = "/var/lib/pacemaker/cib/cib.xml";

/// Fills the upper layer of a node, and makes its empty data directory.
pub(crate) fn prepare(plan: &Plan, node: &Node, authkey: &[u8]) -> Result<()> {
    let upper = paths::upper(&node.name);
    write(&upper.join("etc/hostname"), format!("{}\n", node.name))?;
    write(&upper.join("etc/hosts"), hosts(plan))?;
    if node.duty == Duty::Witness {
        return Ok(());
    }
    write(&upper.join("etc/corosync/corosync.conf"), corosync_conf(plan))?;
    write(&upper.join("etc/corosync/authkey"), authkey)?;
    mounts::set_mode(&upper.join("etc/corosync/authkey"), 0o400)?;
    write(&upper.join("etc/postgresql/node.conf"), node_conf(plan, node))?;
    write(&upper.join("etc/postgresql/pg_hba.conf"), pg_hba(plan, node))?;
    write(&upper.join("etc/postgresql/pg_ident.conf"), format!("agent postgres {MONITOR_ROLE}\n"))?;
    write_password(plan, &upper)?;
    install_fence_agent(&upper)?;
    if let Some(tree) = &plan.install {
        copy_tree(tree, &upper)?;
    }
    empty_data_directory(plan, node)
}

/// In the file where `psql` looks for it. It counts only as long as nobody else may read it.
fn write_password(plan: &Plan, upper: &Path) -> Result<()> {
    if plan.profile.role != Role::Password {
        return Ok(());
    }
    let (image, home) = (paths::image(&plan.suite), upper.join("var/lib/postgresql"));
    let file = home.join(".pgpass");
    write(&file, format!("*:*:*:{MONITOR_ROLE}:{PASSWORD_IN_FILE}\n"))?;
    mounts::set_mode(&file, 0o600)?;
    let (user, group) = (user_id(&image, "postgres")?, group_id(&image, "postgres")?);
    let give =
        |path: &Path| chown(path, Some(user), Some(group)).doing(|| format!("give {} its owner", path.display()));
    give(&home).and_then(|()| give(&file))
}

fn install_fence_agent(upper: &Path) -> Result<()> {
    let agent = upper.join("usr/sbin/fence_lab");
    make_parent(&agent)?;
    fs::copy(paths::SELF, &agent).doing(|| format!("write {}", agent.display()))?;
    mounts::set_mode(&agent, 0o755)
}

/// The user's files over the node's: directories that exist keep their owner and mode.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--no-dereference", "--preserve=mode,links"]).arg(from.join(".")).arg(to);
    run::check(&mut copy, COPY_LIMIT).map(drop)
}

fn empty_data_directory(plan: &Plan, node: &Node) -> Result<()> {
    let image = paths::image(&plan.suite);
    let (user, group) = (user_id(&image, "postgres")?, group_id(&image, "postgres")?);
    let (volume, data) = (paths::volume(&node.name), paths::data(&node.name));
    if volume.exists() {
        fs::remove_dir_all(&volume).doing(|| format!("remove {}", volume.display()))?;
    }
    mounts::make_dir(&data)?;
    let configuration = plan.configuration();
    let configuration = paths::upper(&node.name).join(configuration.strip_prefix("/").unwrap_or(&configuration));
    mounts::make_dir(&configuration)?;
    for (dir, mode) in [(&volume, 0o755), (&data, 0o700), (&configuration, 0o755)] {
        chown(dir, Some(user), Some(group)).doing(|| format!("give {} its owner", dir.display()))?;
        mounts::set_mode(dir, mode)?;
    }
    Ok(())
}

fn hosts(plan: &Plan) -> String {
    let nodes = plan.nodes.iter().map(|node| format!("{} {}\n", node.address, node.name));
    std::iter::once("127.0.0.1 localhost\n".to_owned()).chain(nodes).collect()
}

/// Corosync's default timings; what a user's `pcs cluster setup` would write.
fn corosync_conf(plan: &Plan) -> String {
    let nodes: String = plan
        .cluster_nodes()
        .map(|node| {
            format!(
                "    node {{\n        ring0_addr: {}\n        name: {}\n        nodeid: {}\n    }}\n",
                node.address, node.name, node.id
            )
        })
        .collect();
    format!(
        "totem {{\n    version: 2\n    cluster_name: lab\n    transport: knet\n    crypto_cipher: aes256\n    \
         crypto_hash: sha256\n}}\n\nnodelist {{\n{nodes}}}\n\nquorum {{\n    provider: corosync_votequorum\n{}}}\n\n\
         logging {{\n    to_logfile: yes\n    logfile: /var/log/corosync/corosync.log\n    to_syslog: no\n    \
         timestamp: hires\n}}\n",
        votes(plan)
    )
}

fn votes(plan: &Plan) -> String {
    match (plan.witness(), plan.cluster_nodes().count()) {
        (Some(witness), _) => format!(
            "    device {{\n        model: net\n        votes: 1\n        net {{\n            host: {}\n            \
             tls: off\n            algorithm: ffsplit\n        }}\n    }}\n",
            witness.address
        ),
        (None, 2) => "    two_node: 1\n".to_owned(),
        (None, _) => String::new(),
    }
}

/// The settings that differ per node lie outside of the data directory: a copy of that can be any node's.
fn node_conf(plan: &Plan, node: &Node) -> String {
    let (name, upstream) = (&node.name, plan.upstream_of(&node.name));
    let nodes: Vec<_> = plan.cluster_nodes().map(|node| node.name.as_str()).collect();
    let profile: String = plan.profile.lines(&nodes, name).iter().map(|line| format!("{line}\n")).collect();
    format!(
        "{profile}cluster_name = '{name}'\n\
         primary_conninfo = 'host={upstream} user=replicator application_name={name} connect_timeout=3'\n\
         hba_file = '/etc/postgresql/pg_hba.conf'\n\
         ident_file = '/etc/postgresql/pg_ident.conf'\n\
         include_if_exists '/etc/postgresql/wal.conf'\n\
         include_if_exists '/etc/postgresql/scenario.conf'\n"
    )
}

/// Everybody in the lab's network may come in, but no instance may replicate from itself.
fn pg_hba(plan: &Plan, node: &Node) -> String {
    let agent = match plan.profile.role {
        Role::Superuser => String::new(),
        Role::Monitor => format!("local all {MONITOR_ROLE} peer map=agent\n"),
        Role::Password => format!("local all {MONITOR_ROLE} scram-sha-256\n"),
    };
    format!(
        "{agent}local all all peer\n\
         local replication all peer\n\
         host replication all {VIP}/32 reject\n\
         host replication all {}/32 reject\n\
         host replication replicator,postgres {NETWORK_CIDR} trust\n\
         host all all {NETWORK_CIDR} trust\n\
         host all all 127.0.0.1/32 trust\n",
        node.address
    )
}

/// At its first boot a node waits dc-deadtime (20 s) for others before it elects a controller: a CIB with a shorter
/// one is laid down before. Runs inside the node.
pub(crate) fn seed_cib() -> Result<()> {
    let path = Path::new(CIB);
    if path.exists() {
        return Ok(());
    }
    let empty = run::check(Command::new("cibadmin").arg("--empty"), COPY_LIMIT)?;
    let option = "<cluster_property_set id=\"cib-bootstrap-options\"><nvpair id=\"cib-bootstrap-options-dc-deadtime\" \
                  name=\"dc-deadtime\" value=\"2s\"/></cluster_property_set>";
    let seeded = empty.replace("<crm_config/>", &format!("<crm_config>{option}</crm_config>"));
    write(path, seeded)?;
    let root = Path::new("/");
    chown(path, Some(user_id(root, "hacluster")?), Some(group_id(root, "haclient")?))
        .doing(|| format!("give {CIB} its owner"))?;
    mounts::set_mode(path, 0o600)
}

/// User ids differ between root images: always ask the image's own /etc/passwd.
pub(crate) fn user_id(root: &Path, name: &str) -> Result<u32> {
    third_field(&root.join("etc/passwd"), name)
}

pub(crate) fn group_id(root: &Path, name: &str) -> Result<u32> {
    third_field(&root.join("etc/group"), name)
}

fn third_field(file: &Path, name: &str) -> Result<u32> {
    let text = fs::read_to_string(file).doing(|| format!("read {}", file.display()))?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    match line.and_then(|line| line.split(':').nth(2)).map(str::parse) {
        Some(Ok(id)) => Ok(id),
        _ => unexpected(format!("{} has no entry '{name}'", file.display())),
    }
}

/// Writes a file of a node that has not been booted yet.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    make_parent(path)?;
    fs::write(path, text).doing(|| format!("write {}", path.display()))
}

fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => mounts::make_dir(parent),
        None => Ok(()),
    }
}
