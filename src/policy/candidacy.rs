//! What speaks on record against the promotion of a node, whatever the votes say?
//!
//! | the node | may be promoted |
//! |---|---|
//! | was struck off: the last primary went on without it | no |
//! | came back alone, and another may have gone on without it meanwhile | no; it strikes itself off |
//! | lacks the timeline of the last primary, and has been in the cluster since that was made | yes: nobody had received it |
//! | lacks that timeline, and was away since | no |
//! | any of these, and a node against which nothing speaks has told that it has no more | yes: the comparison says all |
//!
//! One that may not be promoted stands for election where it can fetch what it lacks from the last primary ([`may_fetch`]).
//!
//! *No* is until the cause is gone, or a person gives up what the node lacks. Restarts of agents, nodes and the whole cluster
//! change nothing.
//!
//! **Alone**: quorum sees to it that two parts of a cluster that acted one after the other have a node in common, and
//! with it the cluster configuration, in which a node is struck off. A quorum device breaks that: it lends its vote first to one
//! node and then, days later, to the other, which has a configuration that is days old. So a node that has just come back trusts
//! its configuration only when it is with more than half of the nodes.

use std::collections::BTreeMap;
use std::fmt;

use crate::types::{NodeName, Position, Score, Timeline, Vote};

/// Since when, and from where on, a node lacks what the last primary wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacks {
    /// The end of the primary's WAL then, where it is known.
    pub from: Option<Position>,
    /// The time, for people.
    pub since: String,
    /// What happened.
    pub why: String,
}

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lacks { from, since, why } = self;
        match from {
            Some(from) => write!(f, "it lacks what was written after {from}, since {since}: {why}"),
            None => write!(f, "it may lack what was written since before {since}: {why}"),
        }
    }
}

/// What is on record.
#[derive(Clone, Debug, Default)]
pub struct OnRecord {
    /// The nodes that were struck off.
    pub lacks: BTreeMap<NodeName, Lacks>,
    /// The last primary and the timeline that it made.
    pub last: Option<(NodeName, Timeline)>,
    /// The youngest timeline that was about to be made while a node was in the cluster, and voted for it. It goes when the
    /// node leaves.
    pub witnessed: BTreeMap<NodeName, Timeline>,
}

/// What speaks against a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It was struck off.
    StruckOff(Lacks),
    /// It lacks the timeline of the last primary.
    LacksTimeline {
        /// Its own.
        ours: Timeline,
        /// The last primary's.
        theirs: Timeline,
        /// The last primary.
        primary: NodeName,
    },
    /// It is on a timeline that nobody but a person made.
    MadeByHand {
        /// Where that left the others'.
        until: Position,
    },
}

/// What speaks against a node whose WAL ends on this timeline, if that is known.
#[must_use]
pub fn objection(node: &NodeName, timeline: Option<Timeline>, on_record: &OnRecord) -> Option<Objection> {
    if let Some(lacks) = on_record.lacks.get(node) {
        return Some(Objection::StruckOff(lacks.clone()));
    }
    let ((primary, theirs), ours) = (on_record.last.as_ref()?, timeline?);
    let witnessed = on_record.witnessed.get(node).is_some_and(|witnessed| witnessed >= theirs);
    (ours < *theirs && !witnessed).then(|| Objection::LacksTimeline { ours, theirs: *theirs, primary: primary.clone() })
}

/// Whether a node that has this position may be promoted, given what the others have told.
///
/// # Errors
/// What speaks against it.
pub fn confirm(
    node: &NodeName,
    position: Position,
    others: &[(NodeName, Vote)],
    on_record: &OnRecord,
) -> Result<(), Objection> {
    let Some(found) = objection(node, Some(position.timeline), on_record) else { return Ok(()) };
    let trusted = others.iter().filter_map(|(other, vote)| Some((other, vote.reach()?.position)));
    let mut trusted = trusted.filter(|(other, at)| objection(other, Some(at.timeline), on_record).is_none());
    if trusted.any(|(_, at)| at <= position) { Ok(()) } else { Err(found) }
}

/// Whether a node stands for election all the same: what it lacks the last primary has, which runs as a standby, and against
/// which nothing speaks. It is promoted if need be, where a ban keeps that one from it, when it has fetched all of that: the election
/// sees to it ([`confirm`]).
#[must_use]
pub fn may_fetch(node: &NodeName, against: &Objection, on_record: &OnRecord, standbys: &[NodeName]) -> bool {
    let Some((last, _)) = &on_record.last else { return false };
    let is_there = last != node && standbys.contains(last) && !on_record.lacks.contains_key(last);
    is_there && matches!(against, Objection::StruckOff(_) | Objection::LacksTimeline { .. })
}

