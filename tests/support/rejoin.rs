//! An old primary that has diverged, the promotion of the new one, and what a node looks like that has come back.

use std::sync::Arc;

use super::cluster::Cluster;
use super::node::{Node, Seen};
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
    old.await_streaming("srv2");
    cluster.take_address_away();
    old.sql("select pg_terminate_backend(pid) from pg_stat_replication");
    wait_until("the receiver has ended", || new.sql("select count(*) from pg_stat_wal_receiver") == "0");
    old.sql("insert into rows select generate_series(1, 1000)");
    old.crash();
    promote(&cluster, &new, &["srv2"]);
    Diverged { cluster, old, new }
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
