//! The administrator takes the primary's node out of service for a while.

use super::Verdict;
use crate::harness::Lab;

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
