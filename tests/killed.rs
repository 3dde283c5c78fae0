//! The agent killed in the middle: the same action again ends well, wherever the first one was.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use support::at_once;
use support::cluster::Cluster;
use support::node::Seen;
use support::transition::Promotion;

/// Moments after the action's begin, in milliseconds: an action takes some tenths of a second.
const MOMENTS: [u64; 10] = [0, 3, 8, 15, 30, 60, 100, 150, 250, 400];

#[test]
fn a_start_that_was_killed() {
    at_once(&MOMENTS, |ms| {
        let node = Cluster::new().node("srv1");
        node.run_as_primary();
        node.crash();
        let flight = node.call("start").spawn();
        std::thread::sleep(Duration::from_millis(*ms));
        flight.kill();
        node.call("start").run().expect_code(0);
        assert_eq!(node.seen(), Seen::Standby, "killed after {ms} ms");
    });
}

#[test]
fn a_stop_that_was_killed() {
    at_once(&MOMENTS, |ms| {
        let node = Cluster::new().node("srv1");
        node.run_as_primary();
        let flight = node.call("stop").spawn();
        std::thread::sleep(Duration::from_millis(*ms));
        flight.kill();
        node.call("stop").run().expect_code(0);
        assert_eq!(node.seen(), Seen::Down, "killed after {ms} ms");
    });
}

#[test]
fn a_demote_that_was_killed() {
    at_once(&MOMENTS, |ms| {
        let node = Cluster::new().node("srv1");
        node.run_as_primary();
        let flight = node.call("demote").spawn();
        std::thread::sleep(Duration::from_millis(*ms));
        flight.kill();
        node.call("demote").run().expect_code(0);
        assert_ne!(node.seen(), Seen::Primary, "killed after {ms} ms");
        node.call("start").run().expect_code(0);
        assert_eq!(node.seen(), Seen::Standby, "killed after {ms} ms");
    });
}

#[test]
fn a_promote_that_was_killed() {
    at_once(&MOMENTS, |ms| {
        let node = Cluster::new().node("srv1");
        node.run_as_standby();
        let promotion = Promotion::new(&node, &["srv1"]);
        promotion.announce(&[&node]);
        let flight = node.call("promote").spawn();
        std::thread::sleep(Duration::from_millis(*ms));
        flight.kill();
        // The votes may be discarded already. Pacemaker notifies before every promotion, so there is another election.
        promotion.announce(&[&node]);
        promotion.promote().expect_code(0);
        assert_eq!(node.seen(), Seen::Primary, "killed after {ms} ms");
    });
}

#[test]
fn a_pre_promote_that_was_killed_lets_the_next_one_elect() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    primary.crash();
    let promotion = Promotion::new(&standbys[0], &["srv2", "srv3"]);
    for ms in [0, 5, 15, 30, 60] {
        let flight = promotion.begin_announcing(&standbys[0]);
        std::thread::sleep(Duration::from_millis(ms));
        flight.kill();
    }
    promotion.announce(&[&standbys[0], &standbys[1]]);
    promotion.promote().expect_code(0);
}
