//! What becomes of a return that was begun, before each further attempt?
//!
//! Since it was planned the primary may have been lost or replaced, a person may have changed the parameter, and the last
//! attempt may have found out that there is no way. So nothing of the plan is believed but what has been done already.
//!
//! | the directory | the primary now | `rejoin` now | next |
//! |---|---|---|---|
//! | untouched | whatever | whatever | looked at anew, as if nothing had been planned |
//! | half rewound or half cloned | none, or not known | | waits for one |
//! | half rewound or half cloned | of another cluster | | refused |
//! | half rewound | fit | `rewind`, `clone` | is rewound again, from there |
//! | half rewound | unfit, or there is no way | `clone` | is cloned |
//! | half rewound | unfit, or there is no way | `rewind` | refused |
//! | half rewound | any | `none` | refused |
//! | half cloned | any | `clone` | is cloned, from there |
//! | a whole copy, not yet in its place | whatever, or none | whatever | comes to its place |
//! | half cloned | any | `none`, `rewind` | refused |
//!
//! One that is done is half rewound again when it can never become consistent: the source was lost while, or soon after, it was
//! copied from, and the primary now has less of it. A half rewound directory has pages of its source. They go with a rewind from the fork of the first one, or from an
//! earlier one: all that the first one has overwritten is fetched again. A primary that forked off later is unfit.

use std::collections::BTreeSet;

use crate::policy::rejoin::{OwnWal, Reference, Rejoin, Standing, standing};
use crate::types::Lsn;

/// How far the directory has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is the instance that it was.
    Untouched,
    /// It has pages of its source.
    HalfRewound,
    /// The old directory is kept aside, or about to be; what is in its place is no instance yet.
    HalfCloned,
    /// The copy is whole, and needs nobody to come to its place: it may be all that is left of the data.
    Copied,
}

/// The primary that is there now, as a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// No other node is promoted, as far as the cluster tells.
    Nobody,
    /// It belongs to another cluster.
    Foreign,
    /// A half rewound directory cannot be rewound to it: why.
    Unfit(String),
    /// It can be the source.
    Fit,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Forget the plan and look at the instance.
    Anew,
    /// Go on, from the primary that is there now.
    GoOn,
    /// Clone instead.
    Clone,
    /// Nothing, until there is a primary.
    Wait,
    /// By a person: the reason, with the cure.
    Refuse(String),
}

/// What is known before an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How far the directory has been changed.
    pub progress: Progress,
    /// The primary now.
    pub source: Source,
    /// The parameter now.
    pub rejoin: Rejoin,
    /// Why an earlier attempt with this very source said that there is no way.
    pub hopeless: Option<String>,
}

/// Decides.
#[must_use]
pub fn next(facts: &Facts) -> Attempt {
    const CLONE: &str =
        "set rejoin=clone to have it made anew from the primary, or end this with 'pgbaton abandon <data directory>'";
    let refuse = |why: &str| Attempt::Refuse(format!("{why}; {CLONE}"));
    let half = match facts.progress {
        Progress::Untouched => return Attempt::Anew,
        Progress::Copied => return Attempt::GoOn,
        Progress::HalfRewound => "it is half rewound",
        Progress::HalfCloned => "it is half cloned",
    };
    match (facts.progress, &facts.source, facts.rejoin, &facts.hopeless) {
        (_, Source::Nobody, _, _) => Attempt::Wait,
        (_, Source::Foreign, _, _) => {
            Attempt::Refuse(format!("{half}, and the primary belongs to another cluster; correct pgdata or datadir"))
        }
        (Progress::HalfCloned, _, Rejoin::Clone, _) => Attempt::GoOn,
        (Progress::HalfCloned, _, other, _) => refuse(&format!("{half}, and rejoin={}", word(other))),
        (_, _, Rejoin::None, _) => Attempt::Refuse(format!(
            "{half}, and rejoin=none; set rejoin=rewind to have it finished, or end this with 'pgbaton abandon <data directory>'"
        )),
        (_, Source::Fit, _, None) => Attempt::GoOn,
        (_, Source::Fit | Source::Unfit(_), Rejoin::Clone, _) => Attempt::Clone,
        (_, Source::Unfit(why), Rejoin::Rewind, _) | (_, Source::Fit, Rejoin::Rewind, Some(why)) => {
            refuse(&format!("{half}, and that cannot be finished: {why}"))
        }
    }
}

