//! Another user's servers and files, which the instance's owner puts in the agent's way: root does to them only what the owner
//! could do alone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use nix::unistd::User;

use support::cluster::Cluster;
use support::node::{Node, Seen, as_owner_of_files, bindir, own, run};
use support::wait_until;

/// One of PostgreSQL's programs, or another one, run as a user who owns no instance of ours.
fn as_somebody_else(program: PathBuf) -> Command {
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let mut command = Command::new(program);
    command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw()).current_dir("/");
    command
}

/// An instance of another user.
fn of_somebody_else(cluster: &Arc<Cluster>) -> Node {
    let node = cluster.node("other");
    run(Command::new("chown").args(["-R", "nobody"]).arg(node.data.parent().unwrap()));
    node
}

fn run_as_primary(theirs: &Node) -> i32 {
    let log = theirs.data.with_file_name("server.log");
    let mut pg_ctl = as_somebody_else(bindir().join("pg_ctl"));
    run(pg_ctl.args(["start", "--wait", "--silent", "-D"]).arg(&theirs.data).arg("-l").arg(log));
    theirs.await_seen(Seen::Primary);
    theirs.postmaster().unwrap()
}

/// The owner puts a link to another place where this was.
fn lead_away(path: &Path, to: &Path) {
    run(as_owner_of_files("mv").arg(path).arg(path.with_file_name("moved")));
    run(as_owner_of_files("ln").arg("-s").arg(to).arg(path));
}

#[test]
fn a_link_of_the_owner_leads_no_action_to_another_users_server() {
    for is_parent_swapped in [false, true] {
        let cluster = Cluster::new();
        let theirs = of_somebody_else(&cluster);
        let postmaster = run_as_primary(&theirs);
        let node = cluster.node("srv1");
        let data = node.directory_beside("cluster").join("data");
        fs::rename(&node.data, &data).unwrap();
        match is_parent_swapped {
            true => lead_away(data.parent().unwrap(), theirs.data.parent().unwrap()),
            false => lead_away(&data, &theirs.data),
        }
        assert!(data.join("postmaster.pid").exists());
        let call = |action| node.call(action).parameter("pgdata", data.to_str().unwrap()).timeout(8_000);
        call("monitor").run().expect_code(7);
        call("stop").run().expect_code(0);
        call("demote").run().expect_code(0);
        call("start").run();
        assert_eq!((theirs.seen(), theirs.postmaster()), (Seen::Primary, Some(postmaster)), "{is_parent_swapped}");
        call("stop").run().expect_code(0);
        assert_eq!((theirs.seen(), theirs.postmaster()), (Seen::Primary, Some(postmaster)), "{is_parent_swapped}");
    }
}

