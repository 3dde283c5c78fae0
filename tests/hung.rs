//! A single process that hangs while everything else is well: it is given up within seconds where another node has the
//! data, and never where nobody else has it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use support::agent::Answer;
use support::cluster::Cluster;
use support::node::{Node, Seen, run};
use support::processes::{await_titled, servers_in, signal, working_in};
use support::transition::Promotion;
use support::wait_until;

/// What a single process that hangs may cost in one action, at the examples' timeouts.
const BOUND: Duration = Duration::from_secs(16);

/// Three nodes whose primary is gone, and srv2 was picked.
fn two_candidates() -> (Arc<Cluster>, Vec<Node>) {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    for standby in &standbys {
        primary.await_streaming(&standby.name);
    }
    primary.stop_fast();
    cluster.take_address_away();
    (cluster, standbys)
}

fn suspend(node: &Node, title: &str) -> i32 {
    let pid = await_titled(&node.data, title);
    signal(pid, Signal::SIGSTOP);
    pid
}

/// What Pacemaker tells before it demotes a node and stops it in the same transition.
fn announce_recovery_of(node: &Node) {
    let notify = node.call("notify").meta("notify_type", "pre").meta("notify_operation", "demote");
    notify.meta("notify_demote_uname", &node.name).meta("notify_stop_uname", &node.name).run().expect_code(0);
}

fn within(answer: &Answer, bound: Duration) {
    assert!(answer.elapsed < bound, "{:?}: {answer:#?}", answer.elapsed);
}

#[test]
fn a_candidate_whose_startup_process_hangs_gives_up_for_one_that_has_as_much() {
    let (cluster, standbys) = two_candidates();
    let promotion = Promotion::new(&standbys[0], &["srv2", "srv3"]).timeout(60_000);
    promotion.announce(&[&standbys[0], &standbys[1]]);
    suspend(&standbys[0], "postgres: startup");
    let answer = promotion.promote().expect_code(1).expect_reason("srv3 is to be promoted").expect_reason("suspended");
    within(&answer, BOUND);
    assert_eq!(cluster.attributes.scores(), "srv2=1 srv3=1002");

    announce_recovery_of(&standbys[0]);
    let answer = standbys[0].call("demote").timeout(120_000).run().expect_code(0);
    within(&answer, Duration::from_secs(5));
    let answer = standbys[0].call("stop").timeout(60_000).run().expect_code(0);
    within(&answer, Duration::from_secs(3));
    assert_eq!(standbys[0].seen(), Seen::Down);

    let promotion = Promotion::new(&standbys[1], &["srv3"]);
    promotion.announce(&[&standbys[1]]);
    promotion.promote().expect_code(0);
    standbys[1].await_seen(Seen::Primary);
}

#[test]
fn a_suspended_candidate_is_started_anew_where_nobody_else_has_as_much() {
    for title in ["postgres: startup", "postgres: walreceiver"] {
        let cluster = Cluster::new();
        let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
        primary.await_streaming("srv2");
        let suspended = suspend(&standbys[0], title);
        primary.crash();
        cluster.take_address_away();
        let promotion = Promotion::new(&standbys[0], &["srv2"]).timeout(60_000);
        promotion.announce(&[&standbys[0]]);
        let answer = promotion.promote().expect_code(1).expect_reason(&format!("process {suspended} ({title}"));
        within(&answer.expect_reason("started anew"), BOUND);
        announce_recovery_of(&standbys[0]);
        within(&standbys[0].call("demote").timeout(120_000).run().expect_code(0), Duration::from_secs(5));
        standbys[0].call("stop").timeout(60_000).run().expect_code(0);
        standbys[0].call("start").timeout(60_000).run().expect_code(0);
        promotion.announce(&[&standbys[0]]);
        promotion.promote().expect_code(0);
    }
}

#[test]
fn a_standby_whose_receiver_or_startup_process_is_suspended_is_given_up_when_that_lasts() {
    for title in ["postgres: walreceiver", "postgres: startup"] {
        let cluster = Cluster::new();
        let (_primary, standbys) = cluster.replicating("srv1", &["srv2"]);
        let monitor = || standbys[0].call("monitor").run();
        monitor().expect_code(0);
        let pid = suspend(&standbys[0], title);
        monitor().expect_code(0);
        // A debugger that is soon done.
        signal(pid, Signal::SIGCONT);
        monitor().expect_code(0);
        signal(pid, Signal::SIGSTOP);
        monitor().expect_code(0);
        std::thread::sleep(Duration::from_secs(5));
        monitor().expect_code(1).expect_reason(title).expect_reason("is suspended");
        standbys[0].call("stop").timeout(60_000).run().expect_code(0);
        standbys[0].call("start").run().expect_code(0);
        monitor().expect_code(0);
    }
}

