//! Rows are written and received.

use super::{Found, Step};
use crate::model::Cluster;
use crate::state::{Instance, State};
use crate::wal::{At, Kind};
use crate::words::node as name;

pub(super) fn steps(cluster: &Cluster, state: &State, to: &mut Found) {
    let Some(primary) = state.primary() else { return };
    if state.rows > 0 {
        write(cluster, state, primary, to);
    }
    for standby in state.nodes_where(|node| node.up && node.instance == Instance::Standby && !node.cut) {
        if !state.node(primary).cut {
            receive(cluster, state, primary, standby, to);
        }
    }
}

fn write(cluster: &Cluster, state: &State, primary: u8, to: &mut Found) {
    let mut next = *state;
    next.rows -= 1;
    let tip = state.node(primary).tip;
    let Some(row) = next.wal.append(tip, Kind::Row, state.wal.timeline(tip)) else { return };
    next.node_mut(primary).tip = row;
    if !cluster.settings.synchronous {
        next.wal.acknowledge(row);
    }
    to.add(Step::Write(primary), next);
}

fn receive(cluster: &Cluster, state: &State, primary: u8, standby: u8, to: &mut Found) {
    let (theirs, ours) = (state.node(primary).tip, state.node(standby).tip);
    if let Some(record) = state.wal.next_towards(ours, theirs) {
        let mut next = *state;
        take(cluster, &mut next, standby, record);
        to.add(Step::Receive(standby), next);
    } else if !state.wal.has(theirs, ours) && is_deceived(state, ours, theirs) {
        let what = format!(
            "{} follows {}, which does not have what it has: PostgreSQL cannot tell their timelines apart",
            name(standby),
            name(primary)
        );
        to.try_add(Step::Receive(standby), Err(what));
    }
}

/// The standby has this record now.
fn take(cluster: &Cluster, state: &mut State, standby: u8, record: At) {
    state.node_mut(standby).tip = record;
    if cluster.settings.synchronous && state.wal.kind(record) == Kind::Row {
        state.wal.acknowledge(record);
    }
}

/// Everything that the primary has, for all standbys that are connected.
pub(super) fn hand_over(cluster: &Cluster, state: &mut State, primary: u8) {
    for standby in connected(state, primary) {
        while let Some(record) = state.wal.next_towards(state.node(standby).tip, state.node(primary).tip) {
            take(cluster, state, standby, record);
        }
    }
}

/// The standbys that stream, or would in a moment.
pub(super) fn connected(state: &State, primary: u8) -> Vec<u8> {
    let tip = state.node(primary).tip;
    let able = state
        .nodes_where(|node| node.up && node.instance == Instance::Standby && !node.cut && state.wal.has(tip, node.tip));
    if state.node(primary).cut { Vec::new() } else { able.collect() }
}

/// A standby asks for WAL by the number of its timeline and its position, and looks at numbers only.
fn is_deceived(state: &State, ours: At, theirs: At) -> bool {
    let timeline = state.wal.timeline(ours);
    let same = state.wal.way_back(theirs).find(|at| state.wal.timeline(*at) == timeline);
    let own_begin = state.wal.begin_of_timeline(ours);
    let of_the_same_place = |at: At| {
        let begin = state.wal.begin_of_timeline(at);
        state.wal.parent(begin) == state.wal.parent(own_begin) || begin == own_begin
    };
    // WAL of one timeline that parts without a promotion is what two primaries wrote.
    same.is_some_and(|at| {
        of_the_same_place(at)
            && state.wal.depth(ours) <= state.wal.depth(at)
            && own_begin != state.wal.begin_of_timeline(at)
    })
}
