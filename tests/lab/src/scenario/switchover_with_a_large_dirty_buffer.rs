//! Much has been changed in memory and not yet on disk when the administrator swaps the roles. The checkpoint happens while
//! clients are still served, so that the shutdown, during which they are not, has little to write.

use std::time::Duration;

use super::Verdict;
use crate::error::{Error, Result, unexpected};
use crate::harness::Lab;

/// No checkpoint but those that are asked for.
const KEEP_IN_MEMORY: &str =
    "checkpoint_timeout = 1h\nmax_wal_size = 4GB\nbgwriter_lru_maxpages = 0\nlog_checkpoints = on";
/// A table of 50 MB, of which an update leaves both versions of each row behind.
const BALLAST: &str =
    "create table lab.ballast as select n, repeat('x', 1000) as filler from generate_series(1, 45000) n";
/// 40 MB in buffers of 8 kB.
const MANY: u64 = 5000;
/// A shutdown that writes so little ends at once.
const FEW: u64 = 1000;
const OUTAGE_LIMIT: Duration = Duration::from_secs(3);

pub(super) fn switchover_with_a_large_dirty_buffer(lab: &Lab) -> Verdict {
    let old = lab.primary()?;
    let new = lab.a_standby()?;
    lab.configure(&old, KEEP_IN_MEMORY)?;
    lab.sql(&old, "drop table if exists lab.ballast")?;
    lab.sql(&old, BALLAST)?;
    lab.sql(&old, "checkpoint")?;
    let client = lab.writing_client()?;
    lab.sql(&old, "update lab.ballast set n = n + 1")?;
    lab.wait_until_all_caught_up()?;
    let logged_before = lab.server_log(&old)?.len();

    lab.switch_over_to(&new)?;
    client.wait_for_rows(50)?;

    let log = lab.server_log(&old)?;
    assert_short_shutdown(log.get(logged_before..).unwrap_or_default())?;
    let report = client.stop()?;
    report.assert_nothing_lost()?;
    report.assert_outage_below(OUTAGE_LIMIT)?;
    lab.assert_no_failures()?;
    lab.sql(&new, "drop table lab.ballast").map(drop)
}

/// The checkpoint before the shutdown took the load, and the shutdown's own had next to nothing left.
fn assert_short_shutdown(log: &str) -> Verdict {
    let before = buffers_written(log, "checkpoint starting: immediate force wait")?;
    let at_the_end = buffers_written(log, "checkpoint starting: shutdown immediate")?;
    match before > MANY && at_the_end < FEW {
        true => Ok(()),
        false => unexpected(format!(
            "the checkpoint before the shutdown wrote {before} buffers, that of the shutdown {at_the_end}"
        )),
    }
}

/// The number in the line "checkpoint complete: wrote 42 buffers" that follows the given beginning of a checkpoint.
fn buffers_written(log: &str, beginning: &str) -> Result<u64> {
    let after = log.split_once(beginning).map(|(_, after)| after);
    let count = after.and_then(|after| {
        let (_, wrote) = after.split_once("checkpoint complete: wrote ")?;
        wrote.split(' ').next()?.parse().ok()
    });
    count.ok_or_else(|| Error::Unexpected(format!("the server's log has no complete '{beginning}'")))
}
