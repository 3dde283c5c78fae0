//! With follow=promoted each standby's `primary_conninfo` names the promoted node, whichever of the notification, the
//! next monitor and the start comes first, and nothing else in it changes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use support::agent::Call;
use support::cluster::Cluster;
use support::node::{Node, Seen};
use support::trace::executed_by;
use support::wait_until;

/// The text of `primary_conninfo` around its host.
fn conninfo(name: &str, host: &str) -> String {
    format!("  user=postgres host={host}  port=5999 application_name='{name}' passfile='/no\\\\where it\\'s'")
}

fn host(node: &Node) -> &str {
    node.sockets.to_str().unwrap()
}

/// With PostgreSQL's default for the time between two attempts to connect.
fn point(node: &Node, conninfo: &str) {
    let conninfo = conninfo.replace('\'', "''").replace('\\', "\\\\");
    node.configure(&format!("primary_conninfo = '{conninfo}'\nwal_retrieve_retry_interval = '5s'"));
}

/// A primary and two standbys. Every node has its own address, and the standbys name the primary's.
fn without_virtual_address() -> (Arc<Cluster>, Node, Node, Node) {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3"]);
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    for standby in &standbys {
        point(standby, &conninfo(&standby.name, host(&primary)));
        standby.sql("select pg_reload_conf()");
        primary.await_streaming(&standby.name);
    }
    cluster.take_address_away();
    let (third, second) = (standbys.pop().unwrap(), standbys.pop().unwrap());
    for node in [&primary, &second, &third] {
        cluster.attributes.set_address(&node.name, host(node));
    }
    cluster.attributes.set_promoted(&["srv1"]);
    (cluster, primary, second, third)
}

/// The primary is gone for good and the second node is promoted.
fn fail_over() -> (Arc<Cluster>, Node, Node, Node) {
    let (cluster, first, second, third) = without_virtual_address();
    first.stop_fast();
    promote(&cluster, &second);
    (cluster, first, second, third)
}

fn promote(cluster: &Arc<Cluster>, node: &Node) {
    node.sql("select pg_promote()");
    node.await_seen(Seen::Primary);
    cluster.attributes.set_promoted(&[&node.name]);
}

fn call(node: &Node, action: &str) -> Call {
    node.call(action).parameter("follow", "promoted")
}

fn notify(node: &Node, event: (&str, &str), promoted: &str) -> Call {
    let call = call(node, "notify").meta("notify_type", event.0).meta("notify_operation", event.1);
    call.meta("notify_promote_uname", promoted).meta("notify_active_uname", "srv1 srv2 srv3")
}

fn told_of_promotion(node: &Node, promoted: &str) -> Call {
    notify(node, ("post", "promote"), promoted)
}

fn setting(node: &Node) -> String {
    node.sql("select setting from pg_settings where name = 'primary_conninfo'")
}

fn server_log(node: &Node) -> String {
    fs::read_to_string(node.data.with_file_name("server.log")).unwrap()
}

#[test]
fn after_a_promotion_a_standby_follows_the_new_primary_at_once_and_only_the_host_changes() {
    let (_cluster, _old, new, standby) = fail_over();
    let answer = told_of_promotion(&standby, "srv2").run().expect_code(0);
    assert_eq!(setting(&standby), conninfo("srv3", host(&new)));
    assert_eq!(answer.logged("streaming from"), 1, "{answer:?}");
    new.await_streaming("srv3");
    assert!(answer.elapsed.as_secs() < 3, "{answer:?}");
}

#[test]
fn what_is_right_already_is_not_written_again() {
    let (_cluster, _old, _new, standby) = fail_over();
    told_of_promotion(&standby, "srv2").run().expect_code(0);
    let (written, reloads) = (
        || fs::metadata(standby.data.join("postgresql.auto.conf")).unwrap().modified().unwrap(),
        || server_log(&standby).matches("SIGHUP").count(),
    );
    let before = (written(), reloads());
    let answer = told_of_promotion(&standby, "srv2").run().expect_code(0);
    call(&standby, "start").run().expect_code(0);
    assert_eq!((written(), reloads()), before);
    assert_eq!(answer.log, [""; 0]);
}

