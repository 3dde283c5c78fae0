//! May this node be promoted?
//!
//! The candidate is the node that Pacemaker picked. Every present node has published its vote since the
//! last promotion, so no vote is older than that. The rules, in their order:
//!
//! 1. a present node takes writes → refuse: two primaries are worse than none.
//! 2. a present node has a higher position → yield to the highest. When that one may not be promoted (Pacemaker picks the
//!    candidate again although the scores say otherwise), should not be (it says why), or would take far longer →
//!    the candidate fetches from it what is missing, and is promoted then.
//! 3. the candidate's own position is unknown → wait for it; after the election timeout yield to the
//!    highest known position, unless the candidate is known to have more.
//! 4. a present node did not answer or cannot tell its position → wait; after the election timeout it
//!    is left out, and named. Never, when what it has at least is more than the candidate has: then refuse, for as long as it
//!    is there. It is no better candidate itself, and nobody yields to it; a promotion that comes all the same fetches that.
//! 5. a node that was stopped holds WAL that the candidate lacks → refuse, for as long as it is
//!    within reach.
//! 6. the candidate should not be promoted itself, or has far more to replay than another that has as much → yield to that
//!    one; to one that has less, when that one can fetch the rest sooner than the candidate could be ready.
//! 7. something on record speaks against the candidate ([`super::candidacy`]) → refuse, for as long as it is there.
//! 8. otherwise promote: the candidate wins ties.
//!
//! A node that will replay for long ([`Reach::replaying`]) is neither promoted nor yielded to before it is done: the promotion would
//! outlast its time, and the restart that follows would end the recovery and begin it again. What it has others do without no more
//! than without any other's, so those that cannot fetch it wait as well.
//!
//! A node on a timeline that nobody but a person made ([`super::origin`]) is never promoted and never fetched from; when it has
//! more of the common WAL than the candidate has, the candidate is refused.
//!
//! A node that is not consistent, and cannot be before it gets WAL from elsewhere ([`Vote::Incomplete`]), is neither promoted nor
//! waited for nor fetched from; when the WAL that it has is more than the candidate's, the candidate is refused as in rule 4. Should
//! it be the candidate, it yields to any node that has as much.
//!
//! A node whose instance is being rewound or cloned, or waits for that, has no say: what it alone held is kept aside.
//! Should it be the candidate, nobody waits for it: it yields to any node that has a position.
//!
//! What this cannot see: a node that is not in the cluster at this moment. Fencing has seen to it that
//! such a node takes no writes; what it alone received is lost to asynchronous replication.

use std::cmp::Reverse;

use super::candidacy::{Objection, OnRecord, confirm};
use crate::types::{Gather, History, Lsn, NodeName, Position, Timeline};
pub use crate::types::{Reach, Vote};

/// Bytes to replay that speak for another node only beyond this: some seconds of replay, which a change of the candidate
/// costs as well.
pub const REPLAY_TOLERANCE: u64 = 128 << 20;

/// So much is fetched in a moment.
const LITTLE: u64 = 64 << 20;

/// Whether a candidate that Pacemaker picks again, for the so many-th time, fetches what another node has more. Much is
/// fetched only when the candidate was excluded first and nobody else was promoted: a wish for it is not worth a long outage, and where
/// the other node may be promoted that is quicker.
#[must_use]
pub fn insists(picked: u32, theirs: Position, ours: &Vote) -> bool {
    let is_little = ours.reach().is_some_and(|ours| theirs.end.bytes_beyond(ours.end()) <= LITTLE);
    picked >= if is_little { 2 } else { 3 }
}

/// Whether the candidate wrote beyond the point where the line of the last primary, whose timeline another node is on, left its own.
/// Nothing of that line can be fetched then. Where the record does not tell, it is tried.
#[must_use]
pub fn has_diverged(own: &Vote, votes: &[(NodeName, Vote)], record: Option<&History>) -> bool {
    let (Vote::At(ours), Some(record)) = (own, record) else { return false };
    let is_younger = |timeline: Timeline| timeline > ours.position.timeline;
    let fork = record.stretches().iter().find(|stretch| is_younger(stretch.timeline));
    fork.is_some_and(|fork| ours.end() > fork.begin)
        && votes.iter().filter_map(|(_, vote)| vote.at_least()).any(|theirs| is_younger(theirs.timeline))
}

/// Everything that the candidate knows.
#[derive(Clone, Debug)]
pub struct Ballot<'a> {
    /// The candidate's own position.
    pub own: &'a Vote,
    /// The votes of the other present nodes.
    pub votes: &'a [(NodeName, Vote)],
    /// What stopped instances left, of nodes that have not told their position.
    pub left: &'a [(NodeName, Position)],
    /// Whether the election timeout is over.
    pub timed_out: bool,
    /// Whether Pacemaker picks the candidate although the scores prefer the best: yielding is of no use.
    pub insists: bool,
    /// Whether the candidate can fetch WAL from another standby, without a restart and without being rewound.
    pub can_fetch: bool,
}

/// What the candidate has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Promote. The nodes named could not tell their position and are left out.
    Promote {
        /// Who was left out.
        left_out: Vec<(NodeName, Vote)>,
    },
    /// Another node holds more, or as much and is the better choice.
    Yield {
        /// The better node.
        to: NodeName,
        /// Its position.
        theirs: Position,
        /// The candidate's position.
        ours: Vote,
    },
    /// Another node holds more and is not the one to be promoted: the candidate has to fetch that first.
    CatchUp {
        /// The node that holds more.
        from: NodeName,
        /// Its position.
        theirs: Position,
        /// The candidate's position.
        ours: Position,
        /// Why that node is not promoted.
        because: String,
    },
    /// Ask again: these nodes may still tell their position.
    Wait {
        /// Who is waited for; empty when it is the candidate itself.
        others: Vec<(NodeName, Vote)>,
    },
    /// The candidate, or the node that has to be promoted before it, is at replaying what it has.
    Replays {
        /// The other node; none when it is the candidate itself.
        other: Option<NodeName>,
        /// How much is left, in bytes.
        to_replay: u64,
    },
    /// A node that is stopped holds more.
    DataElsewhere {
        /// The node.
        node: NodeName,
        /// Its last position.
        theirs: Position,
        /// The candidate's position.
        ours: Position,
    },
    /// A node on a timeline that a person made holds more of what both have in common.
    DataInFork {
        /// The node.
        node: NodeName,
        /// Where it left the common timelines.
        theirs: Position,
        /// The candidate's position.
        ours: Position,
    },
    /// A node cannot tell its position, and has more at least.
    Hidden {
        /// The node.
        node: NodeName,
        /// What it has at least.
        theirs: Position,
        /// Why it cannot tell.
        why: String,
        /// The candidate's position.
        ours: Position,
    },
    /// A present node takes writes.
    AnotherPrimary {
        /// The node.
        node: NodeName,
    },
    /// Nobody present has more, and what is on record speaks against the candidate.
    Barred {
        /// What.
        objection: Objection,
    },
}

