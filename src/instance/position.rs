//! How far the WAL of a standby reaches.
//!
//! `pg_last_wal_receive_lsn()` alone is wrong: after a restart it is the start of a segment, or null. The
//! end of WAL is the larger of what was flushed by the WAL receiver and what was replayed, in two cases only:
//!
//! - the startup process waits for WAL: it has replayed everything that is there;
//! - more was received than replayed: the receiver starts only when all local WAL has been replayed, so
//!   what it flushed since is the end, however long the replay still takes.
//!
//! In all others, while it replays what it had at its start, delays or pauses that, or waits for queries to end, the end is
//! read from the files, which takes no longer when there is more of them.

use super::reach::timeline_of_segment;
use super::session::Row;
use super::wal_page::Kind;
use super::{Instance, Session, SqlError};
use crate::sys::Deadline;
use crate::types::{Lsn, Position, Reach, Timeline, Vote};

/// Two statements, the first of which tells what the startup process waits on: one that waits for WAL has replayed everything
/// that is there, and so counts whatever is read later as replayed. The other way round it might replay the rest in between, and the
/// end would be told too low. Within one statement no order is promised.
const QUERY: &str = "select (select wait_event from pg_stat_activity where backend_type = 'startup'); \
     select pg_is_in_recovery(), pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), \
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
        let facts = facts(&rows);
        let facts =
            facts.ok_or_else(|| SqlError::Broken("the query for the position had no usable answer".to_owned()))?;
        let known = known(&facts, |end| self.timeline_of_segment(end, facts.segment_size));
        let vote = match known {
            Known::Vote(vote) => vote,
            Known::AtLeast(position) => self.vote_by_files(position, &facts, deadline),
            Known::Nothing => self.reach_by_files(deadline),
        };
        Ok(self.with_reason_against(vote, &facts))
    }

    fn vote_by_files(&self, at_least: Position, facts: &Facts, deadline: Deadline) -> Vote {
        let kind = Kind { segment_size: facts.segment_size, system: None };
        match self.end_from(at_least, kind, deadline) {
            Ok(position) => Vote::At(facts.reach(position)),
            Err(why) => Vote::Unknown { why, at_least: Some(at_least) },
        }
    }

    /// A standby of version 12 whose replay is paused stays so when it is promoted (`recoveryPausesHere`).
    fn with_reason_against(&self, vote: Vote, facts: &Facts) -> Vote {
        let paused = facts.startup_waits_on.as_deref() == Some("RecoveryPause");
        match vote {
            Vote::At(reach) if paused && self.major_version().is_some_and(|major| major < 13) => {
                let why =
                    "its replay is paused, which a promotion of version 12 does not end; pg_wal_replay_resume() does";
                Vote::At(Reach { unfit: Some(why.to_owned()), ..reach })
            }
            vote => vote,
        }
    }

    /// The youngest timeline on which the segment that ends the WAL exists. The server's own functions
    /// lag behind: the control file knows a new timeline only from the next restartpoint on, and the
    /// WAL receiver's view is gone with the receiver. A segment of a timeline exists as soon as WAL of
    /// that timeline was received.
    fn timeline_of_segment(&self, end: Lsn, segment_size: u64) -> Option<Timeline> {
        timeline_of_segment(&self.data_directory().join("pg_wal"), end, segment_size)
    }
}

fn facts(rows: &[Row]) -> Option<Facts> {
    let [event, row] = rows else { return None };
    let text = |column: usize| row.get(column).and_then(Option::as_deref);
    let timelines = (3..=5).filter_map(|column| text(column)?.parse().ok()).collect();
    Some(Facts {
        in_recovery: text(0)? == "t",
        received: text(1).and_then(|lsn| lsn.parse().ok()),
        replayed: text(2).and_then(|lsn| lsn.parse().ok()),
        startup_waits_on: event.first().cloned().flatten(),
        timelines,
        segment_size: text(6)?.parse().ok().filter(|size: &u64| size.is_power_of_two())?,
    })
}

/// What the server's answer comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Vote(Vote),
    /// There may be more in its files.
    AtLeast(Position),
    Nothing,
}

impl Facts {
    /// What is sent to others: `GetStandbyFlushRecPtr` in PostgreSQL's walsender.c.
    fn sent(&self) -> Lsn {
        self.received.max(self.replayed).unwrap_or(Lsn(0))
    }

    fn reach(&self, position: Position) -> Reach {
        let replayed = self.replayed.unwrap_or(Lsn(0));
        let to_replay = position.end.bytes_beyond(replayed);
        Reach { to_replay, serves: self.sent() >= position.end, ..position.into() }
    }
}

