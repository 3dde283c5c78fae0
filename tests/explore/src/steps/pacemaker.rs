//! What Pacemaker does: it starts what is down, and plans promotions by the scores.

use pgbaton::policy::candidacy::Objection;
use pgbaton::types::Role;

use super::faults::stopped;
use super::traffic::hand_over;
use super::{Demotion, Found, Step, election};
use crate::model::Cluster;
use crate::state::{Away, Instance, Level, NODES, Node, Paper, Plan, State};
use crate::translate::Stopped;
use crate::wal::Kind;

pub(super) fn steps(cluster: &Cluster, state: &State, to: &mut Found) {
    if state.plan.is_some() {
        return;
    }
    let mut is_starting = false;
    for number in state.nodes_where(|node| node.up && node.instance == Instance::Down) {
        is_starting = true;
        to.try_add(Step::Start(number), super::returns::start(cluster, state, number));
    }
    for number in state.nodes_where(|node| node.up && node.instance == Instance::Failed && !node.slip) {
        to.add(Step::Retry(number), super::faults::with(state, number, |node| node.instance = Instance::Down));
    }
    if is_starting || !has_quorum(cluster, state) {
        return;
    }
    let best = best(state);
    match state.primary() {
        None => best.iter().for_each(|node| to.add(Step::Plan(*node), planned(state, *node))),
        Some(primary) if best.contains(&primary) => {}
        Some(primary) => move_away(cluster, state, primary, &best, to),
    }
}

fn move_away(cluster: &Cluster, state: &State, primary: u8, best: &[u8], to: &mut Found) {
    for how in demotions(state).iter().copied() {
        let demoted = demote(cluster, state, primary, how);
        if best.is_empty() {
            to.add(Step::Demote(primary, how), demoted);
        }
        for successor in best {
            to.add(Step::Switch(primary, *successor, how), planned(&demoted, *successor));
        }
    }
}

/// A clean shutdown waits until the standbys that are connected have everything.
pub(super) fn demotions(state: &State) -> &'static [Demotion] {
    match state.lapses {
        0 => &[Demotion::HandedOver],
        _ => &[Demotion::HandedOver, Demotion::Clean, Demotion::Forced],
    }
}

/// Without quorum nothing is promoted.
fn has_quorum(cluster: &Cluster, state: &State) -> bool {
    state.nodes_where(|node| node.up).count() >= usize::from(cluster.settings.quorum)
}

/// Whom Pacemaker would promote: the highest score, constraints counted. Of equals, the primary, or any.
pub(super) fn best(state: &State) -> Vec<u8> {
    let rated = (0..state.count).filter_map(|node| Some((rate(state, node)?, node)));
    let rated: Vec<_> = rated.collect();
    let highest = rated.iter().map(|(rate, _)| *rate).max();
    let best: Vec<_> = rated.into_iter().filter(|(rate, _)| Some(*rate) == highest).map(|(_, node)| node).collect();
    match state.primary().filter(|primary| best.contains(primary)) {
        Some(primary) => vec![primary],
        None => best,
    }
}

/// The score of a node that may be promoted. A constraint is stronger than any score but minus infinity.
fn rate(state: &State, number: u8) -> Option<u8> {
    let node = state.node(number);
    let runs = matches!(node.instance, Instance::Standby | Instance::Primary | Instance::Void);
    let is_wished = state.wish == number + 1;
    if !node.up || !runs || node.banned || node.score == Level::Never || (node.score == Level::None && !is_wished) {
        return None;
    }
    Some(if is_wished { u8::MAX } else { node.score as u8 })
}

/// A plan to promote this node.
fn planned(state: &State, candidate: u8) -> State {
    let runs = |instance| matches!(instance, Instance::Standby | Instance::Primary | Instance::Void);
    let among = state.nodes_where(|node| node.up && runs(node.instance)).fold(0, |bits, node| bits | 1 << node);
    State { plan: Some(Plan { candidate, among, notified: 0 }), ..*state }
}

/// The primary is stopped and started as a standby.
pub(super) fn demote(cluster: &Cluster, state: &State, primary: u8, how: Demotion) -> State {
    let mut next = *state;
    let tip = state.node(primary).tip;
    let is_clean = how != Demotion::Forced;
    if how != Demotion::HandedOver {
        next.lapses = next.lapses.saturating_sub(1);
    }
    if is_clean {
        let end = next.wal.append(tip, Kind::Shutdown, state.wal.timeline(tip));
        next.node_mut(primary).tip = end.unwrap_or(tip);
    }
    if how == Demotion::HandedOver {
        hand_over(cluster, &mut next, primary);
    }
    let node = next.node_mut(primary);
    (node.instance, node.published, node.away) = (Instance::Standby, None, [Away::No; NODES]);
    if is_clean {
        let how = Stopped { role: Role::Primary, is_clean, was_told: false, restarts: true };
        return stopped(cluster, &next, primary, how);
    }
    next
}

/// What a node writes when it is started: its score, and whether what it left is taken back.
pub(super) fn announce(cluster: &Cluster, state: &mut State, number: u8, has_succeeded: bool) {
    let is_promoted = |node: &Node| node.up && node.instance == Instance::Primary && node.score >= Level::Primary;
    let elsewhere = state.nodes_where(is_promoted).any(|node| node != number);
    let has_instance = state.node(number).marker == crate::state::Marker::None;
    let may_stand = has_instance && !elsewhere && speaks_against(cluster, state, number).is_none();
    let score = cluster.advisor.score_at_start(state.node(number).score, may_stand);
    let node = state.node_mut(number);
    node.here = true;
    node.score = score.unwrap_or(node.score);
    if has_succeeded {
        node.left = None;
        if matches!(node.paper, Paper::Left(_)) {
            (node.paper, node.among) = (Paper::None, 0);
        }
    }
}

/// What on record speaks against this node. One that has just come back and may have been passed over is struck
/// off, by itself.
pub(super) fn speaks_against(cluster: &Cluster, state: &mut State, number: u8) -> Option<Objection> {
    if !state.node(number).here && cluster.advisor.passed_over(state, number) {
        state.configuration.struck |= 1 << number;
    }
    cluster.advisor.objection(state, number)
}

/// A failed promotion: Pacemaker restarts the instance.
pub(super) fn restarted(cluster: &Cluster, state: &State, number: u8) -> State {
    let how = Stopped { role: Role::Standby, is_clean: false, was_told: true, restarts: true };
    let mut next = stopped(cluster, &State { plan: None, ..*state }, number, how);
    announce(cluster, &mut next, number, true);
    next
}

/// Forgets what a promotion makes old.
pub(super) fn outdate(state: &mut State) {
    for node in &mut state.nodes {
        election::forget(node);
    }
}
