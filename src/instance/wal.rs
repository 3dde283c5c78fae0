//! What WAL an instance has: its timelines and their history.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::read_up_to;
use super::wal_end::leads_on_from;
use super::{ControlData, ControlError, Instance};
use crate::policy::rejoin::OwnWal;
use crate::sys::{Deadline, IdentityError, Program, ProgramError};
use crate::types::{Gather, History, Lsn, PromotionId, Timeline};

/// A history file has some 50 bytes for each promotion.
const LONGEST_HISTORY: u64 = 1 << 20;

/// Why the WAL of an instance is not known.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The control file cannot be read.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The owner is unknown.
    #[error(transparent)]
    Owner(#[from] IdentityError),
    /// `pg_waldump` cannot be run.
    #[error("cannot read the WAL: {0}")]
    Program(#[from] ProgramError),
    /// The history file of the timeline is missing or damaged.
    #[error("cannot read {0}; without it the history of timeline {1} is not known")]
    History(PathBuf, Timeline),
}

impl Instance {
    /// The WAL of the instance without its end, which is dear to find.
    ///
    /// # Errors
    /// When the files do not tell.
    pub fn own_wal(&self, control: &ControlData, deadline: Deadline) -> Result<OwnWal, WalError> {
        let timeline = self.youngest_timeline(control);
        let history = self.history_of(timeline, control.segment_size, deadline)?;
        Ok(OwnWal { system: control.system, history, end: None })
    }

    /// The history of a timeline by its file, with the id of the promotion that made it.
    ///
    /// # Errors
    /// When its file is missing or damaged.
    pub fn history_of(&self, timeline: Timeline, segment_size: u64, deadline: Deadline) -> Result<History, WalError> {
        let history = read_history(&self.data_directory().join("pg_wal"), timeline)?;
        let id = self.promotion_id(&history, segment_size, deadline);
        Ok(history.with_last_id(id))
    }

    /// The same without that id, from the file alone.
    ///
    /// # Errors
    /// When its file is missing or damaged.
    pub fn lineage_of(&self, timeline: Timeline) -> Result<History, WalError> {
        read_history(&self.data_directory().join("pg_wal"), timeline)
    }

    /// The first record of the timeline; it is gone when its segment was recycled.
    fn promotion_id(&self, history: &History, segment_size: u64, deadline: Deadline) -> Option<PromotionId> {
        let last = history.last();
        let segment = segment_name(last.timeline, last.begin, segment_size)?;
        if last.begin == Lsn(0) || !self.data_directory().join("pg_wal").join(segment).exists() {
            return None;
        }
        let line = self.waldump(last.timeline, last.begin).ok()?.args(["-n", "1"]).last_line(deadline).ok()?;
        promotion_id(&line)
    }

    /// The timeline whose file has the WAL of this one at a position: the last segment before a fork is copied for the younger
    /// timeline, and the original gets another name when it is archived (`XLogInitNewTimeline`, `CleanupAfterArchiveRecovery`).
    pub(super) fn timeline_of_file(
        &self,
        timeline: Timeline,
        youngest: Timeline,
        at: Lsn,
        segment_size: u64,
    ) -> Timeline {
        let wal = self.data_directory().join("pg_wal");
        let has = |number: &u32| {
            segment_name(Timeline(*number), at, segment_size).is_some_and(|name| wal.join(name).exists())
        };
        (timeline.0..=youngest.0).find(has).map_or(timeline, Timeline)
    }

    pub(super) fn waldump(&self, timeline: Timeline, begin: Lsn) -> Result<Program, WalError> {
        let program = Program::new(self.program("pg_waldump")).owned_by(&self.owner()?);
        let program = program.variable("TZ", "UTC").arg("-p").arg(self.data_directory().join("pg_wal"));
        Ok(program.args(["-t", &timeline.to_string(), "-s", &begin.to_string()]))
    }

    /// The youngest timeline of which there is WAL that a recovery would read. Files of the future that
    /// were only made in advance have the timeline that was written then.
    #[must_use]
    pub fn youngest_timeline(&self, control: &ControlData) -> Timeline {
        let pg_wal = self.data_directory().join("pg_wal");
        let names = fs::read_dir(&pg_wal).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let first = control.redo.0 / control.segment_size.max(1);
        let segments = names.filter_map(|name| parse_segment_name(&name, control.segment_size));
        let found = segments.filter(|(_, number)| *number >= first).map(|(timeline, _)| timeline).into_set();
        let youngest = found.into_iter().rev().find(|found| leads_on_from(&pg_wal, *found, control.min_recovery));
        youngest.unwrap_or(control.timeline).max(control.timeline)
    }
}

/// The history of a timeline by its file.
pub(super) fn read_history(pg_wal: &Path, timeline: Timeline) -> Result<History, WalError> {
    let path = pg_wal.join(format!("{:08X}.history", timeline.0));
    match read_up_to(&path, LONGEST_HISTORY) {
        Ok(text) => History::of_file(timeline, &text).map_err(|_| WalError::History(path, timeline)),
        Err(_) if timeline == Timeline(1) => Ok(History::of_first(timeline)),
        Err(_) => Err(WalError::History(path, timeline)),
    }
}

/// The name of the segment that holds the record which begins at `begin`.
fn segment_name(timeline: Timeline, begin: Lsn, segment_size: u64) -> Option<String> {
    name_of_segment(timeline, begin.0.checked_div(segment_size)?, segment_size)
}

/// The name of the segment with this number.
pub(super) fn name_of_segment(timeline: Timeline, number: u64, segment_size: u64) -> Option<String> {
    let per_id = 0x1_0000_0000_u64.checked_div(segment_size)?;
    Some(format!("{:08X}{:08X}{:08X}", timeline.0, number.checked_div(per_id)?, number.checked_rem(per_id)?))
}

/// The timeline and the number of a segment by its file's name.
pub(super) fn parse_segment_name(name: &str, segment_size: u64) -> Option<(Timeline, u64)> {
    if name.len() != 24 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let hex = |range| u32::from_str_radix(&name[range], 16).ok();
    let per_id = 0x1_0000_0000_u64.checked_div(segment_size)?;
    let number = u64::from(hex(8..16)?) * per_id + u64::from(hex(16..24)?);
    hex(0..8).filter(|timeline| *timeline > 0).map(|timeline| (Timeline(timeline), number))
}

/// The digest of what tells a promotion: its time where the record has one, as `END_OF_RECOVERY` does.
/// FNV-1a is the same everywhere and for ever, unlike the standard library's hash.
fn promotion_id(line: &str) -> Option<PromotionId> {
    let (_, description) = line.split_once("desc: ")?;
    let time = description.split_once("time ").map_or(description, |(_, time)| time);
    let time = time.split(';').next().unwrap_or(time).trim();
    let digest = time
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    Some(PromotionId(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MB16: u64 = 16 << 20;

    fn line(begin: &str, length: u64, description: &str) -> String {
        format!(
            "rmgr: XLOG        len (rec/tot):     {length}/{length:6}, tx:          0, lsn: {begin}, prev 0/05328398, desc: {description}"
        )
    }

    #[test]
    fn promotions_are_told_apart_by_their_time() {
        let id = |time: &str| {
            promotion_id(&line("0/05328410", 42, &format!("END_OF_RECOVERY tli 2; prev tli 1; time {time}")))
        };
        let first = id("2026-11-20 19:00:00.123456 UTC");
        assert_eq!(first, id("2026-11-20 19:00:00.123456 UTC; wal_level replica"));
        assert_ne!(first, id("2026-11-20 19:00:00.123457 UTC"));
        assert_eq!(promotion_id("nonsense"), None);
    }

    #[test]
    fn segments_by_name() {
        assert_eq!(parse_segment_name("000000020000000100000003", MB16), Some((Timeline(2), 256 + 3)));
        assert_eq!(segment_name(Timeline(2), Lsn(0x1_0300_0000), MB16).unwrap(), "000000020000000100000003");
        for other in
            ["00000002.history", "000000020000000100000003.partial", "archive_status", "ä0000002000000010000003"]
        {
            assert_eq!(parse_segment_name(other, MB16), None);
        }
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in ".*|(desc: |lsn: |len \\(rec/tot\\):|[0-9/, ])*", size: u64) {
            let _ = promotion_id(&text);
            let _ = parse_segment_name(&text, size);
        }
    }
}
