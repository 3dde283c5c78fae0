//! What a return keeps, what it never touches, and how it is ended: with a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::agent::Call;
use support::node::{Node, Seen, as_owner_of_files, bindir, own, run};
use support::rejoin::{Diverged, diverged, diverged_with, expect_following};

const NO_REWIND: &str = "wal_log_hints = off";

/// PostgreSQL's programs, one of them with something before it: a script that goes on with `"$real" "$@"`, or does not.
fn programs_with(node: &Node, name: &str, script: &str) -> PathBuf {
    let directory = node.directory_beside(&format!("programs-{name}"));
    for entry in fs::read_dir(bindir()).unwrap().flatten().filter(|entry| entry.file_name() != name) {
        symlink(entry.path(), directory.join(entry.file_name())).unwrap();
    }
    let (path, real) = (directory.join(name), bindir().join(name));
    fs::write(&path, format!("#!/bin/sh\nreal={}\n{script}\n", real.display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn clone_with(node: &Node, programs: Option<&Path>) -> Call {
    let start = node.call("start").parameter("rejoin", "clone").timeout(60_000);
    match programs {
        Some(programs) => start.parameter("bindir", programs.to_str().unwrap()),
        None => start,
    }
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").args(["-a", "-T"]).arg(from).arg(to));
}

#[test]
fn a_database_that_a_person_puts_back_during_a_clone_is_never_emptied() {
    let Diverged { old, new, .. } = diverged_with(NO_REWIND);
    let fails = programs_with(&old, "pg_basebackup", "exit 1");
    clone_with(&old, Some(&fails)).run().expect_code(0);
    old.call("stop").run().expect_code(0);
    let kept = old.kept_aside().remove(0);
    copy(&kept, &old.data);
    old.write("theirs", "");
    let start = clone_with(&old, None).run().expect_code(0);
    assert!(old.data.join("theirs").is_file() && old.data.join("base").is_dir(), "{start:#?}");
    assert_eq!(start.logged("put there"), 1, "{start:#?}");
    // What it says to do helps.
    fs::remove_dir_all(&old.data).unwrap();
    clone_with(&old, None).run().expect_code(0);
    expect_following(&old, &new);
}

/// Killed while it copies, the copy is made again, and nobody has to clean up.
#[test]
fn a_copy_that_ended_half_way_is_made_again() {
    let Diverged { old, new, .. } = diverged_with(NO_REWIND);
    let half = programs_with(&old, "pg_basebackup", "\"$real\" \"$@\" && exit 1");
    for _ in 0..2 {
        clone_with(&old, Some(&half)).run().expect_code(0);
        old.call("stop").run().expect_code(0);
    }
    clone_with(&old, None).run().expect_code(0);
    expect_following(&old, &new);
    assert_eq!(old.kept_aside().len(), 1);
    let left = fs::read_dir(&old.data).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("pgbaton")));
}

/// It may be all that is left of the data.
#[test]
fn a_whole_copy_comes_to_its_place_though_the_primary_is_gone() {
    let Diverged { cluster, old, new } = diverged_with(NO_REWIND);
    let in_the_way = old.data.join("base");
    let blocks = programs_with(&old, "pg_basebackup", &format!("\"$real\" \"$@\" && touch {}", in_the_way.display()));
    let start = clone_with(&old, Some(&blocks)).run().expect_code(0);
    assert_eq!((start.logged("put there"), old.seen()), (1, Seen::Down), "{start:#?}");
    let rows = new.sql("select count(*) from rows");
    new.crash();
    cluster.attributes.set_promoted(&[]);
    fs::remove_file(in_the_way).unwrap();
    let start = clone_with(&old, None).run().expect_code(0);
    assert_eq!(old.seen(), Seen::Standby, "{start:#?}");
    assert_eq!(old.sql("select count(*) from rows"), rows);
}

fn expect_untouched(old: &Node, reason: &str) {
    let start = clone_with(old, None).run().expect_code(0);
    assert_eq!(start.logged(reason), 1, "{start:#?}");
    assert!(old.kept_aside().is_empty() && old.data.join("PG_VERSION").is_file(), "{start:#?}");
    old.call("stop").run().expect_code(0);
}

#[test]
fn nothing_is_moved_before_the_primary_has_let_the_node_in() {
    let Diverged { cluster, old, new } = diverged_with(NO_REWIND);
    cluster.take_address_away();
    expect_untouched(&old, "nothing was changed");
    cluster.move_address_to(&new);
    let access = fs::read_to_string(new.data.join("pg_hba.conf")).unwrap();
    new.write("pg_hba.conf", &format!("local replication all reject\n{access}"));
    new.sql("select pg_reload_conf()");
    expect_untouched(&old, "pg_hba.conf rejects replication connection");
    new.write("pg_hba.conf", &access);
    new.sql("select pg_reload_conf()");
    clone_with(&old, None).run().expect_code(0);
    expect_following(&old, &new);
}

#[test]
fn nothing_is_moved_for_a_primary_without_a_free_sender() {
    let Diverged { old, new, .. } = diverged_with(NO_REWIND);
    new.sql("alter system set max_wal_senders = 1");
    new.stop_fast();
    new.run_as_primary();
    expect_untouched(&old, "max_wal_senders");
}

#[test]
fn nothing_is_moved_for_a_server_of_another_cluster_at_the_address() {
    let Diverged { cluster, old, .. } = diverged_with(NO_REWIND);
    let stranger = Node::new(cluster.clone(), "srv9");
    let mut initdb = support::node::as_owner("initdb");
    run(initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "-D"]).arg(&stranger.data));
    stranger.configure("");
    stranger.run_as_primary();
    cluster.move_address_to(&stranger);
    expect_untouched(&old, "system identifier");
}

