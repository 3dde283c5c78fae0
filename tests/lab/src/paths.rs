//! Where the lab keeps its things: everything lies under target/lab and /run/pgbaton-lab.

use std::fs;
use std::path::{Path, PathBuf};

/// Sockets, process ids, and the nodes' root directories. A tmpfs while the lab is up.
pub(crate) const RUN: &str = "/run/pgbaton-lab";
/// Taken by every command that changes the lab as a whole.
pub(crate) const LOCK: &str = "/run/pgbaton-lab.lock";
/// The power switch as it is seen inside a node.
pub(crate) const SWITCH_IN_NODE: &str = "/run/power-switch.sock";
/// The name of the data directory, on the volume that holds it.
pub(crate) const DATA_DIRECTORY: &str = "main";
/// This very program, even when its file has been replaced since it was started.
pub(crate) const SELF: &str = "/proc/self/exe";

/// The checkout that this program was built from.
pub(crate) fn repository() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.ancestors().nth(2).unwrap_or(member).to_path_buf()
}

pub(crate) fn lab() -> PathBuf {
    repository().join("target/lab")
}

pub(crate) fn image(suite: &str) -> PathBuf {
    lab().join(format!("root-{suite}"))
}

/// The node's volume for PostgreSQL, on disk. The data directory lies in it, and whatever is made beside that.
pub(crate) fn volume(node: &str) -> PathBuf {
    lab().join("data").join(node)
}

/// The node's data directory, as the machine sees it.
pub(crate) fn data(node: &str) -> PathBuf {
    volume(node).join(DATA_DIRECTORY)
}

/// Where the WAL of a data directory lies, as the machine sees it: there, or where a link leads that is a path of the node's.
pub(crate) fn wal_of(node: &str, data: &Path) -> PathBuf {
    let wal = data.join("pg_wal");
    let target = fs::read_link(&wal).ok().and_then(|target| target.file_name().map(|name| volume(node).join(name)));
    target.unwrap_or(wal)
}

/// What all nodes have in common, on disk: the place for archived WAL.
pub(crate) fn archive() -> PathBuf {
    lab().join("data/archive")
}

pub(crate) fn failures() -> PathBuf {
    lab().join("failures")
}

pub(crate) fn power_socket() -> PathBuf {
    Path::new(RUN).join("power-switch.sock")
}

pub(crate) fn plan() -> PathBuf {
    Path::new(RUN).join("plan.json")
}

/// What belongs to one node: its upper layer, its mount point, its console.
pub(crate) fn node(name: &str) -> PathBuf {
    Path::new(RUN).join("nodes").join(name)
}

/// The node's private layer over the root image; it survives the loss of power, as a disk does.
pub(crate) fn upper(name: &str) -> PathBuf {
    node(name).join("upper")
}
