//! The promotion scores that the primary's monitor writes, how rarely it writes them, and what a steady monitor
//! executes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;

use nix::sys::signal::Signal;
use serde_json::Value;

use support::cluster::Cluster;
use support::node::{Node, as_owner, own};
use support::processes::{await_titled, signal};
use support::trace::executed_by;
use support::wait_until;

fn replicating() -> (Arc<Cluster>, Node, Vec<Node>) {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3"]);
    let (primary, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    (cluster, primary, standbys)
}

#[test]
fn standbys_are_ranked_below_the_primary_and_nothing_is_written_twice() {
    let (cluster, primary, _standbys) = replicating();
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=1000 srv3=990");
    // The second shows the state.
    primary.call("monitor").run().expect_code(8);
    cluster.attributes.take_calls();
    for _ in 0..3 {
        forget_scores(&cluster, &primary);
        primary.call("monitor").run().expect_code(8);
        let calls = cluster.attributes.take_calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert!(calls[0].contains("[-Q]"), "{calls:?}");
    }
}

fn notes(cluster: &Cluster, node: &Node) -> PathBuf {
    node.data.with_file_name("run").join(format!("pgbaton-{}.json", cluster.resource))
}

/// As if they had been read long ago.
fn forget_scores(cluster: &Cluster, primary: &Node) {
    change_notes(cluster, primary, |notes| {
        if !notes["scores"].is_null() {
            notes["scores"]["read_ms"] = 0.into();
        }
    });
}

fn change_notes(cluster: &Cluster, node: &Node, change: impl FnOnce(&mut Value)) {
    let path = notes(cluster, node);
    let mut notes: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut notes);
    fs::write(path, notes.to_string()).unwrap();
}

#[test]
fn a_score_that_somebody_has_deleted_is_written_again() {
    let (cluster, primary, _standbys) = replicating();
    for _ in 0..2 {
        primary.call("monitor").run().expect_code(8);
    }
    cluster.attributes.set_score("srv2", "");
    forget_scores(&cluster, &primary);
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=1000 srv3=990");
}

/// PostgreSQL shows 63 bytes of it.
#[test]
fn a_standby_with_a_long_name_is_recognised() {
    let cluster = Cluster::new();
    let long = "standby-with-a-long-name.in-a-long-department.of-a-long.example.org";
    cluster.attributes.set_members(&["srv1", long]);
    let (primary, standby) = (cluster.node("srv1"), |primary: &Node| cluster.backup_of(primary, long));
    primary.run_as_primary();
    cluster.move_address_to(&primary);
    let standby = standby(&primary);
    standby.run_as_standby();
    primary.await_streaming(&long[..63]);
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.scores(), format!("srv1=1001 {long}=1000"));
    standby.call("monitor").run().expect_code(0);
}

/// On a remote node or in a bundle the tools do not know by themselves where they run.
#[test]
fn what_a_node_writes_of_itself_names_it() {
    let (cluster, primary, standbys) = replicating();
    cluster.attributes.take_calls();
    for (node, code) in [(&primary, 8), (&standbys[0], 0)] {
        for _ in 0..2 {
            node.call("monitor").run().expect_code(code);
        }
    }
    let calls = cluster.attributes.take_calls();
    let writes: Vec<_> = calls.iter().filter(|call| call.contains("attrd_updater") && call.contains("[-U]")).collect();
    assert!(writes.len() >= 6 && writes.iter().all(|call| call.contains("[-N]")), "{writes:#?}");
}

/// The attribute daemon was killed, and nobody was demoted for it.
#[test]
fn a_primary_tells_all_again_when_the_cluster_has_lost_it() {
    let (cluster, primary, _standbys) = replicating();
    for _ in 0..2 {
        primary.call("monitor").run().expect_code(8);
    }
    let told = cluster.attributes.timeline("srv1");
    assert!(told.contains(" srv1 "), "{told}");
    cluster.attributes.lose_all_of("srv1");
    forget_scores(&cluster, &primary);
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=1000 srv3=990");
    assert_eq!((cluster.attributes.timeline("srv1"), cluster.attributes.state("srv1")), (told, "primary".to_owned()));
}

/// Cluster services were restarted while the cluster was in maintenance mode: the server ran on.
#[test]
fn a_primary_tells_all_again_after_a_probe() {
    let (cluster, primary, _standbys) = replicating();
    primary.call("monitor").run().expect_code(8);
    let told = cluster.attributes.timeline("srv1");
    cluster.attributes.lose_all_of("srv1");
    cluster.attributes.set_score("srv1", "1001");
    primary.call("monitor").meta("interval", "0").run().expect_code(8);
    assert_eq!(cluster.attributes.timeline("srv1"), "", "a probe changes nothing");
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.timeline("srv1"), told);
}

#[test]
fn a_standby_shows_its_state_again_when_the_cluster_has_lost_it() {
    let (cluster, _primary, standbys) = replicating();
    for _ in 0..2 {
        standbys[0].call("monitor").run().expect_code(0);
    }
    assert_eq!(cluster.attributes.state("srv2"), "streaming");
    cluster.attributes.lose_all_of("srv2");
    standbys[0].call("monitor").run().expect_code(0);
    assert_eq!(cluster.attributes.state("srv2"), "", "each monitor asks");
    change_notes(&cluster, &standbys[0], |notes| notes["state_checked_ms"] = 0.into());
    standbys[0].call("monitor").run().expect_code(0);
    assert_eq!(cluster.attributes.state("srv2"), "streaming");
}

