//! What a standby says of its following.

use super::upstream::{STREAMS, sends_to};
use super::{Session, SqlError};
use crate::policy::archive::Look;
use crate::sys::Deadline;
use crate::types::{Lsn, NodeName, Timeline};

const QUERY: &str = "pg_is_wal_replay_paused(), \
     pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), (select latest_end_lsn from pg_stat_wal_receiver), \
     (select received_tli from pg_stat_wal_receiver), \
     (select last_failed_wal like '%.history' and last_failed_time > coalesce(last_archived_time, '-infinity') \
     from pg_stat_archiver), ";

/// A setting since version 12.
const ARCHIVE_QUERY: &str = "select coalesce(current_setting('restore_command', true), '') <> '', \
     pg_is_wal_replay_paused(), pg_last_wal_replay_lsn()";

/// How a standby follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// Its WAL receiver streams.
    pub streams: bool,
    /// It streams from its own server, which it does when pg_hba.conf lets it and the address that it follows is still here:
    /// it looks well fed and gets nothing.
    pub from_itself: bool,
    /// Somebody has paused its replay.
    pub paused: bool,
    /// What it has received, and flushed to disk.
    pub received: Option<Lsn>,
    /// What it has replayed.
    pub replayed: Option<Lsn>,
    /// The end of the primary's WAL when the primary was heard of last.
    pub primary_end: Option<Lsn>,
    /// The timeline that it receives.
    pub timeline: Option<Timeline>,
    /// Its archiver fails with a history file.
    pub fails_with_history: bool,
}

impl Session {
    /// What this standby has of an archive, and how far it is. One that has replayed nothing yet is at the beginning.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn recovery_from_archive(&self, deadline: Deadline) -> Result<Look, SqlError> {
        let rows = self.query(ARCHIVE_QUERY, deadline)?;
        let row = rows.first().ok_or_else(|| SqlError::Broken("the standby did not tell of its archive".to_owned()))?;
        let text = |column: usize| row.get(column).and_then(Option::as_deref);
        Ok(Look {
            has_command: text(0) == Some("t"),
            is_paused: text(1) == Some("t"),
            replayed: text(2).and_then(|lsn| lsn.parse().ok()).unwrap_or(Lsn(0)),
        })
    }

    /// How this standby follows. Without this node's name it is not seen whether it follows itself.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn following(&self, own: Option<&NodeName>, deadline: Deadline) -> Result<Following, SqlError> {
        let sends_to_itself = own.map_or_else(|| "false".to_owned(), sends_to);
        let rows = self.query(
            &format!("select exists (select from pg_stat_wal_receiver where {STREAMS}), {QUERY}{sends_to_itself}"),
            deadline,
        )?;
        let row = rows.first().ok_or_else(|| SqlError::Broken("the standby did not tell how it follows".to_owned()))?;
        let text = |column: usize| row.get(column).and_then(Option::as_deref);
        let lsn = |column| text(column).and_then(|lsn| lsn.parse().ok());
        let streams = text(0) == Some("t");
        Ok(Following {
            streams,
            from_itself: streams && text(7) == Some("t"),
            paused: text(1) == Some("t"),
            received: lsn(2),
            replayed: lsn(3),
            primary_end: lsn(4),
            timeline: text(5).and_then(|number| number.parse().ok()),
            fails_with_history: text(6) == Some("t"),
        })
    }
}
