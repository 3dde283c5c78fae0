//! What persons do: what nobody needs, what takes that back, and what the README leaves to them.

use pgbaton::types::Role;

use super::election::forget;
use super::faults::{stopped, with};
use super::pacemaker::{demote, demotions};
use super::{Found, Step};
use crate::model::Cluster;
use crate::state::{Instance, Lacks, Level, Paper, State};
use crate::translate::Stopped;

pub(super) fn steps(cluster: &Cluster, state: &State, to: &mut Found) {
    amends(state, to);
    if state.slips > 0 {
        slips(cluster, &State { slips: state.slips - 1, ..*state }, to);
    }
}

/// What is taken back.
fn amends(state: &State, to: &mut Found) {
    for number in 0..state.count {
        let node = state.node(number);
        if node.slip {
            let correct = with(state, number, |node| {
                node.slip = false;
                if node.instance == Instance::Failed {
                    node.instance = Instance::Down;
                }
            });
            to.add(Step::Correct(number), correct);
        }
        if node.instance == Instance::Held && state.plan.is_none() {
            to.add(Step::Release(number), with(state, number, |node| node.instance = Instance::Down));
        }
        if node.unfit {
            to.add(Step::Fit(number), with(state, number, |node| node.unfit = false));
        }
        if node.banned {
            to.add(Step::Unban(number), with(state, number, |node| node.banned = false));
        }
    }
    if state.wish > 0 {
        to.add(Step::ForgetMove, State { wish: 0, ..*state });
    }
}

fn slips(cluster: &Cluster, state: &State, to: &mut Found) {
    for number in 0..state.count {
        let (node, kinds) = (state.node(number), cluster.settings.kinds);
        if kinds.stops && !node.slip {
            to.add(Step::Slip(number), with(state, number, |node| node.slip = true));
        }
        if kinds.constraints && !node.banned {
            to.add(Step::Ban(number), with(state, number, |node| node.banned = true));
        }
        if kinds.delays && !node.unfit {
            to.add(Step::Unfit(number), with(state, number, |node| node.unfit = true));
        }
        if !node.up || state.plan.is_some() {
            continue;
        }
        if kinds.constraints && state.wish != number + 1 && node.instance == Instance::Standby {
            to.add(Step::Move(number), State { wish: number + 1, ..*state });
        }
        if !kinds.stops {
            continue;
        }
        match node.instance {
            Instance::Standby => to.add(Step::Hold(number, None), held(cluster, state, number)),
            Instance::Primary => {
                for how in demotions(state).iter().copied() {
                    to.add(Step::Hold(number, Some(how)), held(cluster, &demote(cluster, state, number, how), number));
                }
            }
            Instance::Down | Instance::Failed | Instance::Held | Instance::Void => {}
        }
    }
}

/// It is stopped and stays so: what it has is on record, and its score makes nobody think of it as a primary.
fn held(cluster: &Cluster, state: &State, number: u8) -> State {
    let how = Stopped { role: Role::Standby, is_clean: false, was_told: true, restarts: false };
    with(&stopped(cluster, state, number, how), number, |node| {
        node.instance = Instance::Held;
        if node.score >= Level::Primary {
            node.score = Level::Never;
        }
        forget(node);
    })
}

/// What the README leaves to a person, who then bears the loss.
#[must_use]
pub(super) fn decisions(state: &State) -> Vec<(Step, State)> {
    let mut decisions = Vec::new();
    for number in 0..state.count {
        let node = state.node(number);
        if node.up && node.instance == Instance::Standby && !super::election::allows(node.score) {
            let accept = |node: &mut crate::state::Node| (node.score, node.lacks) = (Level::Candidate, Lacks::No);
            decisions.push((Step::Accept(number), with(state, number, accept)));
        }
        if matches!(node.paper, Paper::Left(_)) || node.left.is_some() {
            let renounce = |node: &mut crate::state::Node| (node.paper, node.left) = (Paper::None, None);
            decisions.push((Step::Renounce(number), with(state, number, renounce)));
        }
    }
    decisions
}
