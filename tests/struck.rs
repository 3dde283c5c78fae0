//! A node that the last primary went on without is not promoted, whatever is restarted, until the cause is gone or a person
//! gives up what it lacks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::sync::Arc;

use nix::sys::signal::Signal;

use support::agent::Answer;
use support::cluster::Cluster;
use support::node::{Node, Seen};
use support::processes::{await_titled, signal};
use support::transition::Promotion;
use support::wait_until;

const NEVER: &str = "-1000000";
const ELECTED: &str = "1002";

fn replicating(standbys: &[&str]) -> (Arc<Cluster>, Node, Vec<Node>) {
    let cluster = Cluster::new();
    let members: Vec<_> = ["srv1"].iter().chain(standbys).copied().collect();
    cluster.attributes.set_members(&members);
    let (primary, standbys) = cluster.replicating("srv1", standbys);
    primary.call("monitor").run().expect_code(8);
    (cluster, primary, standbys)
}

fn change_notes(of: &Node, change: impl FnOnce(&mut serde_json::Value)) {
    let path = of.data.with_file_name("run").join(format!("pgbaton-{}.json", of.cluster.resource));
    let mut notes: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut notes);
    fs::write(path, notes.to_string()).unwrap();
}

/// As if the first look had been at boot.
fn long_ago(primary: &Node, node: &str) {
    change_notes(primary, |notes| {
        assert!(!notes["missing"][node].is_null(), "{node} is not missing: {notes}");
        notes["missing"][node] = 0.into();
    });
}

/// srv2 is away from its primary, which goes on without it.
fn go_on_without(primary: &Node, standby: &Node) {
    standby.crash();
    let sender = format!("select count(*) from pg_stat_replication where application_name = '{}'", standby.name);
    wait_until("its sender's end", || primary.sql(&sender) == "0");
    primary.call("monitor").run().expect_code(8);
    long_ago(primary, &standby.name);
    primary.call("monitor").run().expect_code(8);
    primary.sql("create table late as select 1 as row");
}

fn way_out(answer: &str) -> &str {
    answer.rsplit("with: ").next().unwrap().trim_end_matches(['"', '\n'])
}

/// The node is picked all the same, by a person's score for instance.
fn expect_refused(node: &Node, among: &[&str]) -> String {
    let promotion = Promotion::new(node, among);
    let answers = promotion.announce(&[node]);
    let told: usize = answers.iter().map(|answer| answer.logged("is not promoted: it ")).sum();
    assert_eq!(told, 1, "{answers:#?}");
    let score = format!("{}={NEVER}", node.name);
    assert!(node.cluster.attributes.scores().contains(&score), "{}", node.cluster.attributes.scores());
    let refused = promotion.promote().expect_code(1).expect_reason("or give it up with: crm_attribute");
    assert_eq!(node.seen(), Seen::Standby);
    refused.reason().to_owned()
}

fn monitored(node: &Node, times: usize) -> Vec<Answer> {
    (0..times).map(|_| node.call("monitor").run().expect_code(0)).collect()
}

#[test]
fn restarts_do_not_make_a_candidate_of_a_node_that_was_struck_off() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    go_on_without(&primary, &standbys[0]);
    let lacks = cluster.attributes.permanent("srv2", "lacks");
    assert!(lacks.starts_with("1 1 0/") && lacks.ends_with("not been connected to srv1 for 20 s"), "{lacks}");
    assert_eq!(cluster.attributes.scores(), format!("srv1=1001 srv2={NEVER}"));
    primary.crash();
    // Both nodes have left the cluster since, and srv2 came back.
    for node in ["srv1", "srv2"] {
        cluster.attributes.lose_all_of(node);
    }
    cluster.take_address_away();
    for _ in 0..2 {
        let started = standbys[0].call("start").run().expect_code(0);
        assert_eq!(started.logged("srv2 is not promoted: it lacks what was written after 0/"), 1, "{started:#?}");
        assert_eq!(cluster.attributes.scores(), format!("srv2={NEVER}"));
        monitored(&standbys[0], 4);
        assert_eq!(cluster.attributes.scores(), format!("srv2={NEVER}"));
        standbys[0].call("stop").run().expect_code(0);
    }
    standbys[0].call("start").run().expect_code(0);
    monitored(&standbys[0], 4);
    assert_eq!(cluster.attributes.state("srv2"), "not to be promoted");
    let reason = expect_refused(&standbys[0], &["srv2"]);
    // A person gives it up, and the node's next monitors make it a candidate.
    let name = format!("pgbaton-{}-lacks", cluster.resource);
    assert_eq!(way_out(&reason), format!("crm_attribute --type nodes --node srv2 --name {name} --delete"));
    cluster.attributes.set_permanent("srv2", "lacks", "");
    monitored(&standbys[0], 1);
    assert_eq!(cluster.attributes.scores(), "srv2=1");
    let promotion = Promotion::new(&standbys[0], &["srv2"]);
    promotion.announce(&[&standbys[0]]);
    promotion.promote().expect_code(0);
}

