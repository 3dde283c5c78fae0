//! What each action does with each state of the instance: one test for every state, one row for every action. Proved
//! are the exit code, the reason (one, last, when and only when the action fails), that the answer comes before
//! Pacemaker would kill the action, and what the instance is afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use postgres::Client;

use support::cluster::Cluster;
use support::node::{Node, Seen};
use support::processes::{await_titled, kill_all_in, servers_in, signal};
use support::{at_once, wait_until};

const NODE: &str = "srv1";

/// An instance in the state that a test is about.
struct Stage {
    node: Node,
    parameters: Vec<(&'static str, &'static str)>,
    clients: Vec<Client>,
}

impl From<Node> for Stage {
    fn from(node: Node) -> Self {
        Stage { node, parameters: Vec::new(), clients: Vec::new() }
    }
}

/// One cell of the table.
struct Cell {
    action: &'static str,
    code: i32,
    then: Seen,
    reason: &'static str,
    log: &'static str,
    timeout_ms: u64,
    within_ms: u64,
    meta: Vec<(&'static str, &'static str)>,
    meanwhile: Option<fn(&Node)>,
}

fn cell(action: &'static str, code: i32, then: Seen) -> Cell {
    let (timeout_ms, within_ms) = (15_000, 15_000);
    Cell { action, code, then, reason: "", log: "", timeout_ms, within_ms, meta: Vec::new(), meanwhile: None }
}

impl Cell {
    fn reason(self, reason: &'static str) -> Cell {
        Cell { reason, ..self }
    }

    fn log(self, log: &'static str) -> Cell {
        Cell { log, ..self }
    }

    fn timeout(self, ms: u64) -> Cell {
        Cell { timeout_ms: ms, within_ms: self.within_ms.min(ms), ..self }
    }

    /// Without any wait.
    fn at_once(self) -> Cell {
        Cell { within_ms: 2_000, ..self }
    }

    fn probe(self) -> Cell {
        self.meta("interval", "0")
    }

    fn meta(mut self, name: &'static str, value: &'static str) -> Cell {
        self.meta.push((name, value));
        self
    }

    /// What happens after the action has begun.
    fn meanwhile(self, what: fn(&Node)) -> Cell {
        Cell { meanwhile: Some(what), ..self }
    }

    fn check(&self, stage: Stage) {
        let Stage { node, parameters, clients } = stage;
        node.cluster.attributes.set_paper(NODE, &format!("vote {NODE} 1 0/1"));
        let mut call = node.call(self.action).timeout(self.timeout_ms);
        for (name, value) in parameters {
            call = call.parameter(name, value);
        }
        for (name, value) in &self.meta {
            call = call.meta(name, value);
        }
        let flight = call.spawn();
        self.meanwhile.inspect(|what| what(&node));
        let answer = flight.finish().expect_code(self.code).expect_reason(self.reason);
        let elapsed = answer.elapsed;
        assert!(elapsed < Duration::from_millis(self.within_ms), "{}: {elapsed:?}", self.action);
        assert!(self.log.is_empty() || answer.logged(self.log) == 1, "no '{}' in the log: {answer:#?}", self.log);
        if self.then == Seen::Silent {
            assert!(!servers_in(&node.data).is_empty(), "{} ended the server", self.action);
            // A client would wait for the end of its connection.
            return kill_all_in(&node.data);
        }
        drop(clients);
        match self.then {
            Seen::Down => assert_eq!(node.seen(), Seen::Down, "after {}", self.action),
            other => node.await_seen(other),
        }
    }
}

/// Every cell has an instance of its own.
fn check(stage: impl Fn(&Arc<Cluster>) -> Stage + Sync, cells: &[Cell]) {
    at_once(cells, |cell| cell.check(stage(&Cluster::new())));
}

fn primary(cluster: &Arc<Cluster>) -> Stage {
    let node = cluster.node(NODE);
    node.run_as_primary();
    node.into()
}

fn standby(cluster: &Arc<Cluster>) -> Stage {
    let node = cluster.node(NODE);
    node.run_as_standby();
    node.into()
}

