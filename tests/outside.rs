//! Clones of instances whose WAL and tablespaces lie outside of the data directory, with a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use support::cluster::Cluster;
use support::node::{Node, Seen, as_owner, own, run};
use support::rejoin::{Diverged, diverged_with, expect_following, promote};
use support::wait_until;

/// An old primary with rows in a tablespace that nobody received, its WAL elsewhere, which cannot be rewound.
struct Scene {
    _cluster: Arc<Cluster>,
    old: Node,
    new: Node,
    wal: PathBuf,
    space: PathBuf,
}

const NO_REWIND: &str = "wal_log_hints = off";

fn scene() -> Scene {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let old = cluster.node("srv1");
    old.configure(NO_REWIND);
    old.run_as_primary();
    cluster.move_address_to(&old);
    let space = old.directory_beside("space");
    old.sql(&format!("create tablespace space location '{}'", space.display()));
    old.sql("create table rows (n int) tablespace space");
    let new = Node::new(cluster.clone(), "srv2");
    let theirs = new.data.with_file_name("space");
    new.back_up_with(&old, &[format!("--tablespace-mapping={}={}", space.display(), theirs.display())]);
    new.configure(NO_REWIND);
    new.run_as_standby();
    old.await_streaming("srv2");
    cluster.take_address_away();
    old.sql("select pg_terminate_backend(pid) from pg_stat_replication");
    wait_until("the receiver has ended", || new.sql("select count(*) from pg_stat_wal_receiver") == "0");
    diverge(&old);
    promote(&cluster, &new, &["srv2"]);
    let wal = old.directory_beside("volume").join("wal");
    old.move_wal_to(&wal);
    Scene { _cluster: cluster, old, new, wal, space }
}

fn diverge(old: &Node) {
    old.sql("insert into rows select generate_series(1, 1000)");
    old.crash();
}

impl Scene {
    fn start(&self) -> support::agent::Call {
        self.old.call("start").parameter("rejoin", "clone").timeout(60_000)
    }

    fn expect_cloned(&self) {
        expect_following(&self.old, &self.new);
        assert_eq!(fs::read_link(self.old.data.join("pg_wal")).unwrap(), self.wal);
        assert!(fs::read_dir(&self.wal).unwrap().count() > 1);
        let place = "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'space'";
        assert_eq!(self.old.sql(place), self.space.to_str().unwrap());
    }
}

/// The names beside `path` that are kept ones of it.
fn kept_beside(path: &Path) -> Vec<String> {
    let own_name = path.file_name().unwrap().to_string_lossy().into_owned();
    let names = fs::read_dir(path.parent().unwrap()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("{own_name}.kept-"))).collect()
}

/// Runs a kept directory as a server by itself and counts its rows.
fn rows_in(kept: &Path) -> String {
    let sockets = kept.with_file_name("sockets-of-kept");
    let _ = fs::create_dir(&sockets);
    own(&sockets);
    let pg_ctl = |action: &str| {
        let mut command = as_owner("pg_ctl");
        command.args([action, "--wait", "--silent", "--log=/dev/null", "-D"]).arg(kept);
        command
    };
    run(pg_ctl("start").arg("-o").arg(format!("-c unix_socket_directories={}", sockets.display())));
    let mut psql = as_owner("psql");
    psql.args(["-X", "-A", "-t", "-p", "5999", "-d", "postgres", "-c", "select count(*) from rows", "-h"]);
    let rows = run(psql.arg(&sockets)).trim().to_owned();
    run(pg_ctl("stop").arg("--mode=fast"));
    rows
}

fn expect_made_anew_and_all_kept(scene: &Scene) {
    let start = scene.start().run().expect_code(0);
    assert_eq!(scene.old.seen(), Seen::Standby, "{start:#?}");
    scene.expect_cloned();
    let kept = scene.old.kept_aside();
    assert_eq!((kept.len(), kept_beside(&scene.wal).len(), kept_beside(&scene.space).len()), (1, 1, 1));
    assert_eq!(rows_in(&kept[0]), "1000");
}

#[test]
fn wal_and_tablespaces_elsewhere_are_kept_aside_and_made_anew_at_the_same_place() {
    let scene = scene();
    expect_made_anew_and_all_kept(&scene);
}

#[test]
fn a_clone_that_was_killed_anywhere_is_done_again_and_nothing_is_lost() {
    let scene = scene();
    for ms in [5, 20, 40, 60, 80, 100, 130, 160, 200, 300, 450, 600, 800] {
        let flight = scene.start().spawn();
        std::thread::sleep(Duration::from_millis(ms));
        flight.kill();
        scene.old.call("stop").run().expect_code(0);
        assert_eq!(scene.old.seen(), Seen::Down);
    }
    expect_made_anew_and_all_kept(&scene);
}

#[test]
fn what_a_removed_directory_leads_to_is_removed_with_it() {
    let scene = scene();
    scene.start().run().expect_code(0);
    scene.expect_cloned();
    let first = scene.old.kept_aside();
    scene.old.sql("select pg_promote()");
    diverge(&scene.old);
    scene.start().parameter("keep_aside", "1").run().expect_code(0);
    scene.expect_cloned();
    let second = scene.old.kept_aside();
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
    assert_eq!((kept_beside(&scene.wal).len(), kept_beside(&scene.space).len()), (1, 1));
}

/// Nothing was moved, and the reason is in the log.
fn expect_untouched(scene: &Scene, reason: &[&str]) {
    let refused = scene.start().run().expect_code(0);
    for part in reason {
        assert_eq!(refused.logged(part), 1, "{part}: {refused:#?}");
    }
    assert_eq!(scene.old.seen(), Seen::Down);
    assert!(scene.old.kept_aside().is_empty() && kept_beside(&scene.space).is_empty());
    assert!(scene.wal.join("archive_status").is_dir() && !scene.old.data.join("README.txt").exists());
}

#[test]
fn wal_that_the_owner_may_not_rename_is_refused_before_anything_is_touched() {
    let scene = scene();
    let volume = scene.wal.parent().unwrap();
    run(Command::new("chown").arg("root").arg(volume));
    run(Command::new("chmod").arg("755").arg(volume));
    expect_untouched(&scene, &["the owner may not write in", "pg_wal"]);
    own(volume);
    scene.start().run().expect_code(0);
    scene.expect_cloned();
}

#[test]
fn a_mount_point_is_refused_before_anything_is_touched() {
    let Scene { _cluster, old, new, wal, space } = scene();
    let mounted = old.directory_beside("mounted");
    run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&mounted));
    own(&mounted);
    run(Command::new("cp").args(["-a", "-T"]).arg(&wal).arg(&mounted));
    fs::remove_file(old.data.join("pg_wal")).unwrap();
    std::os::unix::fs::symlink(&mounted, old.data.join("pg_wal")).unwrap();
    let scene = Scene { _cluster, old, new, wal: mounted.clone(), space };
    expect_untouched(&scene, &["is a mount point", "mounted"]);
    run(Command::new("umount").arg(&mounted));
}

#[test]
fn a_new_tablespace_whose_place_is_taken_here_is_refused_with_the_place() {
    let Diverged { old, new, .. } = diverged_with(NO_REWIND);
    let taken = new.directory_beside("taken");
    new.sql(&format!("create tablespace taken location '{}'", taken.display()));
    let start = old.call("start").parameter("rejoin", "clone").timeout(60_000).run().expect_code(0);
    assert_eq!(start.logged("is not empty here"), 1, "{start:#?}");
    assert!(old.kept_aside().is_empty());
    new.sql("drop tablespace taken");
    old.call("start").parameter("rejoin", "clone").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
}
