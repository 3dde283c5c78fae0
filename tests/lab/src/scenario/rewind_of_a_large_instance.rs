//! An old primary of some size comes back with much WAL of its own, while pgbench goes on. How long it takes from its boot
//! until it streams is part of the verdict.

use std::time::{Duration, Instant};

use super::Verdict;
use crate::error::unexpected;
use crate::harness::Lab;

/// pgbench's scale: 65 makes 1 GB. A small machine may do with less.
const SCALE: u32 = 65;
/// WAL that only the old primary has.
const DIVERGENCE: u64 = 100 * 1024 * 1024;
/// Accounts that are changed at once, until that much WAL is there.
const ACCOUNTS: u64 = 50_000;
const ALL_ACCOUNTS: u64 = SCALE as u64 * 100_000;
const WRITE_LIMIT: Duration = Duration::from_secs(60);
const RETURN_LIMIT: Duration = Duration::from_secs(300);

pub(super) fn rewind_of_a_large_instance(lab: &Lab) -> Verdict {
    lab.keep_much_wal()?;
    let primary = lab.primary()?;
    // Neither the old primary's node nor, most likely, the next primary's.
    let Some(observer) = lab.standbys()?.pop() else { return unexpected("no standby is there") };
    lab.fill_pgbench(SCALE)?;
    lab.sql_within(&primary, "checkpoint", WRITE_LIMIT)?;
    let kept_before = lab.kept_on(&primary)?;
    lab.stays_off_after_fencing(&primary)?;
    let load = lab.pgbench_from(&observer)?;
    let client = lab.writing_client()?;

    let old = lab.lose_primary(&client, |primary| diverge(lab, primary))?;
    lab.wait_for_another_primary(&old)?;
    lab.wait_for_transactions(200)?;
    let boot = Instant::now();
    lab.power_on(&old)?;
    lab.wait_until_streaming(&old, RETURN_LIMIT)?;
    lab.remark(format!("{:.1} s from boot to streaming", boot.elapsed().as_secs_f64()));

    lab.wait_for_transactions(200)?;
    lab.wait_for_full_strength_within(RETURN_LIMIT)?;
    load.stop()?;
    let report = client.stop()?;
    report.assert_no_two_writers()?;
    lab.assert_keeps_what_was_lost(&lab.kept_since(&old, &kept_before)?, &report)?;
    lab.assert_pgbench_is_consistent()?;
    lab.drop_pgbench()?;
    lab.assert_no_failures()
}

/// Writes until the WAL that no standby has received is as long as it should be.
fn diverge(lab: &Lab, primary: &str) -> Verdict {
    let begin = lab.sql(primary, "select pg_current_wal_insert_lsn()")?;
    for last in (1..=ALL_ACCOUNTS / ACCOUNTS).map(|number| number * ACCOUNTS) {
        let first = last - ACCOUNTS + 1;
        let update = format!("update pgbench_accounts set filler = 'x' where aid between {first} and {last}");
        lab.sql_within(primary, &update, WRITE_LIMIT)?;
        if lab.wal_since(primary, &begin)? >= DIVERGENCE {
            return Ok(());
        }
    }
    unexpected(format!("changing all {ALL_ACCOUNTS} accounts wrote less than {DIVERGENCE} bytes of WAL"))
}