/// Decides by the votes, then by what is on record.
#[must_use]
pub fn judge(candidate: &NodeName, ballot: &Ballot<'_>, on_record: &OnRecord) -> Verdict {
    let verdict = decide(ballot);
    let position = match (&verdict, ballot.own) {
        (Verdict::Promote { .. }, Vote::At(ours)) => ours.position,
        (Verdict::CatchUp { theirs, .. }, _) => *theirs,
        _ => return verdict,
    };
    match confirm(candidate, position, ballot.votes, on_record) {
        Ok(()) => verdict,
        Err(objection) => Verdict::Barred { objection },
    }
}

/// Decides. The order of the votes does not matter.
#[must_use]
pub fn decide(ballot: &Ballot<'_>) -> Verdict {
    let verdict = compare(ballot);
    let waits_for = match &verdict {
        Verdict::Promote { .. } | Verdict::Yield { .. } | Verdict::CatchUp { .. } => {
            who_replays_first(&verdict, ballot)
        }
        _ => None,
    };
    let replays = |(other, reach): (Option<&NodeName>, &Reach)| Verdict::Replays {
        other: other.cloned(),
        to_replay: reach.to_replay,
    };
    waits_for.map(replays).unwrap_or(verdict)
}

/// Who is waited for that replays, where nothing else is to be waited for.
fn who_replays_first<'a>(verdict: &Verdict, ballot: &Ballot<'a>) -> Option<(Option<&'a NodeName>, &'a Reach)> {
    let best = best(ballot.votes).filter(|(_, theirs)| beats(theirs.position, ballot));
    if let Some((node, theirs)) = best.filter(|(_, theirs)| has_far_to_go(theirs) && !theirs.serves) {
        return Some((Some(node), theirs));
    }
    let ours = ballot.own.reach().filter(|ours| has_far_to_go(ours)).map(|ours| (None, ours));
    match verdict {
        // Who is behind could not fetch the rest.
        Verdict::Yield { theirs, .. } if ours.is_some_and(|(_, ours)| !ours.serves && *theirs < ours.position) => ours,
        Verdict::Yield { to, .. } => {
            let there = known(ballot.votes).find(|(node, _)| *node == to);
            there.filter(|(_, reach)| has_far_to_go(reach)).map(|(node, reach)| (Some(node), reach))
        }
        _ => ours,
    }
}

/// Whether a promotion would only wait, and for long.
fn has_far_to_go(reach: &Reach) -> bool {
    reach.replaying && reach.to_replay > REPLAY_TOLERANCE
}

fn compare(ballot: &Ballot<'_>) -> Verdict {
    if let Some((node, _)) = ballot.votes.iter().filter(|(_, vote)| *vote == Vote::Primary).min_by_key(|v| &v.0) {
        return Verdict::AnotherPrimary { node: node.clone() };
    }
    if let Some((node, theirs)) = best(ballot.votes).filter(|(_, theirs)| beats(theirs.position, ballot)) {
        return in_favour_of(node, theirs, ballot);
    }
    if let Vote::Fork(until) = ballot.own {
        return Verdict::Barred { objection: Objection::MadeByHand { until: *until } };
    }
    let Vote::At(ours) = ballot.own else { return Verdict::Wait { others: Vec::new() } };
    let unknown = without_position(ballot.votes);
    if !unknown.is_empty() && !ballot.timed_out {
        return Verdict::Wait { others: unknown };
    }
    if let Some(hidden) = hidden_beyond(ours.position, ballot) {
        return hidden;
    }
    if let Some((node, theirs)) = forked_beyond(ours.position, ballot.votes) {
        return Verdict::DataInFork { node: node.clone(), theirs, ours: ours.position };
    }
    if let Some((node, theirs)) = furthest_left_behind(ballot.left, ours.position) {
        return Verdict::DataElsewhere { node, theirs, ours: ours.position };
    }
    if let Some((node, theirs)) = better_suited(ours, ballot) {
        return Verdict::Yield { to: node.clone(), theirs: theirs.position, ours: ballot.own.clone() };
    }
    Verdict::Promote { left_out: unknown }
}

fn known(votes: &[(NodeName, Vote)]) -> impl Iterator<Item = (&NodeName, &Reach)> {
    votes.iter().filter_map(|(node, vote)| Some((node, vote.reach()?)))
}

/// The highest position; of equals one that may be promoted, with the least to replay, and the first name, so that every
/// node would name the same one.
fn best(votes: &[(NodeName, Vote)]) -> Option<(&NodeName, &Reach)> {
    known(votes).max_by_key(|(node, reach)| (reach.position, suited(node, reach)))
}

/// The order among those that are good enough otherwise.
fn suited<'a>(node: &'a NodeName, reach: &Reach) -> impl Ord + use<'a> {
    (reach.unfit.is_none(), Reverse(reach.to_replay), Reverse(node))
}

/// A candidate that cannot tell its own position may well be the best: it yields only when it had the
/// time of an election to find out, and to nobody who has less than it certainly has. One that holds nothing never is.
fn beats(theirs: Position, ballot: &Ballot<'_>) -> bool {
    match ballot.own {
        Vote::At(ours) => theirs > ours.position,
        Vote::Void | Vote::Fork(_) => true,
        Vote::Unknown { at_least, .. } => ballot.timed_out && at_least.is_none_or(|at_least| theirs >= at_least),
        Vote::Incomplete { until, .. } => theirs >= *until,
        Vote::Primary | Vote::Silent => ballot.timed_out,
    }
}

