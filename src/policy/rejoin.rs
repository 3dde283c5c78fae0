//! What becomes of an instance that comes back, or that cannot follow?
//!
//! The instance's own WAL is compared with the history of the present primary. WAL up to the point where
//! the two histories part is common to both; what the instance has beyond it exists nowhere else.
//!
//! | the instance | `none` | `rewind` | `clone` |
//! |---|---|---|---|
//! | can follow | is started | is started | is started |
//! | has diverged | refused | is rewound | is rewound; if that cannot work, cloned |
//! | is too far behind | refused | refused | is cloned |
//! | is an empty directory | refused | refused | is cloned |
//! | the same, and there is no primary | refused | refused | waits for one |
//! | belongs to another cluster | refused | refused | refused |
//!
//! Nothing is done without a primary that takes writes: an instance that has diverged from a primary that is
//! gone may be all that is left, and the election compares it with the others. An empty directory has nothing to
//! compare, so it waits without a say, for as long as there is somebody who may become the primary, and says so
//! when there is nobody: then a person has to put a database on one of the nodes.

use std::fmt;

use crate::types::{Common, History, Lsn, SystemId, Timeline};

/// The value of the parameter `rejoin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoin {
    /// A person does it.
    None,
    /// An instance that has diverged is rewound.
    Rewind,
    /// What cannot be rewound is made anew from the primary.
    Clone,
}

/// The WAL of the local instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnWal {
    /// Whose copy it is.
    pub system: SystemId,
    /// The history of the timeline that its WAL ends on.
    pub history: History,
    /// The end of its WAL; `None` while it is not known, and not needed when the timeline is the primary's.
    pub end: Option<Lsn>,
}

/// The primary that is followed, or the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Whose copy it is.
    pub system: SystemId,
    /// The history of the timeline that it writes.
    pub history: History,
}

/// How the local instance stands to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its WAL is the beginning of the primary's.
    CanFollow,
    /// It has WAL that the primary's history does not.
    Diverged(Divergence),
    /// It belongs to another cluster.
    Foreign {
        /// Its system identifier.
        ours: SystemId,
        /// The primary's.
        theirs: SystemId,
    },
    /// Its end of WAL has to be known first.
    NeedsEnd,
}

/// Where and how far an instance has left the primary's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The end of the common WAL.
    pub fork: Lsn,
    /// The timeline that the instance's own WAL is on.
    pub timeline: Timeline,
    /// The end of the instance's own WAL.
    pub end: Lsn,
    /// Both wrote a timeline of the same number, and `pg_rewind` would not see where they part.
    pub hidden: bool,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Divergence { fork, timeline, end, .. } = self;
        let bytes = end.bytes_beyond(*fork);
        write!(
            f,
            "it has diverged: the primary's timeline forked off at {fork}, and this instance went on to {end} on timeline {timeline}, {bytes} bytes further"
        )
    }
}

/// Compares. Without the end of the own WAL it says whether that is needed.
#[must_use]
pub fn standing(own: &OwnWal, reference: &Reference) -> Standing {
    if own.system != reference.system {
        return Standing::Foreign { ours: own.system, theirs: reference.system };
    }
    let fork = match own.history.common(&reference.history) {
        Common::All => return Standing::CanFollow,
        Common::Until(fork) => fork,
        Common::Nothing => Lsn(0),
    };
    match own.end {
        None => Standing::NeedsEnd,
        Some(end) if end <= fork => Standing::CanFollow,
        Some(end) => {
            let timeline = own.history.last().timeline;
            let hidden = is_hidden_from_pg_rewind(own, reference, fork);
            Standing::Diverged(Divergence { fork, timeline, end, hidden })
        }
    }
}

/// `pg_rewind` compares the numbers and forks of timelines, and nothing at all when the last numbers are
/// equal (`main` and `findCommonAncestorTimeline` in pg_rewind.c).
fn is_hidden_from_pg_rewind(own: &OwnWal, reference: &Reference, fork: Lsn) -> bool {
    let (ours, theirs) = (own.history.without_ids(), reference.history.without_ids());
    ours.last().timeline == theirs.last().timeline || ours.common(&theirs) != Common::Until(fork)
}

