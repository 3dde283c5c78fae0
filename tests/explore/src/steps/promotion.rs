//! `promote`: the last guard, and the promotion itself. Here it is judged whether the rules were right.

use super::election::{apply, vote};
use super::pacemaker::{best, demote, outdate, restarted};
use super::{Demotion, Found, Notice, Promotion, Step};
use crate::judge;
use crate::model::Cluster;
use crate::state::{Paper, Plan, State, Undecided};
use crate::translate::{Decision, Pick};
use crate::wal::Kind;

pub(super) fn steps(cluster: &Cluster, state: &State, to: &mut Found) {
    let Some(plan) = state.plan else { return };
    if plan.notified != plan.among {
        return;
    }
    let candidate = plan.candidate;
    let is_best = best(state).contains(&candidate);
    if is_best {
        to.try_add(Step::Promote(candidate, Promotion::Done), promote(cluster, state, plan, Promotion::Done));
    } else {
        to.add(Step::GiveUp, State { plan: None, ..*state });
    }
    if state.lapses == 0 {
        return;
    }
    let spent = State { lapses: state.lapses - 1, ..*state };
    let ways: &[_] = match is_best {
        true => &[Promotion::KilledBefore, Promotion::KilledAfter],
        false => &[Promotion::Unnoticed],
    };
    for how in ways {
        to.try_add(Step::Promote(candidate, *how), promote(cluster, &spent, plan, *how));
    }
}

fn promote(cluster: &Cluster, state: &State, plan: Plan, how: Promotion) -> Result<State, String> {
    let Some((left_out, from)) = confirmed(cluster, state, plan.candidate) else {
        return Ok(restarted(cluster, state, plan.candidate));
    };
    let mut caught_up = *state;
    if let Some(from) = from {
        caught_up.node_mut(plan.candidate).tip = state.node(from).tip;
    }
    let (state, mut next) = (&caught_up, caught_up);
    let timeline = reserve(cluster, &mut next, plan.candidate);
    if how == Promotion::KilledBefore {
        return Ok(restarted(cluster, &next, plan.candidate));
    }
    judge::promotion(state, plan.candidate, left_out)?;
    let tip = state.node(plan.candidate).tip;
    let Some(begin) = next.wal.append(tip, Kind::Promotion, timeline) else {
        return Ok(restarted(cluster, &next, plan.candidate));
    };
    next.plan = None;
    let node = next.node_mut(plan.candidate);
    (node.instance, node.tip, node.published) = (crate::state::Instance::Primary, begin, None);
    if how == Promotion::KilledAfter {
        let demoted = demote(cluster, &next, plan.candidate, Demotion::Clean);
        return Ok(restarted(cluster, &demoted, plan.candidate));
    }
    outdate(&mut next);
    Ok(next)
}

/// Who is left out, and from whom what is missing is fetched first, when the election allows the promotion: it is asked
/// again, with the position of now.
fn confirmed(cluster: &Cluster, state: &State, candidate: u8) -> Option<(u8, Option<u8>)> {
    let node = state.node(candidate);
    if !cluster.advisor.rules().asks_again {
        return (node.instance == crate::state::Instance::Standby).then_some((0, None));
    }
    if matches!(node.paper, Paper::None | Paper::Left(_)) || node.instance != crate::state::Instance::Standby {
        return None;
    }
    let own = vote(node, Notice::Heard);
    let timed_out = node.undecided == Undecided::TooLong;
    let among = cluster.advisor.electorate(state);
    match cluster.advisor.judge(state, candidate, own, among, timed_out, Pick::Promoting) {
        (Decision::Promote(left_out), _) => Some((left_out, None)),
        (Decision::CatchUp(from), _) if serves(state, from, candidate) => {
            let mut next = *state;
            next.node_mut(candidate).tip = state.node(from).tip;
            confirmed(cluster, &next, candidate).map(|(left_out, further)| (left_out, further.or(Some(from))))
        }
        _ => None,
    }
}

/// Whether the candidate gets what this node has.
fn serves(state: &State, from: u8, candidate: u8) -> bool {
    let (theirs, ours) = (state.node(from), state.node(candidate));
    let runs = theirs.up && theirs.instance == crate::state::Instance::Standby;
    runs && !theirs.cut && !ours.cut && ours.tip != theirs.tip && state.wal.has(theirs.tip, ours.tip)
}

/// The number of the new timeline, noted on all others that voted, and the votes discarded.
fn reserve(cluster: &Cluster, state: &mut State, candidate: u8) -> u8 {
    let record = state.configuration.record.map_or(0, |(at, _)| state.wal.timeline(at));
    let used = state.nodes.iter().filter(|node| node.up).map(|node| node.reserved).max().unwrap_or(0).max(record);
    let own = state.wal.timeline(state.node(candidate).tip);
    let timeline = cluster.advisor.next_timeline(own, used);
    let discards = cluster.advisor.rules().discards_votes;
    for number in 0..state.count {
        let node = state.node_mut(number);
        if matches!(node.paper, Paper::None | Paper::Left(_)) {
            continue;
        }
        if number != candidate {
            node.reserved = timeline;
        }
        if discards {
            (node.paper, node.among) = (Paper::None, 0);
        }
    }
    timeline
}

/// Writes scores, for what else has to.
pub(super) fn write_scores(state: &mut State, changes: &crate::translate::Changes) {
    apply(state, changes);
}
