//! What a stopped instance leaves on record binds every election until its node speaks for itself again: through restarts that
//! fail, demotions that fail, and the loss of the node.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::Signal;

use support::agent::{Answer, Call};
use support::cluster::Cluster;
use support::node::{Node, Seen};
use support::processes::{await_titled, signal};
use support::rejoin::{Diverged, bindir_with, diverged};
use support::transition::Promotion;
use support::wait_until;

const NEVER: &str = "-1000000";
/// A server does not start with it.
const SLIP: &str = "shared_buffers = 'a lot'";

fn logged(answers: &[Answer], text: &str) -> usize {
    answers.iter().map(|answer| answer.logged(text)).sum()
}

/// srv1 is a primary; srv2 stood still meanwhile and lacks the end.
fn primary_and_lagging_standby() -> (Arc<Cluster>, Node, Node) {
    let cluster = Cluster::new();
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2"]);
    let standby = standbys.pop().unwrap();
    standby.stop_fast();
    primary.sql("create table late as select 1 as row");
    (cluster, primary, standby)
}

/// The same, and srv1 was stopped.
fn stopped_primary_and_lagging_standby() -> (Arc<Cluster>, Node, Node) {
    let (cluster, primary, standby) = primary_and_lagging_standby();
    primary.call("stop").run().expect_code(0);
    let left = cluster.attributes.permanent("srv1", "left");
    assert!(left.starts_with("1 1 0/"), "{left}");
    cluster.take_address_away();
    standby.run_as_standby();
    (cluster, primary, standby)
}

/// The election refuses srv2 alone, and names srv1 and the way out.
fn expect_refused(standby: &Node) -> String {
    let promotion = Promotion::new(standby, &["srv2"]);
    let answers = promotion.announce(&[standby]);
    assert_eq!(logged(&answers, "srv1 was stopped with WAL up to 0/"), 1, "{answers:#?}");
    assert_eq!(standby.cluster.attributes.scores().split(' ').find(|s| s.starts_with("srv2")), Some("srv2=-1000000"));
    let refused = promotion.promote().expect_code(1).expect_reason("bytes less; start srv1 again, or give its data up");
    assert_eq!(standby.seen(), Seen::Standby);
    refused.reason().rsplit("with: ").next().unwrap().to_owned()
}

fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    (u64::from_str_radix(high, 16).unwrap() << 32) + u64::from_str_radix(low, 16).unwrap()
}

fn expect_promoted(standby: &Node) {
    let promotion = Promotion::new(standby, &["srv2"]);
    promotion.announce(&[standby]);
    promotion.promote().expect_code(0);
}

/// The notification before a stop that is the first half of a restart.
fn restart_planned(node: &Node) -> Call {
    let notify = node.call("notify").meta("notify_type", "pre").meta("notify_operation", "stop");
    notify.meta("notify_stop_uname", &node.name).meta("notify_start_uname", &node.name)
}

#[test]
fn what_a_stopped_primary_left_forbids_a_standby_that_lacks_it() {
    let (cluster, _primary, standby) = stopped_primary_and_lagging_standby();
    // Its node has left the cluster.
    cluster.attributes.lose_all_of("srv1");
    let way_out = expect_refused(&standby);
    let name = format!("pgbaton-{}-left", cluster.resource);
    let left = cluster.attributes.permanent("srv1", "left");
    let given_up = format!("{} given-up", left.rsplit_once(' ').unwrap().0);
    let expected = format!("crm_attribute --type nodes --node srv1 --name {name} --update \"{given_up}\"");
    assert_eq!(way_out, expected);
    // The command of earlier versions is as good, until the node is stopped again.
    cluster.attributes.set_permanent("srv1", "left", "");
    expect_promoted(&standby);
}

/// Types what the message says, on this node.
fn obey(node: &Node, command: &str) {
    let tools = node.cluster.home().join(&node.name).join("tools");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    assert!(Command::new("sh").args(["-c", command]).env("PATH", path).status().unwrap().success(), "{command}");
}