#[test]
fn an_instance_that_was_stopped_cleanly() {
    let stopped = |cluster: &Arc<Cluster>| cluster.node(NODE).into();
    check(
        stopped,
        &[
            cell("start", 0, Seen::Standby),
            cell("stop", 0, Seen::Down).at_once(),
            cell("monitor", 7, Seen::Down).at_once(),
            cell("monitor", 7, Seen::Down).probe().at_once(),
            cell("demote", 0, Seen::Down).at_once(),
            cell("promote", 0, Seen::Primary),
        ],
    );
}

fn crashed(cluster: &Arc<Cluster>) -> Stage {
    let node = cluster.node(NODE);
    node.run_as_primary();
    node.sql("create table kept as select 1 as row");
    node.crash();
    node.into()
}

#[test]
fn a_crashed_instance() {
    check(
        crashed,
        &[
            cell("start", 0, Seen::Standby),
            cell("stop", 0, Seen::Down).at_once(),
            cell("monitor", 7, Seen::Down).at_once(),
            cell("monitor", 7, Seen::Down).probe().at_once(),
            cell("demote", 0, Seen::Down).at_once(),
            cell("promote", 0, Seen::Primary),
        ],
    );
}

#[test]
fn what_a_crashed_primary_had_committed_is_there_after_start() {
    let Stage { node, .. } = crashed(&Cluster::new());
    node.call("start").run().expect_code(0);
    assert_eq!(node.sql("select row from kept"), "1");
}

#[test]
fn an_instance_that_was_never_started_since_its_backup() {
    let restored = |cluster: &Arc<Cluster>| {
        let source = cluster.node("source");
        source.run_as_primary();
        let node = cluster.backup_of(&source, NODE);
        assert!(node.data.join("backup_label").exists());
        node.into()
    };
    check(
        restored,
        &[
            cell("start", 0, Seen::Standby),
            cell("stop", 0, Seen::Down).at_once(),
            cell("monitor", 7, Seen::Down).at_once(),
            cell("demote", 0, Seen::Down).at_once(),
            cell("promote", 0, Seen::Primary),
        ],
    );
}

/// A backend that is stopped outlives its postmaster.
fn orphaned(stage: Stage) -> Stage {
    let mut client = stage.node.connect().unwrap();
    let backend: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    stage.node.kill_postmaster_and_leave(backend);
    Stage { clients: vec![client], ..stage }
}

#[test]
fn a_dead_postmaster_that_left_server_processes() {
    check(
        |cluster| orphaned(primary(cluster)),
        &[
            cell("start", 0, Seen::Standby).log("ending server processes"),
            cell("stop", 0, Seen::Down).log("not cleanly"),
            cell("monitor", 9, Seen::Silent).reason("postmaster is dead").at_once(),
            cell("monitor", 9, Seen::Silent).probe().reason("postmaster is dead").at_once(),
            cell("demote", 0, Seen::Down),
            cell("promote", 0, Seen::Primary),
        ],
    );
    check(
        |cluster| orphaned(standby(cluster)),
        &[
            cell("monitor", 1, Seen::Silent).reason("postmaster is dead").at_once(),
            cell("monitor", 1, Seen::Silent).probe().reason("postmaster is dead").at_once(),
        ],
    );
}

/// Unlike a waiting backend, one that computes does not notice its postmaster's death.
fn computing(cluster: &Arc<Cluster>) -> Stage {
    let Stage { node, .. } = primary(cluster);
    let mut client = node.connect().unwrap();
    std::thread::spawn(move || client.batch_execute("do $$ begin loop null; end loop; end $$"));
    wait_until("the busy loop", || {
        node.sql("select count(*) from pg_stat_activity where state = 'active' and query like 'do %'") == "1"
    });
    signal(node.postmaster().unwrap(), Signal::SIGKILL);
    wait_until("the others' end", || servers_in(&node.data).len() == 1);
    node.into()
}

#[test]
fn a_dead_postmaster_whose_backend_computes_on() {
    check(
        computing,
        &[
            cell("start", 0, Seen::Standby),
            cell("stop", 0, Seen::Down),
            cell("monitor", 9, Seen::Silent).reason("postmaster is dead"),
        ],
    );
}