/// A node has more than the candidate.
fn in_favour_of(node: &NodeName, theirs: &Reach, ballot: &Ballot<'_>) -> Verdict {
    let Vote::At(ours) = ballot.own else { return yield_or_fetch(node, theirs.position, ballot, None) };
    let insists =
        ballot.insists.then(|| "Pacemaker does not promote it: a ban, a rule or a score is against it".to_owned());
    let because = insists.or_else(|| reason_to_fetch(theirs, ours));
    let fitter = because.as_ref().and_then(|_| fit_in_place_of(ours, theirs, ballot));
    match fitter {
        Some((fit, reach)) if ballot.can_fetch => {
            Verdict::Yield { to: fit.clone(), theirs: reach.position, ours: ballot.own.clone() }
        }
        _ => yield_or_fetch(node, theirs.position, ballot, because),
    }
}

fn yield_or_fetch(node: &NodeName, theirs: Position, ballot: &Ballot<'_>, because: Option<String>) -> Verdict {
    match (because, ballot.own) {
        (Some(because), Vote::At(ours)) if ballot.can_fetch => {
            Verdict::CatchUp { from: node.clone(), theirs, ours: ours.position, because }
        }
        _ => Verdict::Yield { to: node.clone(), theirs, ours: ballot.own.clone() },
    }
}

/// Why the candidate should rather fetch what a node has than let that one be promoted.
fn reason_to_fetch(theirs: &Reach, ours: &Reach) -> Option<String> {
    // Who is on an older timeline may be beyond the point where the younger one forked off.
    if theirs.position.timeline != ours.position.timeline {
        return None;
    }
    let to_replay = || format!("it has {} MB to replay", theirs.to_replay >> 20);
    theirs.unfit.clone().or_else(|| is_fetched_sooner(theirs, ours).then(to_replay))
}

/// Whether what is missing is fetched and replayed here sooner than the other one has replayed what it has.
fn is_fetched_sooner(theirs: &Reach, ours: &Reach) -> bool {
    let missing = theirs.end().bytes_beyond(ours.end());
    let here = ours.to_replay.saturating_add(missing.saturating_mul(2)).saturating_add(REPLAY_TOLERANCE);
    theirs.serves && theirs.to_replay > here
}

/// For a candidate that should not be promoted itself: the highest position that may be.
fn fit_in_place_of<'a>(ours: &Reach, best: &Reach, ballot: &Ballot<'a>) -> Option<(&'a NodeName, &'a Reach)> {
    if ours.unfit.is_none() || ballot.insists {
        return None;
    }
    let fit = known(ballot.votes).filter(|(_, reach)| reach.unfit.is_none());
    let fit = fit.filter(|(_, reach)| reach.position.timeline == best.position.timeline);
    fit.max_by_key(|(node, reach)| (reach.position, suited(node, reach)))
}

/// For a candidate than which nobody has more: who is to be promoted in its place all the same.
fn better_suited<'a>(ours: &Reach, ballot: &Ballot<'a>) -> Option<(&'a NodeName, &'a Reach)> {
    if ballot.insists {
        return None;
    }
    let sooner = |reach: &Reach| ours.to_replay > reach.to_replay.saturating_add(REPLAY_TOLERANCE);
    let fit = || known(ballot.votes).filter(|(_, reach)| reach.unfit.is_none());
    let equal = fit().filter(|(_, reach)| reach.position == ours.position);
    let equal = equal.filter(|(_, reach)| ours.unfit.is_some() || sooner(reach));
    let equal = equal.max_by_key(|(node, reach)| suited(node, reach));
    let behind = fit().filter(|(_, reach)| ballot.can_fetch && reason_to_fetch(ours, reach).is_some());
    equal.or_else(|| behind.max_by_key(|(node, reach)| (reach.position, suited(node, reach))))
}

/// What becomes of the candidate when a node that cannot tell its position certainly has more.
fn hidden_beyond(ours: Position, ballot: &Ballot<'_>) -> Option<Verdict> {
    let hidden = ballot.votes.iter().filter_map(|(node, vote)| match vote {
        Vote::Unknown { why, at_least } => Some((node, (*at_least)?, why, ballot.can_fetch)),
        // It lets nobody in.
        Vote::Incomplete { why, until } => Some((node, *until, why, false)),
        Vote::At(_) | Vote::Primary | Vote::Silent | Vote::Void | Vote::Fork(_) => None,
    });
    let more = hidden.filter(|(_, theirs, ..)| *theirs > ours);
    let (node, theirs, why, can_fetch) = more.max_by_key(|(node, theirs, ..)| (*theirs, Reverse(*node)))?;
    let because = "it cannot tell its position".to_owned();
    Some(match ballot.insists && can_fetch {
        true => Verdict::CatchUp { from: node.clone(), theirs, ours, because },
        false => Verdict::Hidden { node: node.clone(), theirs, why: why.clone(), ours },
    })
}

/// The most of the common WAL that is on a node which has left it, when that is more.
fn forked_beyond(ours: Position, votes: &[(NodeName, Vote)]) -> Option<(&NodeName, Position)> {
    let forks = votes.iter().filter_map(|(node, vote)| match vote {
        Vote::Fork(until) => Some((node, *until)),
        Vote::At(_) | Vote::Unknown { .. } | Vote::Incomplete { .. } | Vote::Primary | Vote::Silent | Vote::Void => {
            None
        }
    });
    forks.filter(|(_, until)| *until > ours).max_by_key(|(node, until)| (*until, Reverse(*node)))
}

fn without_position(votes: &[(NodeName, Vote)]) -> Vec<(NodeName, Vote)> {
    let nodes = votes.iter().filter(|(_, vote)| vote.may_change()).cloned();
    nodes.into_map().into_iter().collect()
}

