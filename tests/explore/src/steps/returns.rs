//! Instances that come back: started, rewound, cloned.

use pgbaton::types::Role;

use super::faults::stopped;
use super::pacemaker::announce;
use super::{Found, Step};
use crate::judge;
use crate::model::Cluster;
use crate::state::{Instance, Marker, State};
use crate::translate::{Return, Stopped};
use crate::wal::At;
use crate::words::node as name;

pub(super) fn steps(cluster: &Cluster, state: &State, to: &mut Found) {
    for number in state.nodes_where(|node| node.up && node.instance == Instance::Void) {
        work(state, number, to);
    }
    let Some(primary) = state.primary() else { return };
    for number in state.nodes_where(|node| node.up && node.instance == Instance::Standby) {
        if !state.wal.has(state.node(primary).tip, state.node(number).tip) {
            watch(cluster, state, number, to);
        }
    }
}

/// The primary that is published by another node: of several, the one with the youngest timeline.
fn published(state: &State, number: u8) -> Option<(u8, At)> {
    let others = state.nodes_where(|node| node.up && node.published.is_some()).filter(|node| *node != number);
    let others = others.filter_map(|node| Some((node, state.node(node).published?)));
    others.max_by_key(|(_, at)| state.wal.timeline(*at))
}

/// How the instance stands to a primary that is there.
fn way(cluster: &Cluster, state: &State, number: u8) -> Return {
    let Some((primary, theirs)) = published(state, number) else { return Return::Follows };
    match cluster.advisor.returning(&state.wal, state.node(number).tip, theirs) {
        _ if state.node(primary).instance != Instance::Primary => Return::Follows,
        way => way,
    }
}

/// `start`.
pub(super) fn start(cluster: &Cluster, state: &State, number: u8) -> Result<State, String> {
    let mut next = *state;
    let node = state.node(number);
    let way = if node.marker == Marker::None { way(cluster, state, number) } else { Return::Follows };
    let instance = match (node.slip, node.marker, way) {
        (true, _, _) | (_, Marker::None, Return::Refused) => Instance::Failed,
        (_, Marker::None, Return::Follows) => Instance::Standby,
        _ => Instance::Void,
    };
    announce(cluster, &mut next, number, instance == Instance::Standby);
    next.node_mut(number).instance = instance;
    if instance == Instance::Failed {
        // Pacemaker stops it for good.
        let role = if node.was_primary { Role::Primary } else { Role::Standby };
        return Ok(stopped(cluster, &next, number, Stopped { role, is_clean: false, was_told: true, restarts: false }));
    }
    next.node_mut(number).was_primary = false;
    if instance == Instance::Void {
        plan_return(&mut next, number, way)?;
    }
    Ok(next)
}

/// The monitor of a standby that does not stream.
fn watch(cluster: &Cluster, state: &State, number: u8, to: &mut Found) {
    let way = way(cluster, state, number);
    if matches!(way, Return::Rewind | Return::Clone) {
        let mut next = *state;
        next.node_mut(number).instance = Instance::Void;
        let planned = plan_return(&mut next, number, way);
        to.try_add(Step::Monitor(number), planned.map(|()| next));
    }
}

fn plan_return(state: &mut State, number: u8, way: Return) -> Result<(), String> {
    let marker = match way {
        Return::Rewind => Marker::Rewind,
        Return::Clone => Marker::Clone,
        Return::Follows | Return::Refused => return Ok(()),
    };
    if let Some(primary) = state.primary() {
        judge::destruction(state, number, primary)?;
    }
    state.node_mut(number).marker = marker;
    Ok(())
}

/// What is kept is kept; then the directory is made like the primary's.
fn work(state: &State, number: u8, to: &mut Found) {
    let Some(primary) = state.primary().filter(|primary| !state.node(*primary).cut && !state.node(number).cut) else {
        return;
    };
    if state.node(primary).published.is_none() {
        return;
    }
    let mut next = *state;
    let theirs = state.node(primary).tip;
    let node = next.node_mut(number);
    match node.marker {
        Marker::None => node.instance = Instance::Standby,
        Marker::Rewind | Marker::Clone => {
            (node.marker, node.tip) = (Marker::Kept, state.wal.common(node.tip, theirs));
        }
        Marker::Kept => (node.marker, node.tip, node.instance) = (Marker::None, theirs, Instance::Standby),
    }
    if state.node(number).marker == Marker::None {
        let what = format!("{} is on its way without a marker", name(number));
        return to.try_add(Step::Work(number), Err(what));
    }
    to.add(Step::Work(number), next);
}