/// What pg_rewind has begun to overwrite is not the only thing that is left of the old instance.
#[test]
fn a_rewind_that_falls_to_a_clone_keeps_what_it_had_kept() {
    let Diverged { old, new, .. } = diverged();
    let script = "case \"$*\" in *--dry-run*) exec \"$real\" \"$@\";; esac\n\
                  echo 'pg_rewind: fatal: could not find previous WAL record at 0/1' >&2; exit 1";
    let programs = programs_with(&old, "pg_rewind", script);
    clone_with(&old, Some(&programs)).parameter("keep_aside", "1").run().expect_code(0);
    expect_following(&old, &new);
    let kept = old.kept_aside();
    let of_rewind = kept.iter().filter(|path| path.join("pg_control").is_file()).count();
    let whole = kept.iter().filter(|path| path.join("PG_VERSION").is_file()).count();
    assert_eq!((of_rewind, whole), (1, 1), "{kept:?}");
}

/// The rewind has brought the primary's configuration already, and is given up then.
#[test]
fn a_clone_in_the_place_of_a_rewind_takes_nothing_of_the_primary_for_the_nodes_own() {
    let Diverged { old, new, .. } = diverged();
    let script = "case \"$*\" in *--dry-run*) exec \"$real\" \"$@\";; esac\n\"$real\" \"$@\"\n\
                  echo 'pg_rewind: fatal: could not find previous WAL record at 0/1' >&2; exit 1";
    let programs = programs_with(&old, "pg_rewind", script);
    let conf = fs::read_to_string(old.data.join("postgresql.auto.conf")).unwrap();
    let start = |rejoin| {
        let start = old.call("start").timeout(60_000).parameter("keep_aside", "1").parameter("rejoin", rejoin);
        start.parameter("bindir", programs.to_str().unwrap()).run()
    };
    let first = start("rewind");
    assert_eq!(old.seen(), Seen::Down, "{first:#?}");
    assert_eq!(old.kept_aside().len(), 1);
    start("clone").expect_code(0);
    expect_following(&old, &new);
    assert_eq!(fs::read_to_string(old.data.join("postgresql.auto.conf")).unwrap(), conf);
    let kept = old.kept_aside();
    let of_rewind = kept.iter().filter(|path| path.join("pg_control").is_file()).count();
    assert_eq!((of_rewind, kept.len()), (1, 2), "{kept:?}");
}

