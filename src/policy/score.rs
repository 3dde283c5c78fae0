//! Which promotion score does each node get from the primary?
//!
//! | the node | score |
//! |---|---|
//! | the primary itself | above all |
//! | is struck off ([`super::strike`]) | minus infinity |
//! | connected, position known, within `maxlag` | 1000, 990, 980 ... by position, less what it has yet to replay |
//! | state `startup` or `backup`, position unknown, or beyond `maxlag` | minus infinity |
//! | connected, and the agent's role may not see more | kept, but ranked behind the others |
//! | not connected for less than [`GRACE`] | the same |
//! | not connected for longer | minus infinity |
//!
//! Minus infinity and not just no score: an administrator's `move` is a location constraint of plus infinity, and
//! would make Pacemaker demote a primary for a standby that the election must then refuse.
//!
//! The scores are hints: the election decides. Two consequences. Scores that are right but for a small
//! difference of positions stay as they are, because each change starts a transition. And a standby is
//! not struck off by a single look: right after a promotion no standby has reconnected yet, and a
//! cluster whose new primary dies then must still find a candidate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::types::{Gather, Lsn, NodeName, Score};

/// A WAL receiver that is connected to the primary, as `pg_stat_replication` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Its `application_name`.
    pub name: NodeName,
    /// `startup`, `catchup`, `streaming`, `backup`, `stopping`.
    pub state: String,
    /// What it has flushed to disk.
    pub flushed: Option<Lsn>,
    /// What it has replayed.
    pub replayed: Option<Lsn>,
}

impl Connected {
    /// Without the rights of `pg_monitor` a role sees the name of a receiver, and neither its state nor how far it is
    /// (`pg_stat_get_wal_senders` in PostgreSQL's `walsender.c`).
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.state.is_empty() && self.flushed.is_none()
    }
}

/// What the primary knows when it judges its standbys.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The primary's own node.
    pub own: &'a NodeName,
    /// The end of the primary's WAL.
    pub end: Lsn,
    /// Connected receivers that are cluster nodes.
    pub connected: &'a [Connected],
    /// The scores as they are.
    pub scores: &'a BTreeMap<NodeName, Score>,
    /// How long ago a monitor first did not find these nodes connected.
    pub missing_for: &'a BTreeMap<NodeName, Duration>,
    /// Bytes of lag that exclude a standby.
    pub maxlag: Option<u64>,
    /// Nodes that are struck off ([`super::strike`]): being connected is not enough for these.
    pub barred: &'a BTreeSet<NodeName>,
}

/// What is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Scores to set.
    pub changes: Vec<(NodeName, Score)>,
}

/// Positions that differ by less do not change an existing order: one WAL segment of the usual size.
const TOLERANCE: u64 = 16 * 1024 * 1024;

/// Bytes to replay up to here do not count against a standby: some seconds of replay.
const REPLAY_TOLERANCE: u64 = 128 * 1024 * 1024;

/// How long a standby may be away and keep its score. A WAL receiver tries again every 5 seconds
/// (`wal_retrieve_retry_interval`), and the address that it connects to moves with the primary.
pub const GRACE: Duration = Duration::from_secs(20);

/// The changes that make the scores right.
#[must_use]
pub fn plan(view: &View<'_>) -> Plan {
    let eligible = eligible(view);
    let promotable = view.scores.iter().filter(|(node, score)| *node != view.own && score.allows_promotion());
    let spared: Vec<_> = promotable.map(|(node, _)| node).filter(|node| is_spared(node, &eligible, view)).collect();
    let wanted = if is_in_order(view, &eligible, &spared) {
        view.scores.iter().filter(|(n, _)| eligible.contains_key(n) || spared.contains(n)).map(keep).collect()
    } else {
        ranked(&eligible, &spared)
    };
    Plan { changes: changes(view, wanted) }
}

fn keep((node, score): (&NodeName, &Score)) -> (NodeName, Score) {
    (node.clone(), *score)
}

