//! The record is asked: who lacks the last primary's timeline, and who is on one that no promotion by Pacemaker made, is not
//! promoted; and an instance that a person has promoted does not make itself the primary of the cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use support::cluster::Cluster;
use support::node::{Node, Seen};
use support::transition::Promotion;
use support::wait_until;

const SCORES: &str = "srv1=1001 srv2=1000 srv3=990";

/// srv1 is the primary, in service and on record; srv2 and srv3 follow.
fn in_service() -> (Arc<Cluster>, Node, Node, Node) {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3"]);
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    primary.sql("create table rows (n int)");
    for standby in &standbys {
        primary.await_streaming(&standby.name);
    }
    cluster.attributes.set_promoted(&["srv1"]);
    for _ in 0..2 {
        primary.call("monitor").run().expect_code(8);
    }
    assert_eq!(cluster.attributes.scores(), SCORES);
    let (third, second) = (standbys.pop().unwrap(), standbys.pop().unwrap());
    (cluster, primary, second, third)
}

fn promoted_by_hand() -> (Arc<Cluster>, Node, Node, Node) {
    let (cluster, primary, second, third) = in_service();
    second.sql("select pg_promote()");
    second.await_seen(Seen::Primary);
    second.sql("insert into rows values (7)");
    (cluster, primary, second, third)
}

/// srv2 is the only node left, and cannot write beside its data directory.
fn alone_and_without_a_promise() -> (Arc<Cluster>, Node, Node, Node) {
    let (cluster, primary, second, third) = in_service();
    third.stop_fast();
    lose_power(&cluster, &[&primary]);
    std::os::unix::fs::chown(second.data.parent().unwrap(), Some(0), Some(0)).unwrap();
    (cluster, primary, second, third)
}

fn promise(node: &Node) -> PathBuf {
    node.data.with_file_name("data.timeline")
}

/// The private attributes go with their nodes.
fn lose_power(cluster: &Cluster, nodes: &[&Node]) {
    for node in nodes {
        node.crash();
        cluster.attributes.lose_all_of(&node.name);
    }
    cluster.attributes.set_promoted(&[]);
    cluster.take_address_away();
}

#[test]
fn an_instance_that_a_person_promoted_does_not_make_itself_the_primary() {
    let (cluster, primary, second, _third) = promoted_by_hand();
    let record = cluster.attributes.record();
    for _ in 0..2 {
        // Pacemaker takes this answer of an unpromoted instance for a failure, and makes a standby of it.
        second.call("monitor").run().expect_code(8);
    }
    assert_eq!((cluster.attributes.scores().as_str(), cluster.attributes.record()), (SCORES, record.clone()));
    assert_eq!((cluster.attributes.timeline("srv2"), cluster.attributes.hold("srv2")), Default::default());
    assert_eq!(cluster.attributes.state("srv2"), "promoted by hand");
    let noted = fs::read_to_string(promise(&second)).unwrap();
    assert!(noted.starts_with("1 - byhand=2@0/"), "{noted}");
    second.call("promote").run().expect_code(1).expect_reason("Pacemaker has not promoted it");
    second.call("demote").run().expect_code(0);
    assert_eq!((cluster.attributes.paper("srv2"), cluster.attributes.permanent("srv2", "left")), Default::default());
    // It comes back as any instance that has diverged.
    for action in ["stop", "start"] {
        second.call(action).timeout(60_000).run().expect_code(0);
    }
    second.await_seen(Seen::Standby);
    primary.await_streaming("srv2");
    assert_eq!(second.sql("select count(*) from rows"), "0");
    assert_eq!(second.kept_aside().len(), 1);
    assert_eq!(fs::read_to_string(promise(&second)).unwrap(), "1 -\n", "the timeline made by hand is forgotten");
    assert_eq!(cluster.attributes.record(), record);
}

