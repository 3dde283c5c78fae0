//! What an administrator of the cluster does.

use std::time::Duration;

use super::{Made, Scene};
use crate::cluster::state::RESOURCE;
use crate::error::{Result, unexpected};
use crate::harness::lab::CLONE;
use crate::wait;

/// How long a switchover may take until the request is taken back: it may well be refused.
const SWITCHOVER_LIMIT: Duration = Duration::from_secs(30);
/// Until Pacemaker has noticed a change: before that it seems to have nothing to do.
const NOTICE: Duration = Duration::from_secs(2);

/// The instance is kept off the node, and the node keeps its membership.
pub(super) fn ban(scene: &Scene<'_>) -> Result<Made> {
    let ask = |node: &str, what: &str| {
        scene.lab.run_somewhere(&["crm_resource", "--resource", CLONE, what, "--node", node]).map(drop)
    };
    scene.lasting_whatever(|node| ask(node, "--ban"), |node| ask(node, "--clear"))
}

pub(super) fn standby_mode(scene: &Scene<'_>) -> Result<Made> {
    scene.lasting_whatever(|node| scene.lab.standby_mode(node, true), |node| scene.lab.standby_mode(node, false))
}

/// To the drawn standby; away from the primary to any.
pub(super) fn switch_over(scene: &Scene<'_>) -> Result<Made> {
    let count = u64::try_from(scene.standbys.len()).unwrap_or_default().max(1);
    let any = scene.standbys.get(usize::try_from(scene.fault.choice % count).unwrap_or_default());
    let Some(target) = scene.standbys.iter().find(|standby| scene.nodes.contains(standby)).or(any) else {
        return unexpected("no standby is there to switch over to");
    };
    let began = scene.clock.now();
    scene.lab.ask_for_switchover_to(target)?;
    // What was refused is the checker's to judge; the request must not outlive the round.
    let _ = wait::until_true("switchover", SWITCHOVER_LIMIT, || Ok(scene.lab.state()?.promoted == [target.clone()]));
    super::until_done(scene.fault.kind, || scene.lab.clear_moves());
    let nodes = scene.primary.iter().chain([target]).cloned().collect();
    Ok(Made { nodes, began, ended: scene.clock.now() })
}

/// What can be changed without changing what the agent promises: the name and another value.
fn changes(agent: &str) -> &'static [(&'static str, &'static str)] {
    match agent {
        "ocf:heartbeat:pgsqlms" => &[("maxlag", "64000000")],
        "ocf:heartbeat:pgsql" => &[("stop_escalate", "60")],
        _ => &[("maxlag", "64000000"), ("keep_aside", "4"), ("election_timeout", "50")],
    }
}

/// The cluster applies it, on all nodes at once, and applies that it is taken back.
pub(super) fn change_a_parameter(scene: &Scene<'_>) -> Result<Made> {
    let changes = changes(&scene.lab.plan.agent);
    let count = u64::try_from(changes.len()).unwrap_or(1);
    let (name, value) = changes[usize::try_from(scene.fault.choice % count).unwrap_or_default()];
    let ask = |words: &[&str]| {
        scene.lab.run_somewhere(&[&["crm_resource", "--resource", RESOURCE][..], words].concat()).map(drop)
    };
    let began = scene.clock.now();
    ask(&["--set-parameter", name, "--parameter-value", value])?;
    std::thread::sleep(Duration::from_millis(scene.fault.lasts_ms).max(NOTICE));
    // Only one that is applied can be taken back. Whether it was in time is the healing's affair.
    let _ = scene.lab.wait_until_idle();
    super::until_done(scene.fault.kind, || ask(&["--delete-parameter", name]));
    Ok(Made { nodes: scene.lab.nodes(), began, ended: scene.clock.now() })
}