fn known(facts: &Facts, timeline_of: impl Fn(Lsn) -> Option<Timeline>) -> Known {
    if !facts.in_recovery {
        return Known::Vote(Vote::Primary);
    }
    let Some(replayed) = facts.replayed else { return Known::Nothing };
    let end = facts.sent();
    let timeline = timeline_of(end).into_iter().chain(facts.timelines.iter().copied()).max();
    let Some(timeline) = timeline else { return Known::Nothing };
    let position = Position { timeline, end };
    let waits = facts.startup_waits_on.as_deref().is_some_and(|event| WAITS_FOR_WAL.contains(&event));
    if waits || facts.received.is_some_and(|received| received > replayed) {
        return Known::Vote(Vote::At(facts.reach(position)));
    }
    Known::AtLeast(position)
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
        match known(facts, |_| None) {
            Known::Vote(Vote::At(reach)) => Some(reach.end().0),
            _ => None,
        }
    }

    /// A startup process that goes on between the two looks: it replays first, then waits.
    #[test]
    fn what_it_waits_on_is_asked_before_how_far_it_is() {
        let asked: Vec<_> = QUERY.split("; ").collect();
        assert_eq!(asked.len(), 2);
        assert!(asked[0].contains("wait_event") && !asked[0].contains("lsn") && !asked[1].contains("wait_event"));
        let answer = |event: Option<&str>, columns: [&str; 7]| {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            facts(&[vec![event.map(str::to_owned)], columns.map(text).to_vec()])
        };
        let expected = standby(Some(400), 500, Some("RecoveryWalStream"));
        let found = answer(Some("RecoveryWalStream"), ["t", "0/190", "0/1F4", "", "2", "", "16777216"]);
        assert_eq!(found, Some(expected));
        let found = answer(None, ["t", "", "0/1F4", "", "", "2", "16777216"]);
        assert_eq!(found, Some(standby(None, 500, None)));
        assert_eq!(answer(None, ["t", "", "0/1F4", "", "2", "", ""]), None);
        assert_eq!(facts(&[vec![None]]), None);
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
    fn the_files_are_asked_where_the_server_does_not_know() {
        let files = Known::AtLeast(Position { timeline: Timeline(2), end: Lsn(500) });
        // It replays, is delayed, paused, or waits for queries to end; the role may lack pg_monitor.
        for event in [
            None,
            Some("DataFileRead"),
            Some("RecoveryApplyDelay"),
            Some("RecoveryPause"),
            Some("RecoveryConflictSnapshot"),
        ] {
            for received in [None, Some(400), Some(500)] {
                assert_eq!(known(&standby(received, 500, event), |_| None), files, "{event:?}");
            }
        }
        let nothing = Facts { replayed: None, ..standby(None, 500, None) };
        assert_eq!(known(&nothing, |_| None), Known::Nothing);
        let nothing = Facts { timelines: Vec::new(), ..standby(None, 500, None) };
        assert_eq!(known(&nothing, |_| None), Known::Nothing);
    }

    #[test]
    fn what_is_to_be_replayed_and_what_others_get() {
        let reach =
            |received, end| standby(received, 500, None).reach(Position { timeline: Timeline(2), end: Lsn(end) });
        assert_eq!((reach(Some(900), 900).to_replay, reach(Some(900), 900).serves), (400, true));
        assert_eq!((reach(Some(400), 500).to_replay, reach(Some(400), 500).serves), (0, true));
        assert_eq!((reach(None, 700).to_replay, reach(None, 700).serves), (200, false));
    }

    #[test]
    fn what_was_received_counts_before_it_is_replayed() {
        assert_eq!(end(&standby(Some(900), 500, Some("RecoveryPause"))), Some(900));
        assert_eq!(end(&standby(Some(900), 500, None)), Some(900));
    }

    #[test]
    fn a_primary_is_a_primary() {
        let facts = Facts { in_recovery: false, ..standby(None, 500, None) };
        assert_eq!(known(&facts, |_| None), Known::Vote(Vote::Primary));
    }

    #[test]
    fn the_timeline_is_the_youngest_of_what_is_known() {
        let facts = standby(None, 500, Some("RecoveryWalStream"));
        let timeline = |of_segment: Option<u32>| match known(&facts, |_| of_segment.map(Timeline)) {
            Known::Vote(Vote::At(reach)) => reach.position.timeline.0,
            other => panic!("{other:?}"),
        };
        assert_eq!((timeline(None), timeline(Some(1)), timeline(Some(3))), (2, 2, 3));
    }
}
