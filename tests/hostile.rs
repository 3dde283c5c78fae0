//! Hostile input: parameters, names, links and files in the data directory, answers of the cluster's tools. Proved is
//! that nothing of it is executed, nothing is overwritten, no foreign process is touched, a healthy server stays
//! healthy, and a refusal says why.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use nix::sys::signal::Signal;
use nix::unistd::User;

use support::agent::{Answer, Call};
use support::cluster::Cluster;
use support::node::{Node, Seen, as_owner, as_owner_of_files, bindir, own, run};
use support::processes::{servers_in, signal};
use support::{at_once, wait_until};

/// A file that appears when something of what follows is executed.
fn canary(cluster: &Cluster) -> PathBuf {
    cluster.home().join("canary")
}

/// Text that means something to a shell, to a pattern, to SQL, to a list, or to nobody.
fn hostile(cluster: &Cluster) -> Vec<String> {
    let canary = canary(cluster).display().to_string();
    vec![
        format!("$(touch {canary})"),
        format!("`touch {canary}`"),
        format!("x; touch {canary} #"),
        format!("x\ntouch {canary}\n"),
        format!("x'; touch {canary}; '"),
        format!("| touch {canary}"),
        "*".to_owned(),
        "srv[0-9]?".to_owned(),
        "-D /".to_owned(),
        "../../../etc".to_owned(),
        "\"'\\".to_owned(),
        "ä\u{1b}[31m".to_owned(),
        "x".repeat(10_000),
    ]
}

const PARAMETERS: [&str; 12] = [
    "system_user",
    "bindir",
    "pgdata",
    "datadir",
    "pghost",
    "pgport",
    "start_opts",
    "pguser",
    "pgdatabase",
    "maxlag",
    "election_timeout",
    "recovery_template",
];

/// Every file below with its size and the time of its last change.
fn contents(directory: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        if meta.is_dir() {
            found.extend(contents(&path));
        }
        found.push((path, meta.len(), meta.modified().unwrap()));
    }
    found.sort();
    found
}

/// One short line in the reason and in the log, whatever was put in.
fn expect_short_lines(answer: &Answer) {
    assert!(answer.reason().len() < 1_100, "{answer:#?}");
    assert!(answer.log.iter().all(|line| line.len() < 2_200), "{answer:#?}");
    assert!(!answer.stderr.contains('\u{1b}'), "{answer:#?}");
}

#[test]
fn hostile_parameters_of_a_stopped_instance_execute_and_change_nothing() {
    at_once(&PARAMETERS, |parameter| {
        let cluster = Cluster::new();
        let node = cluster.node("srv1");
        let before = contents(&node.data);
        for value in hostile(&cluster) {
            let call = |action| node.call(action).parameter(parameter, &value);
            call("stop").run().expect_code(0);
            let seen = call("monitor").run();
            assert!([5, 7].contains(&seen.code), "{parameter}={value}: {seen:#?}");
            expect_short_lines(&call("validate-all").run());
            let pre_promote = call("notify").meta("notify_type", "pre").meta("notify_operation", "demote");
            pre_promote.meta("notify_demote_uname", "srv1").run().expect_code(0);
        }
        assert!(!canary(&cluster).exists(), "{parameter} was executed");
        assert_eq!(contents(&node.data), before, "{parameter} changed the data directory");
    });
}

#[test]
fn start_refuses_hostile_parameters_with_a_reason() {
    let decisive = ["system_user", "bindir", "pgdata", "datadir", "start_opts", "recovery_template"];
    at_once(&decisive, |parameter| {
        let cluster = Cluster::new();
        let node = cluster.node("srv1");
        for value in hostile(&cluster) {
            let answer = node.call("start").parameter(parameter, &value).run();
            assert!([1, 2, 5].contains(&answer.code), "{parameter}={value}: {answer:#?}");
            expect_short_lines(&answer);
            assert!(servers_in(&node.data).is_empty(), "{parameter}={value} started a server");
        }
        assert!(!canary(&cluster).exists(), "{parameter} was executed");
    });
}

