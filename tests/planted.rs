//! The numbers of timelines that a promotion has skipped, and what a restore from the archive makes of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use support::cluster::Cluster;
use support::node::{Node, Seen, own};
use support::transition::Promotion;
use support::wait_until;

/// As in PostgreSQL's documentation: what is there is never overwritten.
fn archive_into(directory: &str) -> String {
    format!("archive_mode = on\narchive_command = 'test ! -f {directory}/%f && cp %p {directory}/%f'")
}

fn restore_from(archive: &Path) -> String {
    format!("restore_command = 'cp {}/%f %p'", archive.display())
}

fn empty_archive(cluster: &Cluster, name: &str) -> PathBuf {
    let archive = cluster.home().join(name);
    fs::create_dir(&archive).unwrap();
    own(&archive);
    archive
}

/// A standby on timeline 1 with an archive, and a backup of before.
fn with_archive() -> (Arc<Cluster>, Node, Node, PathBuf) {
    let cluster = Cluster::new();
    let archive = empty_archive(&cluster, "archive");
    let primary = cluster.node("srv1");
    primary.run_as_primary();
    primary.sql("create table row (n int)");
    cluster.move_address_to(&primary);
    let (standby, backup) = (cluster.backup_of(&primary, "srv2"), cluster.backup_of(&primary, "restored"));
    standby.configure(&archive_into(archive.to_str().unwrap()));
    standby.run_as_standby();
    primary.await_streaming("srv2");
    primary.stop_fast();
    (cluster, standby, backup, archive)
}

/// Timelines 2 and 3 were reserved by primaries that were lost before anybody received them.
fn promote_beyond_lost_timelines(cluster: &Cluster, standby: &Node) {
    cluster.attributes.set_reserved("srv2", 3);
    let promotion = Promotion::new(standby, &["srv2"]);
    promotion.announce(&[standby]);
    promotion.promote().expect_code(0);
    assert_eq!(standby.sql("select left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"), "00000004");
    standby.sql("insert into row values (4)");
    standby.sql("select pg_switch_wal()");
}

/// A monitor. The archiver looks for work once a minute, and when a segment is full.
fn look(primary: &Node) {
    primary.call("monitor").run().expect_code(8);
    primary.sql("insert into row values (4)");
    primary.sql("select pg_switch_wal()");
}

/// The archiver has failed for a while.
fn let_time_pass(cluster: &Cluster, node: &Node) {
    let path = node.data.with_file_name("run").join(format!("pgbaton-{}.json", cluster.resource));
    let mut notes: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    notes["planted_since_ms"] = 1.into();
    fs::write(&path, notes.to_string()).unwrap();
}

fn fails_with(node: &Node) -> String {
    node.sql("select last_failed_wal from pg_stat_archiver where last_failed_time > coalesce(last_archived_time, '-infinity')")
}

#[test]
fn a_restore_to_the_latest_timeline_finds_what_follows_skipped_numbers() {
    let (cluster, standby, backup, archive) = with_archive();
    promote_beyond_lost_timelines(&cluster, &standby);
    wait_until("the archive has all numbers", || {
        look(&standby);
        ["00000002.history", "00000003.history", "00000004.history"].iter().all(|name| archive.join(name).exists())
    });
    wait_until("the archive has the row", || {
        fs::read_dir(&archive)
            .unwrap()
            .flatten()
            .any(|e| e.file_name().to_string_lossy().starts_with("0000000400000000"))
    });

    backup.configure(&restore_from(&archive));
    backup.write("recovery.signal", "");
    backup.launch();
    backup.await_seen(Seen::Primary);
    assert_eq!(backup.sql("select n from row limit 1"), "4");
}

/// One of the lost primaries has archived its history: the archive keeps that one.
#[test]
fn an_archive_that_has_the_real_file_goes_on_archiving() {
    let (cluster, standby, _backup, archive) = with_archive();
    fs::write(archive.join("00000003.history"), "1\t0/3000000\tno recovery target specified\n").unwrap();
    promote_beyond_lost_timelines(&cluster, &standby);
    wait_until("the monitor has had it archived", || {
        look(&standby);
        standby.data.join("pg_wal/archive_status/00000003.history.ready").exists()
    });
    wait_until("the archiver fails with it", || {
        look(&standby);
        standby.sql("select last_failed_wal from pg_stat_archiver") == "00000003.history"
    });
    wait_until("it is given up, since the archive takes all else", || {
        look(&standby);
        let_time_pass(&cluster, &standby);
        standby.data.join("pg_wal/archive_status/00000003.history.done").exists()
    });
    wait_until("the next one is archived", || {
        look(&standby);
        standby.data.join("pg_wal/archive_status/00000002.history.ready").exists()
            || archive.join("00000002.history").exists()
    });
}

