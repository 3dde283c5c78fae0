//! What breaks, and what comes back.

use pgbaton::types::Role;

use super::{Found, Step};
use crate::model::Cluster;
use crate::state::{Configuration, Instance, Node, Paper, State};
use crate::translate::Stopped;

pub(super) fn steps(cluster: &Cluster, state: &State, to: &mut Found) {
    for number in 0..state.count {
        let node = state.node(number);
        if !node.up {
            // A node that joins makes Pacemaker plan anew.
            let returned = with(state, number, |node| node.up = true);
            let mut returned = State { plan: None, ..returned };
            let own = std::mem::take(&mut returned.node_mut(number).configuration);
            // The first one goes by the configuration that it has; the others get that of those who are there.
            if state.nodes_where(|node| node.up).next().is_none() {
                returned.configuration = own;
            }
            to.add(Step::Return(number), returned);
        }
        if node.cut {
            to.add(Step::Mend(number), with(state, number, |node| node.cut = false));
        }
        if state.faults == 0 || !node.up {
            continue;
        }
        to.add(Step::Loss(number), lost(state, number));
        if matches!(node.instance, Instance::Standby | Instance::Primary) {
            to.add(Step::Crash(number), spend(&crashed(cluster, state, number)));
        }
        if !node.cut {
            to.add(Step::Cut(number), spend(&with(state, number, |node| node.cut = true)));
        }
    }
}

fn spend(state: &State) -> State {
    State { faults: state.faults - 1, ..*state }
}

/// The state with a change of one node.
pub(super) fn with(state: &State, number: u8, change: impl FnOnce(&mut Node)) -> State {
    let mut next = *state;
    change(next.node_mut(number));
    next
}

/// Its monitor fails, Pacemaker demotes and stops what is left, and is going to start it again.
fn crashed(cluster: &Cluster, state: &State, number: u8) -> State {
    let role = if state.node(number).instance == Instance::Primary { Role::Primary } else { Role::Standby };
    let next = with(state, number, |node| {
        (node.instance, node.published, node.was_primary) = (Instance::Down, None, role == Role::Primary);
    });
    stopped(cluster, &next, number, Stopped { role, is_clean: false, was_told: true, restarts: true })
}

/// What the instance that was stopped has is on record.
pub(super) fn stopped(cluster: &Cluster, state: &State, number: u8, how: Stopped) -> State {
    let left = cluster.advisor.left(state, number, how);
    with(state, number, |node| match left {
        Some((at, true)) => (node.left, node.paper) = (Some(at), Paper::None),
        Some((at, false)) => node.paper = Paper::Left(at),
        None => {}
    })
}

/// Fencing has seen to it that it is off. Everything transient goes with it, and so does a plan.
fn lost(state: &State, number: u8) -> State {
    let node = *state.node(number);
    let instance = if node.instance == Instance::Held { Instance::Held } else { Instance::Down };
    let Node { slip, banned, unfit, tip, left, marker, lacks, cut, .. } = node;
    let was_primary = node.was_primary || node.instance == Instance::Primary;
    let mut next = with(state, number, |node| {
        *node = Node { instance, slip, banned, unfit, was_primary, tip, left, marker, lacks, cut, ..Node::default() };
    });
    next.plan = None;
    next.node_mut(number).configuration = state.configuration;
    if next.nodes_where(|node| node.up).next().is_none() {
        next.configuration = Configuration::default();
    }
    spend(&next)
}
