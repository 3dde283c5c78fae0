//! Did Pacemaker make this instance the primary, and who made the timeline that an instance is on?
//!
//! An instance that takes writes is the primary of the cluster only when the agent has promoted it. One that a person has
//! promoted or started by hand must not write scores, nor the record: it would look like the primary, and the true one
//! would be demoted for it.
//!
//! | the primary | is |
//! |---|---|
//! | the agent ordered the promotion of this very server | ours, and nothing else is asked |
//! | the record names this node, on this timeline | ours: the order's note was lost, or an earlier version promoted it |
//! | there is no record, and no other primary | ours: nothing says otherwise, and there is nobody to protect |
//! | any other | made by hand |
//!
//! A standby may be on a timeline that the record does not know, or not yet: the primary writes it some seconds after its
//! promotion. Such a timeline is believed when a promotion of the agent was to make a timeline of that number. Any other one is a
//! fork: it is not younger than the record's, and what is on it is worth nothing but for the part that both have in common. So is
//! one that has the number of the record's and is another one, and one that was seen to be made by hand, whatever its number.

use crate::types::{Common, History, Lsn, NodeName, Position, Stretch, Timeline};

/// What is known of a server that takes writes.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// This node.
    pub own: &'a NodeName,
    /// The timeline that it writes.
    pub timeline: Timeline,
    /// The last primary and its timeline.
    pub record: Option<(&'a NodeName, Timeline)>,
    /// Another node has published that it is a primary.
    pub primary_elsewhere: bool,
}

/// Who made this instance the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Pacemaker, through the agent.
    Ours,
    /// A person.
    ByHand,
}

/// Who did, of a server that the agent is not known to have promoted.
#[must_use]
pub fn origin(facts: &Facts<'_>) -> Origin {
    let is_ours = match facts.record {
        Some((primary, timeline)) => primary == facts.own && timeline == facts.timeline,
        None => !facts.primary_elsewhere,
    };
    if is_ours { Origin::Ours } else { Origin::ByHand }
}

/// What is known of the timeline that an instance's WAL ends on.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// Its history. What is not known of the promotions is not compared.
    pub history: &'a History,
    /// The record's.
    pub record: &'a History,
    /// This very timeline was seen to be made by a person.
    pub by_hand: bool,
}

/// Where an instance has left the record's line for a timeline that nobody but a person made, and no promotion of the agent was
/// to make. `None` when it has not. An older timeline that nobody has seen being made is none of this: it may be all that is left.
#[must_use]
pub fn fork(line: &Line<'_>) -> Option<Position> {
    let (Line { history, record, by_hand }, last) = (line, line.history.last());
    let begin = by_hand.then_some(last.begin);
    let end = match history.common(record) {
        _ if last.timeline < record.last().timeline && !by_hand => None,
        Common::All => begin,
        Common::Until(end) => Some(begin.map_or(end, |begin| end.min(begin))),
        Common::Nothing => Some(Lsn(0)),
    };
    end.map(|end| Position { timeline: record.timeline_at(end), end })
}

/// The timeline of a primary that a person has made, if it is one of its own: the record's line does not have it. One that was
/// started by hand is on a timeline that may be the cluster's.
#[must_use]
pub fn made_by_hand(history: &History, record: &History) -> Option<Stretch> {
    let last = history.last();
    (!record.stretches().iter().any(|stretch| stretch.is_same(&last))).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_primary() {
        let (own, other): (NodeName, NodeName) = ("srv1".parse().unwrap(), "srv2".parse().unwrap());
        for (record, elsewhere, expected) in [
            (Some((&own, 2)), false, Origin::Ours),
            (Some((&own, 2)), true, Origin::Ours),
            (Some((&own, 1)), false, Origin::ByHand),
            (Some((&other, 2)), false, Origin::ByHand),
            (Some((&other, 1)), true, Origin::ByHand),
            (None, false, Origin::Ours),
            (None, true, Origin::ByHand),
        ] {
            let record = record.map(|(node, timeline)| (node, Timeline(timeline)));
            let facts = Facts { own: &own, timeline: Timeline(2), record, primary_elsewhere: elsewhere };
            assert_eq!(origin(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn every_line() {
        for (history, record, by_hand, expected) in [
            ("1@0/0 2@0/500", "1@0/0 2@0/500#a", false, ""),
            ("1@0/0 2@0/500#a", "1@0/0 2@0/500#a", false, ""),
            ("1@0/0", "1@0/0 2@0/500", false, ""),
            // Younger, and no promotion of the agent was to make it.
            ("1@0/0 2@0/500 3@0/600", "1@0/0 2@0/500#a", false, "0/600 on timeline 2"),
            // Of the same number, and another one.
            ("1@0/0 2@0/500#a", "1@0/0 2@0/500#b", false, "0/500 on timeline 1"),
            ("1@0/0 2@0/400", "1@0/0 2@0/500#b", false, "0/400 on timeline 1"),
            ("1@0/0 2@0/600", "1@0/0 2@0/500#b", false, "0/500 on timeline 1"),
            // Seen to be made by hand.
            ("1@0/0 2@0/500", "1@0/0 2@0/500", true, "0/500 on timeline 1"),
            ("1@0/0 2@0/500", "1@0/0 2@0/500 3@0/600", true, "0/500 on timeline 1"),
            ("1@0/0 2@0/500", "1@0/0 3@0/400", true, "0/400 on timeline 1"),
            ("1@0/0 2@0/500 3@0/600", "1@0/0 2@0/500", true, "0/600 on timeline 2"),
            // It left the line before the last promotion.
            ("1@0/0 3@0/400", "1@0/0 2@0/500", false, "0/400 on timeline 1"),
            ("1@0/0 3@0/700", "1@0/0 2@0/500", false, "0/500 on timeline 1"),
            // A lost primary's, older than the record's.
            ("1@0/0 2@0/500", "1@0/0 3@0/400", false, ""),
            ("5@0/0", "1@0/0 2@0/500", false, "0/0 on timeline 1"),
        ] {
            let (history, record): (History, History) = (history.parse().unwrap(), record.parse().unwrap());
            let found = fork(&Line { history: &history, record: &record, by_hand });
            assert_eq!(found.map(|at| at.to_string()).unwrap_or_default(), expected, "{history} and {record}");
        }
    }

    #[test]
    fn a_timeline_of_the_clusters_is_not_made_by_hand_though_its_primary_is() {
        for (history, record, expected) in [
            ("1@0/0", "1@0/0 2@0/500", None),
            ("1@0/0 2@0/500", "1@0/0 2@0/500#a", None),
            ("1@0/0 2@0/500#b", "1@0/0 2@0/500#a", Some(2)),
            ("1@0/0 2@0/400", "1@0/0 3@0/500", Some(2)),
            ("1@0/0 2@0/500 3@0/600", "1@0/0 2@0/500", Some(3)),
        ] {
            let found = made_by_hand(&history.parse().unwrap(), &record.parse().unwrap());
            assert_eq!(found.map(|stretch| stretch.timeline.0), expected, "{history} and {record}");
        }
    }
}
