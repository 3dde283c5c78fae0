//! Before each scenario the cluster is brought to full strength: all nodes online, one primary with the virtual address, if
//! there is one, all others streaming standbys that could be promoted, no failure and no constraint left from before.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::lab::{Lab, SCENARIOS_FILES, brief, is_reachable};
use crate::cluster::build::{self, Wish};
use crate::cluster::instances;
use crate::cluster::node_shell::{COMMAND_LIMIT, run_on, sql_on};
use crate::cluster::state::State;
use crate::error::{Error, Result};
use crate::profile::Cascade;
use crate::wait::{self, Seen};
use crate::{paths, switch};

const FIRST_LIMIT: Duration = Duration::from_secs(90);
const MEND_LIMIT: Duration = Duration::from_secs(90);
/// How long a standby may take to follow by itself before it is rebuilt.
const PATIENCE: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Mends the lab that is up, or builds a new one when there is none or it cannot be mended.
pub(crate) fn reach(wish: &Wish) -> Result<Lab> {
    match Lab::attach() {
        Ok(lab) if is_as_wished(&lab, wish) => mend(&lab).map(|()| lab).or_else(|reason| {
            println!("    the lab is built anew: {reason}");
            build_anew(wish)
        }),
        _ => build_anew(wish),
    }
}

/// Whether this lab is the wanted one, with the agent as it was built last.
fn is_as_wished(lab: &Lab, wish: &Wish) -> bool {
    let binary = |tree: &Path| fs::read(tree.join("usr/sbin/pgbaton")).ok();
    let wanted = wish.install.as_deref().map(binary);
    let is_installed = |node: &String| wanted.as_ref().is_none_or(|wanted| *wanted == binary(&paths::upper(node)));
    lab.plan.example == wish.example
        && lab.plan.agent == wish.agent
        && lab.plan.checksums == wish.checksums
        && lab.plan.clocks == wish.clocks
        && lab.plan.profile == wish.profile
        && lab.nodes() == wish.nodes
        && lab.nodes().iter().all(is_installed)
}

pub(crate) fn build_anew(wish: &Wish) -> Result<Lab> {
    build::up(wish)?;
    let lab = Lab::attach()?;
    wait_for(&lab, FIRST_LIMIT)?;
    Ok(lab)
}

/// Waits until all nodes and instances are well, whatever failures are listed.
pub(crate) fn wait_for(lab: &Lab, limit: Duration) -> Result<()> {
    wait::until("full strength", limit, || {
        Ok(match shortfall_of_today(lab, &lab.state()?)? {
            None => Seen::Yes(()),
            Some(missing) => Seen::NotYet(missing),
        })
    })
}

/// What is missing of nodes and instances at this moment, whatever failures are listed.
pub(crate) fn missing(lab: &Lab) -> Result<Option<String>> {
    shortfall_of_today(lab, &lab.state()?)
}

/// What is missing to full strength, traces of the past (failed actions, left constraints) included.
fn shortfall(lab: &Lab) -> Result<Option<String>> {
    let state = lab.state()?;
    match state.failures.is_empty() && state.bans.is_empty() {
        true => shortfall_of_today(lab, &state),
        false => Ok(Some(brief(&state))),
    }
}

/// What is missing of nodes and instances, whatever happened before.
fn shortfall_of_today(lab: &Lab, state: &State) -> Result<Option<String>> {
    if !is_whole(lab, state) {
        return Ok(Some(brief(state)));
    }
    // A clone receives WAL under its node's name, too.
    if let Some(node) = lab.nodes().into_iter().find(|node| lab.is_rejoining(node)) {
        return Ok(Some(format!("{node} is being rewound or cloned")));
    }
    let primary = &state.promoted[0];
    let streaming = streaming_from(lab, primary)?;
    if let Some(standby) = state.unpromoted.iter().find(|standby| !streaming.contains(standby)) {
        return Ok(Some(format!("{standby} does not stream from {primary}")));
    }
    // The primary may not have noticed yet that one has gone, and Pacemaker not that a person has promoted it.
    for standby in &state.unpromoted {
        if sql_on(standby, "select pg_is_in_recovery()")? != "t" {
            return Ok(Some(format!("{standby} takes writes and is not promoted")));
        }
    }
    work_in_hand(lab)
}

