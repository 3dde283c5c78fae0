//! The primary's postmaster is stopped by a signal. Sessions go on, new ones get no answer: the server must be replaced.

use super::Verdict;
use crate::harness::Lab;

pub(super) fn sigstop_of_the_primarys_postmaster(lab: &Lab) -> Verdict {
    let old = lab.primary()?;
    let before = lab.boots();
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.signal_postmaster(&old, "STOP")?;

    // The client's own session does not feel it until the agent acts.
    lab.wait_for_failure("monitor", &old)?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_nobody_fenced(&before)?;
    lab.assert_only_failure("monitor", &old)
}
