//! What does an instance that is stopped leave on record, so that no other node is promoted without it?
//!
//! | the instance | leaves |
//! |---|---|
//! | primary that ended cleanly, by this stop or before | its shutdown checkpoint |
//! | any other, however it ended: by this stop, by force, in a crash, with its node's power | the end of its WAL on disk |
//! | half rewound or cloned, or another cluster's | nothing new |
//!
//! It is never less than what a demotion or its vote said. A standby of a primary leaves it as well: the primary has more, and
//! may be lost next. A crashed primary has rows that it alone acknowledged, for as long as it can be started again.
//!
//! Where it is left: when the same transition starts the instance again, with the attribute daemon, which starts no
//! transition: a crash costs no failover, and binds nobody for longer than the start takes. When it does not (the start has
//! failed, or the node had its `migration-threshold`), permanently, because the node may leave the cluster next. What a standby
//! of a primary leaves is with the attribute daemon as well: it is overtaken in a moment, and when the node leaves, it is one
//! that was lost.
//!
//! What is left is withdrawn when the primary on record has it, which is this node, or one that this node follows on its timeline
//! ([`is_overtaken`]), and by nothing else that the agent does: an instance that cannot be started still has its data, and one
//! that was started may not be heard in the next election. It does not count against a node on a younger timeline, nor in an
//! election in which its node has told its position itself.
//!
//! A person gives up what a node left: that is on record in place of it, until it would be withdrawn. Whatever starts in vain, or
//! is stopped again, leaves no more than was given up ([`is_given_up`]), and nothing is left then.

use crate::types::{Lsn, NodeName, Position, Role, Timeline};

/// More than the record of a checkpoint takes, with the header of a page in it. Where a primary was stopped cleanly, that is the
/// last one: what was left is where it begins, and what the same instance leaves after a start as a standby is where it ends.
const RECORD: u64 = 256;

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// What it was by its control file.
    pub role: Role,
    /// The shutdown checkpoint of a primary that ended cleanly.
    pub checkpoint: Option<Position>,
    /// What this node has published itself since the last promotion: when it was demoted, or as its vote.
    pub told: Option<Position>,
    /// Another node is a primary.
    pub primary_elsewhere: bool,
    /// What is in the directory counts for nothing: it is half rewound or cloned, or another cluster's.
    pub is_void: bool,
}

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing new.
    Nothing,
    /// This.
    At(Position),
    /// The end of WAL on disk, which has to be looked for, and this at least.
    EndOfWal(Option<Position>),
}

/// What the instance leaves.
#[must_use]
pub fn left(facts: &Facts) -> Left {
    match facts.checkpoint {
        _ if facts.is_void => facts.told.map_or(Left::Nothing, Left::At),
        // A demotion may have told more, and been followed by a recovery.
        Some(checkpoint) => Left::At(facts.told.map_or(checkpoint, |told| told.max(checkpoint))),
        None => Left::EndOfWal(facts.told),
    }
}

/// Whether it is left permanently, by whether the same transition starts the instance again.
#[must_use]
pub fn is_permanent(facts: &Facts, restarts: bool) -> bool {
    let is_soon_overtaken = facts.role == Role::Standby && facts.primary_elsewhere;
    !(restarts || is_soon_overtaken)
}

/// Whether a person has given up what a node would leave.
#[must_use]
pub fn is_given_up(left: Position, given_up: Option<Position>) -> bool {
    given_up.is_some_and(|until| left <= Position { end: Lsn(until.end.0.saturating_add(RECORD)), ..until })
}

/// Whether nobody needs to know any more what this node left: the primary on record has it. That is this node, or one that is
/// there while this node streams on its timeline, from wherever. Another standby may have less, and be streamed from.
#[must_use]
pub fn is_overtaken(
    (own, role, timeline): (&NodeName, Role, Timeline),
    on_record: Option<(&NodeName, Timeline)>,
    there: &[(NodeName, Timeline)],
) -> bool {
    on_record.is_some_and(|(primary, last)| {
        let is_alive = there.iter().any(|(node, on)| node == primary && *on == last);
        is_alive && timeline == last && (primary == own) == (role == Role::Primary)
    })
}

