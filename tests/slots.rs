//! The replication slots that the agent keeps: who gets one, who uses it, how far it moves, when it goes, and that no
//! other slot is touched.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use support::agent::Answer;
use support::cluster::Cluster;
use support::node::Node;
use support::trace::executed_by;
use support::transition::Promotion;
use support::volume::SmallVolume;
use support::wait_until;

const ALL: &str = "select coalesce(string_agg(slot_name, ' ' order by slot_name), '') from pg_replication_slots";
const ACTIVE: &str =
    "select coalesce(string_agg(slot_name, ' ' order by slot_name), '') from pg_replication_slots where active";
const NAME: &str = "select current_setting('primary_slot_name')";

/// srv1 is the primary of three nodes; srv4 is a node of the cluster without an instance.
fn replicating() -> (Arc<Cluster>, Node, Vec<Node>) {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3", "srv4"]);
    let (primary, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    (cluster, primary, standbys)
}

fn monitor(node: &Node, slots: &str) -> Answer {
    let answer = node.call("monitor").parameter("slots", slots).run();
    assert!([0, 8].contains(&answer.code), "{answer:#?}");
    answer
}

/// All nodes have slots, and the standbys use theirs.
fn with_slots() -> (Arc<Cluster>, Node, Vec<Node>) {
    let (cluster, primary, standbys) = replicating();
    monitor(&primary, "yes");
    for standby in &standbys {
        monitor(standby, "yes");
    }
    wait_until("the slots are in use", || primary.sql(ACTIVE) == "pgbaton_srv2 pgbaton_srv3");
    (cluster, primary, standbys)
}

fn notes_of(node: &Node) -> PathBuf {
    node.data.with_file_name("run").join(format!("pgbaton-{}.json", node.cluster.resource))
}

/// As if the note had been made at boot.
/// An hour before the machine's boot, in the notes' milliseconds: a test asks nobody how long the machine has been up.
const LONG_AGO: i64 = -3_600_000;

fn backdate(node: &Node, note: &str, value: serde_json::Value) {
    let text = fs::read_to_string(notes_of(node)).unwrap();
    let mut notes: serde_json::Value = serde_json::from_str(&text).unwrap();
    notes["slots"][note] = value;
    fs::write(notes_of(node), notes.to_string()).unwrap();
}

fn set(node: &Node, setting: &str) {
    node.sql(&format!("alter system set {setting}"));
    node.sql("select pg_reload_conf()");
    let (name, value) = setting.split_once(" = ").unwrap();
    let shown = format!("select current_setting('{name}')");
    wait_until(setting, || node.sql(&shown) == value.trim_matches('\''));
}

/// Fills WAL segments.
fn write_segments(primary: &Node, count: usize) {
    for _ in 0..count {
        primary.sql("select pg_logical_emit_message(true, 'test', 'x')");
        primary.sql("select pg_switch_wal()");
    }
}

fn restart(node: &Node, slot: &str) -> String {
    node.sql(&format!("select restart_lsn from pg_replication_slots where slot_name = '{slot}'"))
}

fn segments_behind(standby: &Node, slot: &str) -> i64 {
    let query = format!(
        "select ((pg_last_wal_replay_lsn() - restart_lsn) / 16777216)::bigint from pg_replication_slots where slot_name = '{slot}'"
    );
    standby.sql(&query).parse().unwrap()
}

#[test]
fn every_other_instance_gets_a_slot_on_every_node_and_uses_the_primarys() {
    let (cluster, primary, standbys) = with_slots();
    assert_eq!(primary.sql(ALL), "pgbaton_srv2 pgbaton_srv3");
    assert_eq!(standbys[0].sql(ALL), "pgbaton_srv1 pgbaton_srv3");
    assert_eq!(standbys[1].sql(ALL), "pgbaton_srv1 pgbaton_srv2");
    assert_eq!(standbys[0].sql(NAME), "pgbaton_srv2");
    assert_eq!(cluster.attributes.hold("srv1"), "srv2=- srv3=-");
    assert_eq!(primary.sql("select count(*) from pg_replication_slots where restart_lsn is null"), "0");
}

/// PostgreSQL shows 63 bytes of its name. Its slot has another one, and moves while it streams without.
#[test]
fn the_slot_of_a_node_with_a_long_name_moves_with_it() {
    let cluster = Cluster::new();
    let long = "standby-with-a-long-name.in-a-long-department.of-a-long.example.org";
    cluster.attributes.set_members(&["srv1", long]);
    cluster.attributes.set_score(long, "1000");
    let primary = cluster.node("srv1");
    primary.run_as_primary();
    cluster.move_address_to(&primary);
    let standby = cluster.backup_of(&primary, long);
    standby.run_as_standby();
    primary.await_streaming(&long[..63]);
    monitor(&primary, "yes");
    let slot = primary.sql(ALL);
    assert!(slot.starts_with("pgbaton_standby"), "{slot}");
    let made = restart(&primary, &slot);
    write_segments(&primary, 3);
    let end = primary.sql("select pg_current_wal_flush_lsn()");
    let flushed = format!("select count(*) from pg_stat_replication where flush_lsn >= '{end}'");
    wait_until("all is received", || primary.sql(&flushed) == "1");
    monitor(&primary, "yes");
    assert_ne!(restart(&primary, &slot), made);
}

#[test]
fn a_steady_monitor_with_slots_executes_at_most_one_program_on_a_primary_and_none_on_a_standby() {
    let (_cluster, primary, standbys) = with_slots();
    for standby in &standbys {
        primary.await_streaming(&standby.name);
    }
    monitor(&primary, "yes");
    for standby in &standbys {
        monitor(standby, "yes");
        let call = standby.call("monitor").parameter("slots", "yes");
        assert_eq!(executed_by(call.command()), [""; 0]);
    }
    let executed = executed_by(primary.call("monitor").parameter("slots", "yes").command());
    assert!(executed.len() <= 1, "{executed:?}");
}

#[test]
fn auto_uses_slots_only_where_their_size_is_bounded() {
    let (cluster, primary, standbys) = replicating();
    monitor(&primary, "auto");
    monitor(&standbys[0], "auto");
    assert_eq!((primary.sql(ALL).as_str(), cluster.attributes.hold("srv1").as_str()), ("", ""));
    for node in [&primary, &standbys[0]] {
        set(node, "max_slot_wal_keep_size = '1GB'");
        monitor(node, "auto");
    }
    wait_until("the slot is in use", || primary.sql(ACTIVE) == "pgbaton_srv2");
}

#[test]
fn a_slot_that_the_administrator_has_named_is_left_alone() {
    let (_cluster, primary, standbys) = replicating();
    primary.sql("select pg_create_physical_replication_slot('mine')");
    set(&standbys[0], "primary_slot_name = 'mine'");
    for slots in ["yes", "no"] {
        monitor(&primary, slots);
        monitor(&standbys[0], slots);
        assert_eq!(standbys[0].sql(NAME), "mine");
        assert!(primary.sql(ALL).contains("mine"));
    }
}

#[test]
fn a_standby_asks_for_no_slot_that_is_not_there() {
    let (cluster, primary, standbys) = replicating();
    monitor(&standbys[0], "yes");
    assert_eq!(standbys[0].sql(NAME), "");
    cluster.attributes.take_calls();
    monitor(&standbys[0], "yes");
    assert_eq!(about_slots(&cluster), [""; 0]);
    monitor(&primary, "yes");
    standbys[0].call("notify").meta("notify_type", "post").meta("notify_operation", "promote").run().expect_code(0);
    monitor(&standbys[0], "yes");
    wait_until("the slot is in use", || primary.sql(ACTIVE) == "pgbaton_srv2");
}

#[test]
fn the_name_in_copied_files_is_corrected() {
    let (_cluster, primary, standbys) = with_slots();
    set(&standbys[0], "primary_slot_name = 'pgbaton_srv3'");
    backdate(&standbys[0], "name_asked_ms", serde_json::Value::Null);
    monitor(&standbys[0], "yes");
    wait_until("its own name", || standbys[0].sql(NAME) == "pgbaton_srv2");
    wait_until("the slots are in use", || primary.sql(ACTIVE) == "pgbaton_srv2 pgbaton_srv3");
}

#[test]
fn a_standby_that_cannot_stream_for_want_of_its_slot_streams_without() {
    let (cluster, primary, standbys) = with_slots();
    let of_slot = "from pg_replication_slots where slot_name = 'pgbaton_srv2'";
    cluster.take_address_away();
    primary.sql(&format!("select pg_terminate_backend(active_pid) {of_slot}"));
    wait_until("the slot is gone", || {
        primary.sql(&format!("select pg_drop_replication_slot(slot_name) {of_slot} and not active"));
        primary.sql(ALL) == "pgbaton_srv3"
    });
    cluster.move_address_to(&primary);
    cluster.attributes.set_hold("srv1", "srv3=-");
    monitor(&standbys[0], "yes");
    assert_eq!(standbys[0].sql(NAME), "pgbaton_srv2");
    // For the moment between its connection and the refusal, a receiver counts as streaming.
    wait_until("the name is taken back", || {
        backdate(&standbys[0], "unfed_since_ms", LONG_AGO.into());
        backdate(&standbys[0], "name_asked_ms", serde_json::Value::Null);
        monitor(&standbys[0], "yes");
        standbys[0].sql(NAME).is_empty()
    });
    primary.await_streaming("srv2");
}

#[test]
fn no_takes_back_what_the_agent_made_and_nothing_else() {
    let (cluster, primary, standbys) = with_slots();
    primary.sql("select pg_create_physical_replication_slot('mine')");
    monitor(&primary, "no");
    assert_eq!(primary.sql(ALL), "mine pgbaton_srv2 pgbaton_srv3");
    assert_eq!(cluster.attributes.hold("srv1"), "");
    for standby in &standbys {
        monitor(standby, "no");
        wait_until("the name is taken back", || standby.sql(NAME).is_empty());
        assert_eq!(standby.sql(ALL), "");
        primary.await_streaming(&standby.name);
    }
    wait_until("the slots are idle", || primary.sql(ACTIVE).is_empty());
    monitor(&primary, "no");
    assert_eq!(primary.sql(ALL), "mine");
}

#[test]
fn a_standby_moves_the_others_slots_as_far_as_the_primary_allows() {
    let (cluster, primary, standbys) = with_slots();
    let standby = &standbys[0];
    let hold = cluster.attributes.hold("srv1");
    let mut looks = 0;
    for _ in 0..4 {
        write_segments(&primary, 5);
        primary.await_streaming("srv2");
        cluster.attributes.take_calls();
        monitor(standby, "yes");
        looks += about_slots(&cluster).len();
    }
    assert_eq!(looks, 4);
    assert!(
        (7..=8).contains(&segments_behind(standby, "pgbaton_srv3")),
        "{}",
        segments_behind(standby, "pgbaton_srv3")
    );
    let held = restart(standby, "pgbaton_srv3");
    cluster.attributes.set_hold("srv1", &format!("srv2=- srv3={held}"));
    write_segments(&primary, 5);
    primary.await_streaming("srv2");
    monitor(standby, "yes");
    assert_eq!(restart(standby, "pgbaton_srv3"), held);
    assert!(segments_behind(standby, "pgbaton_srv1") < 9);
    for unusable in ["", "nonsense"] {
        cluster.attributes.set_hold("srv1", unusable);
        write_segments(&primary, 5);
        primary.await_streaming("srv2");
        let before = restart(standby, "pgbaton_srv1");
        monitor(standby, "yes");
        assert_eq!(restart(standby, "pgbaton_srv1"), before);
    }
    cluster.attributes.set_hold("srv1", &hold);
    cluster.attributes.set_hold("srv3", &hold);
    backdate(standby, "look_failed_ms", serde_json::Value::Null);
    let before = restart(standby, "pgbaton_srv1");
    monitor(standby, "yes");
    assert_eq!(restart(standby, "pgbaton_srv1"), before, "two nodes have a word");
}

#[test]
fn the_primary_tells_rarely_who_is_away() {
    let (cluster, primary, standbys) = with_slots();
    standbys[1].crash();
    wait_until("its sender's end", || primary.sql("select count(*) from pg_stat_replication") == "1");
    wait_until("the slot is idle", || primary.sql(ACTIVE) == "pgbaton_srv2");
    monitor(&primary, "yes");
    let position = restart(&primary, "pgbaton_srv3");
    assert_eq!(cluster.attributes.hold("srv1"), format!("srv2=- srv3={position}"));
    write_segments(&primary, 5);
    primary.await_streaming("srv2");
    cluster.attributes.take_calls();
    monitor(&primary, "yes");
    assert_eq!(cluster.attributes.take_calls().iter().filter(|call| call.contains("-hold]")).count(), 0);
    assert_eq!(restart(&primary, "pgbaton_srv3"), position);
}

#[test]
fn what_the_primary_published_goes_with_its_role() {
    for (action, code) in [("demote", 0), ("stop", 0)] {
        let (cluster, primary, _standbys) = with_slots();
        assert!(!cluster.attributes.hold("srv1").is_empty());
        primary.call(action).parameter("slots", "yes").run().expect_code(code);
        assert_eq!(cluster.attributes.hold("srv1"), "", "{action}");
    }
    let (cluster, primary, _standbys) = with_slots();
    primary.crash();
    primary.call("stop").run().expect_code(0);
    assert_eq!(cluster.attributes.hold("srv1"), "");
}

#[test]
fn a_new_primary_has_the_slots_of_all_others() {
    let (_cluster, primary, standbys) = with_slots();
    write_segments(&primary, 3);
    primary.await_streaming("srv2");
    primary.crash();
    let promotion = Promotion::new(&standbys[0], &["srv2", "srv3"]);
    promotion.announce(&[&standbys[0], &standbys[1]]);
    promotion.promote().expect_code(0);
    standbys[0].cluster.move_address_to(&standbys[0]);
    wait_until("srv3 uses its slot", || standbys[0].sql(ACTIVE) == "pgbaton_srv3");
    monitor(&standbys[0], "yes");
    assert_eq!(standbys[0].sql(ALL), "pgbaton_srv1 pgbaton_srv3");
    assert!(standbys[0].cluster.attributes.hold("srv2").starts_with("srv1="));
}

#[test]
fn a_slot_that_the_server_invalidated_is_made_anew() {
    let (_cluster, primary, standbys) = with_slots();
    standbys[1].crash();
    wait_until("the slot is idle", || primary.sql(ACTIVE) == "pgbaton_srv2");
    for setting in ["wal_keep_size = '0'", "max_slot_wal_keep_size = '16MB'"] {
        set(&primary, setting);
    }
    write_segments(&primary, 4);
    primary.sql("checkpoint");
    let status = "select wal_status from pg_replication_slots where slot_name = 'pgbaton_srv3'";
    assert_eq!(primary.sql(status), "lost");
    monitor(&primary, "auto");
    assert_eq!(primary.sql(status), "reserved");
}

#[test]
fn the_slot_of_a_node_that_left_the_cluster_goes_after_a_while() {
    let (cluster, primary, standbys) = with_slots();
    standbys[1].crash();
    wait_until("the slot is idle", || primary.sql(ACTIVE) == "pgbaton_srv2");
    cluster.attributes.set_members(&["srv1", "srv2", "srv4"]);
    cluster.attributes.set_score("srv3", "");
    for node in [&primary, &standbys[0]] {
        node.call("notify").meta("notify_type", "post").meta("notify_operation", "stop").run().expect_code(0);
        monitor(node, "yes");
        assert!(node.sql(ALL).contains("pgbaton_srv3"));
        backdate(node, "left", serde_json::json!({"pgbaton_srv3": LONG_AGO}));
        let answer = monitor(node, "yes");
        assert!(!node.sql(ALL).contains("pgbaton_srv3"), "{answer:#?}");
    }
    assert_eq!(primary.sql(ALL), "pgbaton_srv2");
}

#[test]
fn what_the_role_may_not_is_told_once_and_fails_nothing() {
    let (cluster, primary, standbys) = replicating();
    primary.sql("create role watcher login; grant pg_monitor to watcher");
    primary.await_streaming("srv2");
    let watch = |node: &Node| node.call("monitor").parameter("slots", "yes").parameter("pguser", "watcher").run();
    let answer = watch(&primary).expect_code(8);
    assert_eq!(answer.logged("cannot create the replication slot pgbaton_srv2"), 1, "{answer:#?}");
    assert_eq!(answer.logged("REPLICATION"), 2, "{answer:#?}");
    assert_eq!(watch(&primary).expect_code(8).logged("cannot"), 0);
    cluster.attributes.set_hold("srv1", "srv2=-");
    let answer = watch(&standbys[0]).expect_code(0);
    assert_eq!(answer.logged("cannot set primary_slot_name"), 1, "{answer:#?}");
    assert_eq!(watch(&standbys[0]).expect_code(0).logged("cannot"), 0);
}

#[test]
fn a_cluster_that_does_not_answer_fails_nothing() {
    let (cluster, primary, standbys) = with_slots();
    write_segments(&primary, 5);
    primary.await_streaming("srv2");
    cluster.attributes.break_down();
    let answer = monitor(&standbys[0], "yes");
    assert_eq!(answer.logged("cannot read what the primary published"), 1, "{answer:#?}");
    assert_eq!(monitor(&standbys[0], "yes").logged("cannot"), 0);
    monitor(&primary, "yes");
    assert_eq!(primary.sql(ACTIVE), "pgbaton_srv2 pgbaton_srv3");
}

#[test]
fn a_slip_in_the_parameter_is_told_once_and_changes_nothing() {
    let (_cluster, primary, _standbys) = with_slots();
    assert_eq!(monitor(&primary, "perhaps").logged("parameter slots is 'perhaps'"), 1);
    assert_eq!(monitor(&primary, "perhaps").logged("parameter slots"), 0);
    assert_eq!(primary.sql(ACTIVE), "pgbaton_srv2 pgbaton_srv3");
}

#[test]
fn an_unbounded_slot_is_given_up_before_it_fills_the_volume() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    cluster.attributes.set_score("srv2", "1000");
    let primary = cluster.node("srv1");
    let volume = SmallVolume::under_the_wal_of(&primary, "1024m");
    primary.configure("wal_keep_size = 0\nmin_wal_size = '32MB'");
    primary.run_as_primary();
    primary.sql("select pg_create_physical_replication_slot('mine', true)");
    monitor(&primary, "yes");
    assert_eq!(primary.sql(ALL), "mine pgbaton_srv2");
    write_segments(&primary, 3);
    volume.fill_up_to("100");
    let answer = monitor(&primary, "yes");
    assert_eq!(answer.logged("gave up the replication slot pgbaton_srv2"), 1, "{answer:#?}");
    assert_eq!(primary.sql(ALL), "mine");
    volume.fill_up_to("200");
    monitor(&primary, "yes");
    assert_eq!(primary.sql(ALL), "mine", "there is not enough room for another one");
    volume.fill_up_to("300");
    monitor(&primary, "yes");
    assert_eq!(primary.sql(ALL), "mine pgbaton_srv2");
}