/// Each start in vain, and each stop, leaves the same once more.
#[test]
fn what_a_person_gave_up_stays_given_up() {
    let (cluster, primary, standby) = stopped_primary_and_lagging_standby();
    cluster.attributes.lose_all_of("srv1");
    obey(&standby, &expect_refused(&standby));
    let given_up = cluster.attributes.permanent("srv1", "left");
    for configuration in [SLIP, ""] {
        primary.configure(configuration);
        assert_eq!(primary.call("start").run().code, i32::from(configuration == SLIP));
        primary.call("stop").run().expect_code(0);
        assert_eq!(cluster.attributes.permanent("srv1", "left"), given_up);
        assert_eq!(cluster.attributes.paper("srv1"), "");
    }
    expect_promoted(&standby);
}

/// What a primary that recovers from a crash has left is with the attribute daemon only.
#[test]
fn what_a_node_left_with_the_attribute_daemon_is_given_up_by_the_same_command() {
    let (cluster, primary, standby) = primary_and_lagging_standby();
    primary.crash();
    restart_planned(&primary).run().expect_code(0);
    primary.call("stop").run().expect_code(0);
    cluster.take_address_away();
    standby.run_as_standby();
    obey(&standby, &expect_refused(&standby));
    primary.call("stop").run().expect_code(0);
    expect_promoted(&standby);
}

/// The notification that would have had its vote was lost, and the others have waited for long before it came.
#[test]
fn what_a_node_left_binds_when_it_was_started_and_has_not_voted() {
    let (cluster, primary, standby) = stopped_primary_and_lagging_standby();
    let (alone, both) = (["srv2"], ["srv1", "srv2"]);
    Promotion::new(&standby, &alone).election_timeout("1").announce(&[&standby]);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    primary.call("start").run().expect_code(0);
    let election = Promotion::new(&standby, &both).election_timeout("1").timeout(6_000);
    let mut reason = String::new();
    wait_until("the election's timeout", || {
        election.announce(&[&standby]);
        reason = election.promote().expect_code(1).reason().to_owned();
        reason.contains("srv1 was stopped with WAL up to 0/")
    });
    assert_eq!(standby.seen(), Seen::Standby);
    assert_ne!(cluster.attributes.permanent("srv1", "left"), "");
    election.announce(&[&primary, &standby]);
    assert_eq!(cluster.attributes.scores(), "srv1=1002 srv2=1");
}

/// Nobody needs to know what it had when it was stopped, once the primary has all of it.
#[test]
fn what_a_node_left_is_withdrawn_when_it_follows_the_primary() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    let standby = &standbys[0];
    primary.call("stop").run().expect_code(0);
    expect_promoted(standby);
    cluster.move_address_to(standby);
    primary.call("start").run().expect_code(0);
    standby.await_streaming("srv1");
    primary.call("monitor").run().expect_code(0);
    assert_ne!(cluster.attributes.permanent("srv1", "left"), "", "no primary is on record");
    standby.call("monitor").run().expect_code(8);
    primary.call("monitor").run().expect_code(0);
    assert_eq!(cluster.attributes.permanent("srv1", "left"), "");
    cluster.attributes.take_calls();
    primary.call("monitor").run().expect_code(0);
    let calls = cluster.attributes.take_calls();
    assert!(!calls.iter().any(|call| call.contains("cibadmin")), "{calls:?}");
    // What a person gave up goes as well.
    primary.call("stop").run().expect_code(0);
    cluster.attributes.set_permanent("srv1", "left", "1 1 0/1 given-up");
    primary.call("start").run().expect_code(0);
    standby.await_streaming("srv1");
    assert!(cluster.attributes.paper("srv1").starts_with("left 2 "), "{}", cluster.attributes.paper("srv1"));
    primary.call("monitor").run().expect_code(0);
    assert_eq!((cluster.attributes.paper("srv1"), cluster.attributes.permanent("srv1", "left")), Default::default());
}

#[test]
fn what_a_node_left_is_withdrawn_when_it_is_the_primary_on_record() {
    let (cluster, primary, _standby) = stopped_primary_and_lagging_standby();
    primary.call("start").run().expect_code(0);
    let promotion = Promotion::new(&primary, &["srv1"]);
    promotion.announce(&[&primary]);
    promotion.promote().expect_code(0);
    assert_ne!(cluster.attributes.permanent("srv1", "left"), "");
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.permanent("srv1", "left"), "");
}