/// The standbys that stream from the primary; of a cascade those, too, that stream from a standby.
fn streaming_from(lab: &Lab, primary: &str) -> Result<Vec<String>> {
    let ask = "select application_name from pg_stat_replication where state = 'streaming'";
    let of = |node: &str| Ok(sql_on(node, ask)?.lines().map(str::to_owned).collect::<Vec<_>>());
    let mut streaming = of(primary)?;
    if lab.plan.profile.cascade == Cascade::Last {
        for standby in lab.nodes().iter().filter(|node| *node != primary && is_reachable(node)) {
            streaming.extend(of(standby)?);
        }
    }
    Ok(streaming)
}

/// What Pacemaker is doing, unless it has nothing to do.
fn work_in_hand(lab: &Lab) -> Result<Option<String>> {
    let controller = lab.run_somewhere(&["crmadmin", "--quiet", "--dc_lookup"])?;
    let controller = controller.split_whitespace().last().unwrap_or_default().to_owned();
    let idle = lab.run_somewhere(&["crmadmin", "--quiet", "--status", &controller])?;
    Ok((!idle.contains("S_IDLE")).then(|| format!("controller {controller}: {}", idle.trim())))
}

/// Waits until Pacemaker has done all that it can do.
pub(crate) fn wait_until_idle(lab: &Lab, limit: Duration) -> Result<()> {
    wait::until("idle Pacemaker", limit, || Ok(work_in_hand(lab)?.map_or(Seen::Yes(()), Seen::NotYet)))
}

fn is_whole(lab: &Lab, state: &State) -> bool {
    let count = lab.nodes().len();
    state.quorum
        && state.online.len() == count
        && state.standby_mode.is_empty()
        && state.promoted.len() == 1
        && state.unpromoted.len() == count - 1
        && (!lab.plan.has_address() || state.address.as_ref() == state.promoted.first())
        && state.troubled.is_empty()
        && !is_promotion_forbidden(lab, state)
}

/// Whether fewer standbys may be promoted than the agent allows when all is well.
pub(crate) fn is_promotion_forbidden(lab: &Lab, state: &State) -> bool {
    promotable(state) < lab.plan.promotable_standbys()
}

fn promotable(state: &State) -> usize {
    state.unpromoted.iter().filter(|standby| state.scores.get(*standby).is_some_and(|score| *score > 0)).count()
}

fn mend(lab: &Lab) -> Result<()> {
    undo_what_scenarios_do(lab)?;
    bring_nodes_back(lab)?;
    undo_in_the_cluster(lab)?;
    lab.nodes().iter().try_for_each(|node| lab.take_wal_volume_back(node))?;
    wait_or_rebuild(lab)?;
    if !lab.plan.profile.uses_slots() {
        lab.wait_until_slots_are_taken_back()?;
    }
    lab.nodes().iter().try_for_each(|node| lab.forget_what_was_kept(node))
}

/// A standby that does not follow by itself is rebuilt for an agent that leaves this to a person. For one that does it, a
/// standby that does not follow is a fault, and the lab is built anew, unless it says that the WAL it needs is gone.
fn wait_or_rebuild(lab: &Lab) -> Result<()> {
    let start = Instant::now();
    let mut rebuilt = Vec::new();
    wait::until("full strength", MEND_LIMIT, || {
        let Some(missing) = shortfall(lab)? else {
            return Ok(Seen::Yes(()));
        };
        let stray = match lab.plan.agent_makes_standbys_anew() {
            true => too_far_behind(&lab.state()?),
            false if start.elapsed() > PATIENCE => stray_standby(lab)?,
            false => None,
        };
        if let Some(node) = stray.filter(|node| !rebuilt.contains(node)) {
            println!("    {node} is rebuilt: it does not follow by itself ({missing})");
            rebuilt.push(node.clone());
            rebuild(lab, &node)?;
        }
        Ok(Seen::NotYet(missing))
    })
}

/// A standby whose agent says that the primary no longer has the WAL that it needs, which `rejoin=rewind` leaves to a person.
pub(crate) fn too_far_behind(state: &State) -> Option<String> {
    let mut behind = state.words.iter().filter(|(_, words)| words.starts_with("too far behind"));
    behind.next().map(|(node, _)| node.clone())
}

/// Waits until all is well, with that one step by hand where it is asked for.
pub(crate) fn wait_with_a_hand(lab: &Lab, limit: Duration) -> Result<()> {
    let behind = wait::until("full strength, or a standby that is too far behind", limit, || {
        let Some(missing) = shortfall(lab)? else { return Ok(Seen::Yes(None)) };
        Ok(too_far_behind(&lab.state()?).map_or(Seen::NotYet(missing), |node| Seen::Yes(Some(node))))
    })?;
    behind.map_or(Ok(()), |node| rebuild(lab, &node))?;
    wait_for(lab, limit)
}