#[test]
fn what_was_just_kept_outlives_names_of_a_clock_that_was_wrong() {
    let Diverged { old, new, .. } = diverged();
    let ahead = old.directory_beside("data.kept-20990101T000000Z-1-0-0");
    fs::write(ahead.join("README.txt"), "Kept aside by pgbaton\n\n").unwrap();
    own(&ahead.join("README.txt"));
    old.call("start").parameter("keep_aside", "1").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
    let kept = old.kept_aside();
    assert!(kept.len() == 1 && kept[0].join("pg_control").is_file(), "{kept:?}");
}

/// Name, permissions, time and text of files in a data directory.
fn look(data: &Path, names: &[&str]) -> Vec<(String, u32, i64, u32, String)> {
    let of = |name: &&str| {
        let path = data.join(name);
        let Ok(found) = fs::symlink_metadata(&path) else { return (name.to_string(), 0, 0, 0, "gone".to_owned()) };
        let text = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let time = if found.is_symlink() { 0 } else { found.mtime() };
        (name.to_string(), found.mode(), time, found.uid(), text)
    };
    names.iter().map(of).collect()
}

#[test]
fn what_belongs_to_the_node_is_the_same_after_a_rewind_and_a_clone() {
    const OWN: [&str; 9] = [
        "conf.d/own.conf",
        ".pgpass",
        "server.keytab",
        "tls/server.p12",
        "tls/ca",
        "linked.conf",
        "linked.d",
        "pg_hba.conf",
        "postgresql.auto.conf",
    ];
    let Diverged { old, new, .. } = diverged();
    let elsewhere = old.directory_beside("etc");
    fs::write(elsewhere.join("linked.conf"), "# linked\n").unwrap();
    for directory in ["conf.d", "tls"] {
        for node in [&old, &new] {
            fs::create_dir_all(node.data.join(directory)).unwrap();
            own(&node.data.join(directory));
        }
    }
    for (name, mode) in [
        ("conf.d/own.conf", 0o640),
        (".pgpass", 0o600),
        ("server.keytab", 0o400),
        ("tls/server.p12", 0o600),
        ("tls/ca", 0o644),
        ("pg_hba.conf", 0o640),
    ] {
        let text = fs::read_to_string(old.data.join(name)).unwrap_or_else(|_| format!("# {name} of srv1\n"));
        old.write(name, &text);
        fs::set_permissions(old.data.join(name), fs::Permissions::from_mode(mode)).unwrap();
        run(Command::new("touch").args(["-d", "2020-02-02"]).arg(old.data.join(name)));
    }
    new.write("conf.d/own.conf", "# of srv2\n");
    new.write("tls/ca", "of srv2, and longer than that of srv1");
    for name in ["linked.conf", "linked.d"] {
        let to = if name == "linked.d" { elsewhere.clone() } else { elsewhere.join(name) };
        run(as_owner_of_files("ln").arg("-s").arg(to).arg(old.data.join(name)));
    }
    let before = look(&old.data, &OWN);
    old.call("start").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
    assert_eq!(look(&old.data, &OWN), before);
    old.sql("select pg_promote()");
    old.crash();
    let whole = programs_with(&old, "pg_rewind", "echo 'fatal: could not find common ancestor' >&2; exit 1");
    clone_with(&old, Some(&whole)).run().expect_code(0);
    expect_following(&old, &new);
    assert_eq!(look(&old.data, &OWN), before);
    assert_eq!(fs::read_to_string(elsewhere.join("linked.conf")).unwrap(), "# linked\n");
}

