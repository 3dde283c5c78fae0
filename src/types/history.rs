//! The history of a timeline: which timelines it grew out of, and where.

use std::fmt;
use std::str::FromStr;

use super::{Lsn, ParsePositionError, Timeline};

/// PostgreSQL's "database system identifier": the same on a primary and on all copies of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SystemId(pub u64);

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for SystemId {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|id| digits && *id > 0);
        number.map(SystemId).ok_or_else(|| ParsePositionError::of(text))
    }
}

/// What tells two promotions apart that gave their timelines the same number: a digest of the first WAL
/// record of the timeline, which holds the time of the promotion in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PromotionId(pub u64);

/// One timeline of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its number.
    pub timeline: Timeline,
    /// Where it began: the end of its parent's part.
    pub begin: Lsn,
    /// The promotion that made it, where it is known.
    pub id: Option<PromotionId>,
}

/// The timelines from the first to the one that is written, as `<timeline>@<lsn>[#<id>]` parted by blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History(Vec<Stretch>);

/// How far two histories are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Common {
    /// They have nothing in common.
    Nothing,
    /// Up to this position; there at least one of them branched off.
    Until(Lsn),
    /// They are the same, and so is all WAL to come.
    All,
}

impl History {
    /// The history of a timeline by the text of its history file (`%08X.history`, documented in
    /// PostgreSQL's `timeline.c`): a line has the parent, the position of the fork, and a reason.
    ///
    /// # Errors
    /// When a line is not of that form, or the numbers do not grow.
    pub fn of_file(timeline: Timeline, text: &str) -> Result<History, ParsePositionError> {
        let mut stretches = Vec::new();
        let mut begin = Lsn(0);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let invalid = || ParsePositionError::of(line);
            let parent = words.next().and_then(|word| word.parse().ok()).ok_or_else(invalid)?;
            let end: Lsn = words.next().and_then(|word| word.parse().ok()).ok_or_else(invalid)?;
            stretches.push(Stretch { timeline: parent, begin, id: None });
            begin = end;
        }
        stretches.push(Stretch { timeline, begin, id: None });
        let history = History(stretches);
        if history.is_ordered() { Ok(history) } else { Err(ParsePositionError::of(text)) }
    }

    /// The history of a timeline that has no history file, the first one.
    #[must_use]
    pub fn of_first(timeline: Timeline) -> History {
        History(vec![Stretch { timeline, begin: Lsn(0), id: None }])
    }

    /// One timeline, without those that it grew out of.
    #[must_use]
    pub fn of_stretch(stretch: Stretch) -> History {
        History(vec![stretch])
    }

    fn is_ordered(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0].timeline < pair[1].timeline && pair[0].begin <= pair[1].begin)
    }

    /// The timeline that is written.
    #[must_use]
    pub fn last(&self) -> Stretch {
        // A history is never empty: both constructors and the parser see to it.
        self.0.last().copied().unwrap_or(Stretch { timeline: Timeline(1), begin: Lsn(0), id: None })
    }

    /// The timelines, the first one first.
    #[must_use]
    pub fn stretches(&self) -> &[Stretch] {
        &self.0
    }

    /// The timeline on which a position lies that this history leads to: what was written up to a fork is the parent's.
    #[must_use]
    pub fn timeline_at(&self, end: Lsn) -> Timeline {
        let begun = self.0.iter().rev().find(|stretch| stretch.begin < end);
        begun.or(self.0.first()).map_or(Timeline(1), |stretch| stretch.timeline)
    }

    /// The same history with what is known of the promotion that made its last timeline.
    #[must_use]
    pub fn with_last_id(mut self, id: Option<PromotionId>) -> History {
        if let Some(last) = self.0.last_mut() {
            last.id = id;
        }
        self
    }

    /// The same history with the ids that `known` has for the same timelines.
    #[must_use]
    pub fn with_ids_of(mut self, known: &History) -> History {
        for stretch in &mut self.0 {
            let same = |other: &&Stretch| other.timeline == stretch.timeline && other.begin == stretch.begin;
            stretch.id = stretch.id.or_else(|| known.0.iter().find(same).and_then(|other| other.id));
        }
        self
    }

    /// The same history without what is known of the promotions.
    #[must_use]
    pub fn without_ids(&self) -> History {
        History(self.0.iter().map(|stretch| Stretch { id: None, ..*stretch }).collect())
    }

    /// How far two histories are the same.
    #[must_use]
    pub fn common(&self, other: &History) -> Common {
        for index in 0.. {
            match (self.0.get(index), other.0.get(index)) {
                (Some(a), Some(b)) if a.is_same(b) => {}
                (Some(_), Some(_)) if index == 0 => return Common::Nothing,
                (Some(a), Some(b)) => return Common::Until(a.begin.min(b.begin)),
                (Some(branch), None) | (None, Some(branch)) => return Common::Until(branch.begin),
                (None, None) => return Common::All,
            }
        }
        Common::All
    }
}