/// A primary that was lost, or a person's promotion, has archived the history of a timeline that was given up. A server that
/// looks for the youngest one ends when its own WAL is not part of that.
#[test]
fn an_archive_with_the_history_of_a_timeline_that_was_given_up_keeps_nobody_from_starting() {
    let cluster = Cluster::new();
    let archive = empty_archive(&cluster, "archive");
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    let (third, second) = (standbys.pop().unwrap(), standbys.pop().unwrap());
    second.stop_fast();
    let restore = restore_from(&archive);
    second.configure(&restore);
    fs::write(archive.join("00000002.history"), "1\t0/1000100\tno recovery target specified\n").unwrap();

    let started = second.call("start").timeout(60_000).run().expect_code(0);
    assert_eq!(
        started.logged("tried once more on timeline 1 only: restore_command finds 00000002.history"),
        1,
        "{started:#?}"
    );
    assert_eq!(second.seen(), Seen::Standby);
    primary.await_streaming("srv2");

    // It cannot follow a switch of timelines, and is started anew for it.
    primary.crash();
    cluster.attributes.lose_all_of("srv1");
    cluster.attributes.set_reserved("srv3", 2);
    let promotion = Promotion::new(&third, &["srv2", "srv3"]);
    promotion.announce(&[&second, &third]);
    promotion.promote().expect_code(0);
    cluster.move_address_to(&third);
    cluster.attributes.set_promoted(&["srv3"]);
    third.call("monitor").run().expect_code(8);
    wait_until("it follows to the new timeline", || {
        second.call("monitor").run().expect_code(0);
        second.sql("show recovery_target_timeline") == "latest"
            && third.sql("select count(*) from pg_stat_replication where application_name = 'srv2'") == "1"
    });
}

/// PostgreSQL looks into the archive for numbers that are used, and takes the next one (`findNewestTimeLine` in timeline.c).
#[test]
fn a_number_that_only_the_archive_has_is_not_promised_and_the_one_that_was_taken_is() {
    let cluster = Cluster::new();
    let archive = empty_archive(&cluster, "archive");
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    let (third, second) = (standbys.pop().unwrap(), standbys.pop().unwrap());
    primary.sql("create table row (n int)");
    primary.await_streaming("srv3");
    second.stop_fast();
    second.configure(&restore_from(&archive));
    second.run_as_standby();
    primary.await_streaming("srv2");
    fs::write(archive.join("00000002.history"), "1\t0/1000100\tno recovery target specified\n").unwrap();
    primary.crash();
    cluster.attributes.lose_all_of("srv1");
    let promotion = Promotion::new(&second, &["srv2", "srv3"]);
    promotion.announce(&[&second, &third]);
    promotion.promote().expect_code(0);
    let timeline = "select left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)";
    assert_eq!(second.sql(timeline), "00000003");
    assert_eq!(fs::read_to_string(second.data.with_file_name("data.timeline")).unwrap(), "1 3\n");
    let reserved = cluster.attributes.all(&format!("pgbaton-{}-reserved", cluster.resource));
    assert_eq!(reserved.get("srv3").map(String::as_str), Some("3"));
    // A standby fetches the history of every number in between.
    cluster.move_address_to(&second);
    second.await_streaming("srv3");

    // It is lost before anything of it is on record, and before it has archived its history.
    second.crash();
    cluster.attributes.lose_all_of("srv2");
    cluster.take_address_away();
    let next = Promotion::new(&third, &["srv3"]);
    next.announce(&[&third]);
    next.promote().expect_code(0);
    assert_eq!(third.sql(timeline), "00000004");
}

/// A primary that was lost comes back while another one has just been promoted and nobody knows of that yet. It has WAL of its
/// own beyond the fork, and the archive has the younger timeline's history and not its WAL: it must not replay past the fork.
#[test]
fn a_lost_primary_is_not_led_past_a_fork_by_the_archive() {
    let cluster = Cluster::new();
    let archive = empty_archive(&cluster, "archive");
    let primary = cluster.node("srv1");
    primary.run_as_primary();
    primary.sql("create table row (n int)");
    let fork = primary.sql("select pg_current_wal_insert_lsn()");
    primary.sql("insert into row values (1)");
    primary.crash();
    primary.configure(&restore_from(&archive));
    fs::write(archive.join("00000002.history"), format!("1\t{fork}\tno recovery target specified\n")).unwrap();

    primary.call("start").timeout(60_000).run().expect_code(0);
    assert_eq!(primary.sql("show recovery_target_timeline"), "1");
    assert_eq!(primary.sql("select n from row"), "1");
}