fn word(rejoin: Rejoin) -> &'static str {
    match rejoin {
        Rejoin::None => "none",
        Rejoin::Rewind => "rewind",
        Rejoin::Clone => "clone",
    }
}

/// Whether an instance that was rewound, and is not consistent, never will be with this primary: it needs what its source wrote
/// up to `needed`, its own WAL ends before that, and the primary has left the source before that, too.
#[must_use]
pub fn is_in_vain(end: Option<Lsn>, needed: &OwnWal, primary: &Reference) -> bool {
    end < needed.end && matches!(standing(needed, primary), Standing::Diverged(_))
}

/// Whether a directory that is half rewound, with its own WAL as it was before and the fork that it was rewound to, can be
/// rewound to this primary. A server may have replayed some of a lost source's WAL in it: another rewind knows nothing of that.
#[must_use]
pub fn fitness(own: &OwnWal, fork: Lsn, replayed: Option<&OwnWal>, primary: &Reference) -> Source {
    let later =
        |forked: &str| Source::Unfit(format!("the first attempt was made from {fork}, and the primary {forked}"));
    let is_common = |replayed: &OwnWal| standing(replayed, primary) == Standing::CanFollow;
    match standing(own, primary) {
        Standing::Foreign { .. } => Source::Foreign,
        _ if !replayed.is_none_or(is_common) => {
            Source::Unfit("it has replayed WAL of its first source that the primary does not have".to_owned())
        }
        Standing::Diverged(now) if now.hidden => {
            Source::Unfit("both wrote timelines of the same number, which pg_rewind cannot tell apart".to_owned())
        }
        Standing::Diverged(now) if now.fork > fork => later(&format!("forked off at {}", now.fork)),
        Standing::Diverged(_) => Source::Fit,
        Standing::CanFollow | Standing::NeedsEnd => later("has all of the instance's WAL"),
    }
}

