//! The administrator takes the primary's node out of service for a while.

use std::time::Duration;

use super::Verdict;
use crate::harness::Lab;

/// More than a switchover takes, less than a node stays in standby mode here.
const OUTAGE_LIMIT: Duration = Duration::from_secs(5);

pub(super) fn standby_mode_of_the_primarys_node(lab: &Lab) -> Verdict {
    let old = lab.primary()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.standby_mode(&old, true)?;
    lab.wait_for_another_primary(&old)?;
    client.wait_for_rows(50)?;

    lab.standby_mode(&old, false)?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;

    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}

/// Its server has just crashed and recovered: the standbys are about to connect again, and until they have, a shutdown, however
/// clean, hands nothing over to them.
pub(super) fn standby_mode_right_after_a_crash(lab: &Lab) -> Verdict {
    let old = lab.primary()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.restart_server_processes(&old)?;
    client.wait_for_rows(5)?;
    lab.standby_mode(&old, true)?;
    lab.wait_for_another_primary(&old)?;
    client.wait_for_rows(50)?;

    lab.standby_mode(&old, false)?;
    lab.wait_for_full_strength()?;
    let report = client.stop()?;
    report.assert_nothing_lost()?;
    report.assert_outage_below(OUTAGE_LIMIT)?;
    lab.assert_no_failures()
}