/// One slip at a time; the answers other than 8, each with its parameter.
fn what_makes_a_healthy_primary_look_dead(parameters: &[&str]) -> Vec<String> {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    node.run_as_primary();
    let failed = at_once(parameters, |parameter| {
        let values = hostile(&cluster).into_iter().chain(["1".to_owned(), "/".to_owned()]);
        let monitor = |value: &String| node.call("monitor").timeout(4_000).parameter(parameter, value).run();
        let answers = values.map(|value| (monitor(&value), value)).filter(|(answer, _)| answer.code != 8);
        answers.map(|(answer, value)| format!("{parameter}={value:.40}: {} {}", answer.code, answer.reason())).collect()
    });
    assert!(!canary(&cluster).exists());
    failed.into_iter().flat_map(|list: Vec<String>| list).collect()
}

#[test]
fn no_hostile_address_makes_a_healthy_primary_look_dead() {
    assert_eq!(what_makes_a_healthy_primary_look_dead(&["pghost", "pgport"]), [""; 0]);
}

#[test]
fn no_hostile_role_or_database_makes_a_healthy_primary_look_dead() {
    assert_eq!(what_makes_a_healthy_primary_look_dead(&["pguser", "pgdatabase"]), [""; 0]);
}

#[test]
fn no_hostile_system_user_makes_a_healthy_primary_look_dead() {
    assert_eq!(what_makes_a_healthy_primary_look_dead(&["system_user"]), [""; 0]);
}

#[test]
fn no_other_hostile_parameter_makes_a_healthy_primary_look_dead() {
    let others = ["bindir", "start_opts", "maxlag", "election_timeout", "recovery_template"];
    assert_eq!(what_makes_a_healthy_primary_look_dead(&others), [""; 0]);
}

#[test]
fn stop_ends_the_server_though_every_other_parameter_is_malformed() {
    let cluster = Cluster::new();
    let values = hostile(&cluster);
    for value in values.iter().filter(|value| !value.starts_with("..")) {
        let node = cluster.node("srv1");
        node.run_as_primary();
        let mut call = node.call("stop");
        for parameter in PARAMETERS.iter().filter(|name| !["pgdata", "datadir"].contains(*name)) {
            call = call.parameter(parameter, value);
        }
        call.run().expect_code(0);
        assert_eq!(node.seen(), Seen::Down, "{value}");
        fs::remove_dir_all(node.data.parent().unwrap()).unwrap();
    }
    assert!(!canary(&cluster).exists());
}

#[test]
fn stop_succeeds_where_nothing_runs_though_every_parameter_is_malformed() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    for value in hostile(&cluster) {
        let call = PARAMETERS.iter().fold(node.call("stop"), |call, name| call.parameter(name, &value));
        call.meta("timeout", &value).meta("interval", &value).run().expect_code(0);
    }
    assert!(!canary(&cluster).exists());
}

#[test]
fn hostile_node_names_are_not_taken_for_nodes() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    node.run_as_primary();
    for value in hostile(&cluster) {
        node.call("monitor").meta("on_node", &value).run().expect_code(8);
        let mut notify = node.call("notify").timeout(2_500).meta("on_node", &value);
        for list in ["active", "promoted", "unpromoted", "start", "stop", "promote", "demote"] {
            notify = notify.meta(&format!("notify_{list}_uname"), &value);
        }
        notify.meta("notify_type", "pre").meta("notify_operation", "promote").run().expect_code(0);
    }
    assert!(!canary(&cluster).exists());
    let scores = cluster.attributes.scores();
    assert!(!scores.contains("touch") && !scores.contains("xxx"), "{scores}");
}

#[test]
fn a_hostile_resource_name_is_refused() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    for value in ["../../tmp/x", "a b", "$(id)/..", "x\ny", &"x".repeat(10_000)] {
        let answer = node.call("start").variable("OCF_RESOURCE_INSTANCE", value).run().expect_code(2);
        expect_short_lines(&answer.expect_reason("OCF_RESOURCE_INSTANCE"));
    }
}

/// Real WAL receivers; they end with this value.
struct Receivers(Vec<Child>);

