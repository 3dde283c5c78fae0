//! Elections between real instances on one machine, with a store of attributes that they share: the node with the
//! highest position is promoted, whoever was picked, and every refusal names what it compared.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use support::agent::Answer;
use support::cluster::Cluster;
use support::node::{Node, Seen};
use support::transition::Promotion;
use support::wait_until;

const NEVER: &str = "-1000000";

/// A primary that died, srv2 with all that it had written, and srv3 without the last of it.
struct Failover {
    cluster: Arc<Cluster>,
    primary: Node,
    best: Node,
    behind: Node,
}

fn failover() -> Failover {
    let cluster = Cluster::new();
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    let (behind, best) = (standbys.pop().unwrap(), standbys.pop().unwrap());
    behind.stop_fast();
    primary.sql("create table late as select 1 as row");
    primary.await_streaming("srv2");
    primary.crash();
    cluster.take_address_away();
    behind.run_as_standby();
    Failover { cluster, primary, best, behind }
}

/// The end of its WAL.
fn end_of(node: &Node) -> String {
    let end = "select greatest(pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn())";
    node.sql(end)
}

fn logged(answers: &[Answer], text: &str) -> usize {
    answers.iter().map(|answer| answer.logged(text)).sum()
}

#[test]
fn of_equals_the_picked_node_is_promoted() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    primary.crash();
    let promotion = Promotion::new(&standbys[1], &["srv2", "srv3"]);
    promotion.announce(&[&standbys[0], &standbys[1]]);
    assert_eq!(cluster.attributes.scores(), "", "an election that agrees changes no score");
    promotion.promote().expect_code(0);
    standbys[1].await_seen(Seen::Primary);
    for node in ["srv2", "srv3"] {
        assert_eq!(cluster.attributes.paper(node), "", "a promotion discards the votes that were given before it");
    }
}

#[test]
fn a_picked_node_that_is_behind_yields_by_the_scores_and_the_best_is_promoted() {
    let Failover { cluster, best, behind, .. } = failover();
    cluster.attributes.set_score("srv2", "990");
    cluster.attributes.set_score("srv3", "1000");
    let wrong = Promotion::new(&behind, &["srv2", "srv3"]);
    let answers = wrong.announce(&[&best, &behind]);
    assert!(logged(&answers, "srv3 is not the best") >= 1, "{answers:#?}");
    assert_eq!(cluster.attributes.scores(), "srv2=1002 srv3=1");
    let refused = wrong.promote().expect_code(1).expect_reason("srv2");
    for position in [end_of(&best), end_of(&behind)] {
        assert!(refused.reason().contains(&position), "no {position}: {refused:#?}");
    }
    assert_eq!(behind.seen(), Seen::Standby);
    let right = Promotion::new(&best, &["srv2", "srv3"]);
    right.announce(&[&behind, &best]);
    right.promote().expect_code(0);
    best.await_seen(Seen::Primary);
    assert_eq!(best.sql("select row from late"), "1");
}

#[test]
fn a_node_that_an_election_excluded_stands_again_at_its_next_monitor() {
    let Failover { cluster, behind, .. } = failover();
    cluster.attributes.set_score("srv2", "990");
    cluster.attributes.set_paper("srv2", "unknown srv2,srv3 - - its disk does not answer");
    let wrong = Promotion::new(&behind, &["srv2", "srv3"]);
    wrong.announce(&[&behind]);
    assert_eq!(cluster.attributes.scores(), format!("srv2=990 srv3={NEVER}"));
    wrong.promote().expect_code(1);
    let again = behind.call("monitor").run().expect_code(0);
    assert_eq!(again.logged("standing for election again"), 1, "{again:#?}");
    assert_eq!(cluster.attributes.scores(), "srv2=990 srv3=1");
    cluster.attributes.take_calls();
    behind.call("monitor").run().expect_code(0);
    let calls = cluster.attributes.take_calls();
    let about_scores = calls.iter().filter(|call| call.contains("[master-") && call.contains("[-U]"));
    assert_eq!(about_scores.count(), 0, "the second monitor has nothing to do: {calls:?}");
}

