//! The node that may be promoted fetches what the best one has more, and is promoted then. Its settings are afterwards what
//! they were, wherever the agent was killed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use support::at_once;
use support::cluster::Cluster;
use support::node::{Node, Seen, as_owner, run};
use support::processes::signal;
use support::transition::Promotion;
use support::volume::SmallVolume;
use support::wait_until;

/// A primary that died, srv2 with all that it had written, and srv3 without the last of it, which may be promoted.
struct Behind {
    cluster: Arc<Cluster>,
    best: Node,
    behind: Node,
    settings: String,
}

const ROWS: &str = "select count(*) from late";

fn settings_path(node: &Node) -> PathBuf {
    node.data.join("postgresql.auto.conf")
}

fn behind_by(rows: u32, settings: &str) -> Behind {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3"]);
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    let (behind, best) = (standbys.pop().unwrap(), standbys.pop().unwrap());
    for node in [&best, &behind] {
        cluster.attributes.set_address(&node.name, node.sockets.to_str().unwrap());
    }
    behind.stop_fast();
    primary.sql(&format!("create table late as select generate_series(1, {rows}) as row"));
    primary.await_streaming("srv2");
    primary.crash();
    cluster.take_address_away();
    behind.configure(settings);
    behind.run_as_standby();
    let settings = fs::read_to_string(settings_path(&behind)).unwrap();
    Behind { cluster, best, behind, settings }
}

impl Behind {
    /// Pacemaker picks srv3 although the scores prefer srv2.
    fn insist(&self) -> Promotion<'_> {
        let promotion = Promotion::new(&self.behind, &["srv2", "srv3"]);
        promotion.announce(&[&self.best, &self.behind]);
        assert_eq!(self.cluster.attributes.scores(), "srv2=1002 srv3=1");
        let again = promotion.announce(&[&self.best, &self.behind]);
        assert!(again.iter().any(|answer| answer.logged("fetching what is missing from it") > 0), "{again:#?}");
        assert_eq!(self.cluster.attributes.scores(), "srv2=1002 srv3=1", "it is not excluded");
        promotion
    }

    fn assert_settings_are_back(&self) {
        assert_eq!(fs::read_to_string(settings_path(&self.behind)).unwrap(), self.settings);
        assert!(!self.marker().exists(), "the marker is left");
        let now = "select setting from pg_settings where name = 'primary_conninfo'";
        wait_until("the server knows", || self.settings.contains(&self.behind.sql(now)));
    }

    fn marker(&self) -> PathBuf {
        self.behind.data.with_file_name("data.catchup")
    }
}

#[test]
fn what_is_missing_is_fetched_from_the_node_that_may_not_be_promoted() {
    let case = behind_by(100_000, "");
    case.insist().promote().expect_code(0);
    assert_eq!(case.behind.seen(), Seen::Primary);
    assert_eq!(case.behind.sql(ROWS), "100000");
    case.assert_settings_are_back();
    case.cluster.move_address_to(&case.behind);
    case.behind.await_streaming("srv2");
}

#[test]
fn a_promotion_that_pacemaker_did_not_give_up_in_time_fetches_and_does_not_fail() {
    let case = behind_by(1000, "");
    let promotion = Promotion::new(&case.behind, &["srv2", "srv3"]);
    promotion.announce(&[&case.best, &case.behind]);
    promotion.promote().expect_code(0);
    assert_eq!(case.behind.sql(ROWS), "1000");
    case.assert_settings_are_back();
}

#[test]
fn a_delay_a_slot_or_a_pause_of_the_candidate_does_not_keep_it_from_fetching() {
    let settings = ["recovery_min_apply_delay = '1h'", "primary_slot_name = 'missing'", "work_mem = '5MB'"];
    at_once(&settings, |setting| {
        let case = behind_by(1000, setting);
        if setting.contains("work_mem") {
            case.behind.sql("select pg_wal_replay_pause()");
        }
        case.insist().promote().expect_code(0);
        assert_eq!(case.behind.sql(ROWS), "1000", "{setting}");
        case.assert_settings_are_back();
    });
}