#[test]
fn a_start_that_fails_withdraws_nothing_that_the_node_left() {
    let (cluster, primary, standby) = stopped_primary_and_lagging_standby();
    primary.configure(SLIP);
    primary.call("start").run().expect_code(1);
    primary.call("stop").run().expect_code(0);
    expect_refused(&standby);
    primary.configure("");
    primary.call("start").run().expect_code(0);
    let right = Promotion::new(&primary, &["srv1", "srv2"]);
    right.announce(&[&primary, &standby]);
    right.promote().expect_code(0);
    assert_eq!(primary.sql("select row from late"), "1");
    assert!(cluster.attributes.permanent("srv1", "left").starts_with("1 1 0/"));
}

#[test]
fn a_refused_start_withdraws_nothing_that_the_node_left() {
    let (_cluster, primary, standby) = stopped_primary_and_lagging_standby();
    let start = primary.call("start").parameter("bindir", "/nowhere").run();
    assert_ne!(start.code, 0);
    expect_refused(&standby);
}

#[test]
fn a_restart_that_fails_inside_a_demotion_withdraws_nothing_that_the_node_left() {
    let (cluster, primary, standby) = primary_and_lagging_standby();
    primary.configure(SLIP);
    primary.call("demote").run().expect_code(1);
    assert!(cluster.attributes.paper("srv1").starts_with("left 1 "), "{}", cluster.attributes.paper("srv1"));
    primary.call("stop").run().expect_code(0);
    primary.call("start").run().expect_code(1);
    cluster.take_address_away();
    standby.run_as_standby();
    expect_refused(&standby);
}

/// A node that takes part and cannot tell its position does not speak for itself.
#[test]
fn what_a_node_left_binds_while_it_cannot_tell_its_position() {
    let (cluster, _primary, standby) = stopped_primary_and_lagging_standby();
    cluster.attributes.set_paper("srv1", "unknown srv1,srv2 - - its instance does not answer");
    let promotion = Promotion::new(&standby, &["srv1", "srv2"]).election_timeout("1");
    promotion.announce(&[&standby]);
    let mut reason = String::new();
    wait_until("the election's timeout", || {
        promotion.announce(&[&standby]);
        reason = promotion.promote().expect_code(1).reason().to_owned();
        reason.contains("srv1 was stopped with WAL up to 0/")
    });
    assert_eq!(standby.seen(), Seen::Standby);
}

#[test]
fn a_stopped_primary_that_is_started_again_takes_back_what_it_left_and_wins() {
    let (cluster, primary, standby) = stopped_primary_and_lagging_standby();
    primary.call("start").run().expect_code(0);
    assert_ne!(cluster.attributes.permanent("srv1", "left"), "");
    Promotion::new(&standby, &["srv1", "srv2"]).announce(&[&primary, &standby]);
    assert_eq!(cluster.attributes.scores(), "srv1=1002 srv2=1");
    let right = Promotion::new(&primary, &["srv1", "srv2"]);
    right.announce(&[&primary, &standby]);
    right.promote().expect_code(0);
    assert_eq!(primary.sql("select row from late"), "1");
}

#[test]
fn what_a_stopped_primary_left_allows_a_standby_that_received_it() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    primary.call("stop").run().expect_code(0);
    assert!(cluster.attributes.permanent("srv1", "left").starts_with("1 1 "));
    expect_promoted(&standbys[0]);
}

#[test]
fn a_primary_that_was_stopped_by_force_leaves_the_end_of_its_wal() {
    for actions in [&["stop"][..], &["demote", "stop"]] {
        let (cluster, primary, standby) = primary_and_lagging_standby();
        let end = primary.sql("select pg_current_wal_flush_lsn()");
        signal(primary.postmaster().unwrap(), Signal::SIGSTOP);
        for action in actions {
            primary.call(action).run().expect_code(0);
        }
        let left = cluster.attributes.permanent("srv1", "left");
        assert!(lsn(left.split(' ').nth(2).unwrap()) + 1 >= lsn(&end), "{left}: before {end}");
        cluster.take_address_away();
        standby.run_as_standby();
        expect_refused(&standby);
    }
}

