//! The way back of instances that cannot follow, with a real PostgreSQL: rewound, cloned, or refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use support::cluster::Cluster;
use support::node::{Seen, as_owner, as_owner_of_files, run};
use support::rejoin::{
    Diverged, bindir_with, diverged, diverged_with, expect_following, inserts_in, miss_wal, primary_and_standby,
    promote,
};
use support::transition::Promotion;
use support::wait_until;

#[test]
fn a_diverged_primary_is_rewound_and_what_it_alone_had_is_kept_aside() {
    let Diverged { cluster, old, new } = diverged();
    let start = old.call("start").timeout(60_000).run().expect_code(0);
    assert_eq!(start.logged("it has diverged"), 1, "{start:#?}");
    expect_following(&old, &new);
    let kept = old.kept_aside();
    assert_eq!(kept.len(), 1);
    assert_eq!(inserts_in(&kept[0]), 1000);
    let list = fs::read_to_string(kept[0].join("README.txt")).unwrap();
    assert!(list.contains("it has diverged") && list.contains("Heap/INSERT"), "{list}");
    assert!(kept[0].join("pg_control").is_file());
    let own = fs::read_to_string(old.data.join("postgresql.auto.conf")).unwrap();
    assert!(own.contains("application_name=srv1"), "the configuration of the source was left: {own}");
    for _ in 0..2 {
        old.call("monitor").run().expect_code(0);
    }
    assert_eq!(cluster.attributes.state("srv1"), "streaming");
}

/// After a boot the number of a server that lost its power may be that of anything, the agent's own worker included.
#[test]
fn the_number_of_a_server_that_is_gone_may_be_another_process_of_its_owner() {
    let Diverged { old, new, .. } = diverged();
    let mut other = as_owner_of_files("sleep").arg("600").spawn().unwrap();
    let file = fs::read_to_string(old.data.join("postmaster.pid")).unwrap();
    let (_, rest) = file.split_once('\n').unwrap();
    old.write("postmaster.pid", &format!("{}\n{rest}", other.id()));
    let start = old.call("start").timeout(60_000).run();
    other.kill().unwrap();
    other.wait().unwrap();
    let start = start.expect_code(0);
    assert_eq!(start.logged("tried again"), 0, "{start:#?}");
    expect_following(&old, &new);
}

#[test]
fn a_start_that_can_follow_rewinds_nothing() {
    let Diverged { old, new, .. } = diverged();
    old.call("start").timeout(60_000).run().expect_code(0);
    old.await_seen(Seen::Standby);
    old.crash();
    let start = old.call("start").run().expect_code(0);
    assert_eq!(start.logged("cannot follow"), 0, "{start:#?}");
    expect_following(&old, &new);
    assert_eq!(old.kept_aside().len(), 1);
}

#[test]
fn an_old_primary_that_has_nothing_of_its_own_follows_without_a_rewind() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let (old, standbys) = cluster.replicating("srv1", &["srv2"]);
    old.sql("create table rows (n int)");
    old.await_streaming("srv2");
    old.crash();
    promote(&cluster, &standbys[0], &["srv2"]);
    let start = old.call("start").run().expect_code(0);
    assert_eq!(start.logged("cannot follow"), 0, "{start:#?}");
    expect_following(&old, &standbys[0]);
    assert!(old.kept_aside().is_empty());
}

#[test]
fn without_permission_it_is_refused_with_the_values_and_the_cure() {
    let Diverged { old, .. } = diverged();
    let start = old.call("start").parameter("rejoin", "none").run().expect_code(1);
    for part in ["srv2", "forked off at", "bytes further", "rejoin=rewind", "pg_rewind"] {
        assert!(start.reason().contains(part), "{part} is not in: {}", start.reason());
    }
    assert_eq!(old.seen(), Seen::Down);
    assert!(old.kept_aside().is_empty());
}

#[test]
fn a_worker_that_was_killed_is_followed_by_another_and_its_directory_is_never_started() {
    let Diverged { old, new, .. } = diverged();
    // The moments reach into each phase: planned, kept, rewound.
    for ms in [20, 60, 120, 200, 300, 450, 600] {
        let flight = old.call("start").timeout(60_000).spawn();
        std::thread::sleep(Duration::from_millis(ms));
        flight.kill();
        old.call("stop").run().expect_code(0);
        assert_eq!(old.seen(), Seen::Down);
        old.call("monitor").meta("interval", "0").run().expect_code(7);
    }
    let start = old.call("start").timeout(60_000).run().expect_code(0);
    assert_eq!(old.seen(), Seen::Standby, "{start:#?}");
    expect_following(&old, &new);
    assert_eq!(inserts_in(&old.kept_aside()[0]), 1000);
}