#[test]
fn the_promoted_node_leaves_its_own_setting_alone() {
    let (_cluster, _old, new, _standby) = fail_over();
    let before = setting(&new);
    told_of_promotion(&new, "srv2").run().expect_code(0);
    notify(&new, ("post", "start"), " ").run().expect_code(0);
    call(&new, "monitor").run().expect_code(8);
    assert_eq!(setting(&new), before);
}

#[test]
fn without_the_parameter_nothing_is_touched() {
    let (_cluster, _old, _new, standby) = fail_over();
    let before = setting(&standby);
    told_of_promotion(&standby, "srv2").parameter("follow", "conninfo").run().expect_code(0);
    standby.call("monitor").run().expect_code(0);
    assert_eq!(setting(&standby), before);
}

#[test]
fn without_an_attribute_the_host_is_the_nodes_name() {
    let (cluster, _old, _new, standby) = fail_over();
    cluster.attributes.set_address("srv2", "");
    let answer = told_of_promotion(&standby, "srv2").run().expect_code(0);
    assert_eq!(setting(&standby), conninfo("srv3", "srv2"));
    assert_eq!(answer.logged("does not stream from srv2 yet"), 1, "{answer:?}");
}

#[test]
fn a_notification_that_never_came_is_made_up_for_by_the_next_monitor() {
    let (_cluster, _old, new, standby) = fail_over();
    call(&standby, "monitor").run().expect_code(0);
    assert_eq!(setting(&standby), conninfo("srv3", host(&new)));
    new.await_streaming("srv3");
}

#[test]
fn while_nobody_is_promoted_the_cluster_is_not_asked_at_every_monitor() {
    let (cluster, old, _second, standby) = without_virtual_address();
    cluster.attributes.set_promoted(&[]);
    old.crash();
    wait_until("the receiver's end", || standby.sql("select count(*) from pg_stat_wal_receiver") == "0");
    cluster.attributes.take_calls();
    let begin = Instant::now();
    for _ in 0..6 {
        call(&standby, "monitor").run().expect_code(0);
    }
    let mut calls = cluster.attributes.take_calls();
    calls.retain(|call| call.contains("crm_mon"));
    // Once whom to follow, once before it stands for election; the first again after 10 s, which monitors may take on a busy
    // machine.
    let due = 2 + begin.elapsed().as_secs() / 10;
    assert!((1..=due).contains(&(calls.len() as u64)), "{due}: {calls:?}");
    assert_eq!(setting(&standby), conninfo("srv3", host(&old)));
}

#[test]
fn the_monitor_of_a_standby_that_streams_executes_nothing() {
    let (_cluster, _primary, second, _third) = without_virtual_address();
    for _ in 0..2 {
        call(&second, "monitor").run().expect_code(0);
    }
    assert_eq!(executed_by(call(&second, "monitor").command()), [""; 0]);
}

#[test]
fn an_old_primary_that_names_itself_follows_from_its_start_on() {
    let (_cluster, old, new, _standby) = fail_over();
    point(&old, &conninfo("srv1", host(&old)));
    call(&old, "start").run().expect_code(0);
    assert_eq!(setting(&old), conninfo("srv1", host(&new)));
    new.await_streaming("srv1");
}

#[test]
fn a_standby_that_streams_from_itself_is_found() {
    let (_cluster, primary, second, _third) = without_virtual_address();
    point(&second, &conninfo("srv2", host(&second)));
    second.sql("select pg_reload_conf()");
    let own = format!(
        "select count(*) from pg_stat_wal_receiver where status = 'streaming' and sender_host = '{}'",
        host(&second)
    );
    wait_until("it streams from itself", || second.sql(&own) == "1");
    call(&second, "monitor").run().expect_code(0);
    assert_eq!(setting(&second), conninfo("srv2", host(&primary)));
    primary.await_streaming("srv2");
}

#[test]
fn a_standby_that_streams_from_the_old_primary_is_moved_when_that_one_has_come_back() {
    let (cluster, old, second, standby) = without_virtual_address();
    old.stop_fast();
    promote(&cluster, &second);
    call(&old, "start").run().expect_code(0);
    second.await_streaming("srv1");
    let cascading = "select count(*) from pg_stat_wal_receiver where status = 'streaming'";
    wait_until("it streams from the old primary", || standby.sql(cascading) == "1");
    notify(&standby, ("post", "start"), " ").run().expect_code(0);
    assert_eq!(setting(&standby), conninfo("srv3", host(&second)));
    second.await_streaming("srv3");
}

