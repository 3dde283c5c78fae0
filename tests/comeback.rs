//! The way back under PostgreSQL's defaults and under adverse conditions, with a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::process::Command;
use std::sync::Arc;

use support::agent::{Answer, Call};
use support::cluster::Cluster;
use support::node::{Node, Seen};
use support::processes::await_titled;
use support::rejoin::{
    Diverged, bindir_with, diverged, diverged_by, diverged_with, expect_following, inserts_in, miss_wal,
    primary_and_standby, promote, write_segments,
};
use support::transition::Promotion;
use support::wait_until;

/// What `initdb` leaves as it is: WAL is kept for nobody.
const KEEPS_NO_WAL: &str = "wal_keep_size = 0";

/// A rewind that is done, and looks as if it had been ended just before.
const INTERRUPTED: &str =
    "case \"$*\" in *--dry-run*) exec $real \"$@\" ;; esac\n$real \"$@\"; echo 'error: ended' >&2; exit 1";

/// A recovery that asks a slow archive first: each file costs it three seconds.
const SLOW_RECOVERY: &str = "restore_command = 'sleep 3; false'";

#[test]
fn a_recovery_after_a_rewind_that_outlasts_the_actions_is_neither_failed_nor_ended() {
    let Diverged { cluster, old, new } = diverged();
    old.configure(SLOW_RECOVERY);
    old.call("start").timeout(6_000).run().expect_code(0);
    let (mut postmasters, mut shown) = (Vec::new(), false);
    wait_until("it has recovered", || {
        old.call("monitor").timeout(4_000).run().expect_code(0);
        old.call("demote").timeout(4_000).run().expect_code(0);
        postmasters.extend(old.postmaster());
        shown |= cluster.attributes.state("srv1") == "recovering";
        old.seen() == Seen::Standby
    });
    postmasters.dedup();
    assert_eq!(postmasters.len(), 1, "the server was ended for its slow recovery");
    assert!(shown, "nobody was told what the instance is doing");
    old.call("monitor").run().expect_code(0);
    expect_following(&old, &new);
}

#[test]
fn a_restored_backup_is_not_started_as_a_standby_before_a_person_has_said_so() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    node.write("recovery.signal", "");
    let refused = node.call("start").run().expect_code(1);
    for part in ["recovery.signal", "pg_ctl", "remove"] {
        assert!(refused.reason().contains(part), "{part} is not in: {}", refused.reason());
    }
    assert_eq!(node.seen(), Seen::Down);
    std::fs::remove_file(node.data.join("recovery.signal")).unwrap();
    node.call("start").run().expect_code(0);
}

/// PostgreSQL leaves it there when it was started with `standby.signal`, too.
#[test]
fn a_recovery_signal_that_was_left_lying_goes_with_the_demotion() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    node.run_as_primary();
    node.write("recovery.signal", "");
    node.call("demote").run().expect_code(0);
    assert_eq!(node.seen(), Seen::Standby);
    assert!(!node.data.join("recovery.signal").exists());
}

/// Several segments since the last common checkpoint, several after the fork, and no slot.
#[test]
fn a_crashed_primary_is_rewound_where_nothing_keeps_wal() {
    let Diverged { old, new, .. } =
        diverged_by(KEEPS_NO_WAL, |old| write_segments(old, 3), |old| write_segments(old, 4));
    new.sql("checkpoint");
    old.call("start").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
    assert_eq!(inserts_in(&old.kept_aside()[0]), 1000);
}

fn marker(node: &Node) -> Option<String> {
    fs::read_to_string(node.data.with_file_name("data.rejoin")).ok()
}

/// The primary no longer has the WAL that follows the fork.
fn left_behind() -> Diverged {
    let diverged = diverged_with(KEEPS_NO_WAL);
    for _ in 0..3 {
        write_segments(&diverged.new, 1);
        diverged.new.sql("checkpoint");
    }
    diverged
}