#[test]
fn a_timeline_that_a_person_made_wins_no_election() {
    let (cluster, primary, second, third) = promoted_by_hand();
    second.call("monitor").run().expect_code(8);
    lose_power(&cluster, &[&primary]);
    second.call("demote").run().expect_code(0);
    let wrong = Promotion::new(&second, &["srv2", "srv3"]);
    wrong.announce(&[&second, &third]);
    assert!(
        cluster.attributes.paper("srv2").starts_with("fork srv2,srv3 1 0/"),
        "{}",
        cluster.attributes.paper("srv2")
    );
    wrong.promote().expect_code(1);
    let right = Promotion::new(&third, &["srv2", "srv3"]);
    right.announce(&[&second, &third]);
    right.promote().expect_code(0);
    third.await_seen(Seen::Primary);
    assert_eq!(third.sql("select count(*) from rows"), "0");
}

/// The next promotion may give its timeline the number that a person's has. PostgreSQL goes by numbers, and would mix both.
#[test]
fn a_timeline_that_a_person_made_is_not_mixed_with_another_one_of_its_number() {
    let (cluster, primary, second, third) = promoted_by_hand();
    second.call("monitor").run().expect_code(8);
    lose_power(&cluster, &[&primary]);
    let demoted = second.call("demote").run().expect_code(0);
    assert_eq!(demoted.logged("it is started without an upstream"), 1, "{demoted:#?}");
    assert_eq!((second.seen(), second.sql("show primary_conninfo").as_str()), (Seen::Standby, ""));
    let promotion = Promotion::new(&third, &["srv2", "srv3"]);
    promotion.announce(&[&second, &third]);
    promotion.promote().expect_code(0);
    let timeline = "select left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)";
    assert_eq!(third.sql(timeline), "00000002");
    cluster.move_address_to(&third);
    cluster.attributes.set_promoted(&["srv3"]);
    third.call("monitor").run().expect_code(8);
    third.sql("insert into rows values (3)");
    // pg_rewind goes by numbers, too.
    wait_until("the one that a person promoted follows", || {
        second.call("monitor").parameter("rejoin", "clone").run().expect_code(0);
        third.sql("select count(*) from pg_stat_replication where application_name = 'srv2'") == "1"
    });
    assert_ne!(second.sql("show primary_conninfo"), "");
    wait_until("it has the new primary's rows", || second.sql("select string_agg(n::text, ' ') from rows") == "3");
    assert_eq!(second.kept_aside().len(), 1);
}

/// With PostgreSQL's default `wal_keep_size` the checkpoint of the demotion removes what a rewind needs.
#[test]
fn what_a_person_promoted_comes_back_without_the_wal_that_a_rewind_needs() {
    let (_cluster, primary, second, _third) = promoted_by_hand();
    second.sql("alter system reset wal_keep_size");
    for _ in 0..2 {
        second.sql("select pg_switch_wal()");
        second.sql("checkpoint");
        second.sql("insert into rows values (8)");
    }
    second.call("monitor").run().expect_code(8);
    second.call("demote").parameter("rejoin", "clone").run().expect_code(0);
    for action in ["stop", "start"] {
        second.call(action).parameter("rejoin", "clone").timeout(60_000).run().expect_code(0);
    }
    wait_until("it is a standby", || {
        second.call("monitor").parameter("rejoin", "clone").run().expect_code(0);
        second.seen() == Seen::Standby
    });
    primary.await_streaming("srv2");
    assert_eq!(second.sql("select count(*) from rows"), "0");
}