/// `passfile` is relative to the data directory, where a server's working directory is.
#[test]
fn a_passfile_in_the_data_directory_is_found_wherever_that_is() {
    for rejoin in ["rewind", "clone"] {
        let Diverged { cluster, old, new } = diverged_with(if rejoin == "clone" { NO_REWIND } else { "" });
        new.sql("create role replicator superuser replication login password 'secret words'");
        let access = "local all replicator scram-sha-256\nlocal replication replicator scram-sha-256\n\
                      local all all trust\nlocal replication all trust\n";
        new.write("pg_hba.conf", access);
        new.sql("select pg_reload_conf()");
        let (address, name) = (cluster.address(), &old.name);
        old.write(
            "secrets",
            &format!("{}:*:*:replicator:secret words\n", address.display().to_string().replace(':', "\\:")),
        );
        let own = fs::read_to_string(old.data.join("postgresql.auto.conf")).unwrap();
        let conninfo = format!(
            "primary_conninfo = 'host={} port=5999 user=replicator passfile=secrets sslpassword=key application_name={name}'",
            address.display()
        );
        old.write("postgresql.auto.conf", &format!("{own}\n{conninfo}\n"));
        let start = old.call("start").parameter("rejoin", rejoin).timeout(60_000).run().expect_code(0);
        assert_eq!(old.seen(), Seen::Standby, "{rejoin}: {start:#?}");
        expect_following(&old, &new);
    }
}

#[test]
fn a_tablespace_without_a_place_here_is_found_before_anything_is_moved() {
    let Diverged { old, new, .. } = diverged_with(NO_REWIND);
    let parent = new.directory_beside("volume");
    let place = parent.join("space");
    fs::create_dir(&place).unwrap();
    own(&place);
    new.sql(&format!("create tablespace far location '{}'", place.display()));
    // The primary has it, and this node has not: both are on one machine here.
    let script = format!(
        "case \"$*\" in *pg_tablespace_location*) \"$real\" \"$@\" | sed 's,{},/none/here/space,';; *) exec \"$real\" \"$@\";; esac",
        place.display()
    );
    let programs = programs_with(&old, "psql", &script);
    let start = clone_with(&old, Some(&programs)).run().expect_code(0);
    assert_eq!(start.logged("/none/here"), 1, "{start:#?}");
    assert!(old.kept_aside().is_empty() && old.data.join("PG_VERSION").is_file());
}

/// Holds the lock of a rejoin until it is dropped.
struct Holder(std::process::Child);

