//! How far a node's WAL reaches is known however long it still replays, delays or pauses that: what the server does not
//! tell, its files do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::sync::Arc;

use nix::sys::signal::Signal;

use support::cluster::Cluster;
use support::node::{Node, Seen, as_owner, own, run};
use support::processes::{await_titled, signal};
use support::rejoin::{expect_following, promote};
use support::transition::Promotion;
use support::wait_until;

/// The primary is lost when its standby has received all that it wrote last. Returns where that ends.
fn lose_after_all_is_received(cluster: &Cluster, primary: &Node) -> String {
    primary.sql("create table late as select generate_series(1, 10000) as row");
    let flushed = "select pg_current_wal_flush_lsn() = flush_lsn from pg_stat_replication";
    wait_until("all is received", || primary.sql(flushed) == "t");
    let end = primary.sql("select pg_current_wal_flush_lsn()");
    primary.crash();
    cluster.take_address_away();
    end
}

/// The vote of a node that was to be promoted alone: timeline, end, and what comes behind them.
fn vote_of(node: &Node) -> (String, String, String) {
    node.cluster.attributes.set_paper(&node.name, "");
    Promotion::new(node, &[&node.name]).announce(&[node]);
    let paper = node.cluster.attributes.paper(&node.name);
    let words: Vec<&str> = paper.splitn(5, ' ').collect();
    assert!(words.len() >= 4 && words[0] == "vote", "{paper}");
    (words[2].to_owned(), words[3].to_owned(), words.get(4).unwrap_or(&"").to_string())
}

fn assert_votes(node: &Node, timeline: &str, end: &str) {
    let (of, at, _) = vote_of(node);
    assert_eq!((of.as_str(), at.as_str()), (timeline, end), "{}", node.name);
}

/// A dead primary, and a standby that has everything, of which nothing is replayed since its restart with this setting.
fn restarted_with(setting: &str) -> (Arc<Cluster>, Node, Node, String) {
    let cluster = Cluster::new();
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    let (behind, best) = (standbys.pop().unwrap(), standbys.pop().unwrap());
    behind.stop_fast();
    best.sql("select pg_wal_replay_pause()");
    let end = lose_after_all_is_received(&cluster, &primary);
    best.crash();
    best.configure(setting);
    best.run_as_standby();
    behind.run_as_standby();
    (cluster, best, behind, end)
}

#[test]
fn the_only_holder_is_not_left_out_because_it_delays_its_replay() {
    let (cluster, best, behind, end) = restarted_with("recovery_min_apply_delay = '1h'");
    let delays = "select count(*) from pg_stat_activity where wait_event = 'RecoveryApplyDelay'";
    wait_until("it delays", || best.sql(delays) == "1");
    assert_ne!(best.sql("select pg_last_wal_replay_lsn()"), end);
    let wrong = Promotion::new(&behind, &["srv2", "srv3"]).election_timeout("1");
    wrong.announce(&[&best, &behind]);
    let paper = cluster.attributes.paper("srv2");
    assert!(paper.starts_with(&format!("vote srv2,srv3 1 {end} replay=")) && paper.ends_with(" serves=no"), "{paper}");
    assert_eq!(cluster.attributes.scores(), "srv2=1002 srv3=1");
    let right = Promotion::new(&best, &["srv2", "srv3"]);
    right.announce(&[&best, &behind]);
    right.promote().expect_code(0);
    assert_eq!(best.sql("select count(*) from late"), "10000");
}

#[test]
fn a_standby_that_was_paused_while_idle_knows_its_position() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    standbys[0].sql("select pg_wal_replay_pause()");
    let end = primary.sql("select pg_current_wal_flush_lsn()");
    primary.crash();
    cluster.take_address_away();
    let paused = "select count(*) from pg_stat_activity where wait_event = 'RecoveryPause'";
    wait_until("it pauses", || standbys[0].sql(paused) == "1");
    assert_votes(&standbys[0], "1", &end);
    let promotion = Promotion::new(&standbys[0], &["srv2"]);
    promotion.announce(&[&standbys[0]]);
    promotion.promote().expect_code(0);
}

/// Its startup process sleeps, as one that waits for WAL does.
#[test]
fn without_a_connection_what_is_delayed_counts() {
    let (_cluster, best, behind, end) = restarted_with("recovery_min_apply_delay = '1h'\nmax_connections = 20");
    let delays = "select count(*) from pg_stat_activity where wait_event = 'RecoveryApplyDelay'";
    wait_until("it delays", || best.sql(delays) == "1");
    let mut connections = Vec::new();
    while let Ok(client) = best.connect() {
        connections.push(client);
    }
    assert_votes(&best, "1", &end);
    drop((connections, behind));
}