/// What has to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The instance has diverged, and whether its pages can be rewound: `Err` has the reason why not.
    Diverged(Divergence, Result<(), String>),
    /// The WAL that the instance needs next is gone from the primary.
    TooFarBehind {
        /// The end of the instance's WAL.
        end: Lsn,
        /// The oldest WAL that the primary has.
        oldest: Lsn,
    },
    /// There is no instance in the data directory.
    Empty,
    /// The instance belongs to another cluster.
    Foreign {
        /// Its system identifier.
        ours: SystemId,
        /// The primary's.
        theirs: SystemId,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Diverged(divergence, _) => divergence.fmt(f),
            Trouble::TooFarBehind { end, oldest } => {
                write!(f, "it is too far behind: it has WAL up to {end}, and the primary's oldest is {oldest}")
            }
            Trouble::Empty => write!(f, "its data directory is empty"),
            Trouble::Foreign { ours, theirs } => {
                write!(f, "it belongs to another cluster: its system identifier is {ours}, the primary's is {theirs}")
            }
        }
    }
}

/// How it is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// What only this instance has is kept aside, then it is rewound.
    Rewind,
    /// The directory is kept aside, then made anew from the primary.
    Clone,
    /// By a person: the reason, with the cure.
    Refuse(String),
}

/// Chooses the remedy that the parameter allows.
#[must_use]
pub fn remedy(trouble: &Trouble, rejoin: Rejoin) -> Remedy {
    const REWIND: &str = "set rejoin=rewind to have it kept aside and rewound, or run pg_rewind by hand";
    const CLONE: &str = "set rejoin=clone to have it made anew from the primary, or run pg_basebackup by hand";
    let cure = match (trouble, rejoin) {
        (Trouble::Foreign { .. }, _) => "correct pgdata or datadir, or empty the directory",
        (Trouble::Diverged(at, Ok(())), Rejoin::Rewind | Rejoin::Clone) if !at.hidden => return Remedy::Rewind,
        (_, Rejoin::Clone) => return Remedy::Clone,
        (Trouble::Diverged(at, Ok(())), Rejoin::None) if !at.hidden => REWIND,
        (Trouble::Diverged(at, _), _) if at.hidden => {
            return Remedy::Refuse(format!(
                "{trouble}; both wrote timelines of the same number, which pg_rewind cannot tell apart; {CLONE}"
            ));
        }
        (Trouble::Diverged(_, Err(why)), _) => {
            return Remedy::Refuse(format!("{trouble}; it cannot be rewound: {why}; {CLONE}"));
        }
        (Trouble::Diverged(..) | Trouble::TooFarBehind { .. } | Trouble::Empty, _) => CLONE,
    };
    Remedy::Refuse(format!("{trouble}; {cure}"))
}

/// Whether an instance that is down, while there is no primary, waits for one to be made from. Any other instance is
/// started or refused as it is.
#[must_use]
pub fn waits_for_primary(is_empty: bool, rejoin: Rejoin) -> bool {
    is_empty && rejoin == Rejoin::Clone
}

/// What becomes of a node that waits for a primary to be made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// The primary is there: it is cloned.
    Clone,
    /// Another node may become the primary.
    Wait,
    /// No other node may: there is nothing to be cloned, now and until a person changes that.
    Nobody,
    /// There is something in the directory, which the agent did not put there: the next start looks at it.
    Filled,
}

