//! A degraded instance: what its monitor answers, when, and what is left of the answer afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::sync::Arc;

use support::agent::Call;
use support::cluster::Cluster;
use support::node::Node;

/// Their deep monitors have begun.
fn replicating() -> (Arc<Cluster>, Node, Node) {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2"]);
    monitor(&primary).run().expect_code(8);
    monitor(&standbys[0]).run().expect_code(0);
    (cluster, primary, standbys.remove(0))
}

/// A deep one, of a Pacemaker that knows 190 and 191.
fn monitor(node: &Node) -> Call {
    let call = node.call("monitor").variable("OCF_RA_VERSION_MAJOR", "1").variable("OCF_RA_VERSION_MINOR", "1");
    call.variable("OCF_CHECK_LEVEL", "10")
}

fn plain_monitor(node: &Node) -> Call {
    monitor(node).variable("OCF_CHECK_LEVEL", "0")
}

/// How many of the calls remove a listed answer.
fn removals(calls: &[String]) -> usize {
    calls.iter().filter(|call| call.contains("cibadmin [--delete]")).count()
}

fn pause(standby: &Node) {
    standby.sql("select pg_wal_replay_pause()");
}

fn state(cluster: &Cluster, node: &str) -> String {
    cluster.attributes.all(&format!("{}-state", cluster.resource)).remove(node).unwrap_or_default()
}

#[test]
fn a_paused_standby_is_told_when_it_has_lasted_two_monitors_and_not_listed_when_it_is_over() {
    let (cluster, _primary, standby) = replicating();
    pause(&standby);
    monitor(&standby).run().expect_code(0);
    let told = monitor(&standby).run().expect_code(190).expect_reason("pg_wal_replay_resume()");
    assert_eq!(told.logged("degraded"), 1, "{told:#?}");
    assert_eq!(monitor(&standby).run().expect_code(190).logged("degraded"), 0);
    assert_eq!(state(&cluster, "srv2"), "paused");

    standby.sql("select pg_wal_replay_resume()");
    cluster.attributes.take_calls();
    monitor(&standby).run().expect_code(0);
    let calls = cluster.attributes.take_calls();
    assert_eq!(removals(&calls), 1, "{calls:?}");
    assert!(calls.iter().any(|call| call.contains("_last_failure_0'][@rc-code='190' or @rc-code='191']")), "{calls:?}");
    for _ in 0..3 {
        monitor(&standby).run().expect_code(0);
    }
    let calls = cluster.attributes.take_calls();
    assert!(!calls.iter().any(|call| call.contains("cibadmin")), "{calls:?}");
}

/// A node that is lost may have been the DC's, and for a new one Pacemaker lists again what is long over.
#[test]
fn what_may_be_listed_again_is_removed_again() {
    let (cluster, _primary, standby) = replicating();
    let plain = || plain_monitor(&standby).run().expect_code(0);
    pause(&standby);
    plain();
    monitor(&standby).run().expect_code(190);
    standby.sql("select pg_wal_replay_resume()");
    plain();
    let deletes = || removals(&cluster.attributes.take_calls());
    assert_eq!(deletes(), 1);
    plain();
    assert_eq!(deletes(), 0);
    standby.call("notify").meta("notify_type", "post").meta("notify_operation", "stop").run().expect_code(0);
    plain();
    assert_eq!(deletes(), 1);
}

/// It may have been cancelled for good; the plain one goes on.
#[test]
fn a_plain_monitor_does_not_tell_but_takes_back_what_was_told() {
    let (cluster, _primary, standby) = replicating();
    let plain = || plain_monitor(&standby).run().expect_code(0);
    pause(&standby);
    plain();
    monitor(&standby).run().expect_code(190);
    cluster.attributes.take_calls();
    plain();
    let deletes = || removals(&cluster.attributes.take_calls());
    assert_eq!(deletes(), 0, "the reason is still there");
    standby.sql("select pg_wal_replay_resume()");
    plain();
    assert_eq!(deletes(), 1);
    // Pacemaker would not notice the same answer of the same monitor.
    pause(&standby);
    plain();
    monitor(&standby).run().expect_code(0);
    monitor(&standby).run().expect_code(190);
}

