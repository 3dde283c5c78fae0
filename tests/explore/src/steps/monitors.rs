//! Monitors, and the passing of time.

use super::election::{allows, forget};
use super::pacemaker::speaks_against;
use super::promotion::write_scores;
use super::traffic::connected;
use super::{Found, Step};
use crate::model::Cluster;
use crate::state::{Away, Instance, Lacks, Level, State, Undecided};

pub(super) fn steps(cluster: &Cluster, state: &State, to: &mut Found) {
    if let Some(primary) = state.primary() {
        let streaming = connected(state, primary);
        to.add(Step::Monitor(primary), judged(cluster, state, primary, &streaming));
        if state.node(primary).published.is_none() && !streaming.is_empty() {
            to.add(Step::EarlyMonitor(primary), judged(cluster, state, primary, &[]));
        }
        grace(state, primary, &streaming, to);
    }
    if state.primary().is_none() {
        for standby in state.nodes_where(|node| node.up && node.instance == Instance::Standby && !allows(node.score)) {
            let next = stood_again(cluster, state, standby);
            if next != *state {
                to.add(Step::Monitor(standby), next);
            }
        }
    }
    timeout(state, to);
}

/// The primary's monitor: scores, who is missing, and the record.
fn judged(cluster: &Cluster, state: &State, primary: u8, streaming: &[u8]) -> State {
    let mut next = *state;
    forget(next.node_mut(primary));
    let bits = streaming.iter().fold(0, |bits, node| bits | 1 << node);
    let judgement = cluster.advisor.plan(&next, primary, bits);
    write_scores(&mut next, &judgement.changes);
    next.configuration.struck = judgement.struck;
    for other in 0..state.count {
        let is_missing = judgement.away >> other & 1 != 0;
        let before = state.node(primary).away[usize::from(other)];
        next.node_mut(primary).away[usize::from(other)] = match (is_missing, before) {
            (false, _) => Away::No,
            (true, Away::No) => Away::Short,
            (true, before) => before,
        };
        let node = next.node_mut(other);
        node.lacks = match node.lacks {
            _ if other == primary || streaming.contains(&other) => Lacks::No,
            Lacks::No => Lacks::Seen,
            // A node that has just joined, without a score, is told from one without an instance by the next monitor only.
            Lacks::Overdue if state.node(other).up && state.node(other).score == Level::None => Lacks::Overdue,
            Lacks::Overdue => Lacks::Known,
            before => before,
        };
    }
    let begin = state.wal.begin_of_timeline(state.node(primary).tip);
    if state.node(primary).published.is_none() {
        next.node_mut(primary).published = Some(begin);
        next.configuration.record = Some((begin, primary));
    }
    next
}

/// Standbys that are not connected have been away for long.
fn grace(state: &State, primary: u8, streaming: &[u8], to: &mut Found) {
    let mut next = *state;
    for away in &mut next.node_mut(primary).away {
        if *away == Away::Short {
            *away = Away::Long;
        }
    }
    for other in (0..state.count).filter(|node| *node != primary && !streaming.contains(node)) {
        let node = next.node_mut(other);
        if node.lacks == Lacks::Seen {
            node.lacks = Lacks::Overdue;
        }
    }
    if next != *state {
        to.add(Step::GraceOver, next);
    }
}

fn timeout(state: &State, to: &mut Found) {
    let mut next = *state;
    for node in &mut next.nodes {
        if node.up && node.undecided == Undecided::Yes {
            node.undecided = Undecided::TooLong;
        }
    }
    if next != *state {
        to.add(Step::TimedOut, next);
    }
}

/// A standby without a primary that has no score, or was excluded, stands again: also one that lacks what the last primary has,
/// which is there.
fn stood_again(cluster: &Cluster, state: &State, standby: u8) -> State {
    let mut next = *state;
    let objection = speaks_against(cluster, &mut next, standby);
    let objection = objection.is_some_and(|found| !cluster.advisor.may_fetch(&next, standby, &found));
    if cluster.advisor.stands_again(state.node(standby).score, false, objection) {
        next.node_mut(standby).score = crate::state::Level::Candidate;
    }
    next
}