impl Holder {
    fn of_lock(node: &Node, mut flock: Command) -> Holder {
        let lock = node.data.with_file_name("data.rejoin.lock");
        let _ = fs::remove_file(&lock);
        fs::write(&lock, "").unwrap();
        own(&lock);
        let holder = Holder(flock.arg("--no-fork").arg(&lock).args(["sleep", "600"]).spawn().unwrap());
        let is_free = || Command::new("flock").arg("-n").arg(&lock).arg("true").status().unwrap().success();
        support::wait_until("it is locked", || !is_free());
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// And whom the owner could not end lives on.
#[test]
fn a_stop_does_not_fail_because_somebody_holds_the_lock() {
    for (flock, is_roots) in [(as_owner_of_files("flock"), false), (Command::new("flock"), true)] {
        let Diverged { old, .. } = diverged();
        let mut holder = Holder::of_lock(&old, flock);
        old.call("stop").timeout(8_000).run().expect_code(0);
        assert_eq!(holder.0.try_wait().unwrap().is_none(), is_roots);
    }
}

fn own_by_root(path: &Path, group: Option<u32>, mode: u32) {
    std::os::unix::fs::chown(path, Some(0), Some(group.unwrap_or(0))).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// As Debian's `ssl-cert` has it. A server refuses a key of its own that a group may read.
#[test]
fn a_key_of_root_that_the_owners_group_may_read_is_the_owners_alone_afterwards() {
    let Diverged { old, new, .. } = diverged();
    let group = support::node::owner().gid.as_raw();
    for (name, mode) in [("server.key", 0o640), ("root.conf", 0o644)] {
        old.write(name, name);
        own_by_root(&old.data.join(name), Some(group), mode);
    }
    old.call("start").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
    let mode = |name: &str| fs::metadata(old.data.join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("server.key"), mode("root.conf")), (0o600, 0o644));
    assert_eq!(fs::read_to_string(old.data.join("server.key")).unwrap(), "server.key");
}

#[test]
fn a_file_that_the_owner_may_not_read_is_named_and_a_clone_leaves_it_where_it_is_kept() {
    let Diverged { old, new, .. } = diverged();
    old.write("roots", "roots");
    own_by_root(&old.data.join("roots"), None, 0o600);
    let start = old.call("start").timeout(60_000).run().expect_code(0);
    assert_eq!((start.logged("/roots cannot be kept aside"), old.seen()), (1, Seen::Down), "{start:#?}");
    old.call("stop").run().expect_code(0);
    // What a person corrects counts.
    fs::rename(old.data.join("roots"), old.data.with_file_name("roots")).unwrap();
    old.call("start").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);

    let Diverged { old, new, .. } = diverged();
    old.write("roots", "roots");
    own_by_root(&old.data.join("roots"), None, 0o600);
    clone_with(&old, None).run().expect_code(0);
    expect_following(&old, &new);
    assert_eq!(fs::read_to_string(old.kept_aside()[0].join("roots")).unwrap(), "roots");
}

fn abandon(path: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pgbaton")).arg("abandon").arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_return_is_ended_by_the_path_that_the_agent_has_whatever_it_leads_to() {
    let Diverged { old, new: _new, .. } = diverged_with(NO_REWIND);
    let real = old.directory_beside("volume").join("main");
    fs::rename(&old.data, &real).unwrap();
    symlink(&real, &old.data).unwrap();
    let fails = programs_with(&old, "pg_basebackup", "exit 1");
    clone_with(&old, Some(&fails)).run().expect_code(0);
    old.call("stop").run().expect_code(0);
    let marker = old.data.with_file_name("data.rejoin");
    let again = fs::read(&marker).unwrap();
    let told = abandon(&old.data);
    assert!(told.contains("is half cloned"), "{told}");
    assert!(!marker.exists());
    // Nothing is there but the marker, and the path ends as people type it.
    let _ = fs::remove_dir_all(&real);
    fs::write(&marker, again).unwrap();
    own(&marker);
    assert!(abandon(&old.data.join("")).contains("is half cloned"));
    assert!(!marker.exists());
}

/// What is kept does not take room on it.
#[test]
fn a_data_directory_that_is_a_volume_of_its_own_is_rewound_with_little_room() {
    let Diverged { old, new, .. } = diverged();
    let volume = support::volume::SmallVolume::at_the_place_of(&old, "512m");
    volume.fill_up_to("90");
    old.call("start").timeout(60_000).run().expect_code(0);
    expect_following(&old, &new);
    assert_eq!(old.kept_aside().len(), 1);
}

#[test]
fn a_linked_data_directory_is_kept_and_made_where_it_really_is() {
    let Diverged { old, new, .. } = diverged_with(NO_REWIND);
    let volume = old.directory_beside("volume");
    let real = volume.join("main");
    fs::rename(&old.data, &real).unwrap();
    symlink(&real, &old.data).unwrap();
    let start = clone_with(&old, None).run().expect_code(0);
    assert_eq!(old.seen(), Seen::Standby, "{start:#?}");
    expect_following(&old, &new);
    assert!(old.data.is_symlink() && real.join("PG_VERSION").is_file());
    let beside = fs::read_dir(&volume).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(beside.filter(|name| name.to_string_lossy().starts_with("main.kept-")).count(), 1);
}