/// The primary's own judgement, without a restart: a person's word is enough here, too.
#[test]
fn a_node_that_was_struck_off_and_ran_on_stands_when_a_person_says_so() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    go_on_without(&primary, &standbys[0]);
    primary.crash();
    cluster.take_address_away();
    standbys[0].run_as_standby();
    cluster.attributes.set_promoted(&[]);
    monitored(&standbys[0], 3);
    assert_eq!(cluster.attributes.scores(), format!("srv1=1001 srv2={NEVER}"));
    cluster.attributes.set_permanent("srv2", "lacks", "");
    monitored(&standbys[0], 1);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=1");
}

#[test]
fn who_streams_again_is_taken_back() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    go_on_without(&primary, &standbys[0]);
    standbys[0].call("start").run().expect_code(0);
    primary.await_streaming("srv2");
    primary.call("monitor").run().expect_code(8);
    assert_eq!(
        (cluster.attributes.permanent("srv2", "lacks").as_str(), cluster.attributes.scores().as_str()),
        ("", "srv1=1001 srv2=1000")
    );
}

#[test]
fn what_is_on_record_is_written_once() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    go_on_without(&primary, &standbys[0]);
    cluster.attributes.take_calls();
    for _ in 0..3 {
        primary.call("monitor").run().expect_code(8);
    }
    let calls = cluster.attributes.take_calls();
    assert!(!calls.iter().any(|call| call.contains("crm_attribute") || call.contains("cibadmin")), "{calls:?}");
}

#[test]
fn beyond_maxlag_is_on_record_too() {
    let (cluster, primary, standbys) = replicating(&["srv2", "srv3"]);
    let monitor = || primary.call("monitor").parameter("maxlag", "1000000").run().expect_code(8);
    monitor();
    let receiver = await_titled(&standbys[0].data, "postgres: walreceiver");
    signal(receiver, Signal::SIGSTOP);
    primary.sql("create table large as select repeat('x', 1000) from generate_series(1, 3000)");
    primary.await_streaming("srv3");
    monitor();
    assert!(cluster.attributes.permanent("srv2", "lacks").contains("bytes behind, beyond maxlag"));
    assert_eq!(cluster.attributes.permanent("srv3", "lacks"), "");
    signal(receiver, Signal::SIGCONT);
    primary.await_streaming("srv2");
    monitor();
    assert_eq!(cluster.attributes.permanent("srv2", "lacks"), "");
}

/// All that it sees of a standby is that it is connected.
#[test]
fn without_the_right_to_see_standbys_none_is_struck_off() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    primary.sql("create role agent login");
    let monitor = || primary.call("monitor").parameter("pguser", "agent").run().expect_code(8);
    let first = monitor();
    assert_eq!(
        first.logged("the agent's role may not see how far the standbys are; grant it pg_monitor"),
        1,
        "{first:#?}"
    );
    change_notes(&primary, |notes| notes["missing"]["srv2"] = 0.into());
    let second = monitor();
    assert_eq!(second.logged("grant it pg_monitor"), 0, "{second:#?}");
    assert_eq!(cluster.attributes.permanent("srv2", "lacks"), "");
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=1000");
    // One that is not connected is seen by everybody.
    standbys[0].crash();
    wait_until("its sender's end", || primary.sql("select count(*) from pg_stat_replication") == "0");
    monitor();
    long_ago(&primary, "srv2");
    monitor();
    assert!(cluster.attributes.permanent("srv2", "lacks").starts_with("1 1 0/"));
    // What the role may see, it sees at once.
    standbys[0].run_as_standby();
    primary.await_streaming("srv2");
    primary.sql("grant pg_monitor to agent");
    monitor();
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=1000");
}