/// Should it not get there, whoever is promoted next has to have what it fetched.
#[test]
fn what_was_fetched_is_told_before_the_promotion() {
    let case = behind_by(1000, "");
    let promotion = case.insist();
    let vote_of = |node: &str| case.cluster.attributes.paper(node);
    let (best, behind) = (vote_of("srv2"), vote_of("srv3"));
    assert_ne!(best, behind);
    case.cluster.attributes.take_calls();
    promotion.promote().expect_code(0);
    let calls = case.cluster.attributes.take_calls();
    let tells = |call: &String| call.starts_with("srv3 attrd_updater") && call.contains(&format!("[-U] [{best}]"));
    let told = calls.iter().position(tells);
    let discarded = calls.iter().position(|call| call.contains("[-D]"));
    assert!(told.is_some() && told < discarded, "{calls:#?}");
}

/// What the best has replayed nothing of, and would not for an hour.
#[test]
fn what_the_best_delays_is_fetched_too() {
    let case = behind_by(1000, "");
    case.best.sql("alter system set recovery_min_apply_delay = '1h'");
    case.best.sql("select pg_reload_conf()");
    case.insist().promote().expect_code(0);
    assert_eq!(case.behind.sql(ROWS), "1000");
}

#[test]
fn the_settings_are_back_wherever_the_promotion_was_killed() {
    at_once(&[100, 200, 300, 450, 600, 800], |ms| {
        let case = behind_by(200_000, "");
        let promotion = case.insist();
        // The best does not send: so the fetch lasts.
        let postmaster = case.best.postmaster().unwrap();
        signal(postmaster, Signal::SIGSTOP);
        let flight = promotion.begin();
        std::thread::sleep(Duration::from_millis(*ms));
        flight.kill();
        signal(postmaster, Signal::SIGCONT);
        case.behind.call("monitor").run().expect_code(0);
        case.assert_settings_are_back();
        promotion.announce(&[&case.best, &case.behind]);
        promotion.promote().expect_code(0);
        assert_eq!(case.behind.sql(ROWS), "200000", "killed after {ms} ms");
        case.assert_settings_are_back();
    });
}

#[test]
fn every_action_takes_back_what_a_killed_promotion_has_left() {
    for action in ["start", "monitor", "promote", "demote"] {
        let case = behind_by(1000, "");
        let promotion = case.insist();
        signal(case.best.postmaster().unwrap(), Signal::SIGSTOP);
        let flight = promotion.begin();
        wait_until("it is under way", || case.marker().exists());
        wait_until("the settings", || fs::read_to_string(settings_path(&case.behind)).unwrap() != case.settings);
        // Somebody at work is left alone.
        case.behind.call("monitor").run().expect_code(0);
        assert!(case.marker().exists());
        flight.kill();
        signal(case.best.postmaster().unwrap(), Signal::SIGCONT);
        if action == "start" {
            case.behind.crash();
        }
        let answer = case.behind.call(action).run();
        assert_eq!(answer.logged("took back the settings"), 1, "{answer:#?}");
        case.assert_settings_are_back();
    }
}

#[test]
fn a_setting_of_an_administrator_made_meanwhile_stays() {
    let case = behind_by(1000, "");
    let promotion = case.insist();
    signal(case.best.postmaster().unwrap(), Signal::SIGSTOP);
    let flight = promotion.begin();
    wait_until("the settings", || fs::read_to_string(settings_path(&case.behind)).unwrap() != case.settings);
    case.behind.sql("alter system set work_mem = '7MB'");
    flight.kill();
    signal(case.best.postmaster().unwrap(), Signal::SIGCONT);
    case.behind.call("monitor").run().expect_code(0);
    let settings = fs::read_to_string(settings_path(&case.behind)).unwrap();
    assert!(settings.contains("work_mem = '7MB'") && settings.contains("application_name=srv3"), "{settings}");
    assert_eq!(settings.matches("primary_conninfo").count(), 1, "{settings}");
    assert!(!settings.contains("recovery_min_apply_delay"), "{settings}");
}

