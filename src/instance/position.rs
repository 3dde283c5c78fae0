//! How far the WAL of a standby reaches.
//!
//! `pg_last_wal_receive_lsn()` alone is wrong: after a restart it is the start of a segment, or null. The
//! end of WAL is the larger of what was flushed by the WAL receiver and what was replayed, and it is
//! known in two cases only:
//!
//! - the startup process waits for WAL: it has replayed everything that is there;
//! - more was received than replayed: the receiver starts only when all local WAL has been replayed, so
//!   what it flushed since is the end, however long the replay still takes.

use std::fs;
use std::path::Path;

use super::session::Row;
use super::{Instance, Session, SqlError};
use crate::sys::Deadline;
use crate::types::{Lsn, Position, Timeline, Vote};

const QUERY: &str = "select pg_is_in_recovery(), pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), \
     (select wait_event from pg_stat_activity where backend_type = 'startup'), \
     (select received_tli from pg_stat_wal_receiver), \
     (select nullif(min_recovery_end_timeline, 0) from pg_control_recovery()), \
     (select timeline_id from pg_control_checkpoint()), \
     (select setting from pg_settings where name = 'wal_segment_size')";

/// Wait events of a startup process that has nothing left to replay. `RecoveryWalAll` is version 12's.
const WAITS_FOR_WAL: [&str; 3] = ["RecoveryWalStream", "RecoveryRetrieveRetryInterval", "RecoveryWalAll"];

/// The answer to the query.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    in_recovery: bool,
    received: Option<Lsn>,
    replayed: Option<Lsn>,
    startup_waits_on: Option<String>,
    timelines: Vec<Timeline>,
    segment_size: u64,
}

impl Instance {
    /// Asks the running server for its position.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn position(&self, session: &Session, deadline: Deadline) -> Result<Vote, SqlError> {
        let rows = session.query(QUERY, deadline)?;
        let facts = rows.first().and_then(facts);
        let facts =
            facts.ok_or_else(|| SqlError::Broken("the query for the position had no usable answer".to_owned()))?;
        Ok(vote(&facts, |end| self.timeline_of_segment(end, facts.segment_size)))
    }

    /// The youngest timeline on which the segment that ends the WAL exists. The server's own functions
    /// lag behind: the control file knows a new timeline only from the next restartpoint on, and the
    /// WAL receiver's view is gone with the receiver. A segment of a timeline exists as soon as WAL of
    /// that timeline was received.
    fn timeline_of_segment(&self, end: Lsn, segment_size: u64) -> Option<Timeline> {
        timeline_of_segment(&self.data_directory().join("pg_wal"), end, segment_size)
    }
}

fn facts(row: &Row) -> Option<Facts> {
    let text = |column: usize| row.get(column).and_then(Option::as_deref);
    let timelines = (4..=6).filter_map(|column| text(column)?.parse().ok()).collect();
    Some(Facts {
        in_recovery: text(0)? == "t",
        received: text(1).and_then(|lsn| lsn.parse().ok()),
        replayed: text(2).and_then(|lsn| lsn.parse().ok()),
        startup_waits_on: text(3).map(str::to_owned),
        timelines,
        segment_size: text(7)?.parse().ok().filter(|size: &u64| size.is_power_of_two())?,
    })
}

fn vote(facts: &Facts, timeline_of: impl Fn(Lsn) -> Option<Timeline>) -> Vote {
    if !facts.in_recovery {
        return Vote::Primary;
    }
    let unknown = |why: &str, at_least| Vote::Unknown { why: why.to_owned(), at_least };
    let Some(replayed) = facts.replayed else { return unknown("nothing was replayed yet", None) };
    let end = facts.received.map_or(replayed, |received| received.max(replayed));
    let timeline = timeline_of(end).into_iter().chain(facts.timelines.iter().copied()).max();
    let Some(timeline) = timeline else { return unknown("the timeline is not visible; grant pg_monitor", None) };
    let position = Position { timeline, end };
    let received_more = facts.received.is_some_and(|received| received > replayed);
    match facts.startup_waits_on.as_deref() {
        Some(event) if WAITS_FOR_WAL.contains(&event) => Vote::At(position.into()),
        _ if received_more => Vote::At(position.into()),
        Some(_) => unknown("it is still replaying", Some(position)),
        None => unknown("it is replaying, or the agent's role lacks pg_monitor", Some(position)),
    }
}

fn timeline_of_segment(pg_wal: &Path, end: Lsn, segment_size: u64) -> Option<Timeline> {
    let per_id = 0x1_0000_0000_u64.checked_div(segment_size)?;
    let segment = end.segment(segment_size);
    let wanted = format!("{:08X}{:08X}", segment.checked_div(per_id)?, segment.checked_rem(per_id)?);
    let names = fs::read_dir(pg_wal).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let segments = names.filter(|name| name.len() == 24 && name.is_char_boundary(8) && name[8..] == wanted);
    segments.filter_map(|name| u32::from_str_radix(&name[..8], 16).ok()).max().map(Timeline)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standby(received: Option<u64>, replayed: u64, waits_on: Option<&str>) -> Facts {
        Facts {
            in_recovery: true,
            received: received.map(Lsn),
            replayed: Some(Lsn(replayed)),
            startup_waits_on: waits_on.map(str::to_owned),
            timelines: vec![Timeline(2)],
            segment_size: 16 << 20,
        }
    }

    fn end(facts: &Facts) -> Option<u64> {
        match vote(facts, |_| None) {
            Vote::At(reach) => Some(reach.end().0),
            _ => None,
        }
    }

    #[test]
    fn a_standby_that_waits_for_wal_knows_its_end() {
        for event in WAITS_FOR_WAL {
            assert_eq!(end(&standby(None, 500, Some(event))), Some(500));
        }
        // The start of the segment, as after a restart: what was replayed counts.
        assert_eq!(end(&standby(Some(400), 500, Some("RecoveryWalStream"))), Some(500));
    }

    #[test]
    fn a_standby_that_still_replays_local_wal_does_not() {
        assert_eq!(end(&standby(None, 500, None)), None);
        assert_eq!(end(&standby(Some(400), 500, Some("DataFileRead"))), None);
    }

    #[test]
    fn what_was_received_counts_before_it_is_replayed() {
        assert_eq!(end(&standby(Some(900), 500, Some("RecoveryPause"))), Some(900));
        assert_eq!(end(&standby(Some(900), 500, None)), Some(900));
    }

    #[test]
    fn a_primary_is_a_primary() {
        let facts = Facts { in_recovery: false, ..standby(None, 500, None) };
        assert_eq!(vote(&facts, |_| None), Vote::Primary);
    }

    #[test]
    fn the_timeline_is_the_youngest_of_what_is_known() {
        let facts = standby(None, 500, Some("RecoveryWalStream"));
        let timeline = |of_segment: Option<u32>| match vote(&facts, |_| of_segment.map(Timeline)) {
            Vote::At(reach) => reach.position.timeline.0,
            other => panic!("{other:?}"),
        };
        assert_eq!((timeline(None), timeline(Some(1)), timeline(Some(3))), (2, 2, 3));
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
            fs::write(directory.path().join(name), "").unwrap();
        }
        let timeline = |end| timeline_of_segment(directory.path(), Lsn(end), 16 << 20);
        assert_eq!(timeline(0x500_0001), Some(Timeline(3)));
        assert_eq!(timeline(0x600_0000), Some(Timeline(3)));
        assert_eq!(timeline(0x600_0001), Some(Timeline(4)));
        assert_eq!(timeline(0x900_0000), None);
    }
}