/// The position left by a primary is the *beginning* of its shutdown checkpoint record: a standby that
/// received the record ends beyond it (tried, 15: checkpoint at 0/5328398, standby's end 0/5328410).
fn furthest_left_behind(left: &[(NodeName, Position)], ours: Position) -> Option<(NodeName, Position)> {
    let lacking = left.iter().filter(|(_, theirs)| *theirs >= ours);
    lacking.max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0))).cloned()
}

/// What stopped nodes left, as far as it binds this election: a node that has told its position speaks for itself, and so does
/// the candidate, and one whose timeline counts up to a fork. One that takes part and cannot tell, or holds nothing that counts
/// yet, does not.
#[must_use]
pub fn binding(
    left: &[(NodeName, Position)],
    candidate: &NodeName,
    votes: &[(NodeName, Vote)],
) -> Vec<(NodeName, Position)> {
    let tells = |vote: &Vote| matches!(vote, Vote::At(_) | Vote::Primary | Vote::Fork(_));
    let has_told = |node: &NodeName| votes.iter().any(|(n, vote)| n == node && tells(vote));
    left.iter().filter(|(node, _)| node != candidate && !has_told(node)).cloned().collect()
}

/// Among whom a promotion is decided at its last moment, by whom each vote was given among: everybody who was to vote since
/// the last promotion. The notification of the election that is being decided may not have reached the candidate, and the vote
/// that it gave in an earlier one does not know of a node that has come since.
#[must_use]
pub fn electorate<'a>(votes: impl IntoIterator<Item = (&'a NodeName, &'a [NodeName])>) -> Vec<NodeName> {
    let all = votes.into_iter().flat_map(|(voter, among)| among.iter().chain([voter]));
    all.into_set().into_iter().cloned().collect()
}