/// Its score went with it, so that only the list of nodes tells of it.
#[test]
fn a_node_that_left_the_cluster_is_struck_off() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    standbys[0].crash();
    wait_until("its sender's end", || primary.sql("select count(*) from pg_stat_replication") == "0");
    cluster.attributes.lose_all_of("srv2");
    cluster.attributes.set_present(&["srv1"]);
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.permanent("srv2", "lacks"), "", "one look is not enough");
    long_ago(&primary, "srv2");
    primary.call("monitor").run().expect_code(8);
    assert!(cluster.attributes.permanent("srv2", "lacks").starts_with("1 1 0/"));
    assert_eq!(cluster.attributes.scores(), "srv1=1001");
}

/// One for quorum alone, for instance.
#[test]
fn a_node_without_an_instance_is_not_struck_off() {
    let (cluster, primary, _standbys) = replicating(&["srv2"]);
    cluster.attributes.set_members(&["srv1", "srv2", "witness"]);
    primary.call("monitor").meta("interval", "0").run().expect_code(8);
    primary.call("monitor").run().expect_code(8);
    long_ago(&primary, "witness");
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.permanent("witness", "lacks"), "");
}

#[test]
fn the_last_primary_in_the_election_says_whether_anything_is_lacking() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    cluster.attributes.set_permanent("srv2", "lacks", "1 1 0/3000000 20261124T080000Z it was away");
    cluster.take_address_away();
    primary.call("demote").run().expect_code(0);
    let promotion = Promotion::new(&standbys[0], &["srv1", "srv2"]);
    promotion.announce(&[&primary, &standbys[0]]);
    promotion.promote().expect_code(0);
    cluster.move_address_to(&standbys[0]);
    standbys[0].call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.permanent("srv2", "lacks"), "", "it was promoted, and is taken back");
}

fn last_primary_is_demoted(primary: &Node) {
    let (cluster, address) = (&primary.cluster, primary.sockets.to_str().unwrap());
    cluster.attributes.set_address(&primary.name, address);
    cluster.take_address_away();
    primary.call("demote").run().expect_code(0);
    cluster.attributes.set_promoted(&[]);
}

/// A ban that somebody forgot keeps the last primary from being promoted, and the only other node lacks what that one wrote.
#[test]
fn who_was_struck_off_stands_when_it_can_fetch_what_it_lacks_from_the_last_primary() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    let standby = &standbys[0];
    go_on_without(&primary, standby);
    last_primary_is_demoted(&primary);
    cluster.attributes.set_score("srv1", "1");
    standby.run_as_standby();
    // The last primary's instance does not run.
    monitored(standby, 3);
    assert_eq!(cluster.attributes.scores(), format!("srv1=1 srv2={NEVER}"));
    cluster.attributes.set_running(&["srv1", "srv2"]);
    // It lacks something itself.
    cluster.attributes.set_permanent("srv1", "lacks", "1 1 0/3000000 20261124T080000Z it was away");
    monitored(standby, 1);
    assert_eq!(cluster.attributes.scores(), format!("srv1=1 srv2={NEVER}"));
    cluster.attributes.set_permanent("srv1", "lacks", "");
    monitored(standby, 1);
    assert_eq!(cluster.attributes.scores(), "srv1=1 srv2=1");
    let promotion = Promotion::new(standby, &["srv1", "srv2"]);
    for scores in [format!("srv1={ELECTED} srv2=1"), format!("srv1={ELECTED} srv2=1")] {
        promotion.announce(&[&primary, standby]);
        assert_eq!(cluster.attributes.scores(), scores);
    }
    let promoted = promotion.promote().expect_code(0);
    assert_eq!(promoted.logged("has all that srv1 has"), 1, "{promoted:#?}");
    assert_eq!(standby.sql("select count(*) from late"), "1");
}