/// A promotion is killed that was ordered of a server whose startup process is suspended. Returns that process.
fn kill_after_the_order(standbys: &[Node]) -> i32 {
    let promotion = Promotion::new(&standbys[0], &["srv2", "srv3"]).timeout(60_000);
    promotion.announce(&[&standbys[0], &standbys[1]]);
    let startup = suspend(&standbys[0], "postgres: startup");
    let flight = promotion.begin();
    wait_until("the order", || standbys[0].data.join("promote").exists());
    flight.kill();
    startup
}

/// The order outlives the action that gave it.
#[test]
fn a_promotion_that_was_ordered_does_not_happen_after_a_demotion() {
    let (_cluster, standbys) = two_candidates();
    let startup = kill_after_the_order(&standbys);
    standbys[0].call("demote").timeout(120_000).run().expect_code(0);
    signal(startup, Signal::SIGCONT);
    standbys[0].await_seen(Seen::Standby);
    assert!(servers_in(&standbys[0].data).iter().all(|process| process.pid != startup));
    assert_eq!(standbys[0].sql("select pg_is_in_recovery()"), "t");
}

/// A person has told the server to promote, and the file that tells of it is gone already when the notes know of nothing.
#[test]
fn a_promotion_that_hangs_after_the_order_was_taken_up_is_known_by_the_note() {
    let (_cluster, standbys) = two_candidates();
    let startup = kill_after_the_order(&standbys);
    fs::remove_file(standbys[0].data.join("promote")).unwrap();
    standbys[0].call("demote").timeout(120_000).run().expect_code(0);
    assert!(servers_in(&standbys[0].data).iter().all(|process| process.pid != startup));
    standbys[0].await_seen(Seen::Standby);
}

/// A primary in service with a standby that has everything.
fn in_service(settings: &str) -> (Arc<Cluster>, Node, Vec<Node>) {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3"]);
    let (primary, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    if !settings.is_empty() {
        primary.configure(settings);
        primary.stop_fast();
        primary.run_as_primary();
        for standby in &standbys {
            primary.await_streaming(&standby.name);
        }
    }
    primary.call("monitor").run().expect_code(8);
    (cluster, primary, standbys)
}

fn demoted_in_time(primary: &Node) -> Answer {
    let answer = primary.call("demote").timeout(120_000).run().expect_code(0);
    within(&answer, BOUND);
    primary.await_seen(Seen::Standby);
    answer
}

#[test]
fn a_primary_whose_checkpointer_hangs_is_demoted_in_time_where_a_standby_has_everything() {
    let (_cluster, primary, _standbys) = in_service("");
    suspend(&primary, "postgres: checkpointer");
    let answer = demoted_in_time(&primary);
    assert_eq!(answer.logged("another node has what this one has"), 1, "{answer:#?}");
    assert_eq!(answer.logged("(postgres: checkpointer"), 1, "{answer:#?}");
}

#[test]
fn the_time_of_a_shutdown_is_not_cut_where_nobody_else_has_everything() {
    let (_cluster, primary, standbys) = in_service("");
    standbys.iter().for_each(Node::crash);
    wait_until("no standby", || primary.sql("select count(*) from pg_stat_replication") == "0");
    let checkpointer = suspend(&primary, "postgres: checkpointer");
    let goes_on = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(13));
        signal(checkpointer, Signal::SIGCONT);
    });
    let answer = primary.call("demote").timeout(120_000).run().expect_code(0);
    goes_on.join().unwrap();
    assert_eq!(answer.logged("the control file says 'shut down'"), 1, "{answer:#?}");
}

#[test]
fn an_archive_command_that_never_returns_holds_up_no_demotion() {
    let (cluster, primary, _standbys) = in_service("archive_mode = on\narchive_command = 'sleep 1000'");
    primary.sql("create table row (n int)");
    primary.sql("select pg_switch_wal()");
    await_titled(&primary.data, "postgres: archiver archiving");
    let answer = demoted_in_time(&primary);
    assert_eq!(answer.logged("the control file says 'shut down'"), 1, "{answer:#?}");
    assert!(cluster.attributes.paper("srv1").starts_with("left 1 "), "{}", cluster.attributes.paper("srv1"));
}

