//! How is an old data directory moved aside, with the directories outside of it that it leads to?
//!
//! `pg_wal` and the entries of `pg_tblspc` may be links to directories elsewhere. Those are renamed first, because most
//! can go wrong there; then the old directory's links are made to lead to the new names; then the directory itself is
//! renamed. Each step is one change of the file system, so an interruption leaves one of these states:
//!
//! | outside directories | links | old directory | next |
//! |---|---|---|---|
//! | some at their place | | at its place | rename the first of them |
//! | all aside | some lead to the old place | | make the first of them lead to the new one |
//! | all aside | all lead there | at its place | rename it |
//! | all aside | all lead there | aside | done |
//! | aside, and something new at the place | | | refuse: somebody else has put it there |
//!
//! A step that fails while the old directory is at its place is followed by the way back, in the opposite order.

/// Where the old data directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// There is none: the directory was empty.
    Nothing,
    /// Where it has always been.
    InPlace,
    /// It has its new name.
    Aside,
    /// It has its new name, and something is at its place that nobody of us has put there.
    Replaced,
}

/// A directory outside of the data directory that the old one leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Something is at its place.
    pub in_place: bool,
    /// Something has the name that it gets.
    pub is_aside: bool,
    /// The old directory's link leads to that name.
    pub linked: bool,
}

/// One change of the file system, by the number of the outside directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Give an outside directory its new name.
    Move(usize),
    /// Make the old directory's link lead to it.
    Link(usize),
    /// Give the old directory its new name.
    MoveData,
    /// Nothing is left to do.
    Done,
    /// Something else is at the place of an outside directory; `None`: of the data directory itself.
    Blocked(Option<usize>),
}

/// The next step.
#[must_use]
pub fn next(old: Old, outside: &[Outside]) -> Step {
    let first = |holds: fn(&Outside) -> bool| outside.iter().position(holds);
    if let Some(at) = first(|place| place.in_place && place.is_aside) {
        return Step::Blocked(Some(at));
    }
    match (old, first(|place| place.in_place), first(|place| place.is_aside && !place.linked)) {
        (Old::Nothing, _, _) => Step::Done,
        (Old::Replaced, _, _) => Step::Blocked(None),
        (_, Some(at), _) => Step::Move(at),
        (_, None, Some(at)) => Step::Link(at),
        (Old::InPlace, None, None) => Step::MoveData,
        (Old::Aside, None, None) => Step::Done,
    }
}

/// One change on the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// Make the link lead to the place again.
    Link(usize),
    /// Give an outside directory its name again.
    Move(usize),
}

/// The next step back; `None` when nothing is moved, or the old directory is aside already and all of it goes on.
#[must_use]
pub fn next_back(old: Old, outside: &[Outside]) -> Option<Back> {
    if old != Old::InPlace {
        return None;
    }
    let linked = outside.iter().position(|place| place.linked);
    let moved = || outside.iter().position(|place| place.is_aside && !place.in_place);
    linked.map(Back::Link).or_else(|| moved().map(Back::Move))
}

/// What is known of a directory that is to be renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// What it is to the instance, for instance `pg_wal`.
    pub what: String,
    /// Where it is.
    pub place: String,
    /// It is a mount point: a rename of it fails.
    pub is_mount_point: bool,
    /// The directory that it is in, when the owner may not write there.
    pub closed_parent: Option<String>,
    /// It is in the data directory, or the other way round, or in another of these directories.
    pub within: Option<String>,
    /// Something in it that is not this instance's.
    pub stranger: Option<String>,
}

