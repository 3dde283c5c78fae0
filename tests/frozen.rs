//! A node whose file system is frozen, or whose disk hangs: what waits for it obeys no signal, and the agent answers all the same.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::agent::Call;
use support::cluster::Cluster;
use support::transition::Promotion;
use support::volume::FreezableVolume;

/// The exit code, as soon as the process can be reaped. What hangs keeps the output open, for which Pacemaker does not wait.
#[allow(clippy::zombie_processes, reason = "one that cannot be reaped is what is looked for")]
fn answered_within(call: &Call, bound: Duration) -> Option<i32> {
    let begin = Instant::now();
    let mut agent = call.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while begin.elapsed() < bound {
        if let Some(status) = agent.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// What the view shows of a receiver is what it has told last.
#[test]
fn a_receiver_that_has_heard_nothing_for_long_does_not_stream() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2"]);
    let standby = &standbys[0];
    standby.stop_fast();
    let volume = FreezableVolume::at_the_place_of(standby);
    standby.configure("wal_receiver_timeout = '4s'");
    standby.run_as_standby();
    primary.await_streaming("srv2");
    let notes = standby.data.with_file_name("run").join("agent");
    let monitor = standby.call("monitor").variable("HA_RSCTMP", notes.to_str().unwrap());
    for _ in 0..2 {
        assert_eq!(answered_within(&monitor, Duration::from_secs(20)), Some(0));
    }
    assert_eq!(cluster.attributes.state("srv2"), "streaming");
    volume.freeze();
    primary.sql("create table row (n int)");
    let begin = Instant::now();
    while cluster.attributes.state("srv2") == "streaming" && begin.elapsed() < Duration::from_secs(70) {
        answered_within(&monitor, Duration::from_secs(20));
    }
    volume.thaw();
    assert_eq!(cluster.attributes.state("srv2"), "not streaming");
}

#[test]
fn a_standby_whose_file_system_is_frozen_holds_up_no_promotion() {
    let cluster = Cluster::new();
    let (primary, standbys) = cluster.replicating("srv1", &["srv2", "srv3"]);
    let [second, third] = &standbys[..] else { panic!("two standbys") };
    primary.call("monitor").run().expect_code(8);
    third.stop_fast();
    let volume = FreezableVolume::at_the_place_of(third);
    third.run_as_standby();
    primary.await_streaming("srv3");
    primary.crash();
    cluster.take_address_away();
    let promotion = Promotion::new(second, &["srv2", "srv3"]);
    promotion.announce(&[second, third]);
    promotion.promote().expect_code(0);

    volume.freeze();
    // A directory in memory, as Pacemaker's is.
    let notes = third.data.with_file_name("run").join("agent");
    let call = |action| third.call(action).variable("HA_RSCTMP", notes.to_str().unwrap());
    let told = call("notify").meta("notify_type", "post").meta("notify_operation", "promote");
    let told = told.meta("notify_promote_uname", "srv2").timeout(60_000);
    let answer = answered_within(&told, Duration::from_secs(8));
    volume.thaw();
    assert_eq!(answer, Some(0), "the notification");

    // The first monitor of a standby that follows notes the timeline, too.
    cluster.move_address_to(second);
    cluster.attributes.set_promoted(&["srv2"]);
    second.call("monitor").run().expect_code(8);
    second.await_streaming("srv3");
    let _ = fs::remove_file(third.data.with_file_name("data.timeline"));
    volume.freeze();
    let answer = answered_within(&call("monitor").timeout(10_000), Duration::from_secs(10));
    volume.thaw();
    assert_eq!(answer, Some(0), "the monitor");
}