impl Drop for Receivers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The server keeps 63 bytes of an application_name and replaces what is not printable.
fn receive(primary: &Node, names: &[String]) -> Receivers {
    let start = |(number, name): (usize, &String)| {
        let directory = primary.data.with_file_name(format!("received-{number}"));
        fs::create_dir(&directory).unwrap();
        own(&directory);
        let name = name.replace('\\', "\\\\").replace('\'', "\\'");
        let target = format!("host={} port=5999 application_name='{name}'", primary.sockets.display());
        let mut receive = as_owner("pg_receivewal");
        receive.args(["--username=postgres", "--no-sync", "--directory"]).arg(directory).arg("--dbname").arg(target);
        receive.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let receivers = Receivers(names.iter().enumerate().map(start).collect());
    let streaming = "select count(*) from pg_stat_replication where state = 'streaming'";
    wait_until("the receivers stream", || primary.sql(streaming) == names.len().to_string());
    receivers
}

#[test]
fn a_foreign_wal_receiver_is_ignored_with_one_line_in_the_log() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let node = cluster.node("srv1");
    node.run_as_primary();
    let mut names: Vec<String> = hostile(&cluster).into_iter().take(6).collect();
    names.extend(["*", "srv", "srv22", "SRV2", "srv2 "].map(str::to_owned));
    let _receivers = receive(&node, &names[..9]);
    let first = node.call("monitor").run().expect_code(8);
    assert_eq!(first.logged("ignoring the WAL receiver"), 9, "{first:#?}");
    assert_eq!(cluster.attributes.scores(), "srv1=1001");
    cluster.attributes.take_calls();
    let second = node.call("monitor").run().expect_code(8);
    assert_eq!(second.logged("ignoring"), 0, "{second:#?}");
    let calls = cluster.attributes.take_calls();
    assert!(!calls.iter().any(|call| call.contains("crm_node")), "the nodes were looked up again: {calls:?}");
    assert!(!canary(&cluster).exists());
}

#[test]
fn a_link_at_standby_signal_is_neither_followed_nor_taken_for_the_file() {
    for (target, text) in [("missing", None), ("precious", Some("precious"))] {
        let node = Cluster::new().node("srv1");
        let target = node.cluster.home().join(target);
        text.inspect(|text| fs::write(&target, text).unwrap());
        symlink(&target, node.data.join("standby.signal")).unwrap();
        node.call("start").run().expect_code(1).expect_reason("standby.signal is not a regular file");
        assert_eq!(node.seen(), Seen::Down);
        assert_eq!(fs::read_to_string(&target).ok().as_deref(), text);
    }
}

#[test]
fn links_where_the_agent_writes_are_not_followed() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    let precious = cluster.home().join("precious");
    fs::write(&precious, "precious").unwrap();
    let notes = node.data.with_file_name("run").join(format!("pgbaton-{}.json", cluster.resource));
    symlink(&precious, &notes).unwrap();
    symlink(&precious, node.data.join("postmaster.pid")).unwrap();
    fs::create_dir_all("/var/log/pgbaton").unwrap();
    let log = PathBuf::from(format!("/var/log/pgbaton/{}.log", cluster.resource));
    symlink(&precious, &log).unwrap();
    node.call("start").run().expect_code(1).expect_reason(log.to_str().unwrap());
    fs::remove_file(&log).unwrap();
    let _ = fs::remove_file(node.data.join("postmaster.pid"));
    node.run_as_primary();
    let _receivers = receive(&node, &["stranger".to_owned()]);
    node.call("monitor").run().expect_code(8);
    assert!(fs::read_to_string(&notes).unwrap().contains("stranger"), "the notes were not written");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

#[test]
fn nonsense_from_the_clusters_tools_fails_no_healthy_server() {
    let long = format!("name=\"x\" host=\"srv2\" value=\"{}\"\n", "9".repeat(10_000));
    let quotes = "name=\"x\" host=\"srv1\"; value=\"\"\" host=\"srv 2\" value=\"vote\"\n";
    for nonsense in ["", "<xml", "\u{0}\u{1b}\n\n", quotes, &long] {
        let cluster = Cluster::new();
        let node = cluster.node("srv1");
        cluster.attributes.answer_nonsense(nonsense);
        node.call("start").run().expect_code(0);
        node.call("monitor").run().expect_code(0);
        node.call("promote").run().expect_code(1).expect_reason("no election was held");
        node.call("stop").run().expect_code(0);
        node.run_as_primary();
        node.call("monitor").run().expect_code(8);
        node.call("demote").run().expect_code(0);
        node.await_seen(Seen::Standby);
    }
}

