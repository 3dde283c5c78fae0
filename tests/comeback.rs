//! The way back under PostgreSQL's defaults and under adverse conditions, with a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use support::cluster::Cluster;
use support::node::Seen;
use support::rejoin::{Diverged, diverged, expect_following};
use support::wait_until;

/// A recovery that asks a slow archive first: each file costs it three seconds.
const SLOW_RECOVERY: &str = "restore_command = 'sleep 3; false'";

#[test]
fn a_recovery_after_a_rewind_that_outlasts_the_actions_is_neither_failed_nor_ended() {
    let Diverged { cluster, old, new } = diverged();
    old.configure(SLOW_RECOVERY);
    old.call("start").timeout(6_000).run().expect_code(0);
    let (mut postmasters, mut shown) = (Vec::new(), false);
    wait_until("it has recovered", || {
        old.call("monitor").timeout(4_000).run().expect_code(0);
        old.call("demote").timeout(4_000).run().expect_code(0);
        postmasters.extend(old.postmaster());
        shown |= cluster.attributes.state("srv1") == "recovering";
        old.seen() == Seen::Standby
    });
    postmasters.dedup();
    assert_eq!(postmasters.len(), 1, "the server was ended for its slow recovery");
    assert!(shown, "nobody was told what the instance is doing");
    old.call("monitor").run().expect_code(0);
    expect_following(&old, &new);
}

#[test]
fn a_restored_backup_is_not_started_as_a_standby_before_a_person_has_said_so() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    node.write("recovery.signal", "");
    let refused = node.call("start").run().expect_code(1);
    for part in ["recovery.signal", "pg_ctl", "remove"] {
        assert!(refused.reason().contains(part), "{part} is not in: {}", refused.reason());
    }
    assert_eq!(node.seen(), Seen::Down);
    std::fs::remove_file(node.data.join("recovery.signal")).unwrap();
    node.call("start").run().expect_code(0);
}

/// PostgreSQL leaves it there when it was started with `standby.signal`, too.
#[test]
fn a_recovery_signal_that_was_left_lying_goes_with_the_demotion() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    node.run_as_primary();
    node.write("recovery.signal", "");
    node.call("demote").run().expect_code(0);
    assert_eq!(node.seen(), Seen::Standby);
    assert!(!node.data.join("recovery.signal").exists());
}
