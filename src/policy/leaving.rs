//! What does an instance that is stopped leave on record, so that no other node is promoted without it?
//!
//! | the instance | leaves |
//! |---|---|
//! | primary, stopped cleanly | its shutdown checkpoint |
//! | primary, stopped by force | the end of its WAL on disk |
//! | standby, and no other node is a primary | what a demotion or its vote said, else the end of its WAL on disk |
//! | standby of a primary | the end of its WAL on disk: the primary has more, and may be lost next |
//! | was down before the stop | its shutdown checkpoint as a primary, and what a demotion or its vote said |
//!
//! Where it is left: when the same transition starts the instance again, with the attribute daemon, which starts no
//! transition. When it does not, permanently, because the node may leave the cluster next. What a standby of a primary leaves is
//! with the attribute daemon as well: it is overtaken in a moment, and when the node leaves, it is one that was lost.
//!
//! What is left is withdrawn by a `start` that has succeeded, and by nothing else that the agent does: an instance that
//! cannot be started still has its data. It does not count against a node on a younger timeline, nor in an election in which its
//! node has told its position itself.

use crate::types::{Lsn, Position, Role};

/// How the stop found the instance, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By this stop, cleanly.
    Fast,
    /// By this stop, by force.
    Forced,
    /// It was down.
    Before,
}

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// How it ended.
    pub ended: Ended,
    /// What it was by its control file.
    pub role: Role,
    /// The shutdown checkpoint of a primary that was stopped cleanly.
    pub checkpoint: Option<Position>,
    /// What this node has published itself since the last promotion: when it was demoted, or as its vote.
    pub told: Option<Position>,
    /// Another node is a primary.
    pub primary_elsewhere: bool,
}

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing new.
    Nothing,
    /// This.
    At(Position),
    /// The end of WAL on disk, which has to be looked for.
    EndOfWal,
}

/// What the instance leaves.
#[must_use]
pub fn left(facts: &Facts) -> Left {
    let told = facts.told.map(Left::At);
    match (facts.ended, facts.role, facts.checkpoint) {
        (Ended::Fast | Ended::Forced, _, Some(checkpoint)) => Left::At(checkpoint),
        // A demotion may have ended it, and been killed before it told.
        (Ended::Before, _, _) => facts.told.max(facts.checkpoint).map_or(Left::Nothing, Left::At),
        // What it told before that primary was promoted may be less.
        (_, Role::Standby, _) if facts.primary_elsewhere => Left::EndOfWal,
        (_, Role::Standby, _) => told.unwrap_or(Left::EndOfWal),
        (Ended::Fast | Ended::Forced, Role::Primary, _) => Left::EndOfWal,
    }
}

/// Whether it is left permanently, by whether the same transition starts the instance again.
#[must_use]
pub fn is_permanent(facts: &Facts, restarts: bool) -> bool {
    let is_soon_overtaken = facts.role == Role::Standby && facts.primary_elsewhere;
    !(restarts || is_soon_overtaken)
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
    use crate::types::Timeline;

    fn at(end: u64) -> Position {
        Position { timeline: Timeline(1), end: Lsn(end) }
    }

    #[test]
    fn every_stop() {
        use Ended::{Before, Fast, Forced};
        use Role::{Primary, Standby};
        let (checkpoint, told) = (Some(at(90)), Some(at(80)));
        for (ended, role, checkpoint, told, primary_elsewhere, expected) in [
            (Fast, Primary, checkpoint, None, false, Left::At(at(90))),
            (Fast, Primary, checkpoint, told, true, Left::At(at(90))),
            (Forced, Primary, None, None, false, Left::EndOfWal),
            (Forced, Primary, None, None, true, Left::EndOfWal),
            (Fast, Primary, None, None, false, Left::EndOfWal),
            (Fast, Standby, None, None, true, Left::EndOfWal),
            (Forced, Standby, None, told, true, Left::EndOfWal),
            (Fast, Standby, None, None, false, Left::EndOfWal),
            (Forced, Standby, None, None, false, Left::EndOfWal),
            (Fast, Standby, None, told, false, Left::At(at(80))),
            (Before, Standby, None, None, false, Left::Nothing),
            (Before, Primary, None, None, false, Left::Nothing),
            (Before, Standby, None, told, false, Left::At(at(80))),
            (Before, Primary, checkpoint, None, false, Left::At(at(90))),
            (Before, Primary, checkpoint, told, false, Left::At(at(90))),
        ] {
            let facts = Facts { ended, role, checkpoint, told, primary_elsewhere };
            assert_eq!(left(&facts), expected, "{facts:?}");
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
            let facts = Facts { ended: Ended::Fast, role, checkpoint: None, told: None, primary_elsewhere };
            assert_eq!(is_permanent(&facts, restarts), expected, "{facts:?}");
        }
    }

    #[test]
    fn who_has_the_same_end_lacks_nothing() {
        assert!(last_before(at(100)) < at(100));
        assert!(last_before(at(100)) >= at(99));
        assert_eq!(last_before(at(0)), at(0));
    }
}