#[test]
fn a_worker_outlives_the_action_and_the_monitor_starts_the_server() {
    let Diverged { old, new, .. } = diverged();
    // No time to wait for the worker.
    let start = old.call("start").timeout(700).run();
    assert!([0, 1].contains(&start.code), "{start:#?}");
    wait_until("the monitor has started the server", || {
        old.call("monitor").run().expect_code(0);
        old.seen() == Seen::Standby
    });
    expect_following(&old, &new);
}

#[test]
fn what_cannot_be_rewound_is_refused_or_cloned() {
    let Diverged { old, new, .. } = diverged_with("wal_log_hints = off");
    let refused = old.call("start").timeout(60_000).run().expect_code(1);
    assert!(refused.reason().contains("wal_log_hints") && refused.reason().contains("rejoin=clone"), "{refused:#?}");
    old.call("start").parameter("rejoin", "clone").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
    let kept = old.kept_aside();
    assert!(kept[0].join("PG_VERSION").is_file() && kept[0].join("README.txt").is_file());
    let own = fs::read_to_string(old.data.join("postgresql.auto.conf")).unwrap();
    assert!(own.contains("application_name=srv1"), "{own}");
}

/// `*` in `synchronous_standby_names` matches whatever receives WAL and tells how much of it is on disk. A copy that is given up is
/// removed, and with it what it has acknowledged.
#[test]
fn a_copy_in_the_making_acknowledges_no_commit() {
    let Diverged { old, new, .. } = diverged_with("wal_log_hints = off");
    new.sql("alter system set synchronous_standby_names = 'ANY 1 (*)'");
    new.sql("select pg_reload_conf()");
    let bin = bindir_with(&old, "pg_basebackup", "exec $real --max-rate=4M --status-interval=1 \"$@\"");
    let start = old.call("start").parameter("rejoin", "clone").parameter("bindir", bin.to_str().unwrap());
    let start = start.timeout(60_000).spawn();
    let copies = |like: &str| {
        let copies = "select count(*) from pg_stat_replication where application_name = 'pg_basebackup'";
        new.sql(&format!("{copies} and ({like})"))
    };
    wait_until("the copy tells what it has received", || copies("write_lsn is not null") == "1");
    assert_eq!(copies("flush_lsn is not null or sync_state <> 'async'"), "0");
    let holding = "select count(*) from pg_replication_slots where temporary and restart_lsn is not null";
    assert_eq!(new.sql(holding), "1", "nothing holds the WAL for it");
    start.finish().expect_code(0);
    expect_following(&old, &new);
    assert_eq!(new.sql(holding), "0");
}

#[test]
fn an_empty_data_directory_is_filled_when_that_is_allowed() {
    let Diverged { old, new, .. } = diverged();
    run(Command::new("rm").arg("-r").arg(&old.data));
    let refused = old.call("start").run().expect_code(5);
    assert!(refused.reason().contains("rejoin=clone"), "{refused:#?}");
    let start = old.call("start").parameter("rejoin", "clone").timeout(60_000).run();
    // Nobody has told it where the primary listens: its own configuration was in the directory.
    assert!([0, 1].contains(&start.code), "{start:#?}");
    old.call("stop").run().expect_code(0);
    assert_eq!(new.seen(), Seen::Primary);
}

#[test]
fn another_clusters_directory_is_refused_whatever_is_allowed() {
    let Diverged { cluster, old, new } = diverged();
    run(Command::new("rm").arg("-r").arg(&old.data));
    let mut initdb = as_owner("initdb");
    run(initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "-D"]).arg(&old.data));
    old.configure("");
    old.run_as_primary();
    old.stop_fast();
    let refused = old.call("start").parameter("rejoin", "clone").run().expect_code(1);
    assert!(refused.reason().contains("another cluster") && refused.reason().contains("pgdata"), "{refused:#?}");
    assert!(cluster.attributes.record().contains(&new.sql("select system_identifier from pg_control_system()")));
    // Also without a primary: it must not stand for election.
    new.call("stop").run().expect_code(0);
    cluster.attributes.set_promoted(&[]);
    let refused = old.call("start").run().expect_code(1);
    assert!(refused.reason().contains("another cluster") && refused.reason().contains("--delete"), "{refused:#?}");
    assert!(old.kept_aside().is_empty() && old.data.join("PG_VERSION").is_file());
}