#[test]
fn a_standby_that_confirms_nothing_holds_up_no_demotion() {
    let (_cluster, primary, standbys) = in_service("");
    suspend(&standbys[1], "postgres: walreceiver");
    primary.sql("create table row (n int)");
    let answer = demoted_in_time(&primary);
    assert_eq!(answer.logged("the control file says 'shut down'"), 1, "{answer:#?}");
}

#[test]
fn a_backend_that_hangs_holds_up_no_demotion() {
    let (_cluster, primary, _standbys) = in_service("");
    let mut client = primary.connect().unwrap();
    let backend: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    signal(backend, Signal::SIGSTOP);
    demoted_in_time(&primary);
    drop(client);
}

#[test]
fn a_standby_whose_checkpointer_hangs_is_stopped_in_time() {
    let (_cluster, _primary, standbys) = in_service("");
    suspend(&standbys[0], "postgres: checkpointer");
    let answer = standbys[0].call("stop").timeout(60_000).run().expect_code(0);
    within(&answer, BOUND);
    assert_eq!(standbys[0].seen(), Seen::Down);
}

/// The notification comes while the primary serves, but everything waits for it.
#[test]
fn a_checkpointer_that_hangs_does_not_delay_a_demotion_for_long() {
    let (_cluster, primary, _standbys) = in_service("");
    suspend(&primary, "postgres: checkpointer");
    let begin = Instant::now();
    let notify = primary.call("notify").meta("notify_type", "pre").meta("notify_operation", "demote");
    let notify = notify.meta("notify_demote_uname", "srv1").meta("notify_promote_uname", "srv2").timeout(60_000);
    let answer = notify.run().expect_code(0);
    assert_eq!(answer.logged("no checkpoint before the demotion"), 1, "{answer:#?}");
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
}

/// A standby that has all that a lost primary wrote, and crashed.
fn crashed_standby(cluster: &Arc<Cluster>, wrote: &str) -> Node {
    let (primary, mut standbys) = cluster.replicating("srv2", &["srv1"]);
    primary.sql(wrote);
    primary.await_streaming("srv1");
    primary.crash();
    cluster.take_address_away();
    let standby = standbys.remove(0);
    standby.crash();
    standby
}

/// A recovery that gets somewhere as long as a file is there, and takes no connections meanwhile: the first segment that it needs
/// is waited for.
fn long_recovery(node: &Node) {
    let hold = node.data.with_file_name("hold");
    fs::write(&hold, "").unwrap();
    node.configure(&format!("restore_command = 'while test -e {}; do sleep 0.05; done; false'", hold.display()));
}

fn ends(node: &Node) {
    fs::remove_file(node.data.with_file_name("hold")).unwrap();
}

#[test]
fn a_recovery_that_outlasts_a_start_goes_on_and_is_told() {
    let cluster = Cluster::new();
    let node = crashed_standby(&cluster, "create table late as select 1 as row");
    long_recovery(&node);
    let answer = node.call("start").timeout(60_000).run().expect_code(0);
    within(&answer, Duration::from_secs(9));
    let startup = await_titled(&node.data, "postgres: startup");
    for _ in 0..2 {
        let answer = node.call("monitor").run().expect_code(0);
        within(&answer, Duration::from_secs(3));
    }
    assert_eq!(cluster.attributes.state("srv1"), "recovering");
    node.call("monitor").meta("interval", "0").run().expect_code(0);
    node.call("demote").run().expect_code(0);
    node.call("start").timeout(60_000).run().expect_code(0);
    assert_eq!(await_titled(&node.data, "postgres: startup"), startup, "it began anew");
    ends(&node);
    node.await_seen(Seen::Standby);
    let answer = node.call("monitor").run().expect_code(0);
    assert_eq!(answer.logged("the recovery is over"), 1, "{answer:#?}");
}

#[test]
fn a_recovery_that_gets_nowhere_fails_start_and_monitor() {
    let node = Cluster::new().node("srv1");
    long_recovery(&node);
    node.write("standby.signal", "");
    node.launch();
    suspend(&node, "postgres: startup");
    node.call("start").timeout(10_000).run().expect_code(1).expect_reason("starting or recovering");
    node.call("monitor").run().expect_code(1).expect_reason("suspended");
}

