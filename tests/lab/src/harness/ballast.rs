//! Bulk: a table that is there to be changed, and WAL that is there to push older WAL out.

use std::time::Duration;

use super::lab::Lab;
use crate::cluster::node_shell::sql_on_within;
use crate::error::{Error, Result};
use crate::wait::{self, Seen};

/// A row takes about 1 kB.
const ROWS_OF_A_MEGABYTE: u64 = 900;
const BULK_LIMIT: Duration = Duration::from_secs(120);
/// WAL that is written between two looks at the segments that are left, in messages of a megabyte.
const MEGABYTES_AT_ONCE: u64 = 20;
/// As little WAL is kept as PostgreSQL can do with; a slot holds no more than that either.
pub(crate) const KEEP_LITTLE_WAL: &str = "\
wal_keep_size = 0
max_slot_wal_keep_size = '32MB'
min_wal_size = '32MB'
max_wal_size = '64MB'";
/// No WAL is kept but what a slot holds, and that can be much.
pub(crate) const KEEP_WAL_IN_SLOTS: &str = "\
wal_keep_size = 0
max_slot_wal_keep_size = '1GB'
min_wal_size = '32MB'
max_wal_size = '64MB'";

impl Lab {
    /// Makes a table of that size, all of it on disk.
    pub(crate) fn make_ballast(&self, primary: &str, megabytes: u64) -> Result<()> {
        self.drop_ballast(primary)?;
        let rows = megabytes * ROWS_OF_A_MEGABYTE;
        let table = format!("select n, repeat('x', 1000) as filler from generate_series(1, {rows}) n");
        sql_on_within(primary, &format!("create table lab.ballast as {table}"), BULK_LIMIT)?;
        sql_on_within(primary, "checkpoint", BULK_LIMIT).map(drop)
    }

    /// Changes every block of the table; both versions of each row are in the WAL.
    pub(crate) fn rewrite_ballast(&self, primary: &str) -> Result<()> {
        sql_on_within(primary, "update lab.ballast set n = n + 1", BULK_LIMIT).map(drop)
    }

    pub(crate) fn drop_ballast(&self, primary: &str) -> Result<()> {
        sql_on_within(primary, "drop table if exists lab.ballast", BULK_LIMIT).map(drop)
    }

    /// Writes WAL that changes nothing.
    pub(crate) fn write_wal(&self, primary: &str, megabytes: u64) -> Result<()> {
        let message = "pg_logical_emit_message(false, 'lab', repeat('x', 1048576))";
        let ask = format!("select count({message}) from generate_series(1, {megabytes})");
        sql_on_within(primary, &ask, BULK_LIMIT).map(drop)
    }

    /// [`Self::write_wal`], after which segments that nobody holds are removed.
    pub(crate) fn turn_wal_over(&self, primary: &str, megabytes: u64) -> Result<()> {
        self.write_wal(primary, megabytes)?;
        self.sql(primary, "select pg_switch_wal()")?;
        sql_on_within(primary, "checkpoint", BULK_LIMIT).map(drop)
    }

    /// [`Self::turn_wal_over`] on a server that may go away meanwhile.
    pub(crate) fn turn_wal_over_within(&self, primary: &str, megabytes: u64, limit: Duration) -> Result<()> {
        let message = "pg_logical_emit_message(false, 'load', repeat('x', 1048576))";
        let write = format!("select count({message}) from generate_series(1, {megabytes})");
        [write.as_str(), "select pg_switch_wal()", "checkpoint"]
            .iter()
            .try_for_each(|statement| sql_on_within(primary, statement, limit).map(drop))
    }

    /// The segment of WAL that the primary writes.
    pub(crate) fn current_segment(&self, primary: &str) -> Result<String> {
        self.sql(primary, "select pg_walfile_name(pg_current_wal_flush_lsn())")
    }

    /// Writes WAL until the primary no longer has that segment.
    pub(crate) fn push_wal_out(&self, primary: &str, segment: &str) -> Result<()> {
        let is_there = format!("select count(*) from pg_ls_waldir() where name = '{segment}'");
        wait::until(&format!("{primary} without {segment}"), BULK_LIMIT, || {
            self.turn_wal_over(primary, MEGABYTES_AT_ONCE)?;
            Ok(match self.sql(primary, &is_there)? == "0" {
                true => Seen::Yes(()),
                false => Seen::NotYet("it is still there".to_owned()),
            })
        })
    }

    /// Bytes of WAL that the primary has written since it was there.
    pub(crate) fn wal_since(&self, primary: &str, lsn: &str) -> Result<u64> {
        let text = self.sql(primary, &format!("select (pg_current_wal_insert_lsn() - '{lsn}')::bigint"))?;
        text.parse().map_err(|_| Error::Unexpected(format!("'{text}' is no number of bytes")))
    }
}