#[test]
fn a_standby_that_has_connected_anew_gets_its_score_at_once() {
    let (cluster, primary, standbys) = replicating();
    for _ in 0..2 {
        primary.call("monitor").run().expect_code(8);
    }
    let sender = || primary.sql("select pid from pg_stat_replication where application_name = 'srv2'");
    let before = sender();
    signal(await_titled(&standbys[0].data, "postgres: walreceiver"), Signal::SIGKILL);
    wait_until("another sender", || !sender().is_empty() && sender() != before);
    primary.await_streaming("srv2");
    cluster.attributes.set_score("srv2", "");
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=1000 srv3=990");
}

#[test]
fn a_standby_that_is_far_behind_is_ranked_below() {
    let (cluster, primary, standbys) = replicating();
    signal(await_titled(&standbys[0].data, "postgres: walreceiver"), Signal::SIGSTOP);
    primary.sql("create table large as select repeat('x', 1000) from generate_series(1, 30000)");
    primary.await_streaming("srv3");
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=990 srv3=1000");
}

#[test]
fn a_standby_beyond_maxlag_has_no_score_until_it_has_caught_up() {
    let (cluster, primary, standbys) = replicating();
    let monitor = || primary.call("monitor").parameter("maxlag", "1000000").run().expect_code(8);
    monitor();
    let receiver = await_titled(&standbys[1].data, "postgres: walreceiver");
    signal(receiver, Signal::SIGSTOP);
    primary.sql("create table large as select repeat('x', 1000) from generate_series(1, 3000)");
    primary.await_streaming("srv2");
    monitor();
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=1000 srv3=-1000000");
    signal(receiver, Signal::SIGCONT);
    primary.await_streaming("srv3");
    monitor();
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=1000 srv3=990");
}

#[test]
fn a_standby_that_is_gone_is_struck_off_after_a_while() {
    let (cluster, primary, standbys) = replicating();
    primary.call("monitor").run().expect_code(8);
    standbys[0].crash();
    let connected = "select count(*) from pg_stat_replication";
    wait_until("its sender's end", || primary.sql(connected) == "1");
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=990 srv3=1000");
    // As if the first look had been at boot.
    fs::write(notes(&cluster, &primary), r#"{"missing": {"srv2": 0}}"#).unwrap();
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=-1000000 srv3=1000");
}

/// One of PostgreSQL's own clients that connects under a node's name; it ends with this value.
struct Client(Child);

impl Client {
    fn start(program: &str, primary: &Node, name: &str, more: &[&str]) -> Client {
        let directory = primary.data.with_file_name(program);
        fs::create_dir(&directory).unwrap();
        own(&directory);
        let target = format!("host={} port=5999 application_name={name}", primary.sockets.display());
        let mut command = as_owner(program);
        command.args(["--username=postgres", "--dbname", &target]).args(more).arg("-D").arg(directory);
        Client(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn alone_with_a_score_for(name: &str) -> (Arc<Cluster>, Node) {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    cluster.attributes.set_score(name, "1000");
    let primary = cluster.node("srv1");
    primary.run_as_primary();
    (cluster, primary)
}

#[test]
fn a_base_backup_has_no_score() {
    let (cluster, primary) = alone_with_a_score_for("srv2");
    let slowly = ["--max-rate=32k", "--checkpoint=fast", "--wal-method=none", "--no-sync"];
    let _backup = Client::start("pg_basebackup", &primary, "srv2", &slowly);
    let state = "select count(*) from pg_stat_replication where state = 'backup'";
    wait_until("the backup", || primary.sql(state) == "1");
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=-1000000");
}

#[test]
fn a_receiver_whose_position_is_unknown_has_no_score() {
    let (cluster, primary) = alone_with_a_score_for("srv2");
    let _receiver = Client::start("pg_receivewal", &primary, "srv2", &["--no-sync"]);
    let unknown = "select count(*) from pg_stat_replication where state = 'streaming' and flush_lsn is null";
    wait_until("the receiver", || primary.sql(unknown) == "1");
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=-1000000");
}

#[test]
fn a_name_that_is_only_the_beginning_of_a_nodes_name_is_another_name() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv10", "srv100"]);
    let (primary, _standbys) = cluster.replicating("srv1", &["srv10"]);
    cluster.attributes.set_score("srv100", "-1");
    primary.call("monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv10=1000 srv100=-1");
}

#[test]
fn a_steady_monitor_executes_at_most_one_program_on_a_primary_and_none_on_a_standby() {
    let (cluster, primary, standbys) = replicating();
    for _ in 0..3 {
        primary.call("monitor").run().expect_code(8);
        standbys[0].call("monitor").run().expect_code(0);
    }
    assert_eq!(executed_by(primary.call("monitor").command()), [""; 0]);
    forget_scores(&cluster, &primary);
    let executed = executed_by(primary.call("monitor").command());
    assert_eq!(executed.len(), 1, "{executed:?}");
    assert!(executed[0].contains("/attrd_updater -n"), "{executed:?}");
    assert_eq!(executed_by(standbys[0].call("monitor").command()), [""; 0]);
}

/// The tracer itself is proved by an action that is known to execute something.
#[test]
fn a_start_executes_the_server() {
    let node = Cluster::new().node("srv1");
    node.call("start").run().expect_code(0);
    let executed = executed_by(node.call("stop").command());
    assert!(executed.iter().any(|line| line.contains("pg_controldata")), "{executed:?}");
}

/// A controller that died has taken its node's attributes out of the cluster configuration, and Pacemaker probes anew.
#[test]
fn a_probe_that_finds_the_instance_running_has_the_attributes_written_again() {
    let (cluster, _primary, standbys) = replicating();
    standbys[0].call("monitor").run().expect_code(0);
    cluster.attributes.take_calls();
    standbys[0].call("monitor").meta("interval", "0").run().expect_code(0);
    let calls = cluster.attributes.take_calls();
    assert!(calls.iter().any(|call| call.ends_with("attrd_updater [-R]")), "{calls:?}");
}