#[test]
fn several_promoted_nodes_are_nobody_to_follow() {
    let (cluster, _old, _new, standby) = fail_over();
    cluster.attributes.set_promoted(&["srv1", "srv2"]);
    let before = setting(&standby);
    call(&standby, "monitor").run().expect_code(0);
    assert_eq!(setting(&standby), before);
}

#[test]
fn a_cluster_that_does_not_answer_fails_nothing_and_is_told_once() {
    for trouble in ["break", "<nonsense"] {
        let (cluster, _old, _new, standby) = fail_over();
        match trouble {
            "break" => cluster.attributes.break_down(),
            text => cluster.attributes.answer_nonsense(text),
        }
        for expected in [1, 0] {
            let answer = told_of_promotion(&standby, "srv2").run().expect_code(0);
            assert_eq!(answer.logged("may not follow the promoted node"), expected, "{answer:?}");
        }
        call(&standby, "monitor").run().expect_code(0);
    }
}

#[test]
fn a_role_that_may_not_set_it_is_told_once_with_the_cure() {
    let (_cluster, old, second, standby) = without_virtual_address();
    old.sql("create role agent login in role pg_monitor");
    old.await_streaming("srv3");
    let server_may_grant = old.sql("select current_setting('server_version_num')::int >= 150000") == "t";
    if server_may_grant {
        old.sql("create role granted login in role pg_monitor");
        old.sql("grant alter system on parameter primary_conninfo to granted");
        old.sql("grant execute on function pg_reload_conf() to granted");
    }
    old.await_streaming("srv2");
    old.await_streaming("srv3");
    old.stop_fast();
    promote(&standby.cluster, &second);
    for expected in [1, 0] {
        let answer = told_of_promotion(&standby, "srv2").parameter("pguser", "agent").run().expect_code(0);
        assert_eq!(answer.logged("ALTER SYSTEM on parameter primary_conninfo"), expected, "{answer:?}");
    }
    assert_eq!(setting(&standby), conninfo("srv3", host(&old)));
    assert!(!server_log(&standby).to_lowercase().contains("alter system"));
    if server_may_grant {
        told_of_promotion(&standby, "srv2").parameter("pguser", "granted").run().expect_code(0);
        assert_eq!(setting(&standby), conninfo("srv3", host(&second)));
    }
}

#[test]
fn a_setting_on_the_command_line_is_told_and_not_fought() {
    let (_cluster, _old, _new, standby) = fail_over();
    standby.stop_fast();
    let options = "-c \"primary_conninfo=host=/nowhere application_name=srv3\"";
    let answer = call(&standby, "start").parameter("start_opts", options).run().expect_code(0);
    assert_eq!(answer.logged("take it out of start_opts"), 1, "{answer:?}");
}

#[test]
fn a_password_is_in_no_log_of_the_agent_no_argument_and_no_statement_that_the_server_logs() {
    let (cluster, _old, new, standby) = fail_over();
    let text =
        |host: &str| format!("host={host} port=5999 user=postgres password='s3\\'cr\\\\et' application_name=srv3");
    standby.stop_fast();
    point(&standby, &text("/nowhere"));
    let options = "log_statement = all\nlog_min_duration_statement = 0\nlog_transaction_sample_rate = 1";
    let auto = fs::read_to_string(standby.data.join("postgresql.auto.conf")).unwrap();
    standby.write("postgresql.auto.conf", &format!("{auto}{options}\n"));
    standby.run_as_standby();
    cluster.attributes.take_calls();
    let answer = told_of_promotion(&standby, "srv2").run().expect_code(0);
    assert_eq!(setting(&standby), text(host(&new)));
    assert_eq!(answer.logged("move the secret to a password file"), 1, "{answer:?}");
    assert!(!format!("{answer:?} {:?}", cluster.attributes.take_calls()).contains("s3"), "{answer:?}");
    let log = server_log(&standby);
    assert!(log.contains("set log_statement = none") && !log.to_lowercase().contains("alter system"), "{log}");
    // The reason for the warning: this the server logs by itself.
    assert!(log.contains("parameter \"primary_conninfo\" changed to"), "{log}");
    new.await_streaming("srv3");
}
