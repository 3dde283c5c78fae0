//! Which planted history file goes into the archive next?
//!
//! A restore to the latest timeline asks the archive for one number after the other and ends at the first that is missing
//! (`findNewestTimeLine` in timeline.c), so a number that was skipped has to be there. A server that finds a planted file to be
//! the newest does not start, so none may be there before the real one that is younger than it, and the higher first.
//!
//! | the primary | step |
//! |---|---|
//! | does not archive, or has no planted file below its youngest real one | nothing, until its next promotion |
//! | waits for its youngest real one to be archived, or for a planted one | wait |
//! | has planted ones that are not archived | archive the highest |
//!
//! A standby with `archive_mode=always` archives what it receives by itself. On both:
//!
//! | the archiver | step |
//! |---|---|
//! | has failed with a planted file for a while | set that one aside: all else waits for it |
//! | fails with another one as well | archive it again: the archive is away |
//! | has archived another one since | archive it again: the archive may have come back |
//! | has failed with it and archived another one once more | give it up: the archive has another file by that name |

/// What `archive_status` tells of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing.
    Unknown,
    /// It is to be archived.
    Ready,
    /// It was set aside, to see whether the archive takes anything else.
    Aside,
    /// It is archived.
    Done,
}

/// A history file in `pg_wal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryFile {
    /// Its number.
    pub number: u32,
    /// Whether the agent made it.
    pub is_planted: bool,
    /// Whether it is archived.
    pub status: Status,
}

/// What the archiver has done last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Nothing.
    Nothing,
    /// It has archived something.
    Archived,
    /// It has failed with the history file of this number.
    FailedWithHistory(u32),
    /// It has failed with another file.
    Failed,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing any more.
    Nothing,
    /// Nothing now.
    Wait,
    /// Have the file with this number archived.
    Archive(u32),
    /// The same, though the archive takes other files.
    ArchiveOnceMore(u32),
    /// Set it aside.
    SetAside(u32),
    /// Have it archived no longer.
    GiveUp(u32),
}

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The history files.
    pub files: &'a [HistoryFile],
    /// The instance is a primary.
    pub is_primary: bool,
    /// What the archiver has done last.
    pub last: Last,
    /// It has had its time for a planted file.
    pub for_long: bool,
    /// The number that was archived once more though the archive takes other files.
    pub once_more: Option<u32>,
}

/// Decides.
#[must_use]
pub fn next(facts: &Facts<'_>) -> Step {
    let planted = || facts.files.iter().filter(|file| file.is_planted);
    if let Some(aside) = planted().find(|file| file.status == Status::Aside) {
        return match facts.last {
            Last::Archived if facts.once_more == Some(aside.number) => Step::GiveUp(aside.number),
            Last::Archived => Step::ArchiveOnceMore(aside.number),
            Last::FailedWithHistory(number) if number == aside.number => Step::Wait,
            Last::FailedWithHistory(_) | Last::Failed => Step::Archive(aside.number),
            Last::Nothing => Step::Wait,
        };
    }
    let mut waiting = planted().filter(|file| file.status == Status::Ready);
    match facts.last {
        Last::FailedWithHistory(number) if facts.for_long && waiting.clone().any(|file| file.number == number) => {
            Step::SetAside(number)
        }
        _ if facts.is_primary => next_of_primary(facts.files),
        _ => waiting.next().map_or(Step::Nothing, |_| Step::Wait),
    }
}

fn next_of_primary(files: &[HistoryFile]) -> Step {
    let Some(youngest) = files.iter().filter(|file| !file.is_planted).max_by_key(|file| file.number) else {
        return Step::Nothing;
    };
    let due = |file: &&HistoryFile| file.is_planted && file.number < youngest.number && file.status != Status::Done;
    match files.iter().filter(due).max_by_key(|file| file.number) {
        None => Step::Nothing,
        Some(file) if youngest.status != Status::Ready && file.status == Status::Unknown => Step::Archive(file.number),
        Some(_) => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Aside, Done, Ready, Unknown};

    fn real(number: u32, status: Status) -> HistoryFile {
        HistoryFile { number, is_planted: false, status }
    }

    fn planted(number: u32, status: Status) -> HistoryFile {
        HistoryFile { number, is_planted: true, status }
    }

    fn calm(files: &[HistoryFile]) -> Step {
        next(&Facts { files, is_primary: true, last: Last::Archived, for_long: false, once_more: None })
    }

    #[test]
    fn each_row_of_the_table() {
        assert_eq!(calm(&[real(2, Done), planted(3, Unknown), planted(4, Unknown), real(5, Done)]), Step::Archive(4));
        assert_eq!(calm(&[planted(3, Unknown), planted(4, Ready), real(5, Done)]), Step::Wait);
        assert_eq!(calm(&[planted(3, Unknown), planted(4, Done), real(5, Done)]), Step::Archive(3));
        assert_eq!(calm(&[planted(3, Done), planted(4, Done), real(5, Done)]), Step::Nothing);
        assert_eq!(calm(&[planted(4, Unknown), real(5, Ready)]), Step::Wait);
    }

    #[test]
    fn what_the_archive_refuses_is_told_from_an_archive_that_is_away() {
        use Last::{Archived, Failed, FailedWithHistory, Nothing};
        for is_primary in [true, false] {
            for (status, last, for_long, once_more, expected) in [
                (Ready, FailedWithHistory(4), false, None, Step::Wait),
                (Ready, FailedWithHistory(4), true, None, Step::SetAside(4)),
                (Ready, FailedWithHistory(4), true, Some(4), Step::SetAside(4)),
                (Ready, FailedWithHistory(5), true, None, Step::Wait),
                (Ready, Failed, true, None, Step::Wait),
                (Ready, Archived, true, Some(4), Step::Wait),
                (Aside, FailedWithHistory(4), true, Some(4), Step::Wait),
                (Aside, Nothing, true, Some(4), Step::Wait),
                (Aside, FailedWithHistory(5), false, Some(4), Step::Archive(4)),
                (Aside, Failed, false, Some(4), Step::Archive(4)),
                (Aside, Archived, false, None, Step::ArchiveOnceMore(4)),
                (Aside, Archived, false, Some(3), Step::ArchiveOnceMore(4)),
                (Aside, Archived, false, Some(4), Step::GiveUp(4)),
            ] {
                let files = &[planted(3, Done), planted(4, status), real(5, Done)];
                let facts = Facts { files, is_primary, last, for_long, once_more };
                assert_eq!(next(&facts), expected, "{facts:?}");
            }
        }
    }

    #[test]
    fn a_standby_begins_nothing() {
        for files in [&[planted(3, Unknown), real(5, Done)], &[planted(3, Done), real(5, Ready)]] {
            let facts = Facts { files, is_primary: false, last: Last::Failed, for_long: true, once_more: None };
            assert_eq!(next(&facts), Step::Nothing);
        }
    }

    #[test]
    fn none_is_archived_that_no_real_one_is_younger_than() {
        assert_eq!(calm(&[real(2, Done), planted(3, Unknown)]), Step::Nothing);
        assert_eq!(calm(&[planted(3, Unknown)]), Step::Nothing);
        assert_eq!(calm(&[]), Step::Nothing);
    }
}