/// The bytes that separate the candidate from what a stopped node holds, the record at `theirs`
/// counted as one byte: its length is not known.
#[must_use]
pub fn missing_bytes(theirs: Lsn, ours: Lsn) -> u64 {
    theirs.bytes_beyond(ours) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn position(timeline: u32, end: u64) -> Position {
        Position { timeline: Timeline(timeline), end: Lsn(end) }
    }

    fn at(timeline: u32, end: u64) -> Vote {
        Vote::At(position(timeline, end).into())
    }

    const MB: u64 = 1 << 20;

    /// On timeline 1, with so many MB to replay.
    fn replaying(end: u64, mb: u64) -> Vote {
        Vote::At(Reach { to_replay: mb * MB, ..position(1, end).into() })
    }

    /// The same, and it is at it. Others can fetch it when it `serves`.
    fn at_it(end: u64, mb: u64, serves: bool) -> Vote {
        Vote::At(Reach { to_replay: mb * MB, replaying: true, serves, ..position(1, end).into() })
    }

    fn unfit(end: u64) -> Vote {
        Vote::At(Reach { unfit: Some("no room".to_owned()), ..position(1, end).into() })
    }

    fn unknown() -> Vote {
        Vote::Unknown { why: "replaying".to_owned(), at_least: None }
    }

    fn verdict(own: &Vote, votes: &[(&str, Vote)], left: &[(&str, Position)], timed_out: bool) -> Verdict {
        let votes: Vec<_> = votes.iter().map(|(name, vote)| (node(name), vote.clone())).collect();
        let left: Vec<_> = left.iter().map(|(name, position)| (node(name), *position)).collect();
        decide(&Ballot { own, votes: &votes, left: &left, timed_out, insists: false, can_fetch: true })
    }

    fn verdict_of_insisted(own: &Vote, votes: &[(&str, Vote)], timed_out: bool) -> Verdict {
        let votes: Vec<_> = votes.iter().map(|(name, vote)| (node(name), vote.clone())).collect();
        decide(&Ballot { own, votes: &votes, left: &[], timed_out, insists: true, can_fetch: true })
    }

    fn yielded_to(verdict: &Verdict) -> &str {
        match verdict {
            Verdict::Yield { to, .. } => to.as_str(),
            other => panic!("{other:?}"),
        }
    }

    fn fetches_from(verdict: &Verdict) -> (&str, Position) {
        match verdict {
            Verdict::CatchUp { from, theirs, .. } => (from.as_str(), *theirs),
            other => panic!("{other:?}"),
        }
    }

    const PROMOTE: Verdict = Verdict::Promote { left_out: Vec::new() };

    #[test]
    fn the_only_node_left_is_promoted() {
        assert_eq!(verdict(&at(1, 100), &[], &[], false), PROMOTE);
    }

    #[test]
    fn everybody_who_was_to_vote_is_asked_for() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(node);
        let (before, now) = ([a.clone(), b.clone()], [a.clone(), b.clone(), c.clone(), d.clone()]);
        // The candidate `a` was not reached by the second notification, nor was `d`.
        assert_eq!(electorate([(&a, &before[..]), (&b, &before[..]), (&c, &now[..])]), now);
        assert_eq!(electorate([(&a, &before[..]), (&c, &[][..])]), [a, b, c]);
    }

    #[test]
    fn the_candidate_wins_ties() {
        assert_eq!(verdict(&at(1, 100), &[("a", at(1, 100)), ("b", at(1, 99))], &[], false), PROMOTE);
    }

    #[test]
    fn a_candidate_that_is_behind_yields_to_the_best() {
        let votes = [("a", at(1, 101)), ("b", at(1, 103)), ("c", at(1, 103))];
        let expected = Verdict::Yield { to: node("b"), theirs: position(1, 103), ours: at(1, 100) };
        assert_eq!(verdict(&at(1, 100), &votes, &[], false), expected);
    }

    #[test]
    fn the_younger_timeline_wins_whatever_the_lsn() {
        let expected = Verdict::Yield { to: node("a"), theirs: position(2, 50), ours: at(1, 100) };
        assert_eq!(verdict(&at(1, 100), &[("a", at(2, 50))], &[], false), expected);
    }

    #[test]
    fn an_unknown_position_is_waited_for_and_then_left_out_by_name() {
        for vote in [unknown(), Vote::Silent] {
            let votes = [("a", vote.clone()), ("b", at(1, 90))];
            let named = vec![(node("a"), vote)];
            assert_eq!(verdict(&at(1, 100), &votes, &[], false), Verdict::Wait { others: named.clone() });
            assert_eq!(verdict(&at(1, 100), &votes, &[], true), Verdict::Promote { left_out: named });
        }
    }

    #[test]
    fn a_better_node_is_named_though_another_is_unknown() {
        let votes = [("a", unknown()), ("b", at(1, 200))];
        assert!(matches!(verdict(&at(1, 100), &votes, &[], false), Verdict::Yield { to, .. } if to == node("b")));
    }

    #[test]
    fn a_candidate_without_a_position_is_never_promoted() {
        for own in [unknown(), Vote::Silent] {
            for timed_out in [false, true] {
                assert_eq!(verdict(&own, &[], &[], timed_out), Verdict::Wait { others: Vec::new() });
            }
        }
    }

    #[test]
    fn a_candidate_that_cannot_tell_its_position_in_time_yields() {
        let votes = [("a", at(1, 5)), ("b", at(1, 7))];
        assert!(matches!(verdict(&unknown(), &votes, &[], false), Verdict::Wait { .. }));
        assert!(matches!(verdict(&unknown(), &votes, &[], true), Verdict::Yield { to, .. } if to == node("b")));
    }

    #[test]
    fn who_holds_nothing_yields_at_once_and_is_never_waited_for() {
        assert_eq!(verdict(&at(1, 100), &[("a", Vote::Void)], &[], false), PROMOTE);
        let expected = Verdict::Yield { to: node("b"), theirs: position(1, 7), ours: Vote::Void };
        assert_eq!(verdict(&Vote::Void, &[("a", Vote::Void), ("b", at(1, 7))], &[], false), expected);
        for timed_out in [false, true] {
            let nobody = Verdict::Wait { others: Vec::new() };
            assert_eq!(verdict(&Vote::Void, &[("a", Vote::Void)], &[], timed_out), nobody);
        }
    }

    #[test]
    fn nothing_is_promoted_beside_a_primary() {
        let votes = [("a", Vote::Primary), ("b", at(9, 9))];
        assert_eq!(verdict(&at(1, 100), &votes, &[], true), Verdict::AnotherPrimary { node: node("a") });
    }

    #[test]
    fn a_stopped_primarys_checkpoint_must_have_been_received() {
        let checkpoint = position(1, 0x532_8398);
        assert_eq!(verdict(&at(1, 0x532_8410), &[], &[("a", checkpoint)], false), PROMOTE);
        let ours = position(1, 0x532_8398);
        let expected = Verdict::DataElsewhere { node: node("a"), theirs: checkpoint, ours };
        assert_eq!(verdict(&Vote::At(ours.into()), &[], &[("a", checkpoint)], false), expected);
        assert_eq!(verdict(&Vote::At(ours.into()), &[], &[("a", checkpoint)], true), expected);
    }

    #[test]
    fn what_a_node_left_binds_until_it_tells_its_position_itself() {
        let left = [(node("a"), position(1, 150))];
        let binds = |vote: Vote| !binding(&left, &node("c"), &[(node("a"), vote)]).is_empty();
        for vote in [unknown(), Vote::Silent, Vote::Void] {
            assert!(binds(vote.clone()), "{vote:?}");
        }
        // More than it left, or less: its directory is what it is now.
        for vote in [at(1, 100), at(1, 150), at(1, 200), at(2, 100), Vote::Primary, Vote::Fork(position(1, 100))] {
            assert!(!binds(vote.clone()), "{vote:?}");
        }
        assert_eq!(binding(&left, &node("c"), &[]), left);
        assert_eq!(binding(&left, &node("a"), &[]), []);
    }

    #[test]
    fn what_an_earlier_primary_left_does_not_bind_the_next_timeline() {
        assert_eq!(verdict(&at(2, 200), &[], &[("a", position(1, 150))], false), PROMOTE);
    }

    fn knows_no_more_than(end: u64) -> Vote {
        Vote::Unknown { why: "the disk does not answer".to_owned(), at_least: Some(position(1, end)) }
    }

    #[test]
    fn who_is_known_to_have_more_is_not_left_out_though_it_cannot_tell_its_position() {
        let votes = [("a", knows_no_more_than(101)), ("b", knows_no_more_than(102)), ("c", knows_no_more_than(102))];
        assert!(matches!(verdict(&at(1, 100), &votes, &[], false), Verdict::Wait { others } if others.len() == 3));
        let hidden = verdict(&at(1, 100), &votes, &[], true);
        let why = "the disk does not answer".to_owned();
        let expected = Verdict::Hidden { node: node("b"), theirs: position(1, 102), why, ours: position(1, 100) };
        assert_eq!(hidden, expected, "who cannot tell is asked to be promoted, and cannot be");
        assert_eq!(fetches_from(&verdict_of_insisted(&at(1, 100), &votes, true)), ("b", position(1, 102)));
        let (own, votes) = (at(1, 100), votes.map(|(name, vote)| (node(name), vote)));
        let old = Ballot { own: &own, votes: &votes, left: &[], timed_out: true, insists: true, can_fetch: false };
        assert_eq!(decide(&old), expected);
        let as_much = [("a", knows_no_more_than(100))];
        assert!(
            matches!(verdict(&at(1, 100), &as_much, &[], true), Verdict::Promote { left_out } if left_out.len() == 1)
        );
    }

    #[test]
    fn who_can_never_tell_more_is_not_waited_for_and_counts_with_what_it_has() {
        let incomplete = |end| Vote::Incomplete { why: "it is not consistent".to_owned(), until: position(1, end) };
        for timed_out in [false, true] {
            for insists in [false, true] {
                let of = |own: &Vote, votes: &[(&str, Vote)]| {
                    let votes: Vec<_> = votes.iter().map(|(name, vote)| (node(name), vote.clone())).collect();
                    decide(&Ballot { own, votes: &votes, left: &[], timed_out, insists, can_fetch: true })
                };
                assert_eq!(of(&at(1, 100), &[("a", incomplete(100)), ("b", Vote::Void)]), PROMOTE);
                let (why, ours) = ("it is not consistent".to_owned(), position(1, 100));
                let hidden = Verdict::Hidden { node: node("a"), theirs: position(1, 101), why, ours };
                assert_eq!(of(&at(1, 100), &[("a", incomplete(101))]), hidden, "nothing can be fetched from it");
                // Who has as much is promoted in its place, and nobody else.
                let nobody = Verdict::Wait { others: Vec::new() };
                assert_eq!(yielded_to(&of(&incomplete(100), &[("a", at(1, 100))])), "a");
                assert_eq!(of(&incomplete(101), &[("a", at(1, 100)), ("b", incomplete(200))]), nobody);
            }
        }
        // Others are waited for all the same, and one of them may have it all.
        let waits = verdict(&at(1, 100), &[("a", incomplete(101)), ("b", unknown())], &[], false);
        assert!(matches!(waits, Verdict::Wait { others } if others == [(node("b"), unknown())]));
        assert_eq!(yielded_to(&verdict(&at(1, 100), &[("a", incomplete(101)), ("b", at(1, 101))], &[], false)), "b");
    }

    #[test]
    fn a_candidate_that_cannot_tell_its_position_yields_to_nobody_who_has_less_than_it_has_at_least() {
        let nobody = Verdict::Wait { others: Vec::new() };
        assert_eq!(verdict(&knows_no_more_than(8), &[("b", at(1, 7))], &[], true), nobody);
        assert_eq!(yielded_to(&verdict(&knows_no_more_than(7), &[("b", at(1, 7))], &[], true)), "b");
    }

    #[test]
    fn what_a_better_node_has_is_fetched_when_pacemaker_does_not_promote_that_one() {
        let votes = [("a", at(1, 101)), ("b", at(1, 103))];
        assert_eq!(yielded_to(&verdict(&at(1, 100), &votes, &[], false)), "b");
        assert_eq!(fetches_from(&verdict_of_insisted(&at(1, 100), &votes, false)), ("b", position(1, 103)));
        let own = at(1, 100);
        let votes: Vec<_> = votes.iter().map(|(name, vote)| (node(name), vote.clone())).collect();
        let old = Ballot { own: &own, votes: &votes, left: &[], timed_out: true, insists: true, can_fetch: false };
        assert_eq!(yielded_to(&decide(&old)), "b");
    }

    #[test]
    fn who_wrote_beyond_the_fork_fetches_nothing_of_the_younger_line() {
        let record: History = "1@0/0 3@0/64".parse().unwrap();
        for (own, votes, expected) in [
            (at(1, 101), &[("a", at(3, 200))][..], true),
            (
                at(1, 101),
                &[("b", at(1, 90)), ("a", Vote::Unknown { why: String::new(), at_least: Some(position(3, 200)) })],
                true,
            ),
            (at(1, 100), &[("a", at(3, 200))], false),
            (at(2, 101), &[("a", at(3, 200))], true),
            (at(3, 150), &[("a", at(3, 200))], false),
            // The younger line is not there, or younger than the record.
            (at(1, 101), &[("a", at(1, 200)), ("b", Vote::Silent)], false),
            (at(3, 101), &[("a", at(4, 200))], false),
            (Vote::Void, &[("a", at(3, 200))], false),
        ] {
            let votes: Vec<_> = votes.iter().map(|(name, vote)| (node(name), vote.clone())).collect();
            assert_eq!(has_diverged(&own, &votes, Some(&record)), expected, "{own:?} {votes:?}");
            assert!(!has_diverged(&own, &votes, None));
        }
    }

    #[test]
    fn much_is_fetched_only_for_a_candidate_that_was_excluded_in_vain() {
        let near = (at(1, 36 * MB), position(1, 100 * MB));
        let far = (at(1, 35 * MB), position(1, 100 * MB));
        for (picked, little, much) in [(1, false, false), (2, true, false), (3, true, true)] {
            assert_eq!((insists(picked, near.1, &near.0), insists(picked, far.1, &far.0)), (little, much), "{picked}");
        }
    }

    #[test]
    fn what_an_unfit_node_has_is_fetched_at_once() {
        assert_eq!(fetches_from(&verdict(&at(1, 100), &[("a", unfit(101))], &[], false)), ("a", position(1, 101)));
        // The unfit one is asked to yield to who can fetch, and is promoted when there is nobody.
        assert_eq!(yielded_to(&verdict(&unfit(101), &[("a", at(1, 100)), ("b", at(1, 99))], &[], false)), "a");
        assert_eq!(yielded_to(&verdict(&unfit(100), &[("a", unfit(101)), ("b", at(1, 99))], &[], false)), "b");
        assert_eq!(verdict(&unfit(101), &[("a", unfit(100)), ("b", Vote::Void)], &[], false), PROMOTE);
        assert_eq!(verdict_of_insisted(&unfit(101), &[("a", at(1, 100))], false), PROMOTE);
        // Of an older timeline it may not be able to.
        assert_eq!(yielded_to(&verdict(&unfit(101), &[("a", at(2, 50))], &[], false)), "a");
        let younger = Vote::At(Reach { unfit: Some("no room".to_owned()), ..position(2, 101).into() });
        assert_eq!(yielded_to(&verdict(&at(1, 100), &[("a", younger.clone())], &[], false)), "a");
        assert_eq!(verdict(&younger, &[("a", at(1, 100))], &[], false), PROMOTE);
    }

    #[test]
    fn of_equals_the_one_with_far_less_to_replay_is_promoted() {
        for (ours, theirs, yields) in
            [(129, 0, true), (128, 0, false), (900, 700, true), (0, 900, false), (900, 900, false)]
        {
            let verdict = verdict(&replaying(100, ours), &[("a", replaying(100, theirs))], &[], false);
            assert_eq!(verdict != PROMOTE, yields, "{ours} and {theirs}: {verdict:?}");
        }
        assert_eq!(verdict_of_insisted(&replaying(100, 900), &[("a", at(1, 100))], false), PROMOTE);
        let votes = [("a", replaying(100, 5)), ("b", replaying(100, 4)), ("c", replaying(100, 4))];
        assert_eq!(yielded_to(&verdict(&replaying(100, 900), &votes, &[], false)), "b");
        assert_eq!(yielded_to(&verdict(&at(1, 99), &votes, &[], false)), "b");
    }

    #[test]
    fn what_a_node_with_hours_to_replay_has_is_fetched_when_that_is_sooner() {
        let hours = replaying(100 * MB, 5000);
        let near = at(1, 99 * MB);
        assert_eq!(fetches_from(&verdict(&near, &[("a", hours.clone())], &[], false)).0, "a");
        assert_eq!(yielded_to(&verdict(&hours, &[("a", near.clone())], &[], false)), "a");
        // It cannot send what lies in its files and is not replayed.
        let Vote::At(reach) = &hours else { panic!() };
        let mute = Vote::At(Reach { serves: false, ..reach.clone() });
        assert_eq!(yielded_to(&verdict(&near, &[("a", mute.clone())], &[], false)), "a");
        assert_eq!(verdict(&mute, &[("a", near)], &[], false), PROMOTE);
        // Much is missing, or as much is to be replayed here.
        assert_eq!(yielded_to(&verdict(&at(1, 0), &[("a", replaying(4000 * MB, 5000))], &[], false)), "a");
        assert_eq!(yielded_to(&verdict(&replaying(99 * MB, 4900), &[("a", hours)], &[], false)), "a");
    }

    fn replays(other: Option<&str>, mb: u64) -> Verdict {
        Verdict::Replays { other: other.map(node), to_replay: mb * MB }
    }

    #[test]
    fn who_replays_much_is_promoted_when_that_is_done() {
        for serves in [false, true] {
            let far = at_it(100, 129, serves);
            // The only one left.
            assert_eq!(verdict(&far, &[], &[], false), replays(None, 129));
            assert_eq!(verdict_of_insisted(&far, &[("a", at(1, 100))], true), replays(None, 129));
            assert_eq!(verdict(&at_it(100, 128, serves), &[], &[], false), PROMOTE);
            // Who has as much and is done is promoted at once, whoever is picked.
            assert_eq!(yielded_to(&verdict(&far, &[("a", at(1, 100)), ("b", far.clone())], &[], false)), "a");
            assert_eq!(verdict(&at(1, 100), &[("b", far.clone())], &[], false), PROMOTE);
            // Of those that are not done each waits, for the one that has less to replay.
            assert_eq!(verdict(&at_it(100, 900, serves), &[("a", far.clone())], &[], false), replays(Some("a"), 129));
            assert_eq!(verdict(&far, &[("a", at_it(100, 900, serves))], &[], false), replays(None, 129));
            // Of one that is delayed, paused or down nobody knows that waiting helps.
            let Vote::At(reach) = far else { panic!() };
            let still = Vote::At(Reach { replaying: false, ..reach });
            assert_eq!(verdict(&still, &[], &[], false), PROMOTE);
        }
    }

    #[test]
    fn who_has_less_than_one_that_replays_much_waits_for_it_or_fetches_it() {
        let (ours, far) = (at(1, 99), at_it(100, 5000, false));
        assert_eq!(verdict(&ours, &[("a", far.clone())], &[], false), replays(Some("a"), 5000));
        assert_eq!(verdict_of_insisted(&ours, &[("a", far.clone())], true), replays(Some("a"), 5000));
        assert_eq!(verdict(&unknown(), &[("a", far.clone())], &[], true), replays(Some("a"), 5000));
        assert_eq!(verdict(&far, &[("a", ours.clone())], &[], false), replays(None, 5000));
        let serves = at_it(100, 5000, true);
        assert_eq!(fetches_from(&verdict(&ours, &[("a", serves.clone())], &[], false)).0, "a");
        assert_eq!(yielded_to(&verdict(&serves, &[("a", ours)], &[], false)), "a");
        // There is no room for its promotion, and nobody gets what it has.
        let Vote::At(reach) = far else { panic!() };
        let full = Vote::At(Reach { unfit: Some("no room".to_owned()), ..reach });
        assert_eq!(verdict(&full, &[("a", at(1, 99))], &[], false), replays(None, 5000));
        assert_eq!(verdict(&at(1, 99), &[("a", full)], &[], false), replays(Some("a"), 5000));
    }

    fn any_reach() -> impl Strategy<Value = Reach> {
        let replay = prop_oneof![3 => Just(0), 1 => 0_u64..4];
        let (often, seldom) = (proptest::bool::weighted(0.8), proptest::bool::weighted(0.2));
        (1_u32..4, 0_u64..6, replay, often, any::<bool>(), seldom).prop_map(
            |(timeline, end, replay, serves, replaying, unfit)| Reach {
                position: position(timeline, end),
                to_replay: replay * 100 * MB,
                serves,
                replaying,
                unfit: unfit.then(|| "no room".to_owned()),
            },
        )
    }

    #[test]
    fn a_timeline_that_a_person_made_is_never_better() {
        let fork = |end| Vote::Fork(position(1, end));
        for timed_out in [false, true] {
            assert_eq!(verdict(&at(1, 100), &[("a", fork(100))], &[], timed_out), PROMOTE);
            let expected = Verdict::DataInFork { node: node("b"), theirs: position(1, 110), ours: position(1, 100) };
            assert_eq!(verdict(&at(1, 100), &[("a", fork(105)), ("b", fork(110))], &[], timed_out), expected);
            assert_eq!(yielded_to(&verdict(&fork(100), &[("a", at(1, 50))], &[], timed_out)), "a");
            let barred = Verdict::Barred { objection: Objection::MadeByHand { until: position(1, 100) } };
            assert_eq!(verdict(&fork(100), &[("a", fork(200)), ("b", Vote::Silent)], &[], timed_out), barred);
        }
        // Of the others one has all that it left with.
        assert_eq!(yielded_to(&verdict(&at(1, 100), &[("a", fork(110)), ("b", at(1, 120))], &[], false)), "b");
    }

    #[test]
    fn what_is_on_record_is_asked_last() {
        let lacks = crate::policy::candidacy::Lacks { from: None, since: String::new(), why: String::new() };
        let record = OnRecord { lacks: [(node("c"), lacks)].into(), ..OnRecord::default() };
        let of = |own: &Vote, votes: &[(&str, Vote)], insists: bool| {
            let votes: Vec<_> = votes.iter().map(|(name, vote)| (node(name), vote.clone())).collect();
            let ballot = Ballot { own, votes: &votes, left: &[], timed_out: true, insists, can_fetch: true };
            judge(&node("c"), &ballot, &record)
        };
        assert!(matches!(of(&at(1, 100), &[], false), Verdict::Barred { .. }));
        assert!(matches!(of(&at(1, 100), &[("a", Vote::Silent)], false), Verdict::Barred { .. }));
        assert!(matches!(of(&at(1, 100), &[("a", Vote::Primary)], false), Verdict::AnotherPrimary { .. }));
        // With what the other one has, it lacks nothing.
        assert_eq!(of(&at(1, 100), &[("a", at(1, 100))], false), PROMOTE);
        assert_eq!(yielded_to(&of(&at(1, 100), &[("a", at(1, 200))], false)), "a");
        assert_eq!(fetches_from(&of(&at(1, 100), &[("a", at(1, 200))], true)).0, "a");
    }

    fn any_vote() -> impl Strategy<Value = Vote> {
        prop_oneof![
            4 => any_reach().prop_map(Vote::At),
            1 => Just(unknown()),
            1 => (1_u32..4, 0_u64..6).prop_map(|(timeline, end)| Vote::Unknown {
                why: "x".to_owned(), at_least: Some(position(timeline, end))
            }),
            1 => (1_u32..4, 0_u64..6).prop_map(|(timeline, end)| Vote::Incomplete {
                why: "x".to_owned(), until: position(timeline, end)
            }),
            1 => Just(Vote::Silent),
            1 => Just(Vote::Void),
            1 => (1_u32..4, 0_u64..6).prop_map(|(timeline, end)| Vote::Fork(position(timeline, end))),
            1 => Just(Vote::Primary),
        ]
    }

    fn any_votes() -> impl Strategy<Value = Vec<(NodeName, Vote)>> {
        proptest::collection::vec(any_vote(), 0..6)
            .prop_map(|votes| votes.into_iter().enumerate().map(|(i, vote)| (node(&format!("srv{i}")), vote)).collect())
    }

    proptest! {
        #[test]
        fn nothing_is_promoted_over_an_unknown_or_higher_position(
            own in any_vote(), votes in any_votes(), timed_out: bool, insists: bool, can_fetch: bool,
        ) {
            let verdict = decide(&Ballot { own: &own, votes: &votes, left: &[], timed_out, insists, can_fetch });
            if let Verdict::Yield { to, .. } = &verdict {
                prop_assert!(votes.iter().any(|(name, vote)| name == to && vote.reach().is_some()), "{verdict:?}");
            }
            let Verdict::Promote { left_out } = verdict else { return Ok(()) };
            let Vote::At(Reach { position: ours, .. }) = own else { panic!("promoted without a position") };
            for (name, vote) in &votes {
                prop_assert!(vote.at_least().is_none_or(|theirs| theirs <= ours));
                match vote {
                    Vote::Unknown { .. } | Vote::Silent => {
                        prop_assert!(timed_out && left_out.iter().any(|(n, _)| n == name));
                    }
                    Vote::Primary => prop_assert!(false, "promoted beside a primary"),
                    Vote::Fork(until) => prop_assert!(*until <= ours),
                    Vote::At(_) | Vote::Incomplete { .. } | Vote::Void => {}
                }
            }
        }

        #[test]
        fn the_order_of_the_votes_does_not_matter(
            own in any_vote(), votes in any_votes(), timed_out: bool, insists: bool, can_fetch: bool, turn in 0_usize..6,
        ) {
            let mut turned = votes.clone();
            if !turned.is_empty() {
                let by = turn % turned.len();
                turned.rotate_left(by);
            }
            let left = [];
            let one = decide(&Ballot { own: &own, votes: &votes, left: &left, timed_out, insists, can_fetch });
            let other = decide(&Ballot { own: &own, votes: &turned, left: &left, timed_out, insists, can_fetch });
            prop_assert_eq!(one, other);
        }

        /// Whoever is picked first, following the verdicts ends at a node that nobody beats, or that fetches what the best
        /// has. Nobody is asked twice.
        #[test]
        fn yielding_ends_at_the_best(votes in any_votes(), can_fetch: bool) {
            let known: Vec<_> = votes.into_iter().filter(|(_, v)| matches!(v, Vote::At(_))).collect();
            let highest = known.iter().filter_map(|(_, vote)| vote.at_least()).max();
            for (picked, _) in &known {
                let (mut candidate, mut asked) = (picked.clone(), Vec::new());
                loop {
                    prop_assert!(!asked.contains(&candidate), "{candidate} is asked again after {asked:?}");
                    let own = known.iter().find(|(name, _)| *name == candidate).unwrap().1.clone();
                    let others: Vec<_> = known.iter().filter(|(name, _)| *name != candidate).cloned().collect();
                    let ballot = Ballot { own: &own, votes: &others, left: &[], timed_out: false, insists: false, can_fetch };
                    asked.push(candidate);
                    candidate = match decide(&ballot) {
                        Verdict::Yield { to, .. } => to,
                        Verdict::CatchUp { from, theirs, .. } => {
                            prop_assert!(can_fetch && highest == Some(theirs));
                            prop_assert_eq!(known.iter().find(|(name, _)| *name == from).unwrap().1.at_least(), highest);
                            break;
                        }
                        // Whoever is yielded to is not excluded then: that would come back at once.
                        Verdict::Replays { .. } => {
                            prop_assert!(asked.len() == 1, "{asked:?} yields in vain");
                            break;
                        }
                        verdict => {
                            prop_assert_eq!(verdict, PROMOTE);
                            prop_assert_eq!(own.at_least(), highest);
                            break;
                        }
                    };
                }
            }
        }
    }
}