/// Why it cannot be renamed, with the values and the cure.
#[must_use]
pub fn refusal(site: &Site) -> Option<String> {
    const BY_HAND: &str = "or clone the node by hand";
    let Site { what, place, .. } = site;
    let why = match site {
        Site { within: Some(other), .. } => format!("overlaps {other}; move it elsewhere"),
        Site { stranger: Some(stranger), .. } => {
            format!("has {stranger} in it, which is not this instance's; move that")
        }
        Site { is_mount_point: true, .. } => {
            "is a mount point, which cannot be renamed; use a directory below the mount point".to_owned()
        }
        Site { closed_parent: Some(parent), .. } => {
            format!("cannot be renamed: the owner may not write in {parent}; allow that")
        }
        _ => return None,
    };
    Some(format!("{what} at {place} {why}, {BY_HAND}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outside(text: &str) -> Vec<Outside> {
        let one = |word: &str| Outside {
            in_place: word.contains('p'),
            is_aside: word.contains('a'),
            linked: word.contains('l'),
        };
        text.split_whitespace().map(one).collect()
    }

    /// `p`: at its place, `a`: aside, `l`: the link leads to the new name, `-`: nowhere.
    #[test]
    fn every_state_has_its_step() {
        for (old, places, step, back) in [
            (Old::Nothing, "", Step::Done, None),
            (Old::InPlace, "", Step::MoveData, None),
            (Old::InPlace, "p p", Step::Move(0), None),
            (Old::InPlace, "a p", Step::Move(1), Some(Back::Move(0))),
            (Old::InPlace, "a a", Step::Link(0), Some(Back::Move(0))),
            (Old::InPlace, "al a", Step::Link(1), Some(Back::Link(0))),
            (Old::InPlace, "al al", Step::MoveData, Some(Back::Link(0))),
            (Old::InPlace, "a al", Step::Link(0), Some(Back::Link(1))),
            (Old::Aside, "al al", Step::Done, None),
            (Old::Aside, "al a", Step::Link(1), None),
            (Old::Aside, "", Step::Done, None),
            // Somebody else's.
            (Old::InPlace, "pa", Step::Blocked(Some(0)), None),
            (Old::Aside, "al pal", Step::Blocked(Some(1)), None),
            (Old::Replaced, "al", Step::Blocked(None), None),
            // Its link led nowhere from the beginning.
            (Old::InPlace, "-", Step::MoveData, None),
        ] {
            assert_eq!(
                (next(old, &outside(places)), next_back(old, &outside(places))),
                (step, back),
                "{old:?} {places}"
            );
        }
    }

    #[test]
    fn a_refusal_has_the_values_and_the_cure() {
        let site = Site { what: "pg_wal".to_owned(), place: "/wal/15".to_owned(), ..Site::default() };
        assert_eq!(refusal(&site), None);
        for (site, words) in [
            (Site { is_mount_point: true, ..site.clone() }, "mount point"),
            (Site { closed_parent: Some("/wal".to_owned()), ..site.clone() }, "may not write in /wal"),
            (Site { within: Some("/data".to_owned()), ..site.clone() }, "overlaps /data"),
            (Site { stranger: Some("PG_14_1".to_owned()), ..site }, "has PG_14_1 in it"),
        ] {
            let why = refusal(&site).unwrap();
            assert!(why.starts_with("pg_wal at /wal/15 ") && why.contains(words) && why.contains("by hand"), "{why}");
        }
    }

    proptest! {
        /// From every state that an interruption can leave, the steps end with everything aside.
        #[test]
        fn the_steps_end(moved in 0_usize..4, linked in 0_usize..4, all in 0_usize..4) {
            let (moved, linked) = (moved.min(all), if moved >= all { linked.min(all) } else { 0 });
            let mut places: Vec<_> = (0..all)
                .map(|i| Outside { in_place: i >= moved, is_aside: i < moved, linked: i < linked })
                .collect();
            let mut old = Old::InPlace;
            for _ in 0..=2 * all + 1 {
                match next(old, &places) {
                    Step::Move(i) => places[i] = Outside { in_place: false, is_aside: true, linked: false },
                    Step::Link(i) => places[i].linked = true,
                    Step::MoveData => old = Old::Aside,
                    Step::Done => break,
                    Step::Blocked(at) => prop_assert!(false, "blocked at {:?}", at),
                }
            }
            prop_assert_eq!(old, Old::Aside);
            prop_assert!(places.iter().all(|place| place.is_aside && place.linked && !place.in_place));
        }
    }
}
