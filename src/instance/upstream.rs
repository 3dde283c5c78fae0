//! Whom a standby receives WAL from, and the order to receive it from another server.

use super::session::Row;
use super::{Session, SqlError};
use crate::policy::conninfo::{Conninfo, ConninfoError};
use crate::sys::Deadline;
use crate::types::NodeName;

/// What would show the text of a statement in the server's log or in its statistics. Only a superuser may set these, or
/// one who was granted that.
const SILENCE: [&str; 7] = [
    "set log_statement = none",
    "set log_min_error_statement = panic",
    "set log_min_duration_statement = -1",
    "set log_min_duration_sample = -1",
    "set log_transaction_sample_rate = 0",
    "set pg_stat_statements.track_utility = off",
    "set pgaudit.log = none",
];

/// The server's `primary_conninfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The setting.
    pub conninfo: Result<Conninfo, ConninfoError>,
    /// It was given on the server's command line, so that nothing else counts.
    pub fixed: bool,
}

/// Whether the WAL receiver streams, by `pg_stat_wal_receiver`. The view shows what the process has told last: one that is suspended,
/// or waits for a disk, streams for ever there. A healthy one gives up a primary that is silent for `wal_receiver_timeout`.
pub(super) const STREAMS: &str = "status = 'streaming' and (current_setting('wal_receiver_timeout')::interval = '0' or \
     coalesce(now() - last_msg_receipt_time < current_setting('wal_receiver_timeout')::interval + interval '30s', true))";

impl Session {
    /// Whether the standby's WAL receiver streams. One that streams from its own server does not count: there is a WAL
    /// sender for it then, under the node's own name.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn streams(&self, own: &NodeName, deadline: Deadline) -> Result<bool, SqlError> {
        let sends_to_itself = sends_to(own);
        let sql = format!("select exists (select from pg_stat_wal_receiver where {STREAMS}) and not {sends_to_itself}");
        self.is_true(&sql, deadline)
    }

    /// Whether the WAL receiver streams from this host of the connection string.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn streams_from(&self, host: &str, deadline: Deadline) -> Result<bool, SqlError> {
        let sql = format!(
            "select exists (select from pg_stat_wal_receiver where status = 'streaming' and sender_host = {})",
            literal(host)
        );
        self.is_true(&sql, deadline)
    }

    /// The server's `primary_conninfo`; `None` when the role may not see it.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn upstream(&self, deadline: Deadline) -> Result<Option<Upstream>, SqlError> {
        let sql = "select setting, source = 'command line' from pg_settings where name = 'primary_conninfo'";
        let rows = self.query(sql, deadline)?;
        let upstream = |row: &Row| {
            let fixed = row.get(1)?.as_deref() == Some("t");
            Some(Upstream { conninfo: row.first()?.as_deref()?.parse(), fixed })
        };
        Ok(rows.first().and_then(upstream))
    }

    /// Whether the role may do what [`Session::set_primary_conninfo`] does. It is asked first, because the server logs a
    /// statement that it refuses, and this one may hold a password.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn may_set_primary_conninfo(&self, deadline: Deadline) -> Result<bool, SqlError> {
        // allow_alter_system exists from version 17 on, has_parameter_privilege from 15 on.
        if !self.is_true("select current_setting('allow_alter_system', true) is distinct from 'off'", deadline)? {
            return Ok(false);
        }
        if self.is_true("select current_setting('is_superuser') = 'on'", deadline)? {
            return Ok(true);
        }
        let sql = "select has_parameter_privilege('primary_conninfo', 'alter system') \
                   and has_function_privilege('pg_reload_conf()', 'execute')";
        match self.is_true(sql, deadline) {
            Err(SqlError::Refused(_)) => Ok(false),
            answer => answer,
        }
    }

    /// Writes `primary_conninfo` to `postgresql.auto.conf` and has the server read it. The text may hold a password, so
    /// the session is kept out of the server's log as far as the role may.
    ///
    /// # Errors
    /// When the role may not, or the server does not answer.
    pub fn set_primary_conninfo(&self, conninfo: &Conninfo, deadline: Deadline) -> Result<(), SqlError> {
        for statement in SILENCE {
            match self.query(statement, deadline) {
                Ok(_) => {}
                Err(SqlError::Refused(_)) => break,
                Err(error) => return Err(error),
            }
        }
        let statement = format!("alter system set primary_conninfo = {}", literal(conninfo.expose()));
        self.query(&statement, deadline)?;
        self.query("select pg_reload_conf()", deadline).map(drop)
    }

    fn is_true(&self, sql: &str, deadline: Deadline) -> Result<bool, SqlError> {
        let rows = self.query(sql, deadline)?;
        Ok(rows.first().and_then(|row| row.first()?.as_deref()) == Some("t"))
    }
}

/// The condition that this server has a WAL sender for the node.
pub(super) fn sends_to(node: &NodeName) -> String {
    format!("exists (select from pg_stat_replication where application_name = {})", literal(node.application_name()))
}

/// A string constant that means the same whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(literal("host=srv2"), "E'host=srv2'");
        assert_eq!(literal("password='it\\'s'"), "E'password=''it\\\\''s'''");
        assert_eq!(literal("\\"), "E'\\\\'");
    }
}