/// Its vote is of an earlier election, in which nobody else was.
#[test]
fn a_candidate_that_the_notification_did_not_reach_is_held_to_the_votes_of_all() {
    let Failover { best, behind, .. } = failover();
    Promotion::new(&behind, &["srv3"]).announce(&[&behind]);
    let again = Promotion::new(&behind, &["srv2", "srv3"]);
    again.announce(&[&best]);
    again.promote().expect_code(1).expect_reason("srv2");
    assert_eq!(behind.seen(), Seen::Standby);
}

/// After a restart pg_last_wal_receive_lsn() is the start of the segment, on both nodes alike.
#[test]
fn the_better_node_wins_also_after_both_were_restarted_within_one_segment() {
    let Failover { cluster, best, behind, .. } = failover();
    for node in [&best, &behind] {
        node.stop_fast();
        node.run_as_standby();
    }
    let received = "select coalesce(pg_last_wal_receive_lsn()::text, '')";
    wait_until("both say the same", || !best.sql(received).is_empty() && best.sql(received) == behind.sql(received));
    Promotion::new(&behind, &["srv2", "srv3"]).announce(&[&best, &behind]);
    assert_eq!(cluster.attributes.scores(), "srv2=1002 srv3=1");
    let right = Promotion::new(&best, &["srv2", "srv3"]);
    right.announce(&[&best, &behind]);
    right.promote().expect_code(0);
    assert_eq!(best.sql("select row from late"), "1");
}

#[test]
fn a_crashed_primary_that_came_back_as_a_standby_takes_part() {
    let Failover { cluster, primary, best, behind } = failover();
    primary.call("start").run().expect_code(0);
    primary.await_seen(Seen::Standby);
    let names = ["srv1", "srv2", "srv3"];
    let wrong = Promotion::new(&behind, &names);
    wrong.announce(&[&primary, &best, &behind]);
    let scores = cluster.attributes.scores();
    assert!(scores.contains("srv1=1002") || scores.contains("srv2=1002"), "{scores}");
    let right = if scores.contains("srv1=1002") { &primary } else { &best };
    let promotion = Promotion::new(right, &names);
    promotion.announce(&[&primary, &best, &behind]);
    promotion.promote().expect_code(0);
}

/// Under load Pacemaker runs the notifications one after the other, so none may wait for the next.
#[test]
fn notifications_that_come_one_after_the_other_hold_the_same_election() {
    let Failover { cluster, best, behind, .. } = failover();
    for order in [[&best, &behind], [&behind, &best]] {
        cluster.attributes.set_score("srv3", "1000");
        let wrong = Promotion::new(&behind, &["srv2", "srv3"]).timeout(5_000);
        let answers: Vec<_> = order.iter().map(|node| wrong.announce(&[*node]).remove(0)).collect();
        assert!(answers.iter().all(|answer| answer.elapsed < Duration::from_secs(3)), "{answers:#?}");
        assert_eq!(logged(&answers, "srv3 is not the best"), 1 + logged(&answers[..1], "srv3 is not the best"));
        assert_eq!(cluster.attributes.scores(), "srv2=1002 srv3=1");
        ["srv2", "srv3"].iter().for_each(|node| cluster.attributes.set_paper(node, ""));
    }
}

/// Its notification may have been killed: then the next election has its vote. One that never votes is waited for.
#[test]
fn a_silent_voter_delays_the_promotion_and_is_left_out_by_name_in_the_end() {
    let Failover { cluster, best, .. } = failover();
    let election = Promotion::new(&best, &["srv2", "srv3"]).election_timeout("6");
    election.announce(&[&best]);
    let refused = election.promote().expect_code(1).expect_reason("srv3 (did not answer)");
    assert!(refused.elapsed < Duration::from_secs(3), "{refused:#?}");
    assert_eq!(best.seen(), Seen::Standby);
    election.announce(&[&best]);
    let promoted = election.promote().expect_code(0);
    assert_eq!(promoted.logged("promoting without srv3 (did not answer)"), 1, "{promoted:#?}");
    assert_eq!(cluster.attributes.paper("srv2"), "");
}