/// The last primary is lost after the other one has stood for election.
#[test]
fn who_was_struck_off_and_stands_is_not_promoted_without_what_it_lacks() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    let standby = &standbys[0];
    go_on_without(&primary, standby);
    last_primary_is_demoted(&primary);
    standby.run_as_standby();
    cluster.attributes.set_running(&["srv1", "srv2"]);
    monitored(standby, 3);
    assert!(cluster.attributes.scores().ends_with("srv2=1"), "{}", cluster.attributes.scores());
    primary.crash();
    cluster.attributes.lose_all_of("srv1");
    cluster.attributes.set_running(&["srv2"]);
    expect_refused(standby, &["srv2"]);
    monitored(standby, 3);
    assert!(cluster.attributes.scores().ends_with(NEVER), "{}", cluster.attributes.scores());
}

#[test]
fn of_two_that_were_struck_off_neither_is_promoted_by_itself() {
    let (cluster, primary, standbys) = replicating(&["srv2", "srv3"]);
    for standby in &standbys {
        cluster.attributes.set_permanent(&standby.name, "lacks", "1 1 0/3000000 20261124T080000Z it was away");
    }
    primary.crash();
    cluster.take_address_away();
    let promotion = Promotion::new(&standbys[0], &["srv2", "srv3"]);
    promotion.announce(&[&standbys[0], &standbys[1]]);
    promotion.promote().expect_code(1).expect_reason("srv2 is not promoted: it lacks");
    cluster.attributes.set_permanent("srv3", "lacks", "");
    promotion.announce(&[&standbys[0], &standbys[1]]);
    promotion.promote().expect_code(0);
}

/// What a later version writes, or a person by hand.
#[test]
fn a_strike_that_cannot_be_read_is_one() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    cluster.attributes.set_permanent("srv2", "lacks", "true");
    primary.crash();
    expect_refused(&standbys[0], &["srv2"]);
}

/// Two nodes and a quorum device: srv2 was off for days, srv1 lost its power, and srv2 boots with the device's vote. Its
/// configuration is the one of the day on which it left.
#[test]
fn a_node_that_boots_alone_is_not_promoted_by_itself() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    standbys[0].crash();
    primary.crash();
    cluster.take_address_away();
    for node in ["srv1", "srv2"] {
        cluster.attributes.lose_all_of(node);
    }
    cluster.attributes.set_promoted(&[]);
    cluster.attributes.set_present(&["srv2"]);
    let started = standbys[0].call("start").run().expect_code(0);
    assert_eq!(started.logged("srv2 came back without srv1, the last primary that it knows"), 1, "{started:#?}");
    assert_eq!(cluster.attributes.scores(), format!("srv2={NEVER}"));
    assert!(cluster.attributes.permanent("srv2", "lacks").starts_with("1 - - "));
    expect_refused(&standbys[0], &["srv2"]);
    cluster.attributes.set_permanent("srv2", "lacks", "");
    // A restart is not a return.
    for action in ["stop", "start"] {
        standbys[0].call(action).run().expect_code(0);
    }
    assert_eq!(cluster.attributes.permanent("srv2", "lacks"), "");
    assert_eq!(cluster.attributes.scores(), "srv2=1");
}

#[test]
fn the_last_primary_that_boots_alone_may_have_been_replaced() {
    for struck in [false, true] {
        let (cluster, primary, standbys) = replicating(&["srv2"]);
        if struck {
            go_on_without(&primary, &standbys[0]);
        }
        primary.crash();
        for node in ["srv1", "srv2"] {
            cluster.attributes.lose_all_of(node);
        }
        cluster.attributes.set_present(&["srv1"]);
        primary.call("start").run().expect_code(0);
        let expected = if struck { "srv1=1".to_owned() } else { format!("srv1={NEVER}") };
        assert_eq!(cluster.attributes.scores(), expected, "srv2 struck off: {struck}");
    }
}