/// The standbys that may be promoted, with what they are worth.
fn eligible(view: &View<'_>) -> BTreeMap<NodeName, Lsn> {
    let mut eligible = BTreeMap::new();
    for standby in view.connected.iter().filter(|s| s.name != *view.own) {
        let Some(flushed) = standby.flushed else { continue };
        let usable = !matches!(standby.state.as_str(), "startup" | "backup" | "stopping");
        let near = view.maxlag.is_none_or(|limit| view.end.bytes_beyond(flushed) <= limit);
        if usable && near && !view.barred.contains(&standby.name) {
            let worth = worth(flushed, standby.replayed);
            let best = eligible.entry(standby.name.clone()).or_insert(worth);
            *best = (*best).max(worth);
        }
    }
    eligible
}

/// What a standby has, less what it has yet to replay: one with hours of that would be promoted late. Half of it, because the
/// election lets another one fetch and replay what is missing when that is sooner ([`super::election`]).
fn worth(flushed: Lsn, replayed: Option<Lsn>) -> Lsn {
    let to_replay = replayed.map_or(0, |replayed| flushed.bytes_beyond(replayed));
    Lsn(flushed.0.saturating_sub(to_replay.saturating_sub(REPLAY_TOLERANCE) / 2))
}

/// Whether a node that may be promoted keeps its score though it is not known how far it is: it has no connection at all for a
/// short time, or more of it cannot be seen. One that is seen to be unfit loses its score at once.
fn is_spared(node: &NodeName, eligible: &BTreeMap<NodeName, Lsn>, view: &View<'_>) -> bool {
    let mut connections = view.connected.iter().filter(|standby| standby.name == *node).peekable();
    match connections.peek() {
        None => view.missing_for.get(node).is_none_or(|away| *away < GRACE),
        Some(_) if eligible.contains_key(node) || view.barred.contains(node) => false,
        Some(_) => connections.any(Connected::is_hidden),
    }
}

/// Whether the present scores already say what they should, but for small differences.
fn is_in_order(view: &View<'_>, eligible: &BTreeMap<NodeName, Lsn>, spared: &[&NodeName]) -> bool {
    let score = |node: &NodeName| {
        view.scores.get(node).copied().filter(|s| (Score::of_rank(usize::MAX)..Score::PRIMARY).contains(s))
    };
    let fits = |node: &NodeName, at: Lsn| {
        let Some(own) = score(node) else { return false };
        let better = eligible.iter().filter(|(_, other)| at.bytes_beyond(**other) > TOLERANCE);
        better.clone().all(|(other, _)| score(other).is_some_and(|s| s < own))
    };
    let distinct: BTreeSet<_> = eligible.keys().filter_map(score).into_set();
    let lowest = distinct.first().copied();
    distinct.len() == eligible.len()
        && eligible.iter().all(|(node, at)| fits(node, *at))
        && spared.iter().all(|node| score(node).is_some_and(|s| lowest.is_none_or(|lowest| s < lowest)))
}

/// The order by position; nodes that are not connected come last.
fn ranked(eligible: &BTreeMap<NodeName, Lsn>, spared: &[&NodeName]) -> BTreeMap<NodeName, Score> {
    let mut order: Vec<_> = eligible.iter().collect();
    order.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let nodes = order.into_iter().map(|(node, _)| node).chain(spared.iter().copied());
    nodes.enumerate().map(|(rank, node)| (node.clone(), Score::of_rank(rank))).into_map()
}