/// The candidate has waited for somebody else before that.
#[test]
fn a_silent_voter_that_came_late_is_waited_for_as_long_as_any_other() {
    let Failover { best, behind, .. } = failover();
    Promotion::new(&behind, &["srv3"]).election_timeout("4").announce(&[&behind]);
    std::thread::sleep(Duration::from_millis(4_100));
    let election = Promotion::new(&behind, &["srv2", "srv3"]).election_timeout("4").timeout(5_000);
    election.announce(&[&behind]);
    election.promote().expect_code(1).expect_reason("srv2 (did not answer)");
    std::thread::sleep(Duration::from_secs(4));
    election.announce(&[&behind]);
    let promoted = election.timeout(20_000).promote().expect_code(0);
    assert_eq!(promoted.logged("promoting without srv2 (did not answer)"), 1, "{promoted:#?}");
    drop(best);
}

/// Pacemaker runs no notification there.
#[test]
fn a_voter_in_maintenance_costs_no_failed_promotion() {
    let Failover { cluster, best, .. } = failover();
    cluster.attributes.set_unmanaged("srv3");
    let election = Promotion::new(&best, &["srv2", "srv3"]).election_timeout("4");
    election.announce(&[&best]);
    let promoted = election.promote().expect_code(0);
    assert_eq!(promoted.logged("unmanaged, or in maintenance: srv3"), 1, "{promoted:#?}");
    assert_eq!(promoted.logged("promoting without srv3 (did not answer)"), 1, "{promoted:#?}");
    assert!(promoted.elapsed > Duration::from_secs(2), "it was not waited for: {promoted:#?}");
}

/// There is no time to wait for it: what is left is for the promotion, and the reason is told before the timeout.
#[test]
fn a_voter_in_maintenance_is_waited_for_no_longer_than_the_action_may() {
    let Failover { cluster, best, .. } = failover();
    cluster.attributes.set_unmanaged("srv3");
    let election = Promotion::new(&best, &["srv2", "srv3"]).timeout(9_000);
    election.announce(&[&best]);
    let refused = election.promote().expect_code(1).expect_reason("srv3 (did not answer)");
    assert!(refused.elapsed > Duration::from_secs(2), "{refused:#?}");
}

/// It has more at least, and can be neither left out nor promoted: to yield to it would come back to this node, for ever.
#[test]
fn a_node_that_has_more_and_can_never_tell_how_much_is_named_and_nobody_yields_to_it() {
    let Failover { cluster, best, .. } = failover();
    cluster.attributes.set_score("srv3", "990");
    cluster.attributes.set_paper("srv3", "unknown srv2,srv3 1 0/F000000 its disk does not answer");
    let election = Promotion::new(&best, &["srv2", "srv3"]).election_timeout("1");
    election.announce(&[&best]);
    std::thread::sleep(Duration::from_secs(1));
    let answers = election.announce(&[&best]);
    let named =
        "srv3 has WAL up to 0/F000000 on timeline 1 at least and cannot tell where it ends (its disk does not answer)";
    assert_eq!(logged(&answers, named), 1, "{answers:#?}");
    assert_eq!(cluster.attributes.scores(), format!("srv2={NEVER} srv3=990"));
    best.call("monitor").run().expect_code(0);
    assert_eq!(cluster.attributes.scores(), "srv2=1 srv3=990", "it stands again");
}

#[test]
fn a_voter_whose_instance_is_down_votes_by_its_files() {
    let Failover { cluster, best, behind, .. } = failover();
    let ends = [end_of(&best), end_of(&behind)];
    best.crash();
    behind.stop_fast();
    let promotion = Promotion::new(&behind, &["srv2", "srv3"]);
    promotion.announce(&[&best, &behind]);
    for (node, end) in ["srv2", "srv3"].iter().zip(&ends) {
        let paper = cluster.attributes.paper(node);
        assert!(paper.starts_with(&format!("vote srv2,srv3 1 {end}")), "{paper}");
    }
    assert_eq!(cluster.attributes.scores(), "srv2=1002 srv3=1");
    let right = Promotion::new(&best, &["srv2", "srv3"]);
    right.announce(&[&best, &behind]);
    right.promote().expect_code(0);
    assert_eq!(best.sql("select row from late"), "1");
}