/// The loss of a node's peer does not make it one that came back.
#[test]
fn a_node_that_stayed_is_promoted_alone() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    standbys[0].stop_fast();
    standbys[0].call("start").run().expect_code(0);
    primary.await_streaming("srv2");
    primary.crash();
    cluster.attributes.lose_all_of("srv1");
    cluster.attributes.set_present(&["srv2"]);
    cluster.attributes.set_score("srv2", "");
    for action in ["stop", "start"] {
        standbys[0].call(action).run().expect_code(0);
    }
    assert_eq!(cluster.attributes.scores(), "srv2=1");
    let promotion = Promotion::new(&standbys[0], &["srv2"]);
    promotion.announce(&[&standbys[0]]);
    promotion.promote().expect_code(0);
}

/// After an upgrade of the agent in place, or a restart of Pacemaker beside running instances, no start says so.
#[test]
fn so_is_one_whose_instance_was_running_when_the_agent_came() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    standbys[0].call("monitor").run().expect_code(0);
    primary.crash();
    cluster.attributes.lose_all_of("srv1");
    cluster.attributes.set_present(&["srv2"]);
    cluster.attributes.set_score("srv2", "");
    cluster.take_address_away();
    monitored(&standbys[0], 3);
    assert_eq!(cluster.attributes.permanent("srv2", "lacks"), "");
    assert_eq!(cluster.attributes.scores(), "srv2=1");
}

/// The same primary, and its standby's node was lost first.
#[test]
fn a_primary_that_was_running_when_the_agent_came_is_promoted_again() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    standbys[0].crash();
    cluster.attributes.lose_all_of("srv2");
    cluster.attributes.set_present(&["srv1"]);
    primary.crash();
    primary.call("start").run().expect_code(0);
    assert_eq!(cluster.attributes.permanent("srv1", "lacks"), "");
    assert_eq!(cluster.attributes.scores(), "srv1=1001");
}

/// Nobody tells the agent that the attribute daemon was killed: a probe does, or that what the node shows is gone.
#[test]
fn that_a_node_is_here_is_told_once_and_again_when_it_is_lost() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    let here = || cluster.attributes.all(&format!("pgbaton-{}-here", cluster.resource));
    for (node, code) in [(&primary, 8), (&standbys[0], 0)] {
        for _ in 0..2 {
            node.call("monitor").run().expect_code(code);
        }
        cluster.attributes.take_calls();
        node.call("monitor").run().expect_code(code);
        let calls = cluster.attributes.take_calls();
        assert!(!calls.iter().any(|call| call.contains("-here]")), "{calls:?}");
    }
    assert_eq!(here().into_keys().collect::<Vec<_>>(), ["srv1", "srv2"]);
    for node in ["srv1", "srv2"] {
        cluster.attributes.lose_all_of(node);
    }
    primary.call("monitor").meta("interval", "0").run().expect_code(8);
    change_notes(&standbys[0], |notes| notes["state_checked_ms"] = 0.into());
    for (node, code) in [(&primary, 8), (&standbys[0], 0)] {
        for _ in 0..2 {
            node.call("monitor").run().expect_code(code);
        }
    }
    assert_eq!(here().into_keys().collect::<Vec<_>>(), ["srv1", "srv2"]);
}

#[test]
fn with_a_majority_of_the_nodes_the_record_is_believed() {
    let (cluster, primary, standbys) = replicating(&["srv2", "srv3"]);
    primary.crash();
    for node in ["srv1", "srv2", "srv3"] {
        cluster.attributes.lose_all_of(node);
    }
    cluster.attributes.set_present(&["srv2", "srv3"]);
    cluster.take_address_away();
    for standby in &standbys {
        standby.stop_fast();
        standby.call("start").run().expect_code(0);
    }
    assert_eq!(cluster.attributes.scores(), "srv2=1 srv3=1");
}

/// What is not known may be that another node went on without this one.
#[test]
fn a_node_to_which_the_record_does_not_answer_does_not_stand_for_election() {
    let (cluster, primary, standbys) = replicating(&["srv2"]);
    let standby = &standbys[0];
    standby.stop_fast();
    primary.crash();
    for node in ["srv1", "srv2"] {
        cluster.attributes.lose_all_of(node);
    }
    standby.break_tool_when("cibadmin", "*");
    standby.call("start").timeout(60_000).run().expect_code(0);
    assert_eq!(cluster.attributes.scores(), format!("srv2={NEVER}"));
    assert!(cluster.attributes.all(&format!("pgbaton-{}-here", cluster.resource)).is_empty());
}