/// Nobody is a primary, so the one that has most of the WAL is not replaced by one that has less.
#[test]
fn a_standby_that_is_stopped_while_there_is_no_primary_leaves_its_position() {
    let (cluster, primary, standby) = primary_and_lagging_standby();
    primary.call("demote").run().expect_code(0);
    Promotion::new(&primary, &["srv1"]).announce(&[&primary]);
    for vote in [true, false] {
        if !vote {
            cluster.attributes.set_paper("srv1", "");
            primary.call("start").run().expect_code(0);
        }
        primary.call("stop").run().expect_code(0);
        cluster.take_address_away();
        if standby.seen() == Seen::Down {
            standby.run_as_standby();
        }
        expect_refused(&standby);
    }
}

/// The primary has more, and may be lost next: then a standby that lacks what this one received waits for it.
#[test]
fn a_standby_of_a_primary_leaves_its_position_for_as_long_as_its_node_is_there() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3"]);
    let (primary, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    let [best, behind] = &standbys[..] else { panic!("two standbys") };
    primary.call("monitor").run().expect_code(8);
    behind.stop_fast();
    primary.sql("create table late as select 1 as row");
    primary.await_streaming("srv2");
    best.call("stop").run().expect_code(0);
    assert!(cluster.attributes.paper("srv2").starts_with("left 1 "), "{}", cluster.attributes.paper("srv2"));
    assert_eq!(cluster.attributes.permanent("srv2", "left"), "");
    primary.crash();
    cluster.attributes.lose_all_of("srv1");
    cluster.take_address_away();
    behind.run_as_standby();
    let promotion = Promotion::new(behind, &["srv3"]);
    promotion.announce(&[behind]);
    promotion.promote().expect_code(1).expect_reason("srv2 was stopped with WAL up to");
}

/// Its server died with rows that nobody received. Pacemaker stops what is dead, and starts it no more.
#[test]
fn a_primary_that_crashed_and_stays_down_leaves_the_end_of_its_wal() {
    let (cluster, primary, standby) = primary_and_lagging_standby();
    primary.crash();
    primary.call("demote").run().expect_code(0);
    primary.call("stop").run().expect_code(0);
    assert!(cluster.attributes.permanent("srv1", "left").starts_with("1 1 "));
    cluster.take_address_away();
    standby.run_as_standby();
    expect_refused(&standby);
    primary.call("start").run().expect_code(0);
    Promotion::new(&standby, &["srv1", "srv2"]).announce(&[&primary, &standby]);
    assert_eq!(cluster.attributes.scores(), "srv1=1002 srv2=1");
}

/// The disk that made it crash is slow.
#[test]
fn the_end_of_the_wal_is_looked_for_as_long_as_a_stop_has_time() {
    let (cluster, primary, _standby) = primary_and_lagging_standby();
    let end = primary.sql("select pg_current_wal_flush_lsn()");
    primary.crash();
    // It is read first to see how the server ended.
    let second = "echo >>${0%/*}/calls; [ $(wc -l <${0%/*}/calls) -lt 2 ] || sleep 3; exec $real \"$@\"";
    let bindir = bindir_with(&primary, "pg_controldata", second);
    primary.call("stop").parameter("bindir", bindir.to_str().unwrap()).timeout(20_000).run().expect_code(0);
    let left = cluster.attributes.permanent("srv1", "left");
    assert!(lsn(left.split(' ').nth(2).unwrap()) + 1 >= lsn(&end), "{left}: before {end}");
    assert_eq!(std::fs::read_to_string(bindir.join("calls")).unwrap().len(), 2);
}

#[test]
fn what_a_crashed_primary_left_allows_a_standby_that_received_it() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    primary.crash();
    primary.call("stop").run().expect_code(0);
    assert!(cluster.attributes.permanent("srv1", "left").starts_with("1 1 "));
    expect_promoted(&standbys[0]);
}

/// Started where it was, it speaks for itself; when that fails, what it left is all that there is of it.
#[test]
fn a_crashed_primary_binds_for_good_only_when_it_is_not_started_again() {
    let (cluster, primary, standby) = primary_and_lagging_standby();
    primary.crash();
    restart_planned(&primary).run().expect_code(0);
    primary.call("stop").run().expect_code(0);
    assert!(cluster.attributes.paper("srv1").starts_with("left 1 "), "{}", cluster.attributes.paper("srv1"));
    assert_eq!(cluster.attributes.permanent("srv1", "left"), "");
    primary.configure(SLIP);
    primary.call("start").run().expect_code(1);
    primary.call("stop").run().expect_code(0);
    cluster.attributes.lose_all_of("srv1");
    cluster.take_address_away();
    standby.run_as_standby();
    expect_refused(&standby);
}