/// The server recovers from the crash of a process, and its startup process waits for a pipe in which nobody writes.
fn recovers_in_place(primary: &Node) {
    let slot = primary.data.join("pg_replslot/stuck");
    fs::create_dir(&slot).unwrap();
    run(std::process::Command::new("mkfifo").arg(slot.join("state")));
    run(std::process::Command::new("chown").args(["-R", "postgres"]).arg(&slot));
    signal(await_titled(&primary.data, "postgres: walwriter"), Signal::SIGKILL);
    await_titled(&primary.data, "postgres: startup");
}

#[test]
fn a_primary_that_recovers_from_a_crash_is_left_to_that_where_nobody_else_has_the_data() {
    let (cluster, primary, standbys) = in_service("");
    standbys.iter().for_each(Node::crash);
    wait_until("no standby", || primary.sql("select count(*) from pg_stat_replication") == "0");
    primary.call("monitor").run().expect_code(8);
    recovers_in_place(&primary);
    for _ in 0..2 {
        primary.call("monitor").run().expect_code(8);
    }
    assert_eq!(cluster.attributes.state("srv1"), "recovering");
    let answer = primary.call("demote").timeout(30_000).run();
    assert!(answer.elapsed > Duration::from_secs(10), "it was not let recover: {answer:#?}");
}

#[test]
fn a_primary_that_recovers_from_a_crash_is_given_up_where_another_node_has_everything() {
    let (_cluster, primary, standbys) = in_service("");
    primary.await_streaming("srv2");
    recovers_in_place(&primary);
    let answer = primary.call("monitor").run().expect_code(9).expect_reason("another node has what it has");
    within(&answer, Duration::from_secs(8));
    announce_recovery_of(&primary);
    let answer = primary.call("demote").timeout(120_000).run().expect_code(0);
    within(&answer, Duration::from_secs(5));
    assert_eq!(primary.seen(), Seen::Down);
    drop(standbys);
}

/// Nothing is gained by not promoting it: what is left is replayed in a moment.
#[test]
fn a_candidate_that_replays_much_in_a_moment_is_promoted_at_once() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    standbys[0].sql("select pg_wal_replay_pause()");
    primary.sql("select pg_logical_emit_message(false, 'x', repeat('y', 1000000)) from generate_series(1, 150)");
    primary.sql("create table late as select 1 as row");
    let flushed = "select pg_current_wal_flush_lsn() = flush_lsn from pg_stat_replication";
    wait_until("all is received", || primary.sql(flushed) == "t");
    primary.crash();
    cluster.take_address_away();
    let promotion = Promotion::new(&standbys[0], &["srv2"]).timeout(60_000);
    let answer = &promotion.announce(&[&standbys[0]])[0];
    assert_eq!(answer.logged("no present node has more WAL; promoting"), 1, "{answer:#?}");
    promotion.promote().expect_code(0);
    assert_eq!(standbys[0].sql("select row from late"), "1");
}

/// The end of its WAL is a long way off. The order to promote would only wait for that, longer than the action may, and each failure
/// would end the recovery and begin it again.
#[test]
fn a_candidate_is_promoted_when_a_long_recovery_is_over_and_not_before() {
    let cluster = Cluster::new();
    let much = "select pg_logical_emit_message(false, 'x', repeat('y', 1000000)) from generate_series(1, 150)";
    let node = crashed_standby(&cluster, &format!("{much}; create table late as select 1 as row"));
    long_recovery(&node);
    node.call("start").timeout(60_000).run().expect_code(0);
    let promotion = Promotion::new(&node, &["srv1"]);
    let answer = &promotion.announce(&[&node])[0];
    assert_eq!(answer.logged("MB of WAL to replay before it can take writes"), 1, "{answer:#?}");
    assert_eq!(cluster.attributes.scores(), "srv1=-1000000");
    node.call("monitor").run().expect_code(0);
    assert_eq!(cluster.attributes.scores(), "srv1=-1000000", "it is not done yet");
    ends(&node);
    node.await_seen(Seen::Standby);
    node.call("monitor").run().expect_code(0);
    assert_eq!(cluster.attributes.scores(), "srv1=1", "it stands again");
    promotion.announce(&[&node]);
    promotion.promote().expect_code(0);
    assert_eq!(node.sql("select row from late"), "1");
}