#[test]
fn tools_that_fail_fail_no_action_but_promote() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    cluster.attributes.break_down();
    let warned = node.call("start").run().expect_code(0);
    assert!(warned.logged("cannot set this node's promotion score") == 1, "{warned:#?}");
    node.call("monitor").run().expect_code(0);
    node.call("promote").run().expect_code(1).expect_reason("attrd_updater");
    node.call("stop").run().expect_code(0);
    node.run_as_primary();
    let warned = node.call("monitor").run().expect_code(8);
    assert_eq!(warned.logged("scores were not updated"), 1, "{warned:#?}");
    node.call("demote").run().expect_code(0);
}

#[test]
fn a_postmaster_pid_of_garbage_hides_no_running_server() {
    let own_pid = std::process::id().to_string();
    let long = "7".repeat(10_000);
    let garbage = ["", "\n\n", "4", "nonsense\n", "-1\n", "1\n", "\u{0}\u{1}", "99999999999999\n", &own_pid, &long];
    at_once(&garbage, |text| {
        let node = Cluster::new().node("srv1");
        node.run_as_primary();
        node.write("postmaster.pid", text);
        node.call("monitor").run().expect_code(8);
        node.call("monitor").meta("interval", "0").run().expect_code(8);
        node.call("stop").run().expect_code(0);
        assert_eq!(node.seen(), Seen::Down, "{text:.20}");
    });
}

#[test]
fn a_half_written_postmaster_pid_hides_no_running_server() {
    let node = Cluster::new().node("srv1");
    node.run_as_primary();
    let whole = fs::read_to_string(node.data.join("postmaster.pid")).unwrap();
    let ends: Vec<usize> = whole.match_indices('\n').flat_map(|(at, _)| [at - 1, at, at + 1]).collect();
    for end in ends {
        node.write("postmaster.pid", &whole[..end]);
        node.call("monitor").run().expect_code(8);
    }
    node.write("postmaster.pid", &whole);
}

/// Reading a named pipe that nobody writes would take for ever.
#[test]
fn a_named_pipe_at_postmaster_pid_does_not_hold_the_agent_up() {
    let node = Cluster::new().node("srv1");
    let path = node.data.join("postmaster.pid");
    run(Command::new("mkfifo").arg(&path));
    own(&path);
    node.call("monitor").timeout(5_000).run().expect_code(7);
    node.call("stop").timeout(5_000).run().expect_code(0);
    let answer = node.call("start").timeout(5_000).run();
    assert!([0, 1].contains(&answer.code), "{answer:#?}");
}

/// What a killed server leaves: its two lock files, here with a process id that is another's now.
fn stale(cluster: &Arc<Cluster>, pid: u32) -> Node {
    let node = cluster.node("srv1");
    let (data, sockets) = (node.data.display(), node.sockets.display());
    let text = format!("{pid}\n{data}\n1700000000\n5999\n{sockets}\n\n 1 1\nready   \n");
    node.write("postmaster.pid", &text);
    let lock = node.sockets.join(".s.PGSQL.5999.lock");
    fs::write(&lock, text).unwrap();
    own(&lock);
    node
}

fn expect_untouched_by_everything(node: &Node, is_alive: impl Fn() -> bool) {
    node.call("monitor").run().expect_code(7);
    node.call("stop").run().expect_code(0);
    node.call("demote").run().expect_code(0);
    assert!(is_alive(), "a foreign process was ended");
    node.call("start").run().expect_code(0);
    node.await_seen(Seen::Standby);
    node.call("stop").run().expect_code(0);
    assert!(is_alive(), "a foreign process was ended");
}

#[test]
fn a_stale_postmaster_pid_that_names_a_foreign_process() {
    // PostgreSQL takes the file for stale when the process is another user's, so it has to be the owner's.
    let owner = support::node::owner();
    let mut sleep = Command::new("sleep");
    let mut foreign = sleep.arg("600").uid(owner.uid.as_raw()).gid(owner.gid.as_raw()).spawn().unwrap();
    let node = stale(&Cluster::new(), foreign.id());
    let process = PathBuf::from(format!("/proc/{}/exe", foreign.id()));
    expect_untouched_by_everything(&node, || fs::read_link(&process).is_ok());
    foreign.kill().unwrap();
    foreign.wait().unwrap();
}

