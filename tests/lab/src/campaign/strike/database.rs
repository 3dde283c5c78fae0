//! What an administrator of the database does, or runs out of.

use std::thread;
use std::time::{Duration, Instant};

use super::{Made, Scene};
use crate::campaign::fault::{Fault, Kind};
use crate::campaign::report::title::title;
use crate::error::{Result, unexpected};
use crate::harness::Lab;

const RESTART_LIMIT: Duration = Duration::from_secs(60);
/// Between two turns to the next segment.
const SWITCH_PAUSE: Duration = Duration::from_millis(250);
const IS_THERE: &str = "select 1";

pub(super) fn take_all_connections(scene: &Scene<'_>) -> Result<Made> {
    let [node] = &scene.nodes[..] else {
        return unexpected(format!("one node's connections are taken at a time, not those of {:?}", scene.nodes));
    };
    let began = scene.clock.now();
    let connections = scene.lab.take_all_connections(node)?;
    thread::sleep(Duration::from_millis(scene.fault.lasts_ms));
    connections.give_back()?;
    Ok(Made { nodes: scene.nodes.clone(), began, ended: scene.clock.now() })
}

/// The small volume is lost when its node's power is, which no real one is: such pairs are not made.
pub(super) fn cannot_have_small_volume(faults: &[Fault]) -> Option<String> {
    let fault = faults.iter().find(|fault| takes_power(fault.kind))?;
    Some(format!("the small volume for WAL would not survive this: {}", title(fault.kind)))
}

/// By itself, or by the fencing that follows.
fn takes_power(kind: Kind) -> bool {
    let lost = [Kind::PowerLossOne, Kind::PowerLossTwo, Kind::PowerLossAll, Kind::Freeze, Kind::KillController];
    lost.contains(&kind) || matches!(kind, Kind::Cut | Kind::CutOneDirection)
}

/// A handful of segments are there already: they are used up quickly, so that the server needs room while there is none.
pub(super) fn fill_wal_volume(scene: &Scene<'_>) -> Result<Made> {
    let lasts = Duration::from_millis(scene.fault.lasts_ms);
    for node in &scene.nodes {
        let wal = scene.lab.plan.pgdata().join("pg_wal").display().to_string();
        // Anything else is the machine's own disk.
        scene.lab.run(node, &["mountpoint", "--quiet", &wal])?;
    }
    scene.lasting(
        |node| {
            scene.lab.fill_wal_volume(node)?;
            let start = Instant::now();
            while start.elapsed() < lasts && use_a_segment_up(scene.lab, node).is_ok() {
                thread::sleep(SWITCH_PAUSE);
            }
            Ok(())
        },
        |node| scene.lab.free_wal_volume(node),
    )
}

/// An error says that the server is gone, or no primary any more.
fn use_a_segment_up(lab: &Lab, node: &str) -> Result<()> {
    lab.sql(node, "select pg_switch_wal()").map(drop)
}

/// As somebody does who does not know of the cluster.
pub(super) fn restart_by_hand(scene: &Scene<'_>) -> Result<Made> {
    let program = scene.lab.plan.bindir().join("pg_ctl").display().to_string();
    let data = scene.lab.plan.pgdata().display().to_string();
    // The server keeps whatever output it is started with.
    let script = "exec \"$1\" restart --pgdata=\"$2\" --mode=fast --wait --log=/tmp/restart-by-hand.log \
                  </dev/null >/tmp/restart-by-hand.out 2>&1";
    let command = ["runuser", "-u", "postgres", "--", "bash", "-c", script, "restart", &program, &data];
    scene.at_once(|node| {
        scene.lab.sql(node, IS_THERE)?;
        // Whoever is quicker, the cluster or the hand, and whether it ends well: it is a fault all the same.
        let _ = scene.lab.try_run(node, &command, RESTART_LIMIT);
        Ok(())
    })
}

pub(super) fn pause_replay(scene: &Scene<'_>) -> Result<Made> {
    scene.lasting(
        |node| scene.lab.sql(node, "select pg_wal_replay_pause()").map(drop),
        |node| {
            // A restart ends it as well, and so does a promotion.
            let resume = "select case when pg_is_in_recovery() then pg_wal_replay_resume()::text end";
            scene.lab.sql(node, resume).map(drop)
        },
    )
}
