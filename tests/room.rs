//! A promotion where the volume of the WAL has no room for the new timeline: the server is left alone, and room is waited for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use support::cluster::Cluster;
use support::node::{Node, Seen};
use support::volume::SmallVolume;

/// A standby on a volume with so many MiB left.
fn standby_with_room(mib: &str) -> (Node, SmallVolume) {
    let node = Cluster::new().node("srv1");
    let volume = SmallVolume::under_the_wal_of(&node, "256m");
    node.run_as_standby();
    volume.fill_up_to(mib);
    (node, volume)
}

#[test]
fn without_room_the_reason_comes_in_time_and_the_server_lives() {
    let (node, _volume) = standby_with_room("8");
    let server = node.postmaster();
    let refused = node.call("promote").outside_of_a_cluster().timeout(8_000).run().expect_code(1);
    let refused = refused.expect_reason("and a promotion needs 17825792; make room there");
    assert_eq!(refused.logged("waiting for room"), 1, "{refused:#?}");
    assert_eq!((node.seen(), node.postmaster()), (Seen::Standby, server));
}

#[test]
fn it_goes_on_when_there_is_room() {
    let (node, volume) = standby_with_room("8");
    let flight = node.call("promote").outside_of_a_cluster().timeout(30_000).spawn();
    // That nothing happens cannot be waited for; without the wait for room it is promoted, or fails, in less.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(node.seen(), Seen::Standby);
    volume.fill_up_to("40");
    assert_eq!(flight.finish().expect_code(0).logged("waiting for room"), 1);
    assert_eq!(node.seen(), Seen::Primary);
}

#[test]
fn a_small_volume_with_room_is_no_reason_to_wait() {
    let (node, _volume) = standby_with_room("40");
    let promoted = node.call("promote").outside_of_a_cluster().run().expect_code(0);
    assert_eq!(promoted.logged("room"), 0, "{promoted:#?}");
    assert_eq!(node.seen(), Seen::Primary);
}