#[test]
fn an_active_slot_that_fills_the_volume_is_taken_from_its_user() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let primary = cluster.node("srv1");
    let volume = SmallVolume::under_the_wal_of(&primary, "1024m");
    primary.configure("wal_keep_size = 0\nmin_wal_size = '32MB'\nwal_sender_timeout = 0");
    primary.run_as_primary();
    cluster.move_address_to(&primary);
    let standby = cluster.backup_of(&primary, "srv2");
    standby.run_as_standby();
    primary.await_streaming("srv2");
    monitor(&primary, "yes");
    monitor(&standby, "yes");
    wait_until("the slot is in use", || primary.sql(ACTIVE) == "pgbaton_srv2");
    let receiver = support::processes::await_titled(&standby.data, "postgres: walreceiver");
    support::processes::signal(receiver, nix::sys::signal::Signal::SIGSTOP);
    write_segments(&primary, 10);
    volume.fill_up_to("100");
    let answer = monitor(&primary, "yes");
    assert_eq!(answer.logged("gave up the replication slot pgbaton_srv2"), 1, "{answer:#?}");
    assert_eq!(primary.sql(ALL), "");
}

#[test]
fn validation_tells_where_slots_are_not_bounded() {
    let node = Cluster::new().node("srv1");
    let told = |slots: &str| node.call("validate-all").parameter("slots", slots).run().expect_code(0).stdout;
    assert!(told("auto").contains("max_slot_wal_keep_size is -1"));
    assert!(told("yes").contains("given up"));
    assert_eq!(told("no"), "");
    node.configure("max_slot_wal_keep_size = '1GB'");
    assert_eq!(told("auto"), "");
    node.call("validate-all").parameter("slots", "perhaps").run().expect_code(2).expect_reason("auto, yes or no");
}

/// The calls since the last look that are not about the state which a node shows.
fn about_slots(cluster: &Cluster) -> Vec<String> {
    let mut calls = cluster.attributes.take_calls();
    calls.retain(|call| !call.contains("-state]"));
    calls
}