impl Stretch {
    /// Whether it is the same timeline. What is not known of the promotion of one of them says nothing.
    #[must_use]
    pub fn is_same(&self, other: &Stretch) -> bool {
        let differs = self.id.zip(other.id).is_some_and(|(ours, theirs)| ours != theirs);
        self.timeline == other.timeline && self.begin == other.begin && !differs
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, stretch) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{}@{}", stretch.timeline, stretch.begin)?;
            if let Some(PromotionId(id)) = stretch.id {
                write!(f, "#{id:016x}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for History {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ParsePositionError::of(text);
        let stretches: Vec<_> = text.split_whitespace().map(stretch).collect::<Option<_>>().ok_or_else(invalid)?;
        let history = History(stretches);
        if history.0.is_empty() || !history.is_ordered() { Err(invalid()) } else { Ok(history) }
    }
}

fn stretch(word: &str) -> Option<Stretch> {
    let (timeline, rest) = word.split_once('@')?;
    let (begin, id) = match rest.split_once('#') {
        Some((begin, id)) => (begin, Some(PromotionId(u64::from_str_radix(id, 16).ok()?))),
        None => (rest, None),
    };
    Some(Stretch { timeline: timeline.parse().ok()?, begin: begin.parse().ok()?, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn history(text: &str) -> History {
        text.parse().unwrap()
    }

    #[test]
    fn a_history_file_is_read_as_postgresql_writes_it() {
        let text = "1\t0/5000148\tno recovery target specified\n\n2\t0/7000000\tbefore 2026-01-01\n";
        let read = History::of_file(Timeline(4), text).unwrap();
        assert_eq!(read.to_string(), "1@0/0 2@0/5000148 4@0/7000000");
        assert_eq!(History::of_first(Timeline(1)).to_string(), "1@0/0");
        for nonsense in ["1", "x\t0/5", "2\t0/5\n1\t0/6", "1\t0/9\n2\t0/5"] {
            assert!(History::of_file(Timeline(4), nonsense).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn how_far_two_histories_are_the_same() {
        for (ours, theirs, common) in [
            // The same timeline.
            ("1@0/0 2@0/500", "1@0/0 2@0/500", Common::All),
            // An ancestor.
            ("1@0/0", "1@0/0 2@0/500", Common::Until(Lsn(0x500))),
            ("1@0/0", "1@0/0 2@0/500 3@0/600", Common::Until(Lsn(0x500))),
            ("1@0/0 2@0/500", "1@0/0 2@0/500 3@0/600", Common::Until(Lsn(0x600))),
            // Another branch.
            ("1@0/0 2@0/500", "1@0/0 3@0/400", Common::Until(Lsn(0x400))),
            ("1@0/0 2@0/300", "1@0/0 3@0/400", Common::Until(Lsn(0x300))),
            // Two promotions that gave the same number.
            ("1@0/0 2@0/500", "1@0/0 2@0/400", Common::Until(Lsn(0x400))),
            ("1@0/0 2@0/500#a", "1@0/0 2@0/500#b", Common::Until(Lsn(0x500))),
            ("1@0/0 2@0/500#a", "1@0/0 2@0/500#b 3@0/600#c", Common::Until(Lsn(0x500))),
            ("1@0/0 2@0/500", "1@0/0 2@0/500#b", Common::All),
            // Nothing in common.
            ("2@0/0", "1@0/0", Common::Nothing),
        ] {
            assert_eq!(history(ours).common(&history(theirs)), common, "{ours} and {theirs}");
            assert_eq!(history(theirs).common(&history(ours)), common, "{theirs} and {ours}");
        }
    }

    #[test]
    fn what_was_written_up_to_a_fork_is_the_parents() {
        let history = history("1@0/0 2@0/500 4@0/700");
        for (end, timeline) in [(0, 1), (0x4FF, 1), (0x500, 1), (0x501, 2), (0x700, 2), (0x701, 4)] {
            assert_eq!(history.timeline_at(Lsn(end)), Timeline(timeline), "{end:X}");
        }
    }

    #[test]
    fn ids_are_taken_over_for_the_same_timelines_only() {
        let known = history("1@0/0 2@0/500#a 3@0/600#b");
        assert_eq!(history("1@0/0 2@0/500 3@0/700").with_ids_of(&known), history("1@0/0 2@0/500#a 3@0/700"));
    }

    #[test]
    fn nonsense_is_no_history() {
        for text in ["", "1", "1@", "1@0/0 1@0/5", "2@0/9 1@0/5", "1@0/0#", "1@0/0#xyz", "0@0/0"] {
            assert!(text.parse::<History>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(forks in proptest::collection::btree_map(1u32.., (0u64.., proptest::option::of(any::<u64>())), 1..8)) {
            let mut begin = 0;
            let stretches = forks.into_iter().map(|(timeline, (more, id))| {
                begin = u64::max(begin, more);
                Stretch { timeline: Timeline(timeline), begin: Lsn(begin), id: id.map(PromotionId) }
            });
            let history = History(stretches.collect());
            prop_assert_eq!(history.to_string().parse(), Ok(history));
        }

        #[test]
        fn parsing_never_panics(text in ".*|[0-9@/# A-F]*") {
            let _ = text.parse::<History>();
            let _ = History::of_file(Timeline(9), &text);
        }
    }
}