#[test]
fn the_end_is_known_whatever_the_size_of_segments_and_wherever_they_lie() {
    for size in ["1", "64"] {
        let cluster = Cluster::new();
        let node = cluster.node("srv1");
        node.run_as_primary();
        node.stop_fast();
        run(as_owner("pg_resetwal").args(["--wal-segsize", size, "-D"]).arg(&node.data));
        node.configure("min_wal_size = '128MB'\nmax_wal_size = '256MB'\nwal_keep_size = 0");
        node.move_wal_to(&node.directory_beside("wal").join("pg_wal"));
        node.run_as_primary();
        let crash_and_compare = || {
            let end = node.sql("select pg_current_wal_flush_lsn()");
            node.crash();
            assert_votes(&node, "1", &end);
            node.run_as_primary();
        };
        crash_and_compare();
        node.sql("create table rows as select repeat('x', 500) as text from generate_series(1, 20000)");
        // Recycles the segments so far.
        node.sql("checkpoint");
        node.sql("insert into rows select * from rows");
        crash_and_compare();
        node.sql("checkpoint");
        node.sql("checkpoint");
        node.sql("select pg_switch_wal()");
        node.sql("insert into rows values ('last')");
        crash_and_compare();
        // One record of several pages, which is the first of its segment.
        node.sql("select pg_switch_wal()");
        node.sql("select pg_logical_emit_message(false, 'x', repeat('y', 3000000))");
        node.sql("insert into rows values ('last')");
        crash_and_compare();
    }
}

#[test]
fn the_timeline_is_that_of_the_last_record() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    primary.crash();
    cluster.take_address_away();
    let end = standbys[0].sql("select greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())");
    assert_votes(&standbys[0], "1", &end);
    run(as_owner("pg_ctl").args(["promote", "--wait", "--silent", "-D"]).arg(&standbys[0].data));
    standbys[0].await_seen(Seen::Primary);
    standbys[0].sql("create table late as select 1 as row");
    let end = standbys[0].sql("select pg_current_wal_flush_lsn()");
    standbys[0].crash();
    assert_votes(&standbys[0], "2", &end);
    // Once more, as a standby that starts, and as one that runs.
    standbys[0].run_as_standby();
    assert_votes(&standbys[0], "2", &end);
}

/// The receiver has flushed less than it has written: what a loss of power would take does not count before it is on disk.
#[test]
fn what_a_suspended_server_holds_is_read_from_its_files() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    let startup = await_titled(&standbys[0].data, "postgres: startup");
    signal(startup, Signal::SIGSTOP);
    let end = lose_after_all_is_received(&cluster, &primary);
    let postmaster = standbys[0].postmaster().unwrap();
    signal(postmaster, Signal::SIGSTOP);
    assert_votes(&standbys[0], "1", &end);
    signal(postmaster, Signal::SIGCONT);
    signal(startup, Signal::SIGCONT);
}

/// Of a new timeline a standby receives the whole segment with the fork, into a file that is made of zeros first. PostgreSQL prefers
/// that file to the one of the timeline before, and ends.
#[test]
fn a_standby_that_lost_its_power_in_the_first_segment_of_a_new_timeline_starts_again() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3"]);
    let (old, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    let [new, third] = &standbys[..] else { panic!("two standbys") };
    old.sql("create table rows as select generate_series(1, 1000) as n");
    for standby in [new, third] {
        old.await_streaming(&standby.name);
    }
    third.crash();
    cluster.take_address_away();
    old.crash();
    promote(&cluster, new, &["srv2"]);
    let history = fs::read_to_string(new.data.join("pg_wal/00000002.history")).unwrap();
    let (_, fork) = history.split_whitespace().nth(1).unwrap().split_once('/').unwrap();
    let segment = format!("pg_wal/0000000200000000{:08X}", u64::from_str_radix(fork, 16).unwrap() >> 24);
    third.write("pg_wal/00000002.history", &history);
    fs::write(third.data.join(&segment), vec![0; 16 << 20]).unwrap();
    own(&third.data.join(&segment));
    let start = third.call("start").timeout(30_000).run().expect_code(0);
    assert_eq!(start.logged("is set aside"), 1, "{start:#?}");
    expect_following(third, new);
    assert_eq!(third.sql("select count(*) from rows where n > 0"), "1000");
}