/// With an archive the last segment before the fork gets another name (`.partial`), and the younger timeline has its copy.
#[test]
fn what_a_person_promoted_is_rewound_when_its_last_common_segment_was_archived() {
    let (_cluster, primary, second, _third) = in_service();
    second.configure("wal_keep_size = '128MB'\narchive_mode = on\narchive_command = 'true'");
    second.stop_fast();
    second.launch();
    primary.await_streaming("srv2");
    primary.sql("checkpoint");
    second.sql("checkpoint");
    second.sql("select pg_promote()");
    second.await_seen(Seen::Primary);
    second.sql("insert into rows values (7)");
    second.call("monitor").run().expect_code(8);
    second.call("demote").run().expect_code(0);
    for action in ["stop", "start"] {
        second.call(action).timeout(60_000).run().expect_code(0);
    }
    primary.await_streaming("srv2");
    assert_eq!((second.sql("select count(*) from rows").as_str(), second.kept_aside().len()), ("0", 1));
}

/// The person's word: that timeline is the one to keep.
#[test]
fn a_timeline_that_a_person_made_counts_when_the_last_primary_is_forgotten() {
    let (cluster, primary, second, _third) = promoted_by_hand();
    second.call("monitor").run().expect_code(8);
    lose_power(&cluster, &[&primary]);
    second.call("demote").run().expect_code(0);
    let promotion = Promotion::new(&second, &["srv2"]);
    promotion.announce(&[&second]);
    let refused = promotion.promote().expect_code(1).expect_reason("it left the cluster's timelines at 0/");
    let words = format!("--set-name pgbaton-{0} --name pgbaton-{0}-record --delete", cluster.resource);
    assert!(refused.reason().ends_with(&words), "{}", refused.reason());
    cluster.attributes.forget_record();
    promotion.announce(&[&second]);
    promotion.promote().expect_code(0);
}

/// It has received more of the common WAL than the candidate, so a person decides.
#[test]
fn what_a_fork_has_of_the_common_wal_is_not_given_up() {
    let (cluster, primary, second, third) = in_service();
    third.stop_fast();
    primary.sql("insert into rows values (1)");
    primary.await_streaming("srv2");
    lose_power(&cluster, &[&primary]);
    second.sql("select pg_promote()");
    second.await_seen(Seen::Primary);
    second.call("monitor").run().expect_code(8);
    second.call("demote").run().expect_code(0);
    third.run_as_standby();
    let promotion = Promotion::new(&third, &["srv2", "srv3"]);
    promotion.announce(&[&second, &third]);
    promotion.promote().expect_code(1).expect_reason("which srv3 lacks");
}

#[test]
fn a_primary_that_pacemaker_promoted_keeps_its_role_whatever_is_lost() {
    let (cluster, primary, second, _third) = in_service();
    lose_power(&cluster, &[&primary]);
    let promotion = Promotion::new(&second, &["srv2", "srv3"]).election_timeout("1");
    promotion.announce(&[&second]);
    wait_until("the election's timeout", || {
        promotion.announce(&[&second]);
        promotion.promote().code == 0
    });
    // Pacemaker was started anew before the first monitor.
    second.call("monitor").meta("interval", "0").run().expect_code(8);
    second.call("promote").run().expect_code(0);
    second.call("monitor").run().expect_code(8);
    assert!(cluster.attributes.record().contains(" srv2 1@0/0 2@0/"), "{}", cluster.attributes.record());
    // The notes are lost, and so are all private attributes.
    fs::remove_file(second.data.with_file_name("run").join(format!("pgbaton-{}.json", cluster.resource))).unwrap();
    cluster.attributes.lose_all_of("srv2");
    second.call("monitor").run().expect_code(8);
    assert!(cluster.attributes.scores().contains("srv2=1001"), "{}", cluster.attributes.scores());
}

/// All nodes lose their power after srv2's promotion and before its first monitor: nothing of it is on record.
fn all_lost_right_after_a_promotion() -> (Arc<Cluster>, Node, Node) {
    let (cluster, primary, second, third) = in_service();
    lose_power(&cluster, &[&primary]);
    let promotion = Promotion::new(&second, &["srv2", "srv3"]);
    promotion.announce(&[&second, &third]);
    promotion.promote().expect_code(0);
    let told = third.call("notify").meta("notify_type", "post").meta("notify_operation", "promote");
    told.meta("notify_promote_uname", "srv2").run().expect_code(0);
    cluster.move_address_to(&second);
    second.sql("insert into rows values (1)");
    second.await_streaming("srv3");
    assert!(cluster.attributes.record().contains(" srv1 1@0/0"));
    lose_power(&cluster, &[&second, &third]);
    (cluster, second, third)
}

