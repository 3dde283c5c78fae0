//! Nodes whose data directory is empty while there is no primary, with a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use support::agent::Call;
use support::cluster::Cluster;
use support::node::{Node, Seen, as_owner, run};
use support::rejoin::{expect_following, promote};
use support::transition::Promotion;
use support::wait_until;

const WAITING: &str = "waiting for a primary to clone from";

/// A standby that nobody has promoted yet, and a node without an instance.
struct Scene {
    cluster: Arc<Cluster>,
    empty: Node,
    other: Node,
    options: String,
}

fn scene() -> Scene {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let other = cluster.node("srv2");
    other.run_as_primary();
    other.sql("create table rows (n int)");
    other.stop_fast();
    other.run_as_standby();
    cluster.attributes.set_score("srv2", "1000");
    let empty = Node::new(cluster.clone(), "srv1");
    let options = empty.empty_with_configuration_outside();
    Scene { cluster, empty, other, options }
}

impl Scene {
    fn call(&self, action: &str) -> Call {
        self.empty.call(action).parameter("rejoin", "clone").parameter("start_opts", &self.options)
    }

    fn probe(&self) -> Call {
        self.call("monitor").meta("interval", "0")
    }

    fn marker(&self) -> PathBuf {
        self.empty.data.with_file_name("data.rejoin")
    }

    fn await_joined(&self) {
        wait_until("it is cloned and streams", || {
            self.call("monitor").run().expect_code(0);
            self.empty.seen() == Seen::Standby
        });
        expect_following(&self.empty, &self.other);
        assert!(self.empty.kept_aside().is_empty());
    }
}

#[test]
fn it_waits_and_is_cloned_when_a_primary_is_there() {
    let scene = scene();
    let start = scene.call("start").run().expect_code(0);
    assert_eq!(start.logged(WAITING), 1, "{start:#?}");
    assert!(scene.cluster.attributes.scores().contains("srv1=-1000000"), "{}", scene.cluster.attributes.scores());
    for _ in 0..3 {
        scene.call("monitor").run().expect_code(0);
    }
    assert_eq!(scene.cluster.attributes.state("srv1"), WAITING);
    assert_eq!(scene.empty.seen(), Seen::Down);
    promote(&scene.cluster, &scene.other, &["srv2"]);
    scene.await_joined();
    for _ in 0..2 {
        scene.call("monitor").run().expect_code(0);
    }
    assert_eq!(scene.cluster.attributes.state("srv1"), "streaming");
}

#[test]
fn a_start_beside_a_primary_clones_at_once() {
    let scene = scene();
    promote(&scene.cluster, &scene.other, &["srv2"]);
    scene.call("start").timeout(60_000).run().expect_code(0);
    expect_following(&scene.empty, &scene.other);
}

#[test]
fn it_has_no_say_and_is_not_promoted() {
    let scene = scene();
    scene.call("start").run().expect_code(0);
    let promotion = Promotion::new(&scene.other, &["srv1", "srv2"]);
    promotion.announce(&[&scene.empty, &scene.other]);
    assert!(scene.cluster.attributes.paper("srv1").starts_with("void"), "{}", scene.cluster.attributes.paper("srv1"));
    // Nobody waits for it.
    promotion.promote().expect_code(0);
    let refused = scene.call("promote").run().expect_code(1);
    assert!(refused.reason().contains("waits for a primary"), "{refused:#?}");
    scene.call("demote").run().expect_code(0);
    scene.call("stop").run().expect_code(0);
    assert!(!scene.marker().exists());
    scene.probe().run().expect_code(7);
}

#[test]
fn a_candidate_without_an_instance_yields_at_once() {
    let scene = scene();
    scene.call("start").run().expect_code(0);
    let promotion = Promotion::new(&scene.empty, &["srv1", "srv2"]);
    promotion.announce(&[&scene.other, &scene.empty]);
    assert!(scene.cluster.attributes.scores().contains("srv2=1002"), "{}", scene.cluster.attributes.scores());
}

#[test]
fn it_goes_on_waiting_after_its_node_was_lost() {
    let scene = scene();
    scene.call("start").run().expect_code(0);
    // Nothing has stopped it, and nothing runs.
    scene.probe().run().expect_code(7);
    scene.call("start").run().expect_code(0);
    scene.call("monitor").run().expect_code(0);
    promote(&scene.cluster, &scene.other, &["srv2"]);
    scene.call("start").timeout(60_000).run().expect_code(0);
    expect_following(&scene.empty, &scene.other);
}

#[test]
fn killed_in_between_it_is_cloned_all_the_same() {
    let scene = scene();
    for ms in [5, 15, 30, 60, 100] {
        let flight = scene.call("start").spawn();
        std::thread::sleep(Duration::from_millis(ms));
        flight.kill();
    }
    scene.call("start").run().expect_code(0);
    promote(&scene.cluster, &scene.other, &["srv2"]);
    for ms in [10, 30, 60, 120, 250, 500] {
        let flight = scene.call("monitor").spawn();
        std::thread::sleep(Duration::from_millis(ms));
        flight.kill();
        scene.call("stop").run().expect_code(0);
        assert_eq!(scene.empty.seen(), Seen::Down);
        scene.probe().run().expect_code(7);
        let flight = scene.call("start").timeout(60_000).spawn();
        std::thread::sleep(Duration::from_millis(ms));
        flight.kill();
    }
    scene.call("stop").run().expect_code(0);
    scene.call("start").timeout(60_000).run().expect_code(0);
    scene.await_joined();
}

