//! The volume of the primary's WAL is full. PostgreSQL panics; another node has room. When there is room again, the instance
//! comes back without anybody's hand, and what had failed is forgotten in time.

use std::time::Duration;

use super::Verdict;
use crate::error::{Error, Result, unexpected};
use crate::harness::Lab;
use crate::wait;

/// A handful of segments are there already and need no more room.
const PANIC_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn wal_volume_full(lab: &Lab) -> Verdict {
    let old = lab.a_standby()?;
    lab.give_wal_a_small_volume(&old)?;
    lab.wait_for_full_strength()?;
    lab.switch_over_to(&old)?;
    lab.wait_for_full_strength()?;
    lab.use_synchronous_commit()?;
    let before = lab.boots();
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    let panics = panics(lab, &old)?;
    lab.fill_wal_volume(&old)?;
    wait::until_true("panic of the server", PANIC_LIMIT, || {
        // A server that has panicked cannot be asked any more.
        let _ = lab.sql(&old, "select pg_switch_wal()");
        Ok(self::panics(lab, &old)? > panics)
    })?;

    // A primary that has WAL which nobody received wins the election, and cannot be promoted before it has room.
    match lab.wait_for_another_primary(&old) {
        Ok(_) => client.wait_for_rows(50)?,
        Err(error) => assert_reason_is_listed(lab, &error)?,
    }
    lab.assert_nobody_fenced(&before)?;

    lab.wait_until_idle()?;
    lab.free_wal_volume(&old)?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.wait_until_failures_expire()
}

fn assert_reason_is_listed(lab: &Lab, error: &Error) -> Verdict {
    let failures = lab.state()?.failures;
    match failures.iter().any(|failure| failure.contains("No space left on device")) {
        true => Ok(()),
        false => unexpected(format!("{error}; and no failed action tells that there is no room: {failures:?}")),
    }
}

fn panics(lab: &Lab, node: &str) -> Result<usize> {
    let log = lab.server_log(node)?;
    Ok(log.lines().filter(|line| line.contains("PANIC:") && line.contains("No space left on device")).count())
}