/// Its recovery waits for an archive that does not answer.
#[test]
fn a_voter_that_is_starting_votes_at_once_by_its_files() {
    let Failover { cluster, best, behind, .. } = failover();
    let end = end_of(&behind);
    behind.stop_fast();
    let hold = behind.data.with_file_name("hold");
    fs::write(&hold, "").unwrap();
    behind.configure(&format!("restore_command = 'while test -e {}; do sleep 0.02; done; false'", hold.display()));
    behind.write("standby.signal", "");
    behind.launch();
    let promotion = Promotion::new(&best, &["srv2", "srv3"]);
    let answers = promotion.announce(&[&best, &behind]);
    assert!(logged(&answers, "no present node has more WAL") >= 1, "{answers:#?}");
    let paper = cluster.attributes.paper("srv3");
    assert!(paper.starts_with(&format!("vote srv2,srv3 1 {end}")), "{paper}");
    promotion.promote().expect_code(0);
    fs::remove_file(&hold).unwrap();
}

/// It becomes a primary when its recovery ends, and nobody has to tell it to.
#[test]
fn a_voter_that_starts_without_standby_signal_is_waited_for() {
    let Failover { best, behind, .. } = failover();
    behind.crash();
    let hold = behind.data.with_file_name("hold");
    fs::write(&hold, "").unwrap();
    behind.configure(&format!("restore_command = 'while test -e {}; do sleep 0.02; done; false'", hold.display()));
    fs::remove_file(behind.data.join("standby.signal")).unwrap();
    behind.write("recovery.signal", "");
    behind.launch();
    let promotion = Promotion::new(&best, &["srv2", "srv3"]).timeout(4_000);
    let answers = promotion.announce(&[&best, &behind]);
    assert!(
        logged(&answers, "srv3 (its instance recovers and may become a primary by itself, at least 0/") >= 1,
        "{answers:#?}"
    );
    promotion.promote().expect_code(1);
    fs::remove_file(&hold).unwrap();
}

#[test]
fn a_voter_that_takes_writes_forbids_the_promotion() {
    let Failover { cluster, primary, best, .. } = failover();
    primary.run_as_primary();
    let promotion = Promotion::new(&best, &["srv1", "srv2"]);
    let answers = promotion.announce(&[&primary, &best]);
    assert!(logged(&answers, "srv1 takes writes as a primary") >= 1, "{answers:#?}");
    assert_eq!(cluster.attributes.scores(), format!("srv2={NEVER}"));
    promotion.promote().expect_code(1);
    assert_eq!(best.seen(), Seen::Standby);
}

#[test]
fn promote_without_an_election_refuses() {
    let Failover { best, .. } = failover();
    let promotion = Promotion::new(&best, &["srv2", "srv3"]);
    promotion.promote().expect_code(1).expect_reason("no election was held");
    assert_eq!(best.seen(), Seen::Standby);
}

#[test]
fn nonsense_in_a_voters_paper_is_no_answer() {
    let Failover { cluster, best, .. } = failover();
    for nonsense in ["vote", "vote x 1 0/zzz", "left 1 $(id)", "ask", &"9".repeat(10_000)] {
        cluster.attributes.set_paper("srv3", nonsense);
        let promotion = Promotion::new(&best, &["srv2", "srv3"]).timeout(2_500);
        promotion.announce(&[&best]);
        promotion.promote().expect_code(1);
    }
}

#[test]
fn a_switchover_hands_over_everything() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    primary.sql("create table late as select 1 as row");
    cluster.take_address_away();
    primary.call("demote").run().expect_code(0);
    let promotion = Promotion::new(&standbys[0], &["srv1", "srv2"]);
    promotion.announce(&[&primary, &standbys[0]]);
    promotion.promote().expect_code(0);
    assert_eq!(standbys[0].sql("select row from late"), "1");
    cluster.move_address_to(&standbys[0]);
    standbys[0].await_streaming("srv1");
}

#[test]
fn a_switchover_to_a_node_that_lacks_the_end_goes_back_to_the_old_primary() {
    let cluster = Cluster::new();
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2"]);
    let standby = standbys.pop().unwrap();
    standby.stop_fast();
    primary.sql("create table late as select 1 as row");
    cluster.take_address_away();
    primary.call("demote").run().expect_code(0);
    standby.run_as_standby();
    Promotion::new(&standby, &["srv1", "srv2"]).announce(&[&primary, &standby]);
    assert_eq!(cluster.attributes.scores(), "srv1=1002 srv2=1");
    let back = Promotion::new(&primary, &["srv1", "srv2"]);
    back.announce(&[&primary, &standby]);
    back.promote().expect_code(0);
    assert_eq!(primary.sql("select row from late"), "1");
}