fn changes(view: &View<'_>, mut wanted: BTreeMap<NodeName, Score>) -> Vec<(NodeName, Score)> {
    wanted.insert(view.own.clone(), Score::PRIMARY);
    let unfit = view.scores.iter().filter(|(node, score)| !wanted.contains_key(*node) && score.allows_promotion());
    let unfit = unfit.map(|(node, _)| (node.clone(), Score::NEVER));
    let new = wanted.iter().filter(|(node, score)| view.scores.get(*node) != Some(*score));
    // The primary first: nothing may look better than it while the others change.
    let mut changes: Vec<_> = new.map(|(node, score)| (node.clone(), *score)).chain(unfit).collect();
    changes.sort_by_key(|(node, _)| node != view.own);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MB: u64 = 1024 * 1024;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn connected(name: &str, state: &str, flushed: Option<u64>) -> Connected {
        Connected { name: node(name), state: state.to_owned(), flushed: flushed.map(Lsn), replayed: flushed.map(Lsn) }
    }

    fn streaming(name: &str, flushed: u64) -> Connected {
        connected(name, "streaming", Some(flushed))
    }

    struct Case {
        connected: Vec<Connected>,
        scores: BTreeMap<NodeName, Score>,
        missing_for: BTreeMap<NodeName, Duration>,
        maxlag: Option<u64>,
        barred: BTreeSet<NodeName>,
    }

    impl Case {
        fn new(connected: &[Connected], scores: &[(&str, &str)]) -> Self {
            let scores = scores.iter().map(|(n, s)| (node(n), s.parse().unwrap())).collect();
            Case {
                connected: connected.to_vec(),
                scores,
                missing_for: BTreeMap::new(),
                maxlag: None,
                barred: BTreeSet::new(),
            }
        }

        fn plan(&self) -> Plan {
            plan(&View {
                own: &node("srv1"),
                end: Lsn(1000 * MB),
                connected: &self.connected,
                scores: &self.scores,
                missing_for: &self.missing_for,
                maxlag: self.maxlag,
                barred: &self.barred,
            })
        }

        fn changes(&self) -> Vec<String> {
            self.plan().changes.into_iter().map(|(node, score)| format!("{node}={score}")).collect()
        }
    }

    #[test]
    fn standbys_are_ranked_by_position() {
        let case = Case::new(&[streaming("srv2", 900 * MB), streaming("srv3", 999 * MB)], &[]);
        assert_eq!(case.changes(), ["srv1=1001", "srv2=990", "srv3=1000"]);
    }

    #[test]
    fn nothing_is_written_when_nothing_changed() {
        let scores = [("srv1", "1001"), ("srv2", "990"), ("srv3", "1000")];
        let case = Case::new(&[streaming("srv2", 900 * MB), streaming("srv3", 999 * MB)], &scores);
        assert_eq!(case.plan(), Plan::default());
    }

    #[test]
    fn a_small_difference_does_not_turn_the_order_and_a_large_one_does() {
        let scores = [("srv1", "1001"), ("srv2", "990"), ("srv3", "1000")];
        let small = Case::new(&[streaming("srv2", 999 * MB), streaming("srv3", 990 * MB)], &scores);
        assert_eq!(small.changes(), [""; 0]);
        let large = Case::new(&[streaming("srv2", 999 * MB), streaming("srv3", 900 * MB)], &scores);
        assert_eq!(large.changes(), ["srv2=1000", "srv3=990"]);
    }

    #[test]
    fn of_equals_the_one_with_much_less_to_replay_is_ranked_before() {
        let has_replayed =
            |name: &str, mb: u64| Connected { replayed: Some(Lsn(mb * MB)), ..streaming(name, 999 * MB) };
        let scores = [("srv1", "1001"), ("srv2", "1000"), ("srv3", "990")];
        let hours = Case::new(&[has_replayed("srv2", 100), has_replayed("srv3", 999)], &scores);
        assert_eq!(hours.changes(), ["srv2=990", "srv3=1000"]);
        let seconds = Case::new(&[has_replayed("srv2", 860), has_replayed("srv3", 999)], &scores);
        assert_eq!(seconds.changes(), [""; 0]);
        // Far more WAL than the other is worth more than its replay costs.
        let near = Case::new(&[has_replayed("srv2", 700), streaming("srv3", 600 * MB)], &scores);
        assert_eq!(near.changes(), [""; 0]);
        let unknown = Connected { replayed: None, ..streaming("srv2", 999 * MB) };
        assert_eq!(Case::new(&[unknown, streaming("srv3", 999 * MB)], &scores).changes(), [""; 0]);
    }

    #[test]
    fn unfit_standbys_lose_their_score_at_once() {
        let scores = [("srv1", "1001"), ("srv2", "1000")];
        for unfit in [
            connected("srv2", "startup", Some(MB)),
            connected("srv2", "backup", Some(MB)),
            connected("srv2", "streaming", None),
        ] {
            assert_eq!(Case::new(&[unfit], &scores).changes(), ["srv2=-1000000"]);
        }
    }

    #[test]
    fn a_standby_that_the_role_may_not_see_keeps_its_score_behind_the_others() {
        let hidden = || connected("srv2", "", None);
        let high = [("srv1", "1001"), ("srv2", "1000")];
        assert_eq!(Case::new(&[hidden()], &high).changes(), [""; 0]);
        for score in ["-1000000", "0"] {
            assert_eq!(Case::new(&[hidden()], &[("srv1", "1001"), ("srv2", score)]).changes(), [""; 0], "{score}");
        }
        let beside = Case::new(&[hidden(), streaming("srv3", MB)], &high);
        assert_eq!(beside.changes(), ["srv2=990", "srv3=1000"]);
        let barred = Case { barred: [node("srv2")].into(), ..Case::new(&[hidden()], &high) };
        assert_eq!(barred.changes(), ["srv2=-1000000"]);
    }

    #[test]
    fn maxlag_excludes_who_is_further_behind() {
        let mut case = Case::new(&[streaming("srv2", 900 * MB), streaming("srv3", 999 * MB)], &[]);
        case.maxlag = Some(10 * MB);
        assert_eq!(case.changes(), ["srv1=1001", "srv3=1000"]);
    }

    #[test]
    fn who_is_struck_off_has_no_score_though_it_is_connected_again() {
        let mut case =
            Case::new(&[connected("srv2", "catchup", Some(999 * MB))], &[("srv1", "1001"), ("srv2", "1000")]);
        case.barred = [node("srv2")].into();
        assert_eq!(case.changes(), ["srv2=-1000000"]);
    }

    #[test]
    fn a_standby_is_struck_off_when_it_has_been_away_for_a_while() {
        let scores = [("srv1", "1001"), ("srv2", "990"), ("srv3", "1000")];
        let mut case = Case::new(&[streaming("srv3", 999 * MB)], &scores);
        assert_eq!(case.changes(), [""; 0]);
        case.missing_for = [(node("srv2"), GRACE - Duration::from_millis(1))].into();
        assert_eq!(case.changes(), [""; 0]);
        case.missing_for = [(node("srv2"), GRACE)].into();
        assert_eq!(case.changes(), ["srv2=-1000000"]);
    }

    #[test]
    fn right_after_a_promotion_the_standbys_keep_a_score_below_the_primary() {
        let scores = [("srv1", "1000"), ("srv2", "1001"), ("srv3", "990")];
        let case = Case::new(&[], &scores);
        assert_eq!(case.changes(), ["srv1=1001", "srv2=1000"]);
    }

    #[test]
    fn one_that_reconnected_is_ranked_before_one_that_has_not() {
        let scores = [("srv1", "1001"), ("srv2", "1000"), ("srv3", "990")];
        let case = Case::new(&[streaming("srv3", 999 * MB)], &scores);
        assert_eq!(case.changes(), ["srv2=990", "srv3=1000"]);
    }

    #[test]
    fn a_node_that_an_election_excluded_is_judged_anew() {
        let scores = [("srv1", "1001"), ("srv2", "-INFINITY")];
        let case = Case::new(&[streaming("srv2", 999 * MB)], &scores);
        assert_eq!(case.changes(), ["srv2=1000"]);
    }

    #[test]
    fn names_that_are_prefixes_of_each_other_are_different_nodes() {
        let case = Case::new(&[streaming("srv10", 999 * MB)], &[("srv1", "1001"), ("srv100", "-1")]);
        assert_eq!(case.changes(), ["srv10=1000"]);
    }

    proptest! {
        /// What was planned, once written, is in order: the next monitor writes nothing.
        #[test]
        fn a_plan_is_stable(
            flushed in proptest::collection::vec(proptest::option::of((0_u64..1000, 0_u64..1000)), 0..5),
            old in proptest::collection::vec(-2_i32..1010, 0..5),
        ) {
            let name = |i: usize| format!("srv{}", i + 2);
            let receivers: Vec<_> = flushed.iter().enumerate()
                .map(|(i, at)| Connected {
                    replayed: at.map(|(_, replayed)| Lsn(replayed * MB)),
                    ..connected(&name(i), "streaming", at.map(|(mb, _)| mb * MB))
                }).collect();
            let mut case = Case::new(&receivers, &[]);
            case.scores = old.iter().enumerate().map(|(i, s)| (node(&name(i)), s.to_string().parse().unwrap())).collect();
            let first = case.plan();
            case.scores.extend(first.changes);
            prop_assert_eq!(case.plan().changes, vec![]);
            prop_assert!(case.scores.iter().all(|(n, s)| *n == node("srv1") || *s < Score::PRIMARY));
        }
    }
}