#[test]
fn a_running_standby_that_has_diverged_is_rewound_by_its_monitor() {
    let Diverged { old, new, .. } = diverged();
    // Somebody has started it without asking.
    old.write("standby.signal", "");
    old.launch();
    old.await_seen(Seen::Standby);
    wait_until("it is rewound and streams", || {
        old.call("monitor").timeout(10_000).run().expect_code(0);
        old.seen() == Seen::Standby && !old.kept_aside().is_empty()
    });
    expect_following(&old, &new);
    assert_eq!(inserts_in(&old.kept_aside()[0]), 1000);
}

#[test]
fn a_running_standby_that_may_not_be_rewound_says_so_once_and_shows_it() {
    let Diverged { cluster, old, .. } = diverged();
    old.write("standby.signal", "");
    old.launch();
    old.await_seen(Seen::Standby);
    let monitor = || old.call("monitor").parameter("rejoin", "none").run().expect_code(0);
    let told: usize = (0..5).map(|_| monitor().logged("it has diverged")).sum();
    assert_eq!(told, 1);
    assert!(cluster.attributes.state("srv1").starts_with("diverged at 0/"), "{}", cluster.attributes.state("srv1"));
    assert_eq!(old.seen(), Seen::Standby);
}

#[test]
fn a_number_that_a_lost_primary_has_used_is_not_used_again() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3"]);
    let (old, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    let [short, next] = &standbys[..] else { panic!("two standbys") };
    old.sql("create table rows (n int)");
    old.await_streaming("srv2");
    old.await_streaming("srv3");
    cluster.take_address_away();
    old.crash();
    // Promoted, and lost before anybody has received its timeline.
    let promotion = Promotion::new(short, &["srv2", "srv3"]);
    promotion.announce(&[short, next]);
    promotion.promote().expect_code(0);
    short.sql("insert into rows values (2)");
    short.crash();
    promote(&cluster, next, &["srv3"]);
    assert!(cluster.attributes.record().contains(" 3@0/"), "{}", cluster.attributes.record());
    short.call("start").timeout(60_000).run().expect_code(0);
    expect_following(short, next);
    assert_eq!(short.kept_aside().len(), 1);
}

#[test]
fn a_standby_whose_wal_is_gone_is_cloned_when_that_is_allowed() {
    let (cluster, primary, standby) = primary_and_standby();
    let standby = &standby;
    miss_wal(&primary, standby);
    wait_until("it is shown", || {
        // A sender that is about to refuse looks connected for a moment.
        primary.call("monitor").run().expect_code(8);
        standby.call("monitor").run().expect_code(0);
        cluster.attributes.state("srv2") == "too far behind"
    });
    wait_until("it is cloned and streams", || {
        standby.call("monitor").parameter("rejoin", "clone").timeout(10_000).run().expect_code(0);
        standby.seen() == Seen::Standby && !standby.kept_aside().is_empty()
    });
    expect_following(standby, &primary);
}

#[test]
fn a_primary_shows_its_timeline_while_a_standby_stays_away() {
    let Diverged { cluster, new, .. } = diverged();
    cluster.attributes.set_score("srv1", "-1000000");
    // Right after a promotion the checkpoint might remove what a standby needs that is about to reconnect.
    let asked = || new.sql("select checkpoints_req from pg_stat_bgwriter");
    let before = asked();
    new.call("monitor").run().expect_code(8);
    assert_eq!(asked(), before);
    let path = new.data.with_file_name("run").join(format!("pgbaton-{}.json", cluster.resource));
    let mut notes: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(!notes["missing"]["srv1"].is_null(), "{notes}");
    notes["missing"]["srv1"] = 0.into();
    fs::write(&path, notes.to_string()).unwrap();
    new.call("monitor").run().expect_code(8);
    wait_until("the control file has the new timeline", || {
        new.sql("select timeline_id from pg_control_checkpoint()") == "2"
    });
}

