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
//! | cannot archive that one, and nothing else is in the way | give it up: the archive has another file by that name |

/// What `archive_status` tells of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing.
    Unknown,
    /// It is to be archived.
    Ready,
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

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing any more.
    Nothing,
    /// Nothing now.
    Wait,
    /// Have the file with this number archived.
    Archive(u32),
    /// Have it archived no longer.
    GiveUp(u32),
}

/// Decides; `refused` is the number of the file that the archiver has failed with for a while.
#[must_use]
pub fn next(files: &[HistoryFile], archives: bool, refused: Option<u32>) -> Step {
    let youngest = files.iter().filter(|file| !file.is_planted).max_by_key(|file| file.number);
    let Some(youngest) = youngest.filter(|_| archives) else { return Step::Nothing };
    let due = |file: &&HistoryFile| file.is_planted && file.number < youngest.number && file.status != Status::Done;
    match files.iter().filter(due).max_by_key(|file| file.number) {
        None => Step::Nothing,
        Some(_) if youngest.status == Status::Ready => Step::Wait,
        Some(file) if file.status == Status::Unknown => Step::Archive(file.number),
        Some(file) if refused == Some(file.number) => Step::GiveUp(file.number),
        Some(_) => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Done, Ready, Unknown};

    fn real(number: u32, status: Status) -> HistoryFile {
        HistoryFile { number, is_planted: false, status }
    }

    fn planted(number: u32, status: Status) -> HistoryFile {
        HistoryFile { number, is_planted: true, status }
    }

    #[test]
    fn each_row_of_the_table() {
        let two = [real(2, Done), planted(3, Unknown), planted(4, Unknown), real(5, Done)];
        assert_eq!(next(&two, false, None), Step::Nothing);
        assert_eq!(next(&two, true, None), Step::Archive(4));
        let waits = [planted(3, Unknown), planted(4, Ready), real(5, Done)];
        assert_eq!(next(&waits, true, None), Step::Wait);
        assert_eq!(next(&waits, true, Some(3)), Step::Wait);
        assert_eq!(next(&waits, true, Some(4)), Step::GiveUp(4));
        assert_eq!(next(&[planted(3, Unknown), planted(4, Done), real(5, Done)], true, None), Step::Archive(3));
        assert_eq!(next(&[planted(3, Done), planted(4, Done), real(5, Done)], true, None), Step::Nothing);
        assert_eq!(next(&[planted(4, Unknown), real(5, Ready)], true, Some(4)), Step::Wait);
    }

    #[test]
    fn none_is_archived_that_no_real_one_is_younger_than() {
        assert_eq!(next(&[real(2, Done), planted(3, Unknown)], true, None), Step::Nothing);
        assert_eq!(next(&[planted(3, Unknown)], true, None), Step::Nothing);
        assert_eq!(next(&[], true, None), Step::Nothing);
    }
}