#[test]
fn a_promotion_that_was_not_on_record_yet_is_not_taken_for_one_by_hand() {
    let (_cluster, second, third) = all_lost_right_after_a_promotion();
    assert_eq!(fs::read_to_string(promise(&second)).unwrap(), "1 2\n");
    second.call("start").run().expect_code(0);
    third.call("start").run().expect_code(0);
    let promotion = Promotion::new(&second, &["srv2", "srv3"]);
    promotion.announce(&[&second, &third]);
    promotion.promote().expect_code(0);
    assert_eq!(second.sql("select n from rows"), "1");
}

#[test]
fn neither_is_one_whose_primary_does_not_come_back() {
    for has_note in [true, false] {
        let (cluster, _second, third) = all_lost_right_after_a_promotion();
        cluster.attributes.set_present(&["srv1", "srv3"]);
        if !has_note {
            fs::remove_file(promise(&third)).unwrap();
        }
        third.call("start").run().expect_code(0);
        let promotion = Promotion::new(&third, &["srv3"]);
        promotion.announce(&[&third]);
        let answer = promotion.promote();
        match has_note {
            true => drop(answer.expect_code(0)),
            false => drop(answer.expect_code(1).expect_reason("it left the cluster's timelines at 0/")),
        }
    }
}

/// srv2 was promoted while srv3 was away, which follows it since.
fn promoted_while_one_was_away() -> (Arc<Cluster>, String, Node, Node) {
    let (cluster, primary, second, third) = in_service();
    let old = cluster.attributes.record();
    third.stop_fast();
    lose_power(&cluster, &[&primary]);
    let promotion = Promotion::new(&second, &["srv2"]);
    promotion.announce(&[&second]);
    promotion.promote().expect_code(0);
    cluster.move_address_to(&second);
    cluster.attributes.set_promoted(&["srv2"]);
    second.call("monitor").run().expect_code(8);
    third.run_as_standby();
    second.await_streaming("srv3");
    (cluster, old, second, third)
}

/// Somebody restores an old cluster configuration beside a primary that runs.
#[test]
fn a_primary_corrects_a_record_that_is_out_of_date() {
    let (cluster, old, second, _third) = promoted_while_one_was_away();
    let record = cluster.attributes.record();
    assert!(record.contains(" srv2 1@0/0 2@0/"), "{record}");
    for restored in [old.as_str(), ""] {
        cluster.attributes.set_record(restored);
        second.call("monitor").run().expect_code(8);
        look_again_at_the_record(&second);
        let corrected = second.call("monitor").run().expect_code(8);
        assert_eq!(corrected.logged("the record in the cluster configuration is out of date"), 1, "{corrected:#?}");
        assert_eq!(cluster.attributes.record(), record);
    }
}

/// The same, and the primary is lost before it has looked: a standby that follows it knows its timeline.
#[test]
fn who_follows_the_primary_knows_its_timeline_to_be_the_clusters() {
    let (cluster, old, second, third) = promoted_while_one_was_away();
    assert!(!promise(&third).exists());
    third.call("monitor").run().expect_code(0);
    assert_eq!(fs::read_to_string(promise(&third)).unwrap(), "1 2\n");
    cluster.attributes.set_record(&old);
    lose_power(&cluster, &[&second]);
    let promotion = Promotion::new(&third, &["srv3"]);
    promotion.announce(&[&third]);
    promotion.promote().expect_code(0);
}