/// A gap would end each restore there, silently.
#[test]
fn an_archive_that_is_away_for_a_while_gets_every_number() {
    let (cluster, standby, _backup, archive) = with_archive();
    promote_beyond_lost_timelines(&cluster, &standby);
    wait_until("the youngest", || archive.join("00000004.history").exists());
    let away = archive.with_file_name("away");
    fs::rename(&archive, &away).unwrap();
    wait_until("the archiver fails with a skipped number", || {
        look(&standby);
        fails_with(&standby) == "00000003.history"
    });
    let_time_pass(&cluster, &standby);
    look(&standby);
    fs::rename(&away, &archive).unwrap();
    wait_until("the archive has all numbers", || {
        look(&standby);
        let_time_pass(&cluster, &standby);
        ["00000002.history", "00000003.history"].iter().all(|name| archive.join(name).exists())
    });
}

/// With archive_mode = always it archives whatever it receives, and the primary's monitor cannot help it.
#[test]
fn a_standby_that_archives_by_itself_is_not_held_up_by_a_number_that_its_archive_has() {
    let (cluster, primary, standby, _archive) = with_archive();
    let own_archive = empty_archive(&cluster, "own");
    fs::write(own_archive.join("00000003.history"), "1\t0/3000000\tno recovery target specified\n").unwrap();
    standby.configure(&archive_into(own_archive.to_str().unwrap()).replace("= on", "= always"));
    standby.run_as_standby();
    promote_beyond_lost_timelines(&cluster, &primary);
    cluster.move_address_to(&primary);
    let look = || {
        look(&primary);
        standby.call("monitor").run().expect_code(0)
    };
    wait_until("its archiver fails with it", || {
        look();
        fails_with(&standby) == "00000003.history"
    });
    let mut given_up = 0;
    wait_until("it is given up", || {
        let_time_pass(&cluster, &standby);
        given_up += look().logged("the archive refuses 00000003.history");
        given_up == 1
    });
    assert!(["00000002.history", "00000004.history"].iter().all(|name| own_archive.join(name).exists()));
}

/// A person's promotion has archived its timeline with WAL of it, and the instance was rewound to the primary's since: it has
/// replayed what that timeline does not have.
#[test]
fn the_archived_timeline_of_a_person_does_not_lead_a_rewound_instance_astray() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let archive = empty_archive(&cluster, "archive");
    let (primary, mut standbys) = cluster.replicating("srv1", &["srv2"]);
    let second = standbys.pop().unwrap();
    primary.sql("create table rows (n int)");
    let archiving = archive_into(archive.to_str().unwrap());
    second.configure(&format!("{archiving}\n{}\nwal_keep_size = '128MB'", restore_from(&archive)));
    second.stop_fast();
    second.launch();
    primary.await_streaming("srv2");
    cluster.attributes.set_promoted(&["srv1"]);
    for _ in 0..2 {
        primary.call("monitor").run().expect_code(8);
    }
    second.sql("select pg_promote()");
    second.await_seen(Seen::Primary);
    second.sql("insert into rows values (7)");
    second.sql("select pg_switch_wal()");
    wait_until("the person's timeline is archived", || {
        let names = fs::read_dir(&archive).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("00000002") && (name.len() == 24 || name.ends_with(".history"))).count()
            == 2
    });
    second.call("monitor").run().expect_code(8);
    // What it needs to be consistent lies beyond the end of the person's WAL.
    for _ in 0..3 {
        primary.sql("insert into rows values (1)");
        primary.sql("select pg_switch_wal()");
    }
    second.call("demote").run().expect_code(0);
    for action in ["stop", "start", "stop", "start"] {
        let done = second.call(action).timeout(60_000).run().expect_code(0);
        assert_eq!(done.logged("cannot follow"), 0, "{done:#?}");
    }
    primary.await_streaming("srv2");
    wait_until("it has the primary's rows", || second.sql("select string_agg(n::text, ' ') from rows") == "1 1 1");
    assert_eq!(second.kept_aside().len(), 1);
}