/// In a container the data directory may have the same path, which its processes show.
#[test]
fn a_servers_path_alone_makes_another_users_server_not_ours() {
    let cluster = Cluster::new();
    let theirs = of_somebody_else(&cluster);
    let node = cluster.node("srv1");
    let (home, data) = (node.data.parent().unwrap(), node.data.display());
    let script = format!(
        "mount -t tmpfs none {home} && mkdir {data} && mount --bind {theirs} {data} && \
         exec setpriv --reuid nobody --regid nogroup --clear-groups {bindir}/postgres -D {data}",
        home = home.display(),
        theirs = theirs.data.display(),
        bindir = bindir().display()
    );
    let mut container = Command::new("unshare");
    container.args(["--mount", "sh", "-c", &script]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut container = container.spawn().unwrap();
    wait_until("their server answers", || theirs.connect().is_ok());
    fs::rename(&node.data, node.data.with_file_name("moved")).unwrap();
    node.call("stop").timeout(8_000).run().expect_code(0);
    let is_alive = container.try_wait().unwrap().is_none() && theirs.connect().is_ok();
    let _ = container.kill();
    container.wait().unwrap();
    assert!(is_alive, "another user's server was ended");
}

#[test]
fn a_data_directory_behind_a_link_is_served_as_one_that_is_not() {
    for is_roots in [true, false] {
        let node = Cluster::new().node("srv1");
        let real = node.directory_beside("volume").join("main");
        fs::rename(&node.data, &real).unwrap();
        match is_roots {
            true => symlink(&real, &node.data).unwrap(),
            false => drop(run(as_owner_of_files("ln").arg("-s").arg(&real).arg(&node.data))),
        }
        node.call("start").run().expect_code(0);
        node.call("monitor").run().expect_code(0);
        node.call("stop").run().expect_code(0);
        assert_eq!(support::processes::servers_in(&node.data).len(), 0);
    }
}

#[test]
fn the_name_of_another_user_hides_no_running_server() {
    for is_linked in [false, true] {
        let node = Cluster::new().node("srv1");
        if is_linked {
            let real = node.directory_beside("volume").join("main");
            fs::rename(&node.data, &real).unwrap();
            symlink(&real, &node.data).unwrap();
        }
        node.run_as_primary();
        let call = |action| node.call(action).parameter("system_user", "nobody");
        call("monitor").run().expect_code(8);
        call("stop").run().expect_code(0);
        assert_eq!(node.seen(), Seen::Down);
    }
}

/// Nor does a link that neither root nor the owner has made, when the name is right.
#[test]
fn a_third_users_link_hides_no_running_server() {
    let node = Cluster::new().node("srv1");
    let real = node.directory_beside("volume").join("main");
    fs::rename(&node.data, &real).unwrap();
    symlink(&real, &node.data).unwrap();
    run(Command::new("chown").args(["-h", "nobody"]).arg(&node.data));
    node.run_as_primary();
    node.call("monitor").run().expect_code(8);
    node.call("stop").run().expect_code(0);
    assert_eq!(node.seen(), Seen::Down);
}

fn abandon(path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pgbaton")).arg("abandon").arg(path).output().unwrap()
}

/// The owner's own marker and lock lie beside the link.
fn plant(node: &Node, marker: &str) {
    for (name, text) in [("data.rejoin", marker), ("data.rejoin.lock", "")] {
        let path = node.data.with_file_name(name);
        fs::write(&path, text).unwrap();
        own(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    }
}

#[test]
fn the_end_of_a_return_touches_no_other_users_instance() {
    for is_link in [true, false] {
        let cluster = Cluster::new();
        let theirs = of_somebody_else(&cluster);
        let node = cluster.node("srv1");
        match is_link {
            true => lead_away(&node.data, &theirs.data),
            false => {
                // Their directory, where the owner may write beside it.
                fs::rename(&node.data, node.data.with_file_name("moved")).unwrap();
                fs::rename(&theirs.data, &node.data).unwrap();
            }
        }
        plant(&node, "nonsense");
        let ended = abandon(&node.data);
        assert!(!ended.status.success(), "{ended:?}");
        assert!(node.data.join("PG_VERSION").exists(), "{is_link}: {ended:?}");
    }
}

/// Somebody else may be let read the lock, and has the programs, too.
#[test]
fn a_program_of_postgresql_that_another_user_runs_is_no_worker() {
    let node = Cluster::new().node("srv1");
    let path = node.data.with_file_name("data.rejoin.lock");
    fs::write(&path, "").unwrap();
    own(&path);
    // It answers nobody.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let mut flock = as_somebody_else("flock".into());
    flock.arg("--no-fork").arg(&path).arg(bindir().join("psql"));
    flock.args(["-h", "127.0.0.1", "-p", &port, "-U", "x", "-d", "x"]).stdin(Stdio::null());
    let mut holder = flock.spawn().unwrap();
    wait_until("psql runs", || {
        fs::read_link(format!("/proc/{}/exe", holder.id())).is_ok_and(|exe| exe.ends_with("psql"))
    });
    let stop = node.call("stop").timeout(10_000).run();
    assert!(holder.try_wait().unwrap().is_none(), "another user's process was ended");
    holder.kill().unwrap();
    holder.wait().unwrap();
    stop.expect_code(0);
}

/// The server has it open, and so has its owner.
#[test]
fn a_log_file_of_any_length_is_cut_by_a_monitor() {
    let node = Cluster::new().node("srv1");
    node.call("start").run().expect_code(0);
    let log = PathBuf::from(format!("/var/log/pgbaton/{}.log", node.cluster.resource));
    let output = format!("/proc/{}/fd/1", node.postmaster().unwrap());
    assert_eq!(fs::read_link(&output).unwrap(), log);
    fs::OpenOptions::new().write(true).open(&output).unwrap().set_len(1 << 40).unwrap();
    node.call("monitor").run().expect_code(0);
    let before = PathBuf::from(format!("{}.1", log.display()));
    let length = |path: &Path| fs::metadata(path).unwrap().len();
    // The server goes on writing.
    assert!(length(&log) < 1 << 20 && length(&before) == 1 << 20);
    fs::remove_file(&before).unwrap();
}