/// Whether another node may have gone on without this one, which has just come back, and nobody is there who would know.
#[must_use]
pub fn may_have_been_passed_over(
    own: &NodeName,
    nodes: &[NodeName],
    present: &[NodeName],
    on_record: &OnRecord,
) -> bool {
    let Some((last, _)) = &on_record.last else { return false };
    if present.len() * 2 > nodes.len() {
        return false;
    }
    if last != own {
        return !present.contains(last);
    }
    let absent = nodes.iter().filter(|node| *node != own && !present.contains(node));
    absent.filter(|node| !on_record.lacks.contains_key(node)).count() > 0
}

/// The score that a node gives itself when its instance starts, if it is to be another one. Without a promoted instance nobody
/// judges the standbys, so each against which nothing speaks is a candidate, and the election decides. With one, a score from
/// earlier is out of date: the primary will give a new one. Minus infinity and not just no score: a constraint of plus
/// infinity would demote the primary for this node.
#[must_use]
pub fn score_at_start(now: Option<Score>, may_stand: bool) -> Option<Score> {
    match (may_stand, now) {
        (false, _) => Some(Score::NEVER),
        (true, Some(score)) if score.allows_promotion() => None,
        (true, _) => Some(Score::CANDIDATE),
    }
}

/// Whether a standby without a primary stands again that may not be promoted by its score.
#[must_use]
pub fn stands_again(now: Option<Score>, promoted_elsewhere: bool, objected: bool) -> bool {
    !now.is_some_and(Score::allows_promotion) && !promoted_elsewhere && !objected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Lsn;
    use proptest::prelude::*;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn at(timeline: u32, end: u64) -> Position {
        Position { timeline: Timeline(timeline), end: Lsn(end) }
    }

    fn lacks() -> Lacks {
        Lacks { from: Some(at(1, 50)), since: "20261124T080000Z".to_owned(), why: "it was not connected".to_owned() }
    }

    /// srv1 was the last primary, on timeline 2.
    fn on_record(struck: &[&str], witnesses: &[&str]) -> OnRecord {
        OnRecord {
            lacks: struck.iter().map(|name| (node(name), lacks())).collect(),
            last: Some((node("srv1"), Timeline(2))),
            witnessed: witnesses.iter().map(|name| (node(name), Timeline(2))).collect(),
        }
    }

    #[test]
    fn what_speaks_against_a_node() {
        for (struck, witnesses, timeline, expected) in [
            (&[][..], &[][..], Some(2), ""),
            (&[], &[], Some(3), ""),
            (&[], &[], None, ""),
            (&["srv2"], &[], Some(2), "struck off"),
            (&["srv2"], &[], None, "struck off"),
            (&["srv3"], &[], Some(2), ""),
            (&[], &[], Some(1), "timeline"),
            (&[], &["srv3"], Some(1), "timeline"),
            (&[], &["srv2"], Some(1), ""),
            (&["srv2"], &["srv2"], Some(1), "struck off"),
        ] {
            let found = match objection(&node("srv2"), timeline.map(Timeline), &on_record(struck, witnesses)) {
                None => "",
                Some(Objection::StruckOff(_)) => "struck off",
                Some(Objection::LacksTimeline { .. }) => "timeline",
                Some(Objection::MadeByHand { .. }) => "made by hand",
            };
            assert_eq!(found, expected, "{struck:?} {witnesses:?} {timeline:?}");
        }
        assert_eq!(objection(&node("srv2"), Some(Timeline(1)), &OnRecord::default()), None);
    }

    #[test]
    fn the_comparison_with_a_node_against_which_nothing_speaks_says_all() {
        let allowed = |ours: Position, others: &[(&str, Vote)], struck: &[&str]| {
            let others: Vec<_> = others.iter().map(|(name, vote)| (node(name), vote.clone())).collect();
            confirm(&node("srv2"), ours, &others, &on_record(struck, &[])).is_ok()
        };
        let told = |timeline, end| Vote::At(at(timeline, end).into());
        // The last primary itself, with as much or less.
        assert!(allowed(at(2, 50), &[("srv1", told(2, 50))], &["srv2"]));
        assert!(allowed(at(2, 50), &[("srv1", told(2, 40))], &["srv2"]));
        // Of two that were struck off neither says anything about what was lost.
        assert!(!allowed(at(2, 50), &[("srv3", told(2, 40))], &["srv2", "srv3"]));
        assert!(allowed(at(2, 50), &[("srv3", told(2, 40))], &["srv2"]));
        // One that lacks the last timeline, too.
        assert!(!allowed(at(1, 90), &[("srv3", told(1, 40))], &[]));
        for silent in [Vote::Silent, Vote::Void, Vote::Unknown { why: String::new(), at_least: Some(at(2, 1)) }] {
            assert!(!allowed(at(2, 50), &[("srv1", silent)], &["srv2"]));
        }
        assert!(!allowed(at(2, 50), &[], &["srv2"]));
        assert!(allowed(at(2, 50), &[], &[]));
    }

    #[test]
    fn who_can_fetch_what_it_lacks_from_the_last_primary_stands() {
        let lacks_timeline = Objection::LacksTimeline { ours: Timeline(1), theirs: Timeline(2), primary: node("srv1") };
        let struck_off = Objection::StruckOff(lacks());
        let by_hand = Objection::MadeByHand { until: at(1, 50) };
        for (own, against, struck, standbys, expected) in [
            ("srv2", &struck_off, &["srv2"][..], &["srv1", "srv2"][..], true),
            ("srv2", &lacks_timeline, &[], &["srv1", "srv2"], true),
            ("srv2", &by_hand, &[], &["srv1", "srv2"], false),
            // It is away, or lacks something as well.
            ("srv2", &struck_off, &["srv2"], &["srv2", "srv3"], false),
            ("srv2", &struck_off, &["srv1", "srv2"], &["srv1", "srv2"], false),
            ("srv2", &lacks_timeline, &["srv1"], &["srv1", "srv2"], false),
            // It is the node itself.
            ("srv1", &struck_off, &["srv1"], &["srv1", "srv2"], false),
        ] {
            let standbys: Vec<_> = standbys.iter().map(|name| node(name)).collect();
            let may = may_fetch(&node(own), against, &on_record(struck, &[]), &standbys);
            assert_eq!(may, expected, "{own} {against:?} {struck:?} {standbys:?}");
        }
        assert!(!may_fetch(&node("srv2"), &struck_off, &OnRecord::default(), &[node("srv1"), node("srv2")]));
    }

    #[test]
    fn who_comes_back_alone_may_have_been_passed_over() {
        let passed_over = |own: &str, nodes: &[&str], present: &[&str], struck: &[&str]| {
            let nodes: Vec<_> = nodes.iter().map(|name| node(name)).collect();
            let present: Vec<_> = present.iter().map(|name| node(name)).collect();
            may_have_been_passed_over(&node(own), &nodes, &present, &on_record(struck, &[]))
        };
        let (two, three) = (["srv1", "srv2"], ["srv1", "srv2", "srv3"]);
        for (own, nodes, present, struck, expected) in [
            ("srv2", &two[..], &["srv2"][..], &[][..], true),
            ("srv2", &two, &["srv1", "srv2"], &[], false),
            // The last primary itself: whoever was there could have taken its place.
            ("srv1", &two, &["srv1"], &[], true),
            ("srv1", &two, &["srv1"], &["srv2"], false),
            ("srv1", &["srv1"], &["srv1"], &[], false),
            // With a majority of the nodes is somebody who was there.
            ("srv2", &three, &["srv2", "srv3"], &[], false),
            ("srv2", &three, &["srv2"], &[], true),
            ("srv1", &three, &["srv1"], &["srv2"], true),
            ("srv1", &three, &["srv1"], &["srv2", "srv3"], false),
            ("srv3", &["srv1", "srv2", "srv3", "srv4"], &["srv3", "srv4"], &[], true),
            ("srv3", &["srv1", "srv2", "srv3", "srv4"], &["srv1", "srv3"], &[], false),
        ] {
            assert_eq!(
                passed_over(own, nodes, present, struck),
                expected,
                "{own} of {nodes:?} with {present:?}, {struck:?}"
            );
        }
        assert!(!may_have_been_passed_over(&node("srv2"), &[node("srv1"), node("srv2")], &[], &OnRecord::default()));
    }

    #[test]
    fn who_stands() {
        let (high, low) = (Some(Score::of_rank(0)), Some(Score::NEVER));
        for (now, may_stand, expected) in [
            (None, true, Some(Score::CANDIDATE)),
            (low, true, Some(Score::CANDIDATE)),
            (high, true, None),
            (None, false, low),
            (high, false, low),
        ] {
            assert_eq!(score_at_start(now, may_stand), expected, "{now:?} {may_stand}");
        }
        assert!(stands_again(low, false, false) && stands_again(None, false, false));
        assert!(
            !stands_again(high, false, false) && !stands_again(low, true, false) && !stands_again(low, false, true)
        );
    }

    proptest! {
        /// Whoever is promoted against an objection has at least what somebody has against whom nothing speaks.
        #[test]
        fn nobody_with_an_objection_is_promoted_by_itself(
            ours in (1_u32..4, 0_u64..5), theirs in (1_u32..4, 0_u64..5), struck: (bool, bool), witness: bool,
        ) {
            let all = [("srv2", struck.0), ("srv3", struck.1)];
            let names: Vec<_> = all.iter().filter(|(_, struck)| *struck).map(|(name, _)| *name).collect();
            let record = on_record(&names, if witness { &["srv3"] } else { &[] });
            let (ours, theirs) = (at(ours.0, ours.1), at(theirs.0, theirs.1));
            let others = [(node("srv3"), Vote::At(theirs.into()))];
            let against = objection(&node("srv2"), Some(ours.timeline), &record).is_some();
            let trusted = objection(&node("srv3"), Some(theirs.timeline), &record).is_none();
            let allowed = confirm(&node("srv2"), ours, &others, &record).is_ok();
            prop_assert_eq!(allowed, !against || trusted && theirs <= ours);
        }
    }
}