#[test]
fn another_reason_replaces_the_one_that_was_told() {
    let (cluster, primary, standby) = replicating();
    pause(&standby);
    monitor(&standby).run().expect_code(0);
    monitor(&standby).run().expect_code(190).expect_reason("paused");
    standby.sql("select pg_wal_replay_resume()");
    primary.crash();
    support::wait_until("its end of stream", || standby.sql("select count(*) from pg_stat_wal_receiver") == "0");
    cluster.attributes.take_calls();
    monitor(&standby).run().expect_code(0);
    let calls = cluster.attributes.take_calls();
    assert!(calls.iter().any(|call| call.contains("cibadmin [--delete]")), "{calls:?}");
    monitor(&standby).run().expect_code(190).expect_reason("does not stream");
}

/// Pacemaker would show the monitor as pending; and after a change of roles there is better to do.
#[test]
fn the_first_answer_of_a_deep_monitor_is_a_plain_one_without_further_work() {
    let (cluster, primary, standby) = replicating();
    pause(&standby);
    for node in [&primary, &standby] {
        cluster.attributes.take_calls();
        let other = || monitor(node).meta("interval", "61000").run();
        let answer = other();
        answer.expect_code(if node.name == "srv1" { 8 } else { 0 });
        assert_eq!(cluster.attributes.take_calls(), [""; 0]);
        other();
    }
    monitor(&standby).meta("interval", "61000").run().expect_code(190);
}

/// Its own monitors go on.
#[test]
fn a_standby_tells_as_soon_after_a_promotion_elsewhere() {
    let (_cluster, _primary, standby) = replicating();
    let promoted = standby.call("notify").meta("notify_type", "post").meta("notify_operation", "promote");
    promoted.meta("notify_promote_uname", "srv1").run().expect_code(0);
    pause(&standby);
    plain_monitor(&standby).run().expect_code(0);
    monitor(&standby).run().expect_code(190);
}

#[test]
fn what_passes_by_is_not_told() {
    let (_cluster, _primary, standby) = replicating();
    for _ in 0..2 {
        pause(&standby);
        monitor(&standby).run().expect_code(0);
        standby.sql("select pg_wal_replay_resume()");
        monitor(&standby).run().expect_code(0);
    }
}

#[test]
fn an_answer_that_pacemaker_lists_again_is_removed_after_a_minute() {
    let (cluster, _primary, standby) = replicating();
    let notes = standby.data.with_file_name("run").join(format!("pgbaton-{}.json", cluster.resource));
    monitor(&standby).run().expect_code(0);
    fs::write(notes, r#"{"degraded_unlisted_ms": 1}"#).unwrap();
    cluster.attributes.take_calls();
    plain_monitor(&standby).run().expect_code(0);
    let calls = cluster.attributes.take_calls();
    assert!(calls.iter().any(|call| call.contains("cibadmin [--delete]")), "{calls:?}");
}

#[test]
fn a_primary_tells_how_many_standbys_it_lacks() {
    let (cluster, primary, standby) = replicating();
    monitor(&primary).run().expect_code(8);
    cluster.attributes.set_score("srv3", "1000");
    standby.crash();
    support::wait_until("its sender's end", || primary.sql("select count(*) from pg_stat_replication") == "0");
    monitor(&primary).run().expect_code(8);
    monitor(&primary).run().expect_code(191).expect_reason("0 of 2 standbys");
    assert_eq!(state(&cluster, "srv1"), "alone");
}

#[test]
fn nothing_is_told_where_it_is_not_wanted_or_would_be_a_failure() {
    let (_cluster, _primary, standby) = replicating();
    pause(&standby);
    for _ in 0..3 {
        monitor(&standby).parameter("degraded", "hide").run().expect_code(0);
        monitor(&standby).variable("OCF_RA_VERSION_MINOR", "0").run().expect_code(0);
        monitor(&standby).meta("interval", "0").run().expect_code(0);
    }
}

#[test]
fn a_stopped_instance_shows_nothing() {
    let (cluster, _primary, standby) = replicating();
    pause(&standby);
    for _ in 0..3 {
        monitor(&standby).run();
    }
    assert_eq!(state(&cluster, "srv2"), "paused");
    cluster.attributes.take_calls();
    standby.call("stop").run().expect_code(0);
    assert_eq!(state(&cluster, "srv2"), "");
    let calls = cluster.attributes.take_calls();
    assert!(calls.iter().any(|call| call.contains("cibadmin [--delete]")), "{calls:?}");
}