/// The last byte before an end of WAL. What is left is the position of something that the node has: whoever ends there, or
/// before, lacks it. For a primary it is where its shutdown checkpoint begins.
#[must_use]
pub fn last_before(end: Position) -> Position {
    Position { end: Lsn(end.end.0.saturating_sub(1)), ..end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(end: u64) -> Position {
        Position { timeline: Timeline(1), end: Lsn(end) }
    }

    #[test]
    fn every_stop() {
        let (low, high) = (Some(at(80)), Some(at(90)));
        for (checkpoint, told, is_void, expected) in [
            (high, None, false, Left::At(at(90))),
            (high, low, false, Left::At(at(90))),
            (low, high, false, Left::At(at(90))),
            (None, None, false, Left::EndOfWal(None)),
            (None, low, false, Left::EndOfWal(low)),
            (None, None, true, Left::Nothing),
            (high, None, true, Left::Nothing),
            (high, low, true, Left::At(at(80))),
        ] {
            for (role, primary_elsewhere) in [Role::Primary, Role::Standby].into_iter().zip([false, true]) {
                let facts = Facts { role, checkpoint, told, primary_elsewhere, is_void };
                assert_eq!(left(&facts), expected, "{facts:?}");
            }
        }
    }

    #[test]
    fn what_a_primary_has_more_of_is_not_left_for_ever() {
        use Role::{Primary, Standby};
        for (role, primary_elsewhere, restarts, expected) in [
            (Primary, false, false, true),
            (Primary, true, false, true),
            (Standby, false, false, true),
            (Standby, true, false, false),
            (Primary, false, true, false),
            (Standby, false, true, false),
        ] {
            let facts = Facts { role, checkpoint: None, told: None, primary_elsewhere, is_void: false };
            assert_eq!(is_permanent(&facts, restarts), expected, "{facts:?}");
        }
    }

    #[test]
    fn what_a_person_gave_up_ends_with_the_record_that_begins_there() {
        let on = |timeline, end| Position { timeline: Timeline(timeline), end: Lsn(end) };
        // Seen, 15: a shutdown checkpoint takes 120 bytes.
        for (left, given_up, expected) in [
            (on(1, 1000), None, false),
            (on(1, 1000), Some(on(1, 1000)), true),
            (on(1, 900), Some(on(1, 1000)), true),
            (on(1, 1119), Some(on(1, 1000)), true),
            (on(1, 8000), Some(on(1, 1000)), false),
            (on(1, 8000), Some(on(2, 1000)), true),
            (on(2, 900), Some(on(1, 1000)), false),
        ] {
            assert_eq!(is_given_up(left, given_up), expected, "{left} {given_up:?}");
        }
    }

    #[test]
    fn a_node_speaks_for_itself_when_the_primary_on_record_has_what_it_has() {
        use Role::{Primary, Standby};
        let [a, b] = ["a", "b"].map(|name| name.parse::<NodeName>().unwrap());
        for (role, timeline, on_record, there, expected) in [
            (Standby, 2, Some((&b, 2)), &[(&b, 2)][..], true),
            (Primary, 2, Some((&a, 2)), &[(&a, 2)], true),
            // It streams from another standby.
            (Standby, 2, Some((&b, 2)), &[], false),
            (Standby, 2, Some((&a, 2)), &[], false),
            // What it said as a primary is there yet.
            (Standby, 2, Some((&a, 2)), &[(&a, 2)], false),
            // The new primary is not on record yet.
            (Standby, 3, Some((&b, 2)), &[(&b, 3)], false),
            (Standby, 2, Some((&b, 2)), &[(&b, 3)], false),
            (Primary, 3, Some((&a, 2)), &[(&a, 3)], false),
            (Primary, 2, Some((&b, 2)), &[(&a, 2), (&b, 2)], false),
            (Standby, 1, Some((&b, 2)), &[(&b, 2)], false),
            (Standby, 2, None, &[(&b, 2)], false),
        ] {
            let there: Vec<_> = there.iter().map(|(node, on)| ((*node).clone(), Timeline(*on))).collect();
            let on_record = on_record.map(|(node, last)| (node, Timeline(last)));
            let found = is_overtaken((&a, role, Timeline(timeline)), on_record, &there);
            assert_eq!(found, expected, "{role:?} {timeline} {on_record:?} {there:?}");
        }
    }

    #[test]
    fn who_has_the_same_end_lacks_nothing() {
        assert!(last_before(at(100)) < at(100));
        assert!(last_before(at(100)) >= at(99));
        assert_eq!(last_before(at(0)), at(0));
    }
}