/// What the node has to expect. `candidates` are the other nodes that may be promoted by their scores.
#[must_use]
pub fn prospect(is_empty: bool, has_primary: bool, candidates: usize) -> Prospect {
    match (is_empty, has_primary, candidates) {
        (false, _, _) => Prospect::Filled,
        (true, true, _) => Prospect::Clone,
        (true, false, 0) => Prospect::Nobody,
        (true, false, _) => Prospect::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own(history: &str, end: Option<u64>) -> OwnWal {
        OwnWal { system: SystemId(7), history: history.parse().unwrap(), end: end.map(Lsn) }
    }

    fn reference(history: &str) -> Reference {
        Reference { system: SystemId(7), history: history.parse().unwrap() }
    }

    #[test]
    fn every_standing() {
        for (history, end, primary, expected) in [
            ("1@0/0", None, "1@0/0", "can follow"),
            ("1@0/0", None, "1@0/0 2@0/500", "needs its end"),
            ("1@0/0", Some(0x500), "1@0/0 2@0/500", "can follow"),
            ("1@0/0", Some(0x501), "1@0/0 2@0/500", "diverged at 0/500"),
            ("1@0/0 2@0/500", Some(0x600), "1@0/0 2@0/500 3@0/600", "can follow"),
            ("1@0/0 2@0/500", Some(0x600), "1@0/0 3@0/400", "diverged at 0/400"),
            // Two primaries at the same time: the one that is left may have the older timeline.
            ("1@0/0 2@0/500", Some(0x600), "1@0/0", "diverged at 0/500"),
            // Two promotions that did not know of each other.
            ("1@0/0 2@0/500#a", Some(0x600), "1@0/0 2@0/500#b", "diverged at 0/500, hidden"),
            ("1@0/0 2@0/500", Some(0x600), "1@0/0 2@0/400", "diverged at 0/400, hidden"),
            ("1@0/0 2@0/500#a", Some(0x600), "1@0/0 2@0/500#b 3@0/700#c", "diverged at 0/500, hidden"),
            ("3@0/0", Some(0x600), "1@0/0 2@0/400", "diverged at 0/0, hidden"),
        ] {
            let found = match standing(&own(history, end), &reference(primary)) {
                Standing::CanFollow => "can follow".to_owned(),
                Standing::NeedsEnd => "needs its end".to_owned(),
                Standing::Foreign { .. } => "foreign".to_owned(),
                Standing::Diverged(at) => format!("diverged at {}{}", at.fork, if at.hidden { ", hidden" } else { "" }),
            };
            assert_eq!(found, expected, "{history} {end:?} against {primary}");
        }
    }

    #[test]
    fn another_cluster_is_recognised_before_anything_else() {
        let foreign = OwnWal { system: SystemId(8), ..own("1@0/0", None) };
        let expected = Standing::Foreign { ours: SystemId(8), theirs: SystemId(7) };
        assert_eq!(standing(&foreign, &reference("1@0/0")), expected);
    }

    fn diverged(hidden: bool, rewindable: bool) -> Trouble {
        let divergence = Divergence { fork: Lsn(0x500), timeline: Timeline(1), end: Lsn(0x700), hidden };
        Trouble::Diverged(divergence, if rewindable { Ok(()) } else { Err("no checksums".to_owned()) })
    }

    /// The table of the parameter, cell by cell: `r`ewound, `c`loned, refused with the `cure`.
    #[test]
    fn every_remedy() {
        let behind = Trouble::TooFarBehind { end: Lsn(1), oldest: Lsn(2) };
        let foreign = Trouble::Foreign { ours: SystemId(1), theirs: SystemId(2) };
        for (trouble, none, rewind, clone) in [
            (diverged(false, true), "rejoin=rewind", "r", "r"),
            (diverged(false, false), "no checksums", "no checksums", "c"),
            (diverged(true, true), "same number", "same number", "c"),
            (behind, "rejoin=clone", "rejoin=clone", "c"),
            (Trouble::Empty, "rejoin=clone", "rejoin=clone", "c"),
            (foreign, "pgdata", "pgdata", "pgdata"),
        ] {
            for (rejoin, expected) in [(Rejoin::None, none), (Rejoin::Rewind, rewind), (Rejoin::Clone, clone)] {
                let matches = match remedy(&trouble, rejoin) {
                    Remedy::Rewind => expected == "r",
                    Remedy::Clone => expected == "c",
                    Remedy::Refuse(why) => why.contains(expected),
                };
                assert!(matches, "{trouble:?} with {rejoin:?} is not {expected}");
            }
        }
    }

    #[test]
    fn only_what_is_empty_and_may_be_cloned_waits() {
        for (is_empty, rejoin, waits) in [
            (true, Rejoin::None, false),
            (true, Rejoin::Rewind, false),
            (true, Rejoin::Clone, true),
            (false, Rejoin::Clone, false),
        ] {
            assert_eq!(waits_for_primary(is_empty, rejoin), waits, "{is_empty} {rejoin:?}");
        }
    }

    #[test]
    fn every_prospect_of_a_node_that_waits() {
        for (is_empty, has_primary, candidates, expected) in [
            (true, true, 0, Prospect::Clone),
            (true, true, 1, Prospect::Clone),
            (true, false, 1, Prospect::Wait),
            (true, false, 0, Prospect::Nobody),
            // Never overwritten, whoever is there.
            (false, true, 1, Prospect::Filled),
            (false, false, 0, Prospect::Filled),
        ] {
            assert_eq!(prospect(is_empty, has_primary, candidates), expected, "{is_empty} {has_primary} {candidates}");
        }
    }

    #[test]
    fn a_refusal_has_the_values() {
        let Remedy::Refuse(why) = remedy(&diverged(false, true), Rejoin::None) else { panic!("not refused") };
        for value in ["0/500", "0/700", "timeline 1", "512 bytes"] {
            assert!(why.contains(value), "{value} is not in: {why}");
        }
    }

    proptest! {
        /// Whoever has no more than what is common may follow, and nobody else.
        #[test]
        fn nobody_with_more_than_the_common_wal_may_follow(fork in 1u64.., end: u64) {
            let reference = Reference {
                system: SystemId(7),
                history: format!("1@0/0 2@{}", Lsn(fork)).parse().unwrap(),
            };
            let follows = standing(&own("1@0/0", Some(end)), &reference) == Standing::CanFollow;
            prop_assert_eq!(follows, end <= fork);
        }
    }
}