/// Recovery that stands still in its first step for as long as a file exists.
fn recovering(cluster: &Arc<Cluster>) -> Stage {
    let node = cluster.node(NODE);
    let hold = node.data.with_file_name("hold");
    fs::write(&hold, "").unwrap();
    node.configure(&format!("restore_command = 'while test -e {}; do sleep 0.02; done; false'", hold.display()));
    node.write("standby.signal", "");
    node.launch();
    await_titled(&node.data, "postgres: startup");
    node.into()
}

/// Lets the recovery go on when the agent has had the time to see it.
fn go_on(node: &Node) {
    std::thread::sleep(Duration::from_millis(700));
    fs::remove_file(node.data.with_file_name("hold")).unwrap();
}

fn stopped_startup_process(cluster: &Arc<Cluster>) -> Stage {
    let stage = recovering(cluster);
    signal(await_titled(&stage.node.data, "postgres: startup"), Signal::SIGSTOP);
    stage
}

#[test]
fn an_instance_that_is_starting_or_recovering() {
    check(
        recovering,
        &[
            cell("start", 0, Seen::Standby).meanwhile(go_on),
            cell("start", 0, Seen::Silent).timeout(3_000).log("goes on in the background"),
            cell("stop", 0, Seen::Down).timeout(10_000),
            cell("monitor", 0, Seen::Standby).meanwhile(go_on),
            cell("monitor", 0, Seen::Silent),
            cell("monitor", 0, Seen::Silent).probe(),
            cell("demote", 0, Seen::Standby).meanwhile(go_on),
            cell("demote", 0, Seen::Silent).at_once(),
            cell("promote", 0, Seen::Primary).meanwhile(go_on),
            cell("promote", 1, Seen::Silent).timeout(3_000).reason("starting or recovering"),
        ],
    );
    check(
        stopped_startup_process,
        &[
            cell("stop", 0, Seen::Down).timeout(6_000),
            cell("start", 1, Seen::Silent).timeout(3_000).reason("starting or recovering"),
            cell("monitor", 1, Seen::Silent).timeout(3_000).reason("suspended by a signal"),
            cell("demote", 0, Seen::Silent).at_once(),
        ],
    );
}

#[test]
fn a_standby() {
    check(
        standby,
        &[
            cell("start", 0, Seen::Standby).at_once(),
            cell("stop", 0, Seen::Down).log("shut down in recovery"),
            cell("monitor", 0, Seen::Standby).at_once(),
            cell("monitor", 0, Seen::Standby).probe().at_once(),
            cell("demote", 0, Seen::Standby).at_once(),
            cell("promote", 0, Seen::Primary),
        ],
    );
}

#[test]
fn a_primary() {
    check(
        primary,
        &[
            cell("start", 1, Seen::Primary).reason("already runs as a primary").at_once(),
            cell("stop", 0, Seen::Down).log("stopped, the control file says 'shut down'"),
            cell("monitor", 8, Seen::Primary).at_once(),
            cell("monitor", 8, Seen::Primary).probe().at_once(),
            cell("demote", 0, Seen::Standby).log("stopped, the control file says 'shut down'"),
            cell("promote", 0, Seen::Primary).at_once(),
        ],
    );
}

fn silent(stage: Stage) -> Stage {
    signal(stage.node.postmaster().unwrap(), Signal::SIGSTOP);
    stage
}

#[test]
fn an_instance_that_is_alive_and_does_not_answer() {
    check(
        |cluster| silent(primary(cluster)),
        &[
            cell("start", 1, Seen::Silent).timeout(4_000).reason("does not answer"),
            cell("stop", 0, Seen::Down).timeout(5_000).log("not cleanly"),
            cell("monitor", 9, Seen::Silent).timeout(4_000).reason("does not answer"),
            cell("monitor", 9, Seen::Silent).timeout(4_000).probe().reason("does not answer"),
            cell("demote", 0, Seen::Down),
            cell("promote", 1, Seen::Silent).timeout(4_000).reason("does not answer"),
        ],
    );
    check(
        |cluster| silent(standby(cluster)),
        &[
            cell("monitor", 1, Seen::Silent).timeout(4_000).reason("does not answer"),
            cell("stop", 0, Seen::Down).timeout(5_000),
        ],
    );
}

