//! An old primary that has diverged, the promotion of the new one, and what a node looks like that has come back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cluster::Cluster;
use super::node::{Node, Seen, as_owner, bindir};
use super::transition::Promotion;
use super::wait_until;

/// A primary that crashed with rows that nobody received, and the standby that was promoted in its place.
#[derive(Debug)]
pub(crate) struct Diverged {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) old: Node,
    pub(crate) new: Node,
}

pub(crate) fn diverged() -> Diverged {
    diverged_with("")
}

pub(crate) fn diverged_with(settings: &str) -> Diverged {
    diverged_by(settings, |_| {}, |old| drop(old.sql("insert into rows select generate_series(1, 1000)")))
}

/// The same, with what the old primary does while the other one receives it, and what it does alone.
pub(crate) fn diverged_by(settings: &str, together: impl Fn(&Node), alone: impl Fn(&Node)) -> Diverged {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let old = cluster.node("srv1");
    old.configure(settings);
    old.run_as_primary();
    cluster.move_address_to(&old);
    old.sql("create table rows (n int)");
    let new = cluster.backup_of(&old, "srv2");
    new.configure(settings);
    new.run_as_standby();
    together(&old);
    old.await_streaming("srv2");
    cluster.take_address_away();
    old.sql("select pg_terminate_backend(pid) from pg_stat_replication");
    wait_until("the receiver has ended", || new.sql("select count(*) from pg_stat_wal_receiver") == "0");
    alone(&old);
    old.crash();
    promote(&cluster, &new, &["srv2"]);
    Diverged { cluster, old, new }
}

/// As many segments of WAL, each of them with some rows.
pub(crate) fn write_segments(node: &Node, number: usize) {
    for _ in 0..number {
        node.sql("insert into rows select generate_series(1, 250)");
        node.sql("select pg_switch_wal()");
    }
}

/// A primary and a standby.
pub(crate) fn primary_and_standby() -> (Arc<Cluster>, Node, Node) {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    primary.sql("create table rows (n int)");
    primary.call("monitor").run().expect_code(8);
    (cluster, primary, standbys.into_iter().next().unwrap())
}

/// The standby is away until the primary has no longer the WAL that it needs.
pub(crate) fn miss_wal(primary: &Node, standby: &Node) {
    standby.stop_fast();
    primary.sql("alter system set wal_keep_size = 0");
    primary.sql("select pg_reload_conf()");
    for _ in 0..4 {
        primary.sql("insert into rows values (1)");
        primary.sql("select pg_switch_wal()");
        primary.sql("checkpoint");
    }
    primary.cluster.attributes.set_promoted(&[&primary.name]);
    primary.cluster.attributes.set_score(&standby.name, "1000");
    standby.run_as_standby();
}

/// PostgreSQL's programs, one of them replaced by a script. In it `$real` is the program itself.
pub(crate) fn bindir_with(node: &Node, name: &str, script: &str) -> PathBuf {
    let number = fs::read_dir(node.data.parent().unwrap()).unwrap().count();
    let directory = node.directory_beside(&format!("bin-{number}"));
    for entry in fs::read_dir(bindir()).unwrap().flatten().filter(|entry| entry.file_name() != name) {
        std::os::unix::fs::symlink(entry.path(), directory.join(entry.file_name())).unwrap();
    }
    let text = format!("#!/bin/sh\nreal={}\n{script}\n", bindir().join(name).display());
    fs::write(directory.join(name), text).unwrap();
    fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// An election and a promotion, and what comes with it: the address, and the first monitor.
pub(crate) fn promote(cluster: &Cluster, node: &Node, among: &[&str]) {
    let promotion = Promotion::new(node, among);
    promotion.announce(&[node]);
    promotion.promote().expect_code(0);
    cluster.move_address_to(node);
    cluster.attributes.set_promoted(&[&node.name]);
    cluster.attributes.set_score(&node.name, "1001");
    node.call("monitor").run().expect_code(8);
}

pub(crate) fn expect_following(standby: &Node, primary: &Node) {
    assert_eq!(standby.seen(), Seen::Standby);
    primary.sql("insert into rows values (-1)");
    primary.await_streaming(&standby.name);
    assert_eq!(standby.sql("select count(*) from rows"), primary.sql("select count(*) from rows"));
    assert!(!standby.data.with_file_name("data.rejoin").exists(), "the marker is left");
}

/// The rows that WAL kept aside inserts beyond the fork, counted by pg_waldump.
pub(crate) fn inserts_in(kept: &Path) -> usize {
    let name = kept.file_name().unwrap().to_string_lossy().into_owned();
    let mut words = name.trim_start_matches("data.kept-").splitn(3, '-').skip(1);
    let (timeline, fork) = (words.next().unwrap(), words.next().unwrap().replace('-', "/"));
    let mut waldump = as_owner("pg_waldump");
    waldump.arg("-p").arg(kept.join("pg_wal")).args(["-t", timeline, "-s", &fork, "-r", "Heap"]);
    let output = waldump.output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("desc: INSERT")).count()
}