#[test]
fn what_is_diverged_and_too_far_behind_is_refused_untouched_and_cloned_where_that_is_allowed() {
    let Diverged { cluster, old, new } = left_behind();
    let start = old.call("start").timeout(60_000).run().expect_code(0);
    assert_eq!(start.logged("too far behind to be rewound"), 1, "{start:#?}");
    for _ in 0..3 {
        old.call("monitor").run().expect_code(0);
    }
    assert_eq!((old.seen(), cluster.attributes.state("srv1").as_str()), (Seen::Down, "rewinding fails"));
    old.call("stop").run().expect_code(0);
    let refused = old.call("start").run().expect_code(1);
    for part in ["it has diverged", "too far behind", "oldest is", "rejoin=clone"] {
        assert!(refused.reason().contains(part), "{part} is not in: {}", refused.reason());
    }
    assert!(old.kept_aside().is_empty());
    old.call("start").parameter("rejoin", "clone").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
    assert!(old.kept_aside()[0].join("PG_VERSION").is_file());
}

#[test]
fn what_is_diverged_and_too_far_behind_is_cloned_at_once_where_that_is_allowed() {
    let Diverged { old, new, .. } = left_behind();
    old.call("start").parameter("rejoin", "clone").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
}

/// The primary has removed what the rewound instance needs next, between the rewind and the start of the server.
#[test]
fn a_rewound_instance_that_waits_for_wal_that_is_gone_says_so_and_is_cloned_where_that_is_allowed() {
    let Diverged { cluster, old, new } = diverged_with(KEEPS_NO_WAL);
    old.call("start").timeout(700).run();
    wait_until("it is rewound", || marker(&old).is_some_and(|text| text.contains("\"Done\"")));
    assert_eq!(old.seen(), Seen::Down);
    for entry in fs::read_dir(old.data.join("pg_wal")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.len() == 24 && name.starts_with("00000002") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    cluster.attributes.set_score("srv1", "-1000000");
    for _ in 0..3 {
        write_segments(&new, 1);
        new.sql("checkpoint");
    }
    let monitor = |rejoin| {
        new.call("monitor").run().expect_code(8);
        old.call("monitor").parameter("rejoin", rejoin).run().expect_code(0)
    };
    wait_until("it is shown", || {
        monitor("rewind");
        cluster.attributes.state("srv1") == "too far behind"
    });
    // What only this node has had is not given up for a copy of what the primary has.
    wait_until("it is cloned", || {
        new.call("monitor").run().expect_code(8);
        let monitor = old.call("monitor").parameter("rejoin", "clone").parameter("keep_aside", "1");
        monitor.run().expect_code(0);
        old.seen() == Seen::Standby && marker(&old).is_none()
    });
    expect_following(&old, &new);
    let kept = old.kept_aside();
    let of_rewind: Vec<_> = kept.iter().filter(|path| path.join("pg_control").is_file()).collect();
    assert_eq!((kept.len(), of_rewind.len()), (2, 1), "{kept:?}");
    assert_eq!(inserts_in(of_rewind[0]), 1000);
}

/// A start whose rewind ends half-way.
fn start_interrupted(old: &Node) -> Answer {
    let bin = bindir_with(old, "pg_rewind", INTERRUPTED);
    let start = old.call("start").parameter("bindir", bin.to_str().unwrap()).timeout(60_000).run().expect_code(0);
    assert_eq!(old.seen(), Seen::Down);
    assert!(marker(old).is_some_and(|text| text.contains("\"Kept\"")), "{:?}", marker(old));
    start
}

#[test]
fn a_half_rewound_directory_that_is_too_far_behind_is_cloned_with_the_nodes_own_configuration() {
    let Diverged { old, new, .. } = diverged_with(KEEPS_NO_WAL);
    start_interrupted(&old);
    for _ in 0..3 {
        write_segments(&new, 1);
        new.sql("checkpoint");
    }
    let start = old.call("start").timeout(60_000).run().expect_code(0);
    assert_eq!((old.seen(), start.logged("too far behind to be rewound")), (Seen::Down, 1), "{start:#?}");
    let refused = old.call("start").run().expect_code(1);
    assert!(refused.reason().contains("half rewound") && refused.reason().contains("rejoin=clone"), "{refused:#?}");
    old.call("start").parameter("rejoin", "clone").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
    let own = fs::read_to_string(old.data.join("postgresql.auto.conf")).unwrap();
    assert!(own.contains("application_name=srv1"), "the configuration of the source was left: {own}");
}

/// The configuration was broken before, and a person finds that out when the rewind cannot go on.
#[test]
fn what_a_person_corrects_in_a_half_rewound_directory_counts() {
    let Diverged { old, new, .. } = diverged();
    start_interrupted(&old);
    old.call("stop").run().expect_code(0);
    // As if it had been so from the beginning.
    let file = old.kept_aside()[0].join("config/postgresql.conf");
    let right = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{right}\nnonsense = 'yes\n")).unwrap();
    let start = || old.call("start").timeout(60_000).run().expect_code(0);
    let failed = start();
    let told = format!("correct the configuration in {}", old.data.display());
    assert_eq!((failed.logged(&told), old.seen()), (1, Seen::Down), "{failed:#?}");
    old.call("stop").run().expect_code(0);
    old.write("postgresql.conf", &format!("{right}\n# corrected\n"));
    let done = start();
    assert_eq!(old.seen(), Seen::Standby, "{done:#?}");
    expect_following(&old, &new);
    assert!(fs::read_to_string(old.data.join("postgresql.conf")).unwrap().contains("# corrected"));
}

/// The copy is of no use when the primary has removed again what comes after it.
#[test]
fn a_clone_that_is_too_far_behind_again_is_refused_with_the_cure() {
    let (cluster, primary, standby) = primary_and_standby();
    miss_wal(&primary, &standby);
    let monitor = || {
        primary.call("monitor").run().expect_code(8);
        standby.call("monitor").parameter("rejoin", "clone").timeout(10_000).run().expect_code(0)
    };
    wait_until("it is cloned", || {
        monitor();
        standby.kept_aside().len() == 1
    });
    wait_until("the copy is there", || marker(&standby).is_none_or(|text| text.contains("\"Done\"")));
    standby.crash();
    miss_wal_again(&primary);
    let mut told = 0;
    wait_until("it is refused", || {
        told += monitor().logged("wal_keep_size");
        cluster.attributes.state("srv2") == "too far behind" && told > 0
    });
    for _ in 0..3 {
        told += monitor().logged("wal_keep_size");
    }
    assert_eq!((told, standby.kept_aside().len()), (1, 1));
    // What it says to do.
    standby.call("stop").run().expect_code(0);
    standby.call("start").parameter("rejoin", "clone").timeout(20_000).run().expect_code(0);
    wait_until("it is cloned again", || {
        monitor();
        standby.kept_aside().len() == 2 && standby.seen() == Seen::Standby && marker(&standby).is_none()
    });
    expect_following(&standby, &primary);
}

fn miss_wal_again(primary: &Node) {
    for _ in 0..4 {
        write_segments(primary, 1);
        primary.sql("checkpoint");
    }
}

/// It does not serve and stop in turn.
#[test]
fn a_clone_that_fails_while_nothing_is_touched_leaves_the_instance_to_the_next_attempt() {
    let (cluster, primary, standby) = primary_and_standby();
    let standby = &standby;
    miss_wal(&primary, standby);
    let bin = bindir_with(standby, "psql", "echo 'psql: error: too many connections' >&2; exit 2");
    let monitor = || {
        primary.call("monitor").run().expect_code(8);
        let monitor = standby.call("monitor").parameter("rejoin", "clone").parameter("bindir", bin.to_str().unwrap());
        monitor.run().expect_code(0)
    };
    wait_until("cloning fails", || {
        monitor();
        cluster.attributes.state("srv2") == "cloning fails"
    });
    for _ in 0..5 {
        monitor();
        assert!(marker(standby).is_some() && standby.seen() == Seen::Down);
    }
    wait_until("it is cloned", || {
        standby.call("monitor").parameter("rejoin", "clone").run().expect_code(0);
        standby.seen() == Seen::Standby && marker(standby).is_none()
    });
    expect_following(standby, &primary);
}

#[test]
fn a_half_rewound_directory_is_not_started_because_nothing_seems_to_be_left_to_rewind() {
    let Diverged { old, new, .. } = diverged();
    start_interrupted(&old);
    let bin = bindir_with(&old, "pg_rewind", "echo 'pg_rewind: no rewind required' >&2");
    let start = old.call("start").parameter("bindir", bin.to_str().unwrap()).timeout(60_000).run().expect_code(0);
    assert_eq!((old.seen(), start.logged("no rewind required")), (Seen::Down, 1), "{start:#?}");
    old.call("start").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
    assert_eq!((inserts_in(&old.kept_aside()[0]), old.kept_aside().len()), (1000, 1));
}

#[test]
fn an_instance_that_was_only_planned_to_be_rewound_takes_part_when_the_primary_is_lost() {
    let Diverged { cluster, old, new } = diverged();
    let bin = bindir_with(&old, "pg_rewind", "echo 'pg_rewind: error: not now' >&2; exit 1");
    old.call("start").parameter("bindir", bin.to_str().unwrap()).timeout(60_000).run().expect_code(0);
    assert!(marker(&old).is_some() && old.seen() == Seen::Down);
    new.crash();
    cluster.attributes.set_promoted(&[]);
    old.call("monitor").run().expect_code(0);
    assert_eq!((old.seen(), marker(&old)), (Seen::Standby, None));
    assert_eq!(old.sql("select count(*) from rows"), "1000");
}

/// Its rewind hangs before it has changed anything, as on a source that has lost its power, and the source is lost.
fn hangs_untouched() -> Diverged {
    let diverged = diverged();
    let bin = bindir_with(&diverged.old, "pg_rewind", "exec sleep 600");
    let start = diverged.old.call("start").parameter("bindir", bin.to_str().unwrap()).timeout(3_000);
    start.run().expect_code(0);
    wait_until("the worker is at pg_rewind", || marker(&diverged.old).is_some_and(|text| text.contains("\"Saved\"")));
    diverged.new.crash();
    diverged.cluster.attributes.set_promoted(&[]);
    diverged
}

/// Nothing but its own files has the rows.
#[test]
fn an_instance_whose_rewind_hangs_untouched_votes_when_the_primary_is_lost() {
    let Diverged { cluster, old, new } = hangs_untouched();
    Promotion::new(&new, &["srv1", "srv2"]).announce(&[&old]);
    let paper = cluster.attributes.paper("srv1");
    assert!(paper.starts_with("vote srv1,srv2 1 0/"), "{paper}");
    old.call("monitor").run().expect_code(0);
    assert_eq!((old.seen(), marker(&old)), (Seen::Standby, None));
    assert_eq!(old.sql("select count(*) from rows"), "1000");
}

#[test]
fn a_rewind_that_hangs_untouched_is_ended_by_the_monitor_when_its_source_is_lost() {
    let Diverged { old, .. } = hangs_untouched();
    old.call("monitor").meta("interval", "0").run().expect_code(0);
    assert_eq!(old.seen(), Seen::Down, "a probe changes nothing");
    old.call("monitor").run().expect_code(0);
    assert_eq!((old.seen(), marker(&old)), (Seen::Standby, None));
    assert_eq!(old.sql("select count(*) from rows"), "1000");
}

/// From now on nobody receives what this primary writes.
fn leave_alone(primary: &Node, standbys: &[&Node]) {
    primary.cluster.take_address_away();
    primary.sql("select pg_terminate_backend(pid) from pg_stat_replication");
    for standby in standbys {
        let ended = || standby.sql("select count(*) from pg_stat_wal_receiver") == "0";
        wait_until("the receiver has ended", ended);
    }
}

/// A diverged primary, the one that took its place, and a third node that has not received what that wrote last.
fn diverged_from_one_that_is_alone() -> (Arc<Cluster>, Node, Node, Node) {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3"]);
    let (old, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    let [new, third] = <[Node; 2]>::try_from(standbys).expect("two standbys");
    old.sql("create table rows (n int)");
    for node in [&new, &third] {
        old.await_streaming(&node.name);
        node.sql("alter system set wal_keep_size = '512MB'");
        node.sql("select pg_reload_conf()");
    }
    leave_alone(&old, &[&new, &third]);
    old.sql("insert into rows select generate_series(1, 1000)");
    old.crash();
    promote(&cluster, &new, &["srv2"]);
    new.await_streaming("srv3");
    new.sql("create table fresh as select n, n as other from generate_series(1, 5000) n");
    new.sql("checkpoint");
    write_segments(&new, 1);
    new.sql("insert into rows values (1)");
    new.await_streaming("srv3");
    third.stop_fast();
    new.sql("insert into fresh select n, -1 from generate_series(5001, 20000) n");
    new.sql("create table lost as select generate_series(1, 5000)");
    cluster.move_address_to(&new);
    (cluster, old, new, third)
}

fn lose(cluster: &Cluster, new: &Node, third: &Node) {
    new.crash();
    cluster.take_address_away();
    third.run_as_standby();
}

fn lose_first_source(cluster: &Cluster, new: &Node, third: &Node) {
    lose(cluster, new, third);
    promote(cluster, third, &["srv3"]);
    take_over(cluster, third);
}

fn take_over(cluster: &Cluster, third: &Node) {
    cluster.move_address_to(third);
    cluster.attributes.set_promoted(&["srv3"]);
    third.call("monitor").run().expect_code(8);
    third.sql("insert into fresh select n, -2 from generate_series(5001, 9000) n");
}

fn expect_same(old: &Node, third: &Node) {
    expect_following(old, third);
    let seen = |node: &Node| {
        node.sql("select count(*) || ' ' || sum(other) || ' ' || (select count(*) from pg_class) from fresh")
    };
    assert_eq!(seen(old), seen(third));
}

/// The first source has given pages away that nobody else has, and is lost.
#[test]
fn a_half_rewound_directory_is_rewound_to_the_primary_that_is_there_then() {
    let (cluster, old, new, third) = diverged_from_one_that_is_alone();
    new.sql("checkpoint");
    start_interrupted(&old);
    old.call("stop").run().expect_code(0);
    lose_first_source(&cluster, &new, &third);
    let start = old.call("start").timeout(60_000).run().expect_code(0);
    assert_eq!(start.logged("rewinding from srv3 now, and no longer from srv2"), 1, "{start:#?}");
    assert_eq!(old.seen(), Seen::Standby, "{start:#?} {:?}", marker(&old));
    expect_same(&old, &third);
}

/// It is rewound, and has only so many segments of the WAL up to where its source was then. Its server recovers, and the source
/// is lost: the third node has the beginning of the second segment.
fn rewound_in_vain(segments: usize) -> (Arc<Cluster>, Node, Node) {
    let (cluster, old, new, third) = diverged_from_one_that_is_alone();
    let cut = format!(
        "case \"$*\" in *--dry-run*) exec $real \"$@\" ;; esac\n\
         $real \"$@\" && ls {}/pg_wal/00000002*[0-9A-F] | sort | tail -n +{} | xargs truncate -s 0",
        old.data.display(),
        segments + 1
    );
    let bin = bindir_with(&old, "pg_rewind", &cut);
    new.sql("select pg_switch_wal()");
    new.sql("insert into fresh values (0, 0)");
    let start = old.call("start").parameter("bindir", bin.to_str().unwrap()).timeout(700).run();
    wait_until("it is rewound", || marker(&old).is_some_and(|text| text.contains("\"Done\"")));
    assert_eq!(old.seen(), Seen::Down, "{start:#?}");
    lose(&cluster, &new, &third);
    old.call("monitor").timeout(4_000).run();
    await_titled(&old.data, "postgres: walreceiver");
    (cluster, old, third)
}

#[test]
fn a_rewound_instance_whose_source_was_lost_holds_up_nobody_and_is_rewound_to_the_next_primary() {
    let (cluster, old, third) = rewound_in_vain(1);
    // It cannot be promoted before it gets what nobody has: nobody waits until it tells how much that is.
    let promotion = Promotion::new(&third, &["srv1", "srv3"]).election_timeout("600");
    let told = promotion.announce(&[&old, &third]);
    assert!(cluster.attributes.paper("srv1").contains(" final=yes its WAL ends at 0/"), "{told:#?}");
    promotion.promote().expect_code(0);
    take_over(&cluster, &third);
    // Its server waits for what nobody has, and is ended for that.
    wait_until("it is rewound again", || {
        old.call("monitor").timeout(20_000).run().expect_code(0);
        old.seen() == Seen::Standby && marker(&old).is_none()
    });
    expect_same(&old, &third);
    assert_eq!((inserts_in(&old.kept_aside()[0]), old.kept_aside().len()), (1000, 1));
}

/// Another rewind would leave it there.
#[test]
fn what_was_replayed_of_a_lost_source_is_not_rewound_but_cloned() {
    let (cluster, old, third) = rewound_in_vain(2);
    promote(&cluster, &third, &["srv3"]);
    take_over(&cluster, &third);
    wait_until("it is given up", || {
        let monitor = old.call("monitor").run().expect_code(0);
        monitor.logged("has replayed WAL of its first source") == 1
    });
    assert_eq!(old.seen(), Seen::Down);
    let refused = old.call("start").timeout(60_000).run().expect_code(1);
    assert!(refused.reason().contains("has replayed") && refused.reason().contains("rejoin=clone"), "{refused:#?}");
    old.call("start").parameter("rejoin", "clone").timeout(60_000).run().expect_code(0);
    expect_same(&old, &third);
}

fn abandon(node: &Node) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pgbaton")).arg("abandon").arg(&node.data).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_person_ends_a_return_with_one_command_and_nothing_is_destroyed() {
    let Diverged { old, new: _new, .. } = diverged();
    start_interrupted(&old);
    let without = |call: Call| call.parameter("rejoin", "none");
    let refused = without(old.call("start")).run().expect_code(1);
    assert!(refused.reason().contains("half rewound") && refused.reason().contains("pgbaton abandon"), "{refused:#?}");
    old.call("stop").run().expect_code(0);
    let kept = old.kept_aside();
    assert!(abandon(&old).contains(kept[0].to_str().unwrap()));
    assert_eq!((inserts_in(&kept[0]), marker(&old)), (1000, None));
    let refused = without(old.call("start")).run().expect_code(5);
    assert!(refused.reason().contains("pgbaton abandon"), "{refused:#?}");
    old.call("monitor").meta("interval", "0").run().expect_code(7);
    assert!(abandon(&old).contains("no return"));
}

#[test]
fn a_marker_that_cannot_be_read_is_refused_with_the_command() {
    let Diverged { old, .. } = diverged();
    for text in ["nonsense", "{\"version\":99}"] {
        fs::write(old.data.with_file_name("data.rejoin"), text).unwrap();
        let refused = old.call("start").run().expect_code(1);
        assert!(refused.reason().contains("pgbaton abandon"), "{refused:#?}");
        assert_eq!(old.seen(), Seen::Down);
    }
}
