//! Nodes that lose their power, and nodes that stand still.

use std::thread;
use std::time::Duration;

use super::{Made, Scene};
use crate::error::{Result, unexpected};
use crate::harness::Lab;
use crate::wait;

/// How long several nodes are without power at least. Longer than corosync needs to miss them (8.1 s): a node that is back
/// before hears of its own fencing, and Pacemaker ends there for good.
const SEVERAL_OFF: Duration = Duration::from_secs(10);
/// The others fence one lost node, and that gives its power back. Somebody looks after it when they do not.
const FENCING_LIMIT: Duration = Duration::from_secs(25);

pub(super) fn lose_power(scene: &Scene<'_>) -> Result<Made> {
    let began = scene.clock.now();
    at_the_same_time(&scene.nodes, |node| scene.lab.power_off(node))?;
    thread::sleep(Duration::from_millis(scene.fault.lasts_ms));
    match scene.nodes.len() {
        1 => wait_for_fencing(scene),
        _ => thread::sleep(SEVERAL_OFF.saturating_sub(Duration::from_millis(scene.fault.lasts_ms))),
    }
    at_the_same_time(&scene.nodes, |node| power_on(scene.lab, node))?;
    Ok(Made { nodes: scene.nodes.clone(), began, ended: scene.clock.now() })
}

/// Without quorum, or in the middle of another fault, nobody fences it: then its power comes back by itself.
fn wait_for_fencing(scene: &Scene<'_>) {
    let all_have_power = || {
        let mut powers = scene.nodes.iter().map(|node| scene.lab.has_power(node));
        powers.try_fold(true, |all, power| Ok(all && power?))
    };
    let _ = wait::until_true("power after fencing", FENCING_LIMIT, all_have_power);
}

/// As after a fencing: with the cluster's services, or without them where the agent wants that.
fn power_on(lab: &Lab, node: &str) -> Result<()> {
    match lab.plan.agent_takes_crashed_primary_back() {
        true => lab.power_on(node),
        false => lab.power_on_without_services(node),
    }
}

fn at_the_same_time(nodes: &[String], act: impl Fn(&str) -> Result<()> + Sync) -> Result<()> {
    let act = &act;
    thread::scope(|scope| {
        let threads: Vec<_> = nodes.iter().map(|node| scope.spawn(move || act(node))).collect();
        let ended: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        ended
            .into_iter()
            .try_for_each(|end| end.unwrap_or_else(|_| unexpected("an order to the power switch has panicked")))
    })
}

pub(super) fn freeze(scene: &Scene<'_>) -> Result<Made> {
    scene.lasting(|node| scene.lab.freeze(node), |node| scene.lab.thaw(node))
}
