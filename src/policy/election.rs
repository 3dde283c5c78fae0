//! May this node be promoted?
//!
//! The candidate is the node that Pacemaker picked. Every present node has published its vote since the
//! last promotion, so no vote is older than that. The rules, in their order:
//!
//! 1. a present node takes writes → refuse: two primaries are worse than none.
//! 2. a present node has a higher position → yield to the highest.
//! 3. the candidate's own position is unknown → wait for it; after the election timeout yield to the
//!    highest known position.
//! 4. a present node did not answer or cannot tell its position → wait; after the election timeout it
//!    is left out, and named.
//! 5. a node that was stopped holds WAL that the candidate lacks → refuse, for as long as it is
//!    within reach.
//! 6. otherwise promote: the candidate wins ties.
//!
//! A node whose instance is being rewound or cloned, or waits for that, has no say: what it alone held is kept aside.
//! Should it be the candidate, nobody waits for it: it yields to any node that has a position.
//!
//! What this cannot see: a node that is not in the cluster at this moment. Fencing has seen to it that
//! such a node takes no writes; what it alone received is lost to asynchronous replication.

use crate::types::{Lsn, NodeName, Position};

/// What a present node says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vote {
    /// Its WAL ends here.
    At(Position),
    /// It cannot tell, with the reason and what it holds at least.
    Unknown {
        /// Why.
        why: String,
        /// What it has replayed so far, where it knows that.
        at_least: Option<Position>,
    },
    /// It takes writes.
    Primary,
    /// It has not voted.
    Silent,
    /// It holds nothing that counts: it is being made a copy of a primary, or waits for that.
    Void,
}

/// Everything that the candidate knows.
#[derive(Clone, Debug)]
pub struct Ballot<'a> {
    /// The candidate's own position.
    pub own: &'a Vote,
    /// The votes of the other present nodes.
    pub votes: &'a [(NodeName, Vote)],
    /// The last positions of primaries that were stopped cleanly and are still in the cluster.
    pub left: &'a [(NodeName, Position)],
    /// Whether the election timeout is over.
    pub timed_out: bool,
}

/// What the candidate has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Promote. The nodes named could not tell their position and are left out.
    Promote {
        /// Who was left out.
        left_out: Vec<(NodeName, Vote)>,
    },
    /// Another node holds more.
    Yield {
        /// The best node.
        to: NodeName,
        /// Its position.
        theirs: Position,
        /// The candidate's position.
        ours: Vote,
    },
    /// Ask again: these nodes may still tell their position.
    Wait {
        /// Who is waited for; empty when it is the candidate itself.
        others: Vec<(NodeName, Vote)>,
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
    /// A present node takes writes.
    AnotherPrimary {
        /// The node.
        node: NodeName,
    },
}

/// Decides. The order of the votes does not matter.
#[must_use]
pub fn decide(ballot: &Ballot<'_>) -> Verdict {
    if let Some((node, _)) = ballot.votes.iter().filter(|(_, vote)| *vote == Vote::Primary).min_by_key(|v| &v.0) {
        return Verdict::AnotherPrimary { node: node.clone() };
    }
    if let Some((node, theirs)) = best(ballot.votes).filter(|(_, theirs)| beats(*theirs, ballot)) {
        return Verdict::Yield { to: node, theirs, ours: ballot.own.clone() };
    }
    let Vote::At(ours) = ballot.own else { return Verdict::Wait { others: Vec::new() } };
    let unknown = without_position(ballot.votes);
    if !unknown.is_empty() && !ballot.timed_out {
        return Verdict::Wait { others: unknown };
    }
    if let Some((node, theirs)) = furthest_left_behind(ballot.left, *ours) {
        return Verdict::DataElsewhere { node, theirs, ours: *ours };
    }
    Verdict::Promote { left_out: unknown }
}

/// The highest position; of equals the first name, so that every node would name the same one.
fn best(votes: &[(NodeName, Vote)]) -> Option<(NodeName, Position)> {
    let known = votes.iter().filter_map(|(node, vote)| match vote {
        Vote::At(position) => Some((node, *position)),
        Vote::Unknown { .. } | Vote::Primary | Vote::Silent | Vote::Void => None,
    });
    known.max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(a.0))).map(|(node, at)| (node.clone(), at))
}

/// A candidate that cannot tell its own position may well be the best: it yields only when it had the
/// time of an election to find out. One that holds nothing never is.
fn beats(theirs: Position, ballot: &Ballot<'_>) -> bool {
    match ballot.own {
        Vote::At(ours) => theirs > *ours,
        Vote::Void => true,
        Vote::Unknown { .. } | Vote::Primary | Vote::Silent => ballot.timed_out,
    }
}

