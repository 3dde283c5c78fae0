//! The administrator swaps the roles, and swaps them back; the client only waits a moment.

use super::Verdict;
use crate::harness::Lab;

pub(super) fn switchover_and_back(lab: &Lab) -> Verdict {
    let old = lab.primary()?;
    let new = lab.a_standby()?;
    let client = lab.writing_client()?;

    lab.switch_over_to(&new)?;
    client.wait_for_rows(50)?;
    lab.wait_for_full_strength()?;

    lab.switch_over_to(&old)?;
    client.wait_for_rows(50)?;

    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}
