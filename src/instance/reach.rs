//! How far the WAL of an instance reaches that cannot be asked, or does not know: its files tell.

use std::path::Path;

use super::rejoin::Rejoining;
use super::wal_end::{Begin, end_of_files};
use super::wal_page::Kind;
use super::{ControlData, Instance};
use crate::policy::rejoin::OwnWal;
use crate::sys::Deadline;
use crate::types::{Lsn, Position, Reach, Timeline, Vote};

impl Instance {
    /// The end of the WAL from this position on, by the files. It is at least this position.
    pub(super) fn end_from(&self, begin: Position, kind: Kind, deadline: Deadline) -> Result<Position, String> {
        let begin_at = Begin { timeline: begin.timeline, at: begin.end, replayed: None };
        let found = self.end_in_files(begin_at, kind, deadline)?;
        Ok(found.map_or(begin, |found| found.max(begin)))
    }

    /// The vote of an instance that is down, recovering, or does not answer. Others can fetch nothing of what it has not
    /// replayed, and whoever promotes it has to wait for that.
    #[must_use]
    pub fn reach_by_files(&self, deadline: Deadline) -> Vote {
        match self.read_reach(deadline) {
            Ok(vote) => vote,
            Err(why) => Vote::Unknown { why, at_least: None },
        }
    }

    fn read_reach(&self, deadline: Deadline) -> Result<Vote, String> {
        let control = self.control_data(deadline).map_err(|e| e.to_string())?;
        let end = self.end_by_files(&control, deadline)?;
        // After a rewind it is the source that was at its minimum recovery point, and this instance holds no more than its WAL.
        let is_rewound = matches!(self.rejoining(), Ok(Rejoining::Done(_)));
        let at_least = control.min_recovery;
        let Some(position) = end else {
            // Nobody gets anything from it.
            if is_rewound {
                return Ok(Vote::Void);
            }
            let why = format!("it has no WAL from {} on, where its recovery begins", control.redo);
            return Ok(Vote::Unknown { why, at_least });
        };
        if let Some(needed) = control.min_recovery.filter(|needed| position.end < needed.end) {
            let why = format!("its WAL ends at {}, and it is not consistent before {}", position.end, needed.end);
            return Ok(match is_rewound {
                true => Vote::Incomplete { why, until: position },
                false => Vote::Unknown { why, at_least },
            });
        }
        let segment = self.segment_by_title(control.segment_size);
        let to_replay = to_replay(position.end, segment, control.redo, control.segment_size);
        Ok(Vote::At(Reach { to_replay, serves: false, ..position.into() }))
    }

    /// Where the WAL ends with which this instance, which does not run, would recover. `None` when it has none.
    ///
    /// # Errors
    /// When the WAL cannot be read.
    pub fn end_by_files(&self, control: &ControlData, deadline: Deadline) -> Result<Option<Position>, String> {
        self.end_in_files(Begin::of(control), Kind::of(control), deadline)
    }

    /// The WAL of this instance, which does not run, with its end.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn whole_wal(&self, control: &ControlData, deadline: Deadline) -> Result<OwnWal, String> {
        let none = || format!("there is no WAL from {} on, where the recovery begins", control.redo);
        let Position { timeline, end } = self.end_by_files(control, deadline)?.ok_or_else(none)?;
        let history = self.history_of(timeline, control.segment_size, deadline).map_err(|e| e.to_string())?;
        Ok(OwnWal { system: control.system, history, end: Some(end) })
    }

    fn end_in_files(&self, begin: Begin, kind: Kind, deadline: Deadline) -> Result<Option<Position>, String> {
        let pg_wal = self.data_directory().join("pg_wal");
        let found = self.as_owner(move || end_of_files(&pg_wal, begin, kind), deadline);
        found.map_err(|e| format!("its WAL cannot be read: {e}"))
    }

    /// Where the segment begins that is being replayed, or waited for (`update_process_title`).
    pub(super) fn segment_by_title(&self, segment_size: u64) -> Option<Lsn> {
        let servers = self.processes().all();
        let titles = servers.iter().filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok());
        let segments = titles.filter_map(|title| segment_in(&title, segment_size));
        segments.max()
    }

    /// Whether a server that is starting becomes a standby: otherwise it may take writes by itself once it has recovered.
    #[must_use]
    pub fn recovers_as_standby(&self) -> bool {
        self.data_directory().join("standby.signal").is_file()
    }
}

