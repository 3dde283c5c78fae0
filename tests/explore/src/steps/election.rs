//! The notifications before a promotion.

use super::{Found, Notice, Step};
use crate::model::Cluster;
use crate::state::{Instance, Level, Node, Paper, Plan, State, Undecided};
use crate::translate::{Changes, Pick};

pub(super) fn steps(cluster: &Cluster, state: &State, to: &mut Found) {
    let Some(plan) = state.plan else { return };
    for number in (0..state.count).filter(|node| (plan.among & !plan.notified) >> node & 1 != 0) {
        to.add(Step::Notify(number, Notice::Heard), notified(cluster, state, plan, number, Notice::Heard));
        if state.lapses == 0 {
            continue;
        }
        let spent = State { lapses: state.lapses - 1, ..*state };
        for notice in [Notice::Lost, Notice::Killed] {
            to.add(Step::Notify(number, notice), notified(cluster, &spent, plan, number, notice));
        }
        if state.node(number).instance == Instance::Standby {
            for notice in [Notice::NotKnown, Notice::AtLeast] {
                to.add(Step::Notify(number, notice), notified(cluster, &spent, plan, number, notice));
            }
        }
    }
}

fn notified(cluster: &Cluster, state: &State, plan: Plan, number: u8, notice: Notice) -> State {
    let mut next = *state;
    next.plan = Some(Plan { notified: plan.notified | 1 << number, ..plan });
    if notice == Notice::Lost {
        return next;
    }
    let pick = if state.node(number).picked == plan.candidate + 1 { Pick::Again } else { Pick::First };
    let vote = vote(state.node(number), notice);
    let node = next.node_mut(number);
    note(node, plan.candidate);
    (node.paper, node.among) = (vote, plan.among);
    let timed_out = node.undecided == Undecided::TooLong;
    if notice == Notice::Killed || !is_complete(&next, plan.among) {
        return next;
    }
    let own = next.node(plan.candidate).paper;
    let (_, changes) = cluster.advisor.judge(&next, plan.candidate, own, plan.among, timed_out, pick);
    apply(&mut next, &changes);
    next
}

fn note(node: &mut Node, candidate: u8) {
    if node.undecided == Undecided::No {
        node.undecided = Undecided::Yes;
    }
    node.picked = candidate + 1;
}

/// What a node says of itself. One that replays has the end of its WAL on disk, and says what it has replayed: less.
pub(super) fn vote(node: &Node, notice: Notice) -> Paper {
    match (node.instance, notice) {
        (Instance::Standby, Notice::NotKnown) => Paper::Unknown,
        (Instance::Standby, Notice::AtLeast) => Paper::AtLeast(node.tip),
        (Instance::Standby, _) => Paper::At(node.tip),
        (Instance::Primary, _) => Paper::Primary,
        (Instance::Void, _) => Paper::Void,
        // From its files.
        (Instance::Down | Instance::Failed | Instance::Held, _) => Paper::At(node.tip),
    }
}

fn is_complete(state: &State, among: u8) -> bool {
    let has_voted = |node: u8| !matches!(state.node(node).paper, Paper::None | Paper::Left(_));
    (0..state.count).filter(|node| among >> node & 1 != 0).all(has_voted)
}

/// Scores of nodes that are there.
pub(super) fn apply(state: &mut State, changes: &Changes) {
    for (node, change) in state.nodes.iter_mut().zip(changes) {
        if let Some(level) = change.filter(|_| node.up) {
            node.score = level;
        }
    }
}

/// After a promotion somewhere in the cluster.
pub(super) fn forget(node: &mut Node) {
    (node.undecided, node.picked) = (Undecided::No, 0);
}

/// Whether the score allows a promotion.
pub(super) fn allows(level: Level) -> bool {
    level > Level::Never
}