#[test]
fn without_anybody_who_has_the_database_it_says_so_once() {
    let scene = scene();
    scene.other.crash();
    scene.cluster.attributes.set_score("srv2", "-1000000");
    scene.call("start").run().expect_code(0);
    let told: usize = (0..4).map(|_| scene.call("monitor").run().expect_code(0).logged("nothing to clone")).sum();
    assert_eq!(told, 1);
    let state = scene.cluster.attributes.state("srv1");
    assert_eq!(state, "empty, and no other node may become the primary");
    // Somebody brings it back.
    scene.cluster.attributes.set_score("srv2", "1");
    for _ in 0..2 {
        scene.call("monitor").run().expect_code(0);
    }
    assert_eq!(scene.cluster.attributes.state("srv1"), WAITING);
}

#[test]
fn a_directory_that_was_filled_meanwhile_is_neither_overwritten_nor_started_before_the_next_start() {
    let scene = scene();
    scene.call("start").run().expect_code(0);
    let mut initdb = as_owner("initdb");
    run(initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "-D"]).arg(&scene.empty.data));
    promote(&scene.cluster, &scene.other, &["srv2"]);
    let told: usize = (0..3).map(|_| scene.call("monitor").run().expect_code(0).logged("no longer")).sum();
    assert_eq!(told, 1);
    assert!(scene.cluster.attributes.state("srv1").contains("was filled"));
    assert_eq!(scene.empty.seen(), Seen::Down);
    scene.call("stop").run().expect_code(0);
    let refused = scene.call("start").run().expect_code(1);
    assert!(refused.reason().contains("another cluster"), "{refused:#?}");
    assert!(scene.empty.data.join("PG_VERSION").is_file() && scene.empty.kept_aside().is_empty());
}

#[test]
fn without_permission_it_is_refused_as_before() {
    let scene = scene();
    let refused = scene.call("start").parameter("rejoin", "rewind").run().expect_code(5);
    assert!(refused.reason().contains("PG_VERSION"), "{refused:#?}");
    assert!(!scene.marker().exists());
    // Nor when the parameter was changed while the node waited and was lost.
    scene.call("start").run().expect_code(0);
    scene.call("start").parameter("rejoin", "rewind").run().expect_code(5);
    assert!(!scene.marker().exists());
}

#[test]
fn a_data_directory_that_is_not_there_waits_too() {
    let scene = scene();
    fs::remove_dir(&scene.empty.data).unwrap();
    scene.call("start").run().expect_code(0);
    scene.call("monitor").run().expect_code(0);
    run(Command::new("test").arg("!").arg("-e").arg(&scene.empty.data));
}

#[test]
fn a_clone_whose_primary_is_gone_is_made_from_the_next_one() {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2", "srv3"]);
    let (first, standbys) = cluster.replicating("srv2", &["srv3"]);
    let next = &standbys[0];
    first.sql("create table rows (n int)");
    first.await_streaming("srv3");
    cluster.attributes.set_promoted(&["srv2"]);
    cluster.attributes.set_score("srv2", "1001");
    first.call("monitor").run().expect_code(8);
    // It cannot be reached, and is lost then.
    cluster.attributes.set_address("srv2", "/nowhere");
    cluster.attributes.set_address("srv3", next.sockets.to_str().unwrap());
    let empty = Node::new(cluster.clone(), "srv1");
    let options = empty.empty_with_configuration_outside();
    let start = || {
        let call = empty.call("start").parameter("rejoin", "clone").parameter("follow", "promoted");
        call.parameter("start_opts", &options).timeout(60_000).run().expect_code(0)
    };
    assert_eq!(start().logged("cloning has failed"), 1);
    assert_eq!(empty.seen(), Seen::Down);
    first.crash();
    cluster.attributes.set_promoted(&[]);
    assert_eq!(start().logged("cloning cannot go on: there is no primary"), 1);
    promote(&cluster, next, &["srv3"]);
    // A volume is mounted over the directory that the attempts were about to fill.
    let (data, hidden) = (&empty.data, empty.data.with_file_name("hidden"));
    fs::rename(data, &hidden).unwrap();
    empty.copy_from(&next.data.with_file_name("run"));
    let refused = start();
    assert_eq!(refused.logged("cloning from srv3 now"), 1, "{refused:#?}");
    assert_eq!(refused.logged("put there by somebody else"), 1, "{refused:#?}");
    assert!(data.join("postgresql.auto.conf").is_file());
    fs::remove_dir_all(data).unwrap();
    fs::rename(&hidden, data).unwrap();
    let last = start();
    assert_eq!(empty.seen(), Seen::Standby, "{last:#?}");
    expect_following(&empty, next);
}