/// As all nodes do that lost their power: it was no server's end that left this.
#[test]
fn a_node_that_lost_its_power_and_is_started_in_vain_leaves_the_end_of_its_wal() {
    let (cluster, primary, standby) = primary_and_lagging_standby();
    primary.crash();
    cluster.attributes.lose_all_of("srv1");
    primary.configure(SLIP);
    primary.call("start").run().expect_code(1);
    primary.call("stop").run().expect_code(0);
    cluster.take_address_away();
    standby.run_as_standby();
    expect_refused(&standby);
}

#[test]
fn a_crashed_standby_leaves_the_end_of_its_wal() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    standbys[0].crash();
    standbys[0].call("stop").run().expect_code(0);
    assert!(cluster.attributes.permanent("srv2", "left").starts_with("1 1 "), "without a primary");
    standbys[0].call("start").run().expect_code(0);
    primary.call("monitor").run().expect_code(8);
    primary.await_streaming("srv2");
    standbys[0].call("monitor").run().expect_code(0);
    standbys[0].crash();
    standbys[0].call("stop").run().expect_code(0);
    assert_eq!(cluster.attributes.permanent("srv2", "left"), "");
    assert!(cluster.attributes.paper("srv2").starts_with("left 1 "), "{}", cluster.attributes.paper("srv2"));
}

/// What it said in an election may be less than what it has: it may have received more since.
#[test]
fn a_stopped_standby_leaves_no_less_than_it_has() {
    let (cluster, primary, standby) = primary_and_lagging_standby();
    let end = primary.sql("select pg_current_wal_flush_lsn()");
    primary.call("demote").run().expect_code(0);
    for stopped_before in [false, true] {
        cluster.attributes.set_paper("srv1", "vote srv1,srv2 1 0/1000028");
        if stopped_before {
            primary.call("start").run().expect_code(0);
            primary.stop_fast();
            cluster.attributes.set_paper("srv1", "vote srv1,srv2 1 0/1000028");
        }
        primary.call("stop").run().expect_code(0);
        let left = cluster.attributes.permanent("srv1", "left");
        assert!(lsn(left.split(' ').nth(2).unwrap()) + 1 >= lsn(&end), "{left}: before {end}");
    }
    drop(standby);
}

/// What such a directory holds is the source's, or half of it; what is another cluster's is nobody's here.
#[test]
fn what_is_half_rewound_or_foreign_leaves_nothing() {
    let Diverged { cluster, old, new } = diverged();
    let ends_half_way =
        bindir_with(&old, "pg_rewind", "case \"$*\" in *--dry-run*) exec $real \"$@\" ;; esac\n$real \"$@\"; exit 1");
    let start = old.call("start").parameter("bindir", ends_half_way.to_str().unwrap()).timeout(60_000).run();
    start.expect_code(0);
    let marker = old.data.with_file_name("data.rejoin");
    assert!(std::fs::read_to_string(&marker).unwrap().contains("\"Kept\""));
    old.call("stop").run().expect_code(0);
    assert_eq!((cluster.attributes.paper("srv1"), cluster.attributes.permanent("srv1", "left")), Default::default());
    std::fs::remove_file(&marker).unwrap();
    let record = cluster.attributes.record();
    cluster.attributes.set_record(&format!("1 {}", record.split_once(' ').unwrap().1));
    old.call("stop").run().expect_code(0);
    assert_eq!((cluster.attributes.paper("srv1"), cluster.attributes.permanent("srv1", "left")), Default::default());
    drop(new);
}

/// Pacemaker fences the node of a stop that is not over in time.
#[test]
fn a_stop_answers_in_time_though_the_server_and_the_cluster_hang() {
    let cluster = Cluster::new();
    let (primary, _standbys) = cluster.replicating("srv1", &["srv2"]);
    primary.call("monitor").run().expect_code(8);
    primary.call("monitor").run().expect_code(8);
    signal(await_titled(&primary.data, "postgres: checkpointer"), Signal::SIGSTOP);
    cluster.attributes.hang();
    primary.call("stop").timeout(10_000).run().expect_code(0);
    assert_eq!(primary.seen(), Seen::Down);
}