#[test]
fn a_primary_shows_its_timeline_before_an_instance_starts_that_may_have_to_be_rewound() {
    let Diverged { new, .. } = diverged();
    let shown = || new.sql("select timeline_id from pg_control_checkpoint()");
    let notify = new.call("notify").meta("notify_type", "pre").meta("notify_operation", "start");
    notify.meta("notify_start_uname", "srv1").run().expect_code(0);
    wait_until("the control file has the new timeline", || shown() == "2");
}

/// What it needs is gone from the primary and not from the archive, which is away for a while.
#[test]
fn a_standby_that_can_catch_up_from_its_archive_is_not_cloned() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let primary = cluster.node("srv1");
    let archive = primary.directory_beside("archive");
    let gate = archive.join("is-mounted");
    primary.configure(&format!("archive_mode = on\narchive_command = 'cp %p {}/%f'\n", archive.display()));
    primary.run_as_primary();
    cluster.move_address_to(&primary);
    primary.sql("create table rows (n int)");
    let standby = cluster.backup_of(&primary, "srv2");
    let restore = format!("test -e {} && cp {}/%f %p", gate.display(), archive.display());
    standby.configure(&format!("restore_command = '{restore}'\n"));
    standby.run_as_standby();
    primary.await_streaming("srv2");
    primary.call("monitor").run().expect_code(8);
    miss_wal(&primary, &standby);
    let monitor = || standby.call("monitor").parameter("rejoin", "clone").timeout(10_000).run().expect_code(0);
    wait_until("it is shown", || {
        primary.call("monitor").run().expect_code(8);
        monitor();
        cluster.attributes.state("srv2") == "catching up from its archive"
    });
    for _ in 0..3 {
        monitor();
    }
    assert_eq!(standby.seen(), Seen::Standby);
    fs::write(gate, "").unwrap();
    expect_following(&standby, &primary);
    assert!(standby.kept_aside().is_empty());
}

/// Its archive may be back in a moment.
#[test]
fn a_standby_that_was_started_without_an_archive_that_hangs_is_not_cloned_at_once() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2"]);
    let standby = standbys.remove(0);
    primary.sql("create table rows (n int)");
    primary.await_streaming("srv2");
    primary.call("monitor").run().expect_code(8);
    miss_wal(&primary, &standby);
    standby.stop_fast();
    standby.configure("restore_command = 'sleep 1000'");
    standby.call("start").parameter("rejoin", "clone").timeout(60_000).run().expect_code(0);
    wait_until("it is shown", || {
        primary.call("monitor").run().expect_code(8);
        standby.call("monitor").parameter("rejoin", "clone").timeout(10_000).run().expect_code(0);
        cluster.attributes.state("srv2") == "too far behind, without its archive"
    });
    assert_eq!(standby.seen(), Seen::Standby);
    assert!(standby.kept_aside().is_empty());
}

/// The timer of a connection's keepalive in hundredths of a second, as /proc/net/tcp has it (proc(5)).
fn keepalives_of_port(table: &str, port: u16) -> Vec<u64> {
    let local = format!(":{port:04X}");
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let connected = lines.filter(|fields| fields.len() > 5 && fields[1].ends_with(&local) && fields[3] == "01");
    let timers = connected.filter_map(|fields| fields[5].strip_prefix("02:").map(str::to_owned));
    timers.map(|due| u64::from_str_radix(&due, 16).unwrap()).collect()
}

/// A node that loses its power ends no connection: the primary has to find out that nobody is there.
#[test]
fn the_hold_of_a_node_that_is_lost_ends_soon() {
    let tcp = "listen_addresses = '127.0.0.1'";
    let Diverged { old, new, .. } = diverged();
    new.configure(tcp);
    new.stop_fast();
    new.run_as_primary();
    old.configure("primary_conninfo = 'host=127.0.0.1 port=5999 user=postgres application_name=srv1'");
    let table = old.data.with_file_name("connections");
    // The slot is held meanwhile, and that connection has nothing to say.
    let bin = bindir_with(&old, "pg_rewind", &format!("cat /proc/net/tcp >>{}\nexec $real \"$@\"", table.display()));
    old.call("start").parameter("bindir", bin.to_str().unwrap()).timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
    let table = fs::read_to_string(&table).unwrap();
    let due = keepalives_of_port(&table, 5999);
    assert!(due.iter().any(|due| *due <= 1000), "{due:?} of {table}");
}
