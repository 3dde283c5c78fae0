//! Who receives WAL from this primary.

use super::session::Row;
use super::{Session, SqlError};
use crate::sys::Deadline;
use crate::types::Lsn;

const QUERY: &str = "select pg_current_wal_flush_lsn(), application_name, state, flush_lsn \
     from (select 1) as one left join pg_stat_replication on true";

/// A connected WAL receiver. Its name is whatever its owner chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// `application_name`.
    pub name: String,
    /// `state`; empty when the agent's role may not see it.
    pub state: String,
    /// `flush_lsn`.
    pub flushed: Option<Lsn>,
}

impl Session {
    /// The end of the primary's WAL and its connected receivers.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn receivers(&self, deadline: Deadline) -> Result<(Lsn, Vec<Receiver>), SqlError> {
        let rows = self.query(QUERY, deadline)?;
        let end = rows.first().and_then(|row| lsn(row, 0));
        let end = end.ok_or_else(|| SqlError::Broken("the primary did not tell the end of its WAL".to_owned()))?;
        Ok((end, rows.iter().filter_map(receiver).collect()))
    }
}

fn receiver(row: &Row) -> Option<Receiver> {
    Some(Receiver { name: row.get(1)?.clone()?, state: row.get(2)?.clone().unwrap_or_default(), flushed: lsn(row, 3) })
}

fn lsn(row: &Row, column: usize) -> Option<Lsn> {
    row.get(column)?.as_deref()?.parse().ok()
}