/// Of what a person has promoted, and the address led to, it knows nothing.
#[test]
fn who_follows_what_a_person_has_promoted_does_not() {
    let (cluster, primary, second, third) = promoted_by_hand();
    lose_power(&cluster, &[&primary]);
    cluster.move_address_to(&second);
    second.await_streaming("srv3");
    for (node, code) in [(&second, 8), (&third, 0)] {
        node.call("monitor").run().expect_code(code);
    }
    assert!(!promise(&third).exists());
}

/// What a person promotes takes the next number that it knows of, as the cluster's own promotion did.
#[test]
fn a_timeline_that_a_person_made_is_told_from_the_clusters_of_the_same_number() {
    for was_seen in [true, false] {
        let (cluster, primary, second, third) = in_service();
        lose_two_primaries(&cluster, &primary, &second, &third);
        third.sql("select pg_promote()");
        third.await_seen(Seen::Primary);
        assert_eq!(third.sql("select left(pg_walfile_name(pg_current_wal_lsn()), 8)"), "00000002");
        third.sql("insert into rows values (7)");
        if was_seen {
            third.call("monitor").run().expect_code(8);
        }
        third.call("demote").run().expect_code(0);
        let promotion = Promotion::new(&third, &["srv3"]);
        promotion.announce(&[&third]);
        promotion.promote().expect_code(1).expect_reason("it left the cluster's timelines at 0/");
    }
}

/// A promotion has reserved the number and failed: all know that the cluster was to make it.
#[test]
fn a_timeline_that_was_seen_to_be_made_by_hand_is_not_believed_for_its_number() {
    let (cluster, primary, second, third) = promoted_by_hand();
    for node in ["srv1", "srv2", "srv3"] {
        cluster.attributes.set_reserved(node, 2);
    }
    second.call("monitor").run().expect_code(8);
    // Another promotion's notification.
    let told = second.call("notify").meta("notify_type", "post").meta("notify_operation", "promote");
    told.meta("notify_promote_uname", "srv3").run().expect_code(0);
    assert!(fs::read_to_string(promise(&second)).unwrap().starts_with("1 2 byhand=2@0/"));
    cluster.take_address_away();
    primary.crash();
    for action in ["demote", "stop", "start"] {
        second.call(action).timeout(60_000).run().expect_code(0);
    }
    let promotion = Promotion::new(&second, &["srv2", "srv3"]);
    promotion.announce(&[&second, &third]);
    let paper = cluster.attributes.paper("srv2");
    assert!(paper.starts_with("fork srv2,srv3 1 0/"), "{paper}");
}

/// Neither the file nor another node could keep the number, so the cluster's configuration does.
#[test]
fn the_number_of_a_promotion_is_on_record_where_nothing_else_keeps_it() {
    let (cluster, _primary, second, third) = alone_and_without_a_promise();
    let promotion = Promotion::new(&second, &["srv2"]);
    promotion.announce(&[&second]);
    promotion.promote().expect_code(0);
    assert!(!promise(&second).exists());
    second.sql("insert into rows values (1)");
    // Lost before it is on record.
    lose_power(&cluster, &[&second]);
    assert!(cluster.attributes.record().contains(" srv1 1@0/0"));
    cluster.attributes.set_present(&["srv2", "srv3"]);
    second.call("start").run().expect_code(0);
    promotion.announce(&[&second]);
    promotion.promote().expect_code(0);
    assert_eq!(second.sql("select n from rows"), "1");
    // Nobody else uses the number.
    third.run_as_standby();
    let other = Promotion::new(&third, &["srv3"]);
    lose_power(&cluster, &[&second]);
    cluster.attributes.forget_record();
    other.announce(&[&third]);
    other.promote().expect_code(0);
    assert_eq!(third.sql("select left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"), "00000004");
}

/// The next monitor reads the record, which is done once a minute.
fn look_again_at_the_record(node: &Node) {
    let path = node.data.with_file_name("run").join(format!("pgbaton-{}.json", node.cluster.resource));
    let mut notes: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    notes["roster"]["read_ms"] = u64::MAX.into();
    fs::write(path, notes.to_string()).unwrap();
}