/// What is left to replay of WAL that ends here, by the segment that the startup process names: in the last one it is nothing worth
/// mentioning. Without a server it is all that follows the last checkpoint.
fn to_replay(end: Lsn, segment: Option<Lsn>, redo: Lsn, segment_size: u64) -> u64 {
    match segment {
        Some(begin) if end.segment(segment_size) <= begin.0 / segment_size.max(1) => 0,
        Some(begin) => end.bytes_beyond(begin.max(redo)),
        None => end.bytes_beyond(redo),
    }
}

/// `postgres: startup recovering 000000010000000000000005`, with the `cluster_name` before `startup` if there is one, or
/// `startup waiting for 0000..` while an archive is asked for it (`XLogFileRead` in PostgreSQL's xlogrecovery.c).
fn segment_in(title: &str, segment_size: u64) -> Option<Lsn> {
    let (_, rest) = title.strip_prefix("postgres: ")?.split_once("startup ")?;
    let rest = rest.strip_prefix("recovering ").or_else(|| rest.strip_prefix("waiting for "))?;
    let (_, number) = super::wal::parse_segment_name(rest.get(..24)?, segment_size)?;
    number.checked_mul(segment_size).map(Lsn)
}

/// The youngest timeline of which the segment exists that ends the WAL.
pub(super) fn timeline_of_segment(pg_wal: &Path, end: Lsn, segment_size: u64) -> Option<Timeline> {
    let names = std::fs::read_dir(pg_wal).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let segments = names.filter_map(|name| super::wal::parse_segment_name(&name, segment_size));
    let wanted = end.segment(segment_size);
    segments.filter(|(_, number)| *number == wanted).map(|(timeline, _)| timeline).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_of_the_startup_process_names_a_segment() {
        let begin = |title: &str| segment_in(title, 16 << 20);
        assert_eq!(begin("postgres: startup recovering 000000020000000000000005\0"), Some(Lsn(0x500_0000)));
        assert_eq!(begin("postgres: main: startup recovering 000000020000000100000005"), Some(Lsn(0x1_0500_0000)));
        assert_eq!(begin("postgres: startup waiting for 000000020000000000000005"), Some(Lsn(0x500_0000)));
        for other in ["", "postgres: startup waiting", "postgres: startup recovering 5", "sh startup recovering"] {
            assert_eq!(begin(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_left_of_the_last_segment_is_nothing_worth_mentioning() {
        const MB: u64 = 1 << 20;
        let mb = |mb: u64| Lsn(mb * MB);
        let left = |segment: Option<u64>, redo| to_replay(mb(100), segment.map(mb), mb(redo), 16 * MB) / MB;
        for (segment, redo, expected) in [
            (None, 20, 80),
            (Some(16), 20, 80),
            (Some(32), 20, 68),
            (Some(80), 20, 20),
            (Some(96), 20, 0),
            (Some(112), 20, 0),
        ] {
            assert_eq!(left(segment, redo), expected, "{segment:?} {redo}");
        }
    }

    #[test]
    fn the_segment_of_the_end_tells_the_timeline() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "000000020000000000000005",
            "000000030000000000000005",
            "000000040000000000000006",
            "00000009.history",
            "0000000500000000000000055",
            "ä0000050000000000000005",
        ] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let timeline = |end| timeline_of_segment(directory.path(), Lsn(end), 16 << 20);
        assert_eq!(timeline(0x500_0001), Some(Timeline(3)));
        assert_eq!(timeline(0x600_0000), Some(Timeline(3)));
        assert_eq!(timeline(0x600_0001), Some(Timeline(4)));
        assert_eq!(timeline(0x900_0000), None);
    }
}
