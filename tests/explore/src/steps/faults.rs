//! What breaks, and what comes back.

use super::{Found, Step};
use crate::state::{Configuration, Instance, Node, Paper, State};

pub(super) fn steps(state: &State, to: &mut Found) {
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
            to.add(Step::Crash(number), spend(&with(state, number, crash)));
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

/// Its monitor fails, and Pacemaker demotes and stops what is left.
fn crash(node: &mut Node) {
    (node.instance, node.published, node.crashed) = (Instance::Down, None, true);
    if let Paper::At(at) = node.paper {
        node.paper = Paper::Left(at);
    }
}

/// Fencing has seen to it that it is off. Everything transient goes with it, and so does a plan.
fn lost(state: &State, number: u8) -> State {
    let node = *state.node(number);
    let instance = if node.instance == Instance::Held { Instance::Held } else { Instance::Down };
    let Node { slip, banned, unfit, tip, left, marker, lacks, cut, .. } = node;
    let runs = matches!(node.instance, Instance::Standby | Instance::Primary);
    let crashed = node.crashed || runs;
    let mut next = with(state, number, |node| {
        *node = Node { instance, slip, banned, unfit, crashed, tip, left, marker, lacks, cut, ..Node::default() };
    });
    next.plan = None;
    next.node_mut(number).configuration = state.configuration;
    if next.nodes_where(|node| node.up).next().is_none() {
        next.configuration = Configuration::default();
    }
    spend(&next)
}
