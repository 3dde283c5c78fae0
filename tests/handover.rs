//! Before a demotion, while the primary still serves: its successor has to be connected, or a clean shutdown hands nothing over.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use support::agent::Call;
use support::cluster::Cluster;
use support::node::{Node, Seen};
use support::processes::signal;
use support::wait_until;

const WARNING: &str = "may stay on this node";

/// The notification that Pacemaker sends before it demotes srv1 to promote another node, or none.
fn pre_demote(primary: &Node, promote: &str) -> Call {
    let notify = primary.call("notify").meta("notify_type", "pre").meta("notify_operation", "demote");
    notify.meta("notify_demote_uname", "srv1").meta("notify_promote_uname", promote)
}

/// A primary in service: its monitor has looked after it.
fn in_service() -> (Node, Vec<Node>) {
    let (primary, standbys) = Cluster::new().replicating("srv1", &["srv2"]);
    primary.call("monitor").run().expect_code(8);
    (primary, standbys)
}

/// A stop of its own follows in the same transition or not: Pacemaker counts one more failure when `demote` answers 7.
#[test]
fn a_crashed_primary_is_demoted_as_the_notification_before_told() {
    let (primary, _standbys) = in_service();
    primary.crash();
    let told = |stop: &str| pre_demote(&primary, " ").meta("notify_stop_uname", stop).run().expect_code(0);
    // Where another node is fenced, the demotion's own list has that one alone.
    let demote =
        || primary.call("demote").meta("notify_active_uname", "srv1 srv2 srv3").meta("notify_stop_uname", "srv3");

    told("srv3 srv1");
    demote().run().expect_code(0);
    told("srv3");
    demote().run().expect_code(7).expect_reason("stopped");
    primary.call("notify").meta("notify_type", "post").meta("notify_operation", "demote").run().expect_code(0);
    demote().run().expect_code(0);
}

/// As after the attribute daemon on the primary's node was killed.
fn demoted_for_a_lost_score() -> (Node, Vec<Node>) {
    let (primary, standbys) = in_service();
    primary.cluster.attributes.lose_all_of("srv1");
    (primary, standbys)
}

#[test]
fn a_primary_whose_score_is_lost_gets_it_back_before_it_is_demoted_for_that() {
    let (primary, _standbys) = demoted_for_a_lost_score();
    let told = pre_demote(&primary, "srv2").meta("notify_promoted_uname", "srv1").run().expect_code(0);
    assert_eq!(told.logged("the plan to demote it is void"), 1, "{told:#?}");
    assert_eq!(primary.cluster.attributes.scores(), "srv1=1001");
    primary.call("monitor").run().expect_code(8);
    assert!(primary.cluster.attributes.timeline("srv1").contains(" srv1 "));
    let again = pre_demote(&primary, "srv2").meta("notify_promoted_uname", "srv1").run().expect_code(0);
    assert_eq!(again.logged("score"), 0, "{again:#?}");
}

#[test]
fn a_score_is_left_alone_where_more_than_the_score_has_to_go() {
    let (primary, _standbys) = demoted_for_a_lost_score();
    let pre_demote = || pre_demote(&primary, "srv2");
    pre_demote().meta("notify_promoted_uname", "srv1").meta("notify_stop_uname", "srv1").run().expect_code(0);
    pre_demote().meta("notify_promoted_uname", "srv1 srv2").run().expect_code(0);
    assert_eq!(primary.cluster.attributes.scores(), "");
}

fn ends_without_a_wait(primary: &Node, promote: &str) {
    let begin = Instant::now();
    assert_eq!(pre_demote(primary, promote).run().expect_code(0).logged(WARNING), 0);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn a_successor_that_streams_is_not_waited_for() {
    let (primary, _standbys) = in_service();
    primary.await_streaming("srv2");
    ends_without_a_wait(&primary, "srv2");
}

#[test]
fn one_that_comes_back_in_time_streams_when_the_primary_is_demoted() {
    let (primary, standbys) = in_service();
    standbys[0].stop_fast();
    let notify = pre_demote(&primary, "srv2").spawn();
    standbys[0].launch();
    assert_eq!(notify.finish().expect_code(0).logged(WARNING), 0);
    let fed = "select count(*) from pg_stat_replication where application_name = 'srv2' and state <> 'startup'";
    assert_eq!(primary.sql(fed), "1");
}

#[test]
fn the_primary_may_be_recovering_from_the_crash_of_a_process() {
    let (primary, _standbys) = in_service();
    primary.await_streaming("srv2");
    let checkpointer = primary.sql("select pid from pg_stat_activity where backend_type = 'checkpointer'");
    signal(checkpointer.parse().unwrap(), Signal::SIGKILL);
    // Until the postmaster has reaped it, a connection is answered and lost again.
    wait_until("the postmaster's notice", || !Path::new("/proc").join(&checkpointer).exists());
    assert_eq!(pre_demote(&primary, "srv2").run().expect_code(0).logged(WARNING), 0);
    primary.await_seen(Seen::Primary);
    primary.await_streaming("srv2");
}

#[test]
fn one_that_stays_away_is_told_and_delays_the_demotion_in_bounds_only() {
    let (primary, standbys) = in_service();
    standbys[0].stop_fast();
    let begin = Instant::now();
    assert_eq!(pre_demote(&primary, "srv2").timeout(60_000).run().expect_code(0).logged(WARNING), 1);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn nobody_is_waited_for_where_no_monitor_came_after_the_promotion() {
    let (primary, standbys) = Cluster::new().replicating("srv1", &["srv2"]);
    standbys[0].stop_fast();
    ends_without_a_wait(&primary, "srv2");
}

#[test]
fn nobody_is_waited_for_when_nobody_is_to_be_promoted() {
    let (primary, standbys) = in_service();
    standbys[0].stop_fast();
    for promote in [" ", "srv1"] {
        ends_without_a_wait(&primary, promote);
    }
}
