//! The resource agent killed in one of its actions, at a random moment.

use std::time::Duration;

use super::{Made, Scene};
use crate::error::{Error, Result, unexpected};
use crate::harness::Moment;

const ACTIONS: [&str; 6] = ["monitor", "start", "stop", "promote", "demote", "notify"];
/// How long an action may take to come by itself before it is provoked: a promoted instance's monitor does.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a provoked action may take to come: as long as the longest monitor interval, and what Pacemaker does before.
const PROVOKED_LIMIT: Duration = Duration::from_secs(35);
/// The longest time that the agent is left at work, in milliseconds. Most monitors and notifications end within some tens.
const SHORT_ACTION: u64 = 15;
const LONG_ACTION: u64 = 150;

pub(super) fn kill(scene: &Scene<'_>) -> Result<Made> {
    let count = u64::try_from(ACTIONS.len()).unwrap_or(1);
    let action = ACTIONS[usize::try_from(scene.fault.choice % count).unwrap_or_default()];
    let longest = if ["monitor", "notify"].contains(&action) { SHORT_ACTION } else { LONG_ACTION };
    let delay = Duration::from_millis(scene.fault.choice / count % longest);
    let node = victim(scene, action)?;
    let ambush = scene.lab.ambush(&node, action, Moment::After(delay))?;
    let mut began = None;
    if !ambush.is_over_within(PATIENCE) {
        began = Some(scene.clock.now());
        provoke(scene, action, &node)?;
    }
    let is_over = ambush.is_over_within(PROVOKED_LIMIT);
    let ended = scene.clock.now();
    if is_switchover(action) {
        // Without a request there is nothing to clear, and that is no error.
        super::until_done(scene.fault.kind, || scene.lab.clear_moves());
    }
    match is_over {
        true => ambush.wait().map(|()| Made { nodes: vec![node], began: began.unwrap_or(ended), ended }),
        false => {
            unexpected(format!("the agent was not seen in {action} on {node} for longer than {} ms", delay.as_millis()))
        }
    }
}

/// Whoever runs that action next: a standby is promoted, the primary is demoted.
fn victim(scene: &Scene<'_>, action: &str) -> Result<String> {
    let drawn = scene.nodes.first().cloned();
    let node = match action {
        "demote" => scene.primary.clone(),
        "promote" => drawn.filter(|node| scene.standbys.contains(node)).or_else(|| scene.standbys.first().cloned()),
        _ => drawn,
    };
    node.ok_or_else(|| Error::Unexpected(format!("nobody is there to run {action}")))
}

fn is_switchover(action: &str) -> bool {
    ["promote", "demote", "notify"].contains(&action)
}

fn provoke(scene: &Scene<'_>, action: &str, node: &str) -> Result<()> {
    match action {
        // It comes by itself, later.
        "monitor" => return Ok(()),
        // The next monitor finds this.
        "start" | "stop" => return scene.lab.signal_server(node, "KILL"),
        _ => {}
    }
    let target = match scene.standbys.iter().find(|standby| *standby == node).or(scene.standbys.first()) {
        Some(target) => target,
        None => return unexpected("no standby is there to switch over to"),
    };
    scene.lab.ask_for_switchover_to(target)
}