fn undo_what_scenarios_do(lab: &Lab) -> Result<()> {
    let after_fencing = match lab.plan.agent_takes_crashed_primary_back() {
        true => "boots",
        false => "boots-without-services",
    };
    for node in lab.nodes() {
        if lab.plan.clocks {
            lab.set_clock(&node, 0)?;
        }
        if switch::group(&node)?.is_frozen() {
            lab.thaw(&node)?;
        }
        if lab.has_power(&node)? {
            lab.heal(&node)?;
            lab.stop_leaks(&node)?;
            // A server without processes, or none stopped: both are well.
            let _ = run_on(&node, &["pkill", "-CONT", "-u", "postgres"], COMMAND_LIMIT);
            drop_scenario_settings(lab, &node)?;
        } else {
            // Its layer can be written to; most often there is no such file.
            for file in SCENARIOS_FILES {
                let _ = fs::remove_file(paths::upper(&node).join(file.trim_start_matches('/')));
            }
        }
        switch::order(&format!("after-fencing {node} {after_fencing}"))?;
    }
    Ok(())
}

fn drop_scenario_settings(lab: &Lab, node: &str) -> Result<()> {
    let mut is_dropped = false;
    for file in SCENARIOS_FILES {
        is_dropped |= run_on(node, &["rm", file], COMMAND_LIMIT)?.code == 0;
    }
    if is_dropped {
        // A server that is down reads its settings when it starts.
        let _ = lab.reload(node);
    }
    Ok(())
}

/// Nodes without power or services come back; an agent that cannot take a crashed primary back gets a fresh standby.
fn bring_nodes_back(lab: &Lab) -> Result<()> {
    let mut idle = Vec::new();
    for node in lab.nodes() {
        if !lab.has_power(&node)? {
            lab.power_on_without_services(&node)?;
        }
        if !lab.runs_services(&node)? {
            idle.push(node);
        }
    }
    if idle.is_empty() {
        return Ok(());
    }
    let some_are_up = idle.len() < lab.nodes().len();
    if some_are_up && !lab.plan.agent_takes_crashed_primary_back() {
        lab.wait_for_primary()?;
        idle.iter().try_for_each(|node| instances::rebuild(&lab.plan, node))?;
    }
    for node in &idle {
        lab.power_off(node)?;
        lab.power_on(node)?;
    }
    Ok(())
}

fn undo_in_the_cluster(lab: &Lab) -> Result<()> {
    build::wait_until_all_online(&lab.plan)?;
    lab.take_changes_back()?;
    let state = lab.state()?;
    for node in &state.standby_mode {
        lab.standby_mode(node, false)?;
    }
    if !state.bans.is_empty() {
        lab.clear_moves()?;
        lab.lift_agents_bans()?;
    }
    if !state.failures.is_empty() || !state.troubled.is_empty() {
        lab.clean_up_failures()?;
    }
    Ok(())
}

/// A node whose instance is down, or up without streaming from the primary.
pub(crate) fn stray_standby(lab: &Lab) -> Result<Option<String>> {
    let primary = lab.primary()?;
    let streaming = streaming_from(lab, &primary)?;
    let mut strays = lab.nodes().into_iter().filter(|node| *node != primary && is_reachable(node));
    Ok(strays.find(|node| !streaming.contains(node)))
}

/// Rebuilds an instance while the cluster keeps its hands off, in the way that its agent's documentation says.
pub(crate) fn rebuild(lab: &Lab, node: &str) -> Result<()> {
    match lab.plan.agent_is_rebuilt_without_services() {
        true => {
            lab.stop_services(&[node.to_owned()])?;
            instances::rebuild(&lab.plan, node)?;
            lab.start_services(node)
        }
        false => rebuild_in_standby_mode(lab, node),
    }
}

fn rebuild_in_standby_mode(lab: &Lab, node: &str) -> Result<()> {
    lab.standby_mode(node, true)?;
    wait::until_true(&format!("stop of the instance on {node}"), STOP_LIMIT, || {
        Ok(run_on(node, &["pgrep", "-u", "postgres", "-x", "postgres"], COMMAND_LIMIT)?.code != 0)
    })
    .map_err(|error| Error::Unexpected(format!("{error}; it cannot be rebuilt while it runs")))?;
    instances::rebuild(&lab.plan, node)?;
    lab.standby_mode(node, false)?;
    lab.run_somewhere(&["crm_resource", "--cleanup"]).map(drop)
}