#[test]
fn a_stale_postmaster_pid_that_names_the_postmaster_of_another_instance() {
    let cluster = Cluster::new();
    let other = cluster.node("other");
    other.run_as_primary();
    let node = stale(&cluster, u32::try_from(other.postmaster().unwrap()).unwrap());
    expect_untouched_by_everything(&node, || other.seen() == Seen::Primary);
}

#[test]
fn a_killed_postmaster_that_nobody_has_reaped() {
    let node = Cluster::new().node("srv1");
    let script = format!("{}/postgres -D {} & exec sleep 600", bindir().display(), node.data.display());
    let owner = support::node::owner();
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    let mut parent = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    node.await_seen(Seen::Primary);
    let postmaster = node.postmaster().unwrap();
    signal(postmaster, Signal::SIGKILL);
    wait_until("the server's end", || servers_in(&node.data).is_empty());
    assert!(Path::new(&format!("/proc/{postmaster}")).exists(), "the postmaster was reaped");
    node.call("monitor").run().expect_code(7);
    node.call("start").run().expect_code(0);
    node.await_seen(Seen::Standby);
    parent.kill().unwrap();
    parent.wait().unwrap();
}

#[test]
fn a_wrong_address_of_a_healthy_server_is_a_warning() {
    let node = Cluster::new().node("srv1");
    node.run_as_primary();
    for (name, value) in [("pgport", "5998"), ("pghost", "/nowhere"), ("pgport", "none"), ("pghost", "/tmp")] {
        let answer = node.call("monitor").parameter(name, value).run().expect_code(8);
        assert_eq!(answer.logged("correct pghost or pgport"), 1, "{answer:#?}");
        node.call("promote").parameter(name, value).run().expect_code(0);
    }
}

/// The thread of an agent that does something as the owner: of the child that does its work.
fn thread_of_owner(agent: u32) -> Option<String> {
    let children = fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).ok()?;
    let agent = children.split_whitespace().next()?.to_owned();
    let is_owners = |thread: &String| {
        let status = fs::read_to_string(format!("/proc/{agent}/task/{thread}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default().to_owned();
        ids.split_whitespace().nth(1) == Some(&support::node::owner().uid.to_string())
    };
    let threads = fs::read_dir(format!("/proc/{agent}/task")).ok()?.flatten();
    threads.filter_map(|thread| thread.file_name().into_string().ok()).find(is_owners)
}

/// kill(2) takes the number of a thread, and ends the process that it belongs to.
#[test]
fn the_owner_can_neither_end_nor_suspend_the_agent_that_acts_for_it() {
    let node = Cluster::new().node("srv1");
    node.run_as_primary();
    // Backends that are slow to answer.
    node.sql("alter system set pre_auth_delay = 1");
    node.sql("select pg_reload_conf()");
    let flight = node.call("monitor").spawn();
    let mut thread = None;
    wait_until("a thread is the owner", || {
        thread = thread_of_owner(flight.pid());
        thread.is_some()
    });
    let thread = thread.unwrap();
    for attack in
        [format!("kill -STOP {thread}"), format!("prlimit --cpu=0 --pid {thread}"), format!("kill -KILL {thread}")]
    {
        let output = as_owner_of_files("sh").args(["-c", &attack]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.to_lowercase().contains("not permitted"), "{attack}: {told}");
    }
    flight.finish().expect_code(8);
}

#[test]
fn the_meta_data_needs_no_privilege_and_no_environment() {
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let mut command = Call::new("meta-data").command();
    let output = command.env_clear().uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(b"<?xml") && output.stderr.is_empty());
}

#[test]
fn an_unknown_action_exits_with_3() {
    let long = "x".repeat(10_000);
    for action in ["", "reload", "migrate_to", "migrate_from", "Start", "start ", "$(id)", "--help", "*", "a\nb", &long]
    {
        let answer = Call::new(action).run().expect_code(3).expect_reason("is not known");
        expect_short_lines(&answer);
    }
}