/// A change of the configuration would make Pacemaker plan anew, in the middle of a recovery.
#[test]
fn a_stop_that_is_followed_by_a_start_changes_no_configuration() {
    let (cluster, primary, _standby) = primary_and_lagging_standby();
    cluster.attributes.set_score("srv1", "1001");
    restart_planned(&primary).run().expect_code(0);
    primary.call("stop").run().expect_code(0);
    assert_eq!(
        (cluster.attributes.permanent("srv1", "left"), cluster.attributes.scores().as_str()),
        (String::new(), "srv1=1001")
    );
    assert!(cluster.attributes.paper("srv1").starts_with("left 1 "), "{}", cluster.attributes.paper("srv1"));
    // The start has failed, and its node is stopped for good.
    primary.call("stop").run().expect_code(0);
    assert!(cluster.attributes.permanent("srv1", "left").starts_with("1 1 "));
}

#[test]
fn a_stopped_primary_excludes_nobody() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    for (node, score) in [("srv1", "1001"), ("srv2", "1000")] {
        cluster.attributes.set_score(node, score);
    }
    standbys[0].call("stop").run().expect_code(0);
    primary.call("stop").run().expect_code(0);
    assert_eq!(cluster.attributes.scores(), format!("srv1={NEVER} srv2=1000"));
    cluster.attributes.set_score("srv2", "");
    standbys[0].call("start").run().expect_code(0);
    assert_eq!(cluster.attributes.scores(), format!("srv1={NEVER} srv2=1"));
}

/// Left by a version that did not take it back, or because the attribute daemon did not answer.
#[test]
fn the_score_of_a_primary_that_is_none_excludes_nobody() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    standbys[0].stop_fast();
    primary.stop_fast();
    cluster.attributes.set_score("srv1", "1001");
    standbys[0].call("start").run().expect_code(0);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=1");
    standbys[0].call("stop").run().expect_code(0);
    cluster.attributes.set_promoted(&["srv1"]);
    standbys[0].call("start").run().expect_code(0);
    assert_eq!(cluster.attributes.scores(), format!("srv1=1001 srv2={NEVER}"));
}

/// What was waited for before the cluster was stopped says nothing about the next election.
#[test]
fn an_election_does_not_outlive_a_stop() {
    let (_cluster, primary, standby) = stopped_primary_and_lagging_standby();
    primary.call("start").run().expect_code(0);
    let election = Promotion::new(&primary, &["srv1", "srv2"]).election_timeout("2");
    election.announce(&[&primary]);
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    // A restart is part of it.
    restart_planned(&primary).run().expect_code(0);
    for action in ["stop", "start"] {
        primary.call(action).run().expect_code(0);
    }
    election.announce(&[&primary]);
    let restarted = election.promote().expect_code(0);
    assert_eq!(restarted.logged("promoting without srv2"), 1, "{restarted:#?}");
    primary.call("demote").run().expect_code(0);
    election.announce(&[&primary]);
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    for action in ["stop", "start"] {
        primary.call(action).run().expect_code(0);
    }
    election.announce(&[&primary]);
    election.promote().expect_code(1).expect_reason("srv2 (did not answer)");
    drop(standby);
}

/// Who was away from a primary that was demoted has not been away from the next one.
#[test]
fn a_demotion_forgets_who_was_away() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    primary.call("monitor").run().expect_code(8);
    standbys[0].crash();
    wait_until("its sender's end", || primary.sql("select count(*) from pg_stat_replication") == "0");
    primary.call("monitor").run().expect_code(8);
    let notes = primary.data.with_file_name("run").join(format!("pgbaton-{}.json", cluster.resource));
    let missing = || {
        let notes: serde_json::Value = serde_json::from_slice(&std::fs::read(&notes).unwrap()).unwrap();
        notes["missing"].as_object().unwrap().len()
    };
    assert_eq!(missing(), 1);
    primary.call("demote").run().expect_code(0);
    assert_eq!(missing(), 0);
}
