//! What a node says of itself before a promotion.

use super::{Lsn, Position};

/// How far a node's WAL reaches, and what speaks against promoting that very node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Where its WAL ends.
    pub position: Position,
    /// How many bytes of it are not replayed yet: the node has to do that before it takes writes.
    pub to_replay: u64,
    /// Whether another node could fetch all of it now. A standby sends what it has replayed, or has received since its
    /// start (`GetStandbyFlushRecPtr` in PostgreSQL's walsender.c), and not what lies in its files beyond that.
    pub serves: bool,
    /// Whether it was seen to replay, and will be at it for longer than a promotion should take, which would only wait for that.
    pub replaying: bool,
    /// Why it should not be promoted itself, where there is a reason.
    pub unfit: Option<String>,
}

impl From<Position> for Reach {
    /// A node with nothing left to replay and nothing against it.
    fn from(position: Position) -> Self {
        Reach { position, to_replay: 0, serves: true, replaying: false, unfit: None }
    }
}

impl Reach {
    /// The end of its WAL.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.position.end
    }
}

/// What a present node says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vote {
    /// Its WAL ends here.
    At(Reach),
    /// It cannot tell, with the reason and what it holds at least.
    Unknown {
        /// Why.
        why: String,
        /// What it certainly has, where it knows that.
        at_least: Option<Position>,
    },
    /// It cannot be promoted before it gets WAL that it does not have, and is not consistent before that. That it waits for this
    /// tells it no more.
    Incomplete {
        /// Why.
        why: String,
        /// Where the WAL that it has ends.
        until: Position,
    },
    /// It takes writes.
    Primary,
    /// It has not voted.
    Silent,
    /// It holds nothing that counts: it is being made a copy of a primary, or waits for that.
    Void,
    /// It is on a timeline that nobody but a person made, which counts up to where it forked off.
    Fork(Position),
}

impl Vote {
    /// The end of its WAL, where it knows that.
    #[must_use]
    pub fn reach(&self) -> Option<&Reach> {
        match self {
            Vote::At(reach) => Some(reach),
            Vote::Unknown { .. }
            | Vote::Incomplete { .. }
            | Vote::Primary
            | Vote::Silent
            | Vote::Void
            | Vote::Fork(_) => None,
        }
    }

    /// Whether another look may tell more.
    #[must_use]
    pub fn may_change(&self) -> bool {
        matches!(self, Vote::Unknown { .. } | Vote::Silent)
    }

    /// What it certainly has.
    #[must_use]
    pub fn at_least(&self) -> Option<Position> {
        match self {
            Vote::At(reach) => Some(reach.position),
            Vote::Unknown { at_least, .. } => *at_least,
            Vote::Incomplete { until, .. } => Some(*until),
            Vote::Primary | Vote::Silent | Vote::Void | Vote::Fork(_) => None,
        }
    }
}