/// A transaction with more than 64 subtransactions was open at the last checkpoint. A standby lets nobody in before it has seen
/// the end of it, and there is none: its primary is gone.
#[test]
fn a_standby_that_waits_for_the_end_of_a_transaction_before_it_lets_anybody_in_is_promoted() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    node.run_as_primary();
    node.sql("create table rows (n int)");
    let mut client = node.connect().unwrap();
    let subtransaction = "begin insert into rows values (n); exception when division_by_zero then null; end";
    let subtransactions = format!("begin; do $$ begin for n in 1..70 loop {subtransaction}; end loop; end $$");
    client.batch_execute(&subtransactions).unwrap();
    node.sql("checkpoint");
    node.sql("create table late as select 1 as row");
    node.crash();
    node.configure("wal_retrieve_retry_interval = '5s'");
    let answer = node.call("start").timeout(60_000).run().expect_code(0);
    within(&answer, BOUND);
    assert_eq!(node.seen(), Seen::Silent, "this proves nothing");
    node.call("monitor").run().expect_code(0);
    assert_eq!(cluster.attributes.scores(), "srv1=1");
    let promotion = Promotion::new(&node, &["srv1"]).timeout(60_000);
    promotion.announce(&[&node]);
    assert_eq!(cluster.attributes.scores(), "srv1=1");
    let answer = promotion.promote().expect_code(0);
    within(&answer, BOUND);
    assert_eq!(node.sql("select row from late"), "1");
    assert_eq!(node.sql("select count(*) from rows"), "0");
    drop(client);
}

/// An archive that has nothing, until it is away: then whoever asks it waits for ever.
fn asks_an_archive(node: &Node) -> PathBuf {
    let away = node.data.with_file_name("away");
    node.configure(&format!("restore_command = 'test -e {} && exec sleep 1000; false'", away.display()));
    away
}

fn goes_away(node: &Node) -> PathBuf {
    let away = asks_an_archive(node);
    fs::write(&away, "").unwrap();
    away
}

const WITHOUT: &str = "without its archive";

/// As two monitors in a row see it.
fn state_of(node: &Node) -> String {
    for _ in 0..2 {
        node.call("monitor").run().expect_code(0);
    }
    node.cluster.attributes.state(&node.name)
}

/// All nodes come up at once, and none has a primary to follow.
#[test]
fn a_node_whose_archive_hangs_starts_with_what_it_has_and_is_promoted() {
    let cluster = Cluster::new();
    let node = crashed_standby(&cluster, "create table late as select 1 as row");
    goes_away(&node);
    let answer = node.call("start").timeout(60_000).run().expect_code(0);
    within(&answer, Duration::from_secs(45));
    assert_eq!(answer.logged(WITHOUT), 1, "{answer:#?}");
    node.await_seen(Seen::Standby);
    assert_eq!(node.sql("show restore_command"), "");
    assert_eq!(cluster.attributes.scores(), "srv1=1");
    assert_eq!(state_of(&node), "not streaming, without its archive");
    let promotion = Promotion::new(&node, &["srv1"]);
    promotion.announce(&[&node]);
    promotion.promote().expect_code(0);
    assert_eq!(node.sql("select row from late"), "1");
}

/// A node gets its archive back with its next start.
#[test]
fn a_standby_that_was_started_without_its_archive_follows_and_says_so() {
    let (_cluster, primary, standbys) = in_service("");
    standbys[0].crash();
    primary.sql("create table late as select 1 as row");
    let away = goes_away(&standbys[0]);
    standbys[0].call("start").timeout(60_000).run().expect_code(0);
    primary.await_streaming("srv2");
    assert_eq!(state_of(&standbys[0]), "streaming, without its archive");
    fs::remove_file(away).unwrap();
    standbys[0].call("stop").timeout(60_000).run().expect_code(0);
    standbys[0].call("start").timeout(60_000).run().expect_code(0);
    assert_ne!(standbys[0].sql("show restore_command"), "");
    primary.await_streaming("srv2");
    assert_eq!(state_of(&standbys[0]), "streaming");
}

/// Nothing is seen of a command that waits for a tape.
#[test]
fn an_archive_that_is_slow_is_waited_for() {
    let cluster = Cluster::new();
    let node = crashed_standby(&cluster, "create table late as select 1 as row");
    node.configure("restore_command = 'sleep 14; false'");
    let answer = node.call("start").timeout(60_000).run().expect_code(0);
    assert!(answer.elapsed > Duration::from_secs(13), "{answer:#?}");
    assert_eq!(answer.logged(WITHOUT), 0, "{answer:#?}");
}