#[test]
fn what_was_announced_goes_when_the_record_has_it() {
    let (cluster, _primary, second, _third) = alone_and_without_a_promise();
    let promotion = Promotion::new(&second, &["srv2"]);
    promotion.announce(&[&second]);
    promotion.promote().expect_code(0);
    assert_eq!(cluster.attributes.announced(), "1 2");
    // It is read before the record is written.
    second.call("monitor").run().expect_code(8);
    assert!(cluster.attributes.record().contains(" srv2 1@0/0 2@0/"), "{}", cluster.attributes.record());
    look_again_at_the_record(&second);
    second.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.announced(), "");
}

/// Nodes that were lost may have made it: no record tells.
#[test]
fn a_number_that_this_node_was_to_give_is_given_by_nobody_again() {
    let (cluster, primary, second, third) = in_service();
    third.stop_fast();
    lose_power(&cluster, &[&primary]);
    fs::write(promise(&second), "1 4\n").unwrap();
    let promotion = Promotion::new(&second, &["srv2"]);
    promotion.announce(&[&second]);
    promotion.promote().expect_code(0);
    assert_eq!(second.sql("select left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"), "00000005");
}

#[test]
fn a_promotion_whose_number_nothing_keeps_is_refused() {
    let (_cluster, _primary, second, _third) = alone_and_without_a_promise();
    let promotion = Promotion::new(&second, &["srv2"]);
    promotion.announce(&[&second]);
    second.break_tool("crm_attribute");
    let refused =
        promotion.promote().expect_code(1).expect_reason("cannot note that timeline 2 is made by the cluster");
    assert!(refused.reason().contains("beside the data directory"), "{}", refused.reason());
    assert_eq!(second.seen(), Seen::Standby);
}

/// The primary, and then its successor, with all that was written on its timeline.
fn lose_two_primaries(cluster: &Cluster, primary: &Node, second: &Node, third: &Node) {
    lose_power(cluster, &[primary]);
    let promotion = Promotion::new(second, &["srv2", "srv3"]);
    promotion.announce(&[second, third]);
    promotion.promote().expect_code(0);
    second.call("monitor").run().expect_code(8);
    lose_power(cluster, &[second]);
}

/// srv1 was refused as diverged, srv2 was the primary on timeline 2 and is lost with all that was written there.
#[test]
fn a_node_that_lacks_the_last_primarys_timeline_is_not_promoted_by_itself() {
    let (cluster, primary, second, third) = in_service();
    lose_two_primaries(&cluster, &primary, &second, &third);
    third.stop_fast();
    let started = primary.call("start").run().expect_code(0);
    assert_eq!(started.logged("srv1 is not promoted: it is on timeline 1, and srv2 was the primary on timeline 2"), 1);
    assert!(cluster.attributes.scores().contains("srv1=-1000000"), "{}", cluster.attributes.scores());
    let alone = Promotion::new(&primary, &["srv1"]);
    alone.announce(&[&primary]);
    alone.promote().expect_code(1).expect_reason("start srv2 again, or give its data up with: crm_attribute");
    // srv3 voted when that timeline was made, and has not left the cluster since: nobody had received it yet.
    third.run_as_standby();
    let witness = Promotion::new(&third, &["srv3"]);
    witness.announce(&[&third]);
    witness.promote().expect_code(0);
}

/// With a node against which nothing speaks the comparison says all.
#[test]
fn a_node_that_lacks_the_last_timeline_is_promoted_with_a_witness_that_has_no_more() {
    let (cluster, primary, second, third) = in_service();
    lose_two_primaries(&cluster, &primary, &second, &third);
    primary.call("start").run().expect_code(0);
    let promotion = Promotion::new(&primary, &["srv1", "srv3"]);
    promotion.announce(&[&primary, &third]);
    promotion.promote().expect_code(0);
}