fn without_position(votes: &[(NodeName, Vote)]) -> Vec<(NodeName, Vote)> {
    let unknown = |vote: &Vote| matches!(vote, Vote::Unknown { .. } | Vote::Silent);
    let mut nodes: Vec<_> = votes.iter().filter(|(_, vote)| unknown(vote)).cloned().collect();
    nodes.sort_by(|a, b| a.0.cmp(&b.0));
    nodes
}

/// The position left by a primary is the *beginning* of its shutdown checkpoint record: a standby that
/// received the record ends beyond it (tried, 15: checkpoint at 0/5328398, standby's end 0/5328410).
fn furthest_left_behind(left: &[(NodeName, Position)], ours: Position) -> Option<(NodeName, Position)> {
    let lacking = left.iter().filter(|(_, theirs)| *theirs >= ours);
    lacking.max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0))).cloned()
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
    use crate::types::Timeline;
    use proptest::prelude::*;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn position(timeline: u32, end: u64) -> Position {
        Position { timeline: Timeline(timeline), end: Lsn(end) }
    }

    fn at(timeline: u32, end: u64) -> Vote {
        Vote::At(position(timeline, end))
    }

    fn unknown() -> Vote {
        Vote::Unknown { why: "replaying".to_owned(), at_least: None }
    }

    fn verdict(own: &Vote, votes: &[(&str, Vote)], left: &[(&str, Position)], timed_out: bool) -> Verdict {
        let votes: Vec<_> = votes.iter().map(|(name, vote)| (node(name), vote.clone())).collect();
        let left: Vec<_> = left.iter().map(|(name, position)| (node(name), *position)).collect();
        decide(&Ballot { own, votes: &votes, left: &left, timed_out })
    }

    const PROMOTE: Verdict = Verdict::Promote { left_out: Vec::new() };

    #[test]
    fn the_only_node_left_is_promoted() {
        assert_eq!(verdict(&at(1, 100), &[], &[], false), PROMOTE);
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
        assert_eq!(verdict(&Vote::At(ours), &[], &[("a", checkpoint)], false), expected);
        assert_eq!(verdict(&Vote::At(ours), &[], &[("a", checkpoint)], true), expected);
    }

    #[test]
    fn what_an_earlier_primary_left_does_not_bind_the_next_timeline() {
        assert_eq!(verdict(&at(2, 200), &[], &[("a", position(1, 150))], false), PROMOTE);
    }

    fn any_vote() -> impl Strategy<Value = Vote> {
        prop_oneof![
            4 => (1_u32..4, 0_u64..6).prop_map(|(timeline, end)| at(timeline, end)),
            1 => Just(unknown()),
            1 => Just(Vote::Silent),
            1 => Just(Vote::Void),
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
            own in any_vote(), votes in any_votes(), timed_out: bool,
        ) {
            let verdict = decide(&Ballot { own: &own, votes: &votes, left: &[], timed_out });
            let Verdict::Promote { left_out } = verdict else { return Ok(()) };
            let Vote::At(ours) = own else { panic!("promoted without a position") };
            for (name, vote) in &votes {
                match vote {
                    Vote::At(theirs) => prop_assert!(*theirs <= ours),
                    Vote::Unknown { .. } | Vote::Silent => {
                        prop_assert!(timed_out && left_out.iter().any(|(n, _)| n == name));
                    }
                    Vote::Primary => prop_assert!(false, "promoted beside a primary"),
                    Vote::Void => {}
                }
            }
        }

        #[test]
        fn the_order_of_the_votes_does_not_matter(
            own in any_vote(), votes in any_votes(), timed_out: bool, turn in 0_usize..6,
        ) {
            let mut turned = votes.clone();
            if !turned.is_empty() {
                let by = turn % turned.len();
                turned.rotate_left(by);
            }
            let left = [];
            let one = decide(&Ballot { own: &own, votes: &votes, left: &left, timed_out });
            let other = decide(&Ballot { own: &own, votes: &turned, left: &left, timed_out });
            prop_assert_eq!(one, other);
        }

        /// Whoever is picked first, following the verdicts ends at a node that nobody beats.
        #[test]
        fn yielding_ends_at_the_best(votes in any_votes()) {
            let known: Vec<_> = votes.into_iter().filter(|(_, v)| matches!(v, Vote::At(_))).collect();
            for (picked, own) in &known {
                let others = |name: &NodeName| known.iter().filter(|(n, _)| n != name).cloned().collect::<Vec<_>>();
                let first = others(picked);
                let verdict = decide(&Ballot { own, votes: &first, left: &[], timed_out: false });
                if let Verdict::Yield { to, theirs, .. } = verdict {
                    let second = others(&to);
                    let again = decide(&Ballot { own: &Vote::At(theirs), votes: &second, left: &[], timed_out: false });
                    prop_assert_eq!(again, PROMOTE);
                }
            }
        }
    }
}