/// Uses up every connection, those that are reserved for superusers included.
fn crowded(cluster: &Arc<Cluster>, role: Seen) -> Stage {
    let node = cluster.node(NODE);
    node.configure("max_connections = 5\nsuperuser_reserved_connections = 2");
    node.run_as_primary();
    if role == Seen::Standby {
        node.stop_fast();
        node.run_as_standby();
    }
    let mut clients = Vec::new();
    wait_until("too many clients", || match node.connect() {
        Ok(client) => {
            clients.push(client);
            false
        }
        Err(error) => error.as_db_error().is_some_and(|e| e.message().contains("too many clients")),
    });
    Stage { clients, ..node.into() }
}

#[test]
fn a_primary_that_has_too_many_clients() {
    check(
        |cluster| crowded(cluster, Seen::Primary),
        &[
            cell("start", 1, Seen::Primary).reason("already runs as a primary"),
            cell("stop", 0, Seen::Down).log("stopped, the control file says 'shut down'"),
            cell("monitor", 8, Seen::Primary).log("too many clients"),
            cell("monitor", 8, Seen::Primary).probe().log("too many clients"),
            cell("demote", 0, Seen::Standby),
            cell("promote", 0, Seen::Primary),
        ],
    );
}

#[test]
fn a_standby_that_has_too_many_clients() {
    check(
        |cluster| crowded(cluster, Seen::Standby),
        &[
            cell("start", 0, Seen::Standby),
            cell("stop", 0, Seen::Down).log("shut down in recovery"),
            cell("monitor", 0, Seen::Standby).log("too many clients"),
            cell("demote", 0, Seen::Standby),
            cell("promote", 0, Seen::Primary),
        ],
    );
}

#[test]
fn a_node_without_the_data_directory() {
    let unmounted = |cluster: &Arc<Cluster>| {
        let node = cluster.node(NODE);
        fs::remove_dir_all(&node.data).unwrap();
        node.into()
    };
    check(
        unmounted,
        &[
            cell("start", 5, Seen::Down).reason("not a data directory").at_once(),
            cell("stop", 0, Seen::Down).at_once(),
            cell("monitor", 7, Seen::Down).probe().at_once(),
            cell("monitor", 5, Seen::Down).reason("not a data directory").at_once(),
            cell("demote", 5, Seen::Down).reason("not a data directory").at_once(),
            cell("promote", 5, Seen::Down).reason("not a data directory").at_once(),
        ],
    );
}

fn uninstalled(node: Node) -> Stage {
    Stage { parameters: vec![("bindir", "/nowhere")], ..node.into() }
}

#[test]
fn a_node_without_the_servers_programs() {
    check(
        |cluster| uninstalled(cluster.node(NODE)),
        &[
            cell("start", 5, Seen::Down).reason("/nowhere/postgres is missing").at_once(),
            cell("stop", 0, Seen::Down).at_once(),
            cell("monitor", 7, Seen::Down).probe().at_once(),
            cell("monitor", 5, Seen::Down).reason("/nowhere/postgres is missing").at_once(),
            cell("demote", 5, Seen::Down).reason("/nowhere/postgres is missing").at_once(),
            cell("promote", 5, Seen::Down).reason("/nowhere/postgres is missing").at_once(),
        ],
    );
}

#[test]
fn a_server_that_outlives_the_removal_of_its_programs() {
    check(
        |cluster| uninstalled(primary(cluster).node),
        &[
            cell("monitor", 8, Seen::Primary).at_once(),
            cell("monitor", 8, Seen::Primary).probe().at_once(),
            cell("stop", 0, Seen::Down),
        ],
    );
}

/// A server that was launched by the agent is in no process group of the agent's: Pacemaker kills the whole group.
#[test]
fn the_server_outlives_the_agents_process_group() {
    let node = Cluster::new().node(NODE);
    node.call("start").run().expect_code(0);
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.postmaster().unwrap())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let (group, session) = (fields[2], fields[3]);
    assert_eq!((group, session), (node.postmaster().unwrap().to_string().as_str(), group));
    kill_all_in(&node.data);
}