/// It is asked once more when the primary is gone, and before a server takes writes: by each candidate.
#[test]
fn a_candidate_whose_archive_hangs_is_promoted_without_it() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    for standby in &standbys {
        asks_an_archive(standby);
        standby.stop_fast();
        standby.run_as_standby();
        goes_away(standby);
        primary.await_streaming(&standby.name);
    }
    primary.sql("create table late as select 1 as row");
    standbys.iter().for_each(|standby| primary.await_streaming(&standby.name));
    primary.stop_fast();
    cluster.take_address_away();
    let promotion = Promotion::new(&standbys[0], &["srv2", "srv3"]).timeout(60_000);
    promotion.announce(&[&standbys[0], &standbys[1]]);
    let answer = promotion.promote().expect_code(0);
    within(&answer, Duration::from_secs(50));
    assert_eq!(answer.logged(WITHOUT), 1, "{answer:#?}");
    assert_eq!(standbys[0].sql("select row from late"), "1");

    let answer = standbys[1].call("demote").timeout(120_000).run().expect_code(0);
    within(&answer, Duration::from_secs(5));
    let answer = standbys[1].call("stop").timeout(60_000).run().expect_code(0);
    within(&answer, BOUND);
}

/// The connection to the primary was lost for a moment, and the archive is asked before the primary is tried again.
#[test]
fn a_standby_whose_archive_hangs_at_night_comes_back_to_its_primary() {
    let (cluster, primary, standbys) = in_service("");
    cluster.attributes.set_promoted(&["srv1"]);
    let standby = &standbys[0];
    asks_an_archive(standby);
    standby.stop_fast();
    standby.run_as_standby();
    primary.await_streaming("srv2");
    goes_away(standby);
    signal(await_titled(&standby.data, "postgres: walreceiver"), Signal::SIGTERM);
    let begin = Instant::now();
    let query = "select count(*) from pg_stat_replication where application_name = 'srv2' and state = 'streaming'";
    while primary.sql(query) != "1" {
        assert!(begin.elapsed() < Duration::from_secs(120), "it does not come back");
        standby.call("monitor").timeout(30_000).run().expect_code(0);
        std::thread::sleep(Duration::from_secs(3));
    }
    assert!(begin.elapsed() > Duration::from_secs(30), "this proves nothing");
    assert_eq!(state_of(standby), "streaming, without its archive");
}

#[test]
fn a_server_that_waits_for_its_archive_is_stopped_in_time() {
    let cluster = Cluster::new();
    let node = crashed_standby(&cluster, "create table late as select 1 as row");
    goes_away(&node);
    node.write("standby.signal", "");
    node.launch();
    wait_until("it waits for its archive", || {
        working_in(&node.data).iter().any(|process| process.title.contains("sleep"))
    });
    let answer = node.call("stop").timeout(60_000).run().expect_code(0);
    within(&answer, Duration::from_secs(5));
    assert_eq!(node.seen(), Seen::Down);
}

/// The lock is in the WAL, and nobody ends the transaction that has it: its primary is gone. Logins wait on every standby, and a
/// restart changes nothing.
#[test]
fn a_standby_whose_logins_wait_for_the_lock_of_a_lost_primary_is_promoted() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    let standby = &standbys[0];
    let mut client = primary.connect().unwrap();
    let lock = "begin; create table gone (n int); lock pg_authid in access exclusive mode; select pg_switch_wal()";
    client.batch_execute(lock).unwrap();
    let replayed = "select from pg_stat_replication where replay_lsn = pg_current_wal_lsn()";
    wait_until("the standby has the lock", || client.query(replayed, &[]).unwrap().len() == 1);
    primary.crash();
    cluster.take_address_away();
    drop(client);
    let monitor = standby.call("monitor").timeout(10_000).run().expect_code(0);
    assert_eq!(monitor.logged("its logins wait for a lock"), 1, "{monitor:#?}");
    standby.crash();
    let start = standby.call("start").timeout(60_000).run().expect_code(0);
    within(&start, BOUND);
    let promotion = Promotion::new(standby, &["srv2"]).timeout(60_000);
    let answer = &promotion.announce(&[standby])[0];
    assert_eq!(answer.logged("its logins wait for a lock"), 1, "{answer:#?}");
    within(&promotion.promote().expect_code(0), BOUND);
    assert_eq!(standby.sql("select count(*) from pg_class where relname = 'gone'"), "0");
}
