//! What this primary writes, and who receives it.

use super::session::Row;
use super::wal::parse_segment_name;
use super::{Session, SqlError};
use crate::sys::Deadline;
use crate::types::{Lsn, NodeName, Timeline};

const QUERY: &str = "select pg_current_wal_flush_lsn(), application_name, state, flush_lsn, \
     left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), pid, replay_lsn \
     from (select 1) as one left join pg_stat_replication on true";

/// What a primary tells of its WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The end of the WAL that is on disk.
    pub end: Lsn,
    /// The timeline that is written, from the name of the current WAL file: `pg_control_checkpoint()` lags behind a
    /// promotion.
    pub timeline: Timeline,
    /// Who receives it.
    pub receivers: Vec<Receiver>,
}

/// A connected WAL receiver. Its name is whatever its owner chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// `application_name`.
    pub name: String,
    /// `state`; empty when the agent's role may not see it.
    pub state: String,
    /// `flush_lsn`.
    pub flushed: Option<Lsn>,
    /// `replay_lsn`.
    pub replayed: Option<Lsn>,
    /// The process id of the server process that sends to it; empty when it is not told.
    pub sender: String,
}

impl Receiver {
    /// Whether this is that node's instance, and is sent WAL. The state that the agent's role may not see counts as good.
    #[must_use]
    pub fn is_fed(&self, node: &NodeName) -> bool {
        self.name == node.application_name() && matches!(self.state.as_str(), "streaming" | "catchup" | "")
    }
}

impl Session {
    /// The end of the primary's WAL and its connected receivers.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn sending(&self, deadline: Deadline) -> Result<Sending, SqlError> {
        let rows = self.query(QUERY, deadline)?;
        let receivers = rows.iter().filter_map(receiver).collect();
        let sending =
            rows.first().and_then(|row| Some(Sending { end: lsn(row, 0)?, timeline: timeline(row, 4)?, receivers }));
        sending.ok_or_else(|| SqlError::Broken("the primary did not tell the end of its WAL".to_owned()))
    }

    /// Whether this primary's control file still has the timeline of before the promotion.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn control_file_lags(&self, deadline: Deadline) -> Result<bool, SqlError> {
        let rows = self.query(
            "select (select timeline_id from pg_control_checkpoint()) \
             <> ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int",
            deadline,
        )?;
        Ok(rows.first().and_then(|row| row.first()?.as_deref()) == Some("t"))
    }

    /// The oldest WAL that is on this server, as the position at which its first file begins. Needs the rights of
    /// pg_monitor.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn oldest_wal(&self, deadline: Deadline) -> Result<Option<Lsn>, SqlError> {
        let rows = self.query(
            "select min(substr(name, 9)), (select setting from pg_settings where name = 'wal_segment_size') \
             from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'",
            deadline,
        )?;
        let begin = |row: &Row| {
            let size = row.get(1)?.as_deref()?.parse().ok()?;
            let name = format!("00000001{}", row.first()?.as_deref()?);
            parse_segment_name(&name, size).map(|(_, number)| Lsn(number.saturating_mul(size)))
        };
        Ok(rows.first().and_then(begin))
    }
}

fn receiver(row: &Row) -> Option<Receiver> {
    let sender = row.get(5).cloned().flatten().unwrap_or_default();
    let state = row.get(2)?.clone().unwrap_or_default();
    Some(Receiver { name: row.get(1)?.clone()?, state, flushed: lsn(row, 3), replayed: lsn(row, 6), sender })
}

fn timeline(row: &Row, column: usize) -> Option<Timeline> {
    u32::from_str_radix(row.get(column)?.as_deref()?, 16).ok().filter(|number| *number > 0).map(Timeline)
}

fn lsn(row: &Row, column: usize) -> Option<Lsn> {
    row.get(column)?.as_deref()?.parse().ok()
}