#[test]
fn a_best_node_that_is_lost_meanwhile_is_not_waited_for() {
    let case = behind_by(200_000, "");
    let promotion = case.insist();
    signal(case.best.postmaster().unwrap(), Signal::SIGSTOP);
    let flight = promotion.begin();
    wait_until("it is under way", || case.marker().exists());
    case.cluster.attributes.lose("srv2");
    let promoted = flight.finish().expect_code(0);
    assert_eq!(promoted.logged("srv2 has left while its WAL was fetched"), 1, "{promoted:#?}");
    assert_eq!(case.behind.seen(), Seen::Primary);
    case.assert_settings_are_back();
}

/// Another node's election takes the votes away, or the attribute daemon has lost them: what it has is within reach.
#[test]
fn a_best_node_whose_vote_is_gone_and_that_is_there_is_not_passed_over() {
    let case = behind_by(1000, "");
    let promotion = case.insist();
    signal(case.best.postmaster().unwrap(), Signal::SIGSTOP);
    let flight = promotion.begin();
    wait_until("it is under way", || case.marker().exists());
    case.cluster.attributes.set_paper("srv2", "");
    flight.finish().expect_code(1).expect_reason("srv2 is in the cluster, and its position is no longer told");
    assert_eq!(case.behind.seen(), Seen::Standby);
    case.assert_settings_are_back();
    signal(case.best.postmaster().unwrap(), Signal::SIGCONT);
    promotion.announce(&[&case.best, &case.behind]);
    promotion.promote().expect_code(0);
    assert_eq!(case.behind.sql(ROWS), "1000");
}

#[test]
fn a_best_node_that_refuses_is_named_with_the_cure_and_the_candidate_is_not_promoted() {
    let case = behind_by(1000, "");
    case.best.write("pg_hba.conf", "local replication all reject\nlocal all all trust\n");
    case.best.sql("select pg_reload_conf()");
    let refused = case.insist().promote().expect_code(1);
    let refused = refused.expect_reason("it does not stream from srv2");
    refused.expect_reason("pg_hba.conf of srv2");
    assert_eq!(case.behind.seen(), Seen::Standby);
    case.assert_settings_are_back();
}

#[test]
fn a_connection_string_on_the_command_line_is_said_to_be_in_the_way() {
    let case = behind_by(1000, "");
    case.behind.stop_fast();
    case.behind.write("standby.signal", "");
    let options = "-c primary_conninfo='host=/nowhere application_name=srv3'";
    run(as_owner("pg_ctl")
        .args(["start", "--no-wait", "--silent", "-l", "/dev/null", "-o", options, "-D"])
        .arg(&case.behind.data));
    case.behind.await_seen(Seen::Standby);
    case.insist().promote().expect_code(1).expect_reason("take it out of start_opts");
    assert_eq!(case.behind.seen(), Seen::Standby);
}

/// Nobody but the full node has received the last rows.
#[test]
fn a_node_without_room_for_the_promotion_lets_another_one_fetch_what_it_has() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3"]);
    let primary = cluster.node("srv1");
    primary.run_as_primary();
    cluster.move_address_to(&primary);
    let (full, other) = (cluster.backup_of(&primary, "srv2"), cluster.backup_of(&primary, "srv3"));
    let volume = SmallVolume::under_the_wal_of(&full, "256m");
    for node in [&full, &other] {
        cluster.attributes.set_address(&node.name, node.sockets.to_str().unwrap());
        node.run_as_standby();
        primary.await_streaming(&node.name);
    }
    other.stop_fast();
    primary.sql("create table late as select generate_series(1, 1000) as row");
    primary.await_streaming("srv2");
    primary.crash();
    cluster.take_address_away();
    other.run_as_standby();
    volume.fill_up_to("8");
    let first = Promotion::new(&full, &["srv2", "srv3"]);
    first.announce(&[&full, &other]);
    assert_eq!(cluster.attributes.scores(), "srv2=1 srv3=1002");
    let second = Promotion::new(&other, &["srv2", "srv3"]);
    second.announce(&[&full, &other]);
    second.promote().expect_code(0);
    assert_eq!(other.sql(ROWS), "1000");
}