/// The first segment from `first` on that neither this node has nor the source: a recovery would stop there for ever.
/// What the source has from some segment on it has to its end.
#[must_use]
pub fn first_gap(first: u64, ours: &BTreeSet<u64>, theirs: &BTreeSet<u64>) -> Option<u64> {
    let last = theirs.last().copied()?;
    let from_theirs_on = |number: &u64| !theirs.contains(number);
    (first..=last).take_while(from_theirs_on).find(|number| !ours.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SystemId;

    fn source(word: &str) -> Source {
        match word {
            "nobody" => Source::Nobody,
            "foreign" => Source::Foreign,
            "unfit" => Source::Unfit("it forked off later".to_owned()),
            "fit" => Source::Fit,
            other => panic!("{other}"),
        }
    }

    /// `?`: hopeless. What is refused is given with a word of its reason.
    #[test]
    fn every_attempt() {
        use Progress::{Copied, HalfCloned, HalfRewound, Untouched};
        for (progress, sources, none, rewind, clone) in [
            (Untouched, "nobody foreign unfit fit fit?", "anew", "anew", "anew"),
            (HalfRewound, "nobody nobody?", "wait", "wait", "wait"),
            (HalfRewound, "foreign foreign?", "pgdata", "pgdata", "pgdata"),
            (HalfRewound, "fit", "rejoin=none", "go on", "go on"),
            (HalfRewound, "fit?", "rejoin=none", "no way", "clone"),
            (HalfRewound, "unfit unfit?", "rejoin=none", "forked off later", "clone"),
            (HalfCloned, "nobody", "wait", "wait", "wait"),
            (HalfCloned, "foreign", "pgdata", "pgdata", "pgdata"),
            (HalfCloned, "fit unfit fit?", "rejoin=none", "rejoin=rewind", "go on"),
            (Copied, "nobody foreign unfit fit fit?", "go on", "go on", "go on"),
        ] {
            for (word, (rejoin, expected)) in sources.split(' ').flat_map(|word| {
                let all = [(Rejoin::None, none), (Rejoin::Rewind, rewind), (Rejoin::Clone, clone)];
                all.map(|wanted| (word, wanted))
            }) {
                let hopeless = word.ends_with('?').then(|| "no way".to_owned());
                let facts = Facts { progress, source: source(word.trim_end_matches('?')), rejoin, hopeless };
                let matches = match next(&facts) {
                    Attempt::Anew => expected == "anew",
                    Attempt::GoOn => expected == "go on",
                    Attempt::Clone => expected == "clone",
                    Attempt::Wait => expected == "wait",
                    Attempt::Refuse(why) => why.contains(expected) && why.contains("; "),
                };
                assert!(matches, "{facts:?} is not '{expected}' but {:?}", next(&facts));
            }
        }
    }

    #[test]
    fn a_primary_is_fit_when_it_forked_off_no_later_than_the_first_source() {
        for (primary, expected) in [
            // The first source, on the same timeline and on a later one of its own.
            ("1@0/0 2@0/500", "fit"),
            ("1@0/0 2@0/500 3@0/900", "fit"),
            // Another line, from an earlier and from a later fork.
            ("1@0/0 3@0/400", "fit"),
            ("1@0/0 3@0/600", "later"),
            ("1@0/0 3@0/800", "later"),
            ("1@0/0", "later"),
            ("1@0/0 2@0/500#a", "fit"),
        ] {
            let system = SystemId(7);
            let own = OwnWal { system, history: "1@0/0".parse().unwrap(), end: Some(Lsn(0x700)) };
            let primary = Reference { system, history: primary.parse().unwrap() };
            let found = match fitness(&own, Lsn(0x500), None, &primary) {
                Source::Fit => "fit",
                Source::Unfit(_) => "later",
                other => panic!("{other:?}"),
            };
            assert_eq!(found, expected, "{primary:?}");
        }
    }

    fn of_source(end: u64) -> OwnWal {
        OwnWal { system: SystemId(7), history: "1@0/0 2@0/500".parse().unwrap(), end: Some(Lsn(end)) }
    }

    /// It was rewound to timeline 2, from 0/500 on, and needs that up to 0/900.
    #[test]
    fn a_rewound_instance_may_need_what_only_a_lost_source_had() {
        for (end, primary, in_vain) in [
            (Some(0x600), "1@0/0 2@0/500", false),
            (Some(0x600), "1@0/0 2@0/500 3@0/900", false),
            (Some(0x600), "1@0/0 2@0/500 3@0/700", true),
            (None, "1@0/0 2@0/500 3@0/700", true),
            (Some(0x600), "1@0/0 3@0/400", true),
            // It is consistent, and compared as any other.
            (Some(0x900), "1@0/0 2@0/500 3@0/700", false),
        ] {
            let reference = Reference { system: SystemId(7), history: primary.parse().unwrap() };
            assert_eq!(is_in_vain(end.map(Lsn), &of_source(0x900), &reference), in_vain, "{end:?} {primary}");
        }
        let foreign = Reference { system: SystemId(8), history: "1@0/0".parse().unwrap() };
        assert!(!is_in_vain(None, &of_source(0x900), &foreign));
    }

    #[test]
    fn what_a_server_has_replayed_has_to_be_the_primarys() {
        let own = OwnWal { system: SystemId(7), history: "1@0/0".parse().unwrap(), end: Some(Lsn(0x700)) };
        for (replayed, primary, fit) in [
            (None, "1@0/0 2@0/500 3@0/600", true),
            (Some(0x600), "1@0/0 2@0/500 3@0/600", true),
            (Some(0x601), "1@0/0 2@0/500 3@0/600", false),
            (Some(0x600), "1@0/0 4@0/500", false),
        ] {
            let reference = Reference { system: SystemId(7), history: primary.parse().unwrap() };
            let found = fitness(&own, Lsn(0x500), replayed.map(of_source).as_ref(), &reference);
            assert_eq!(found == Source::Fit, fit, "{replayed:?} {primary}");
        }
    }

    #[test]
    fn where_a_recovery_would_stop() {
        let set = |numbers: &[u64]| numbers.iter().copied().collect::<BTreeSet<u64>>();
        for (first, ours, theirs, gap) in [
            (3, &[][..], &[3, 4, 5][..], None),
            (3, &[3], &[4, 5], None),
            (3, &[3, 4], &[4, 5], None),
            (3, &[3, 4], &[6, 7], Some(5)),
            (3, &[4], &[5, 6], Some(3)),
            (3, &[3, 5], &[6, 7], Some(4)),
            // It has all, and the source's own are older.
            (9, &[], &[5, 6], None),
            // A source that tells of none is not one to judge by.
            (3, &[], &[], None),
        ] {
            assert_eq!(first_gap(first, &set(ours), &set(theirs)), gap, "{first} {ours:?} {theirs:?}");
        }
    }
}
