//! A node whose data directory is empty, as after the change of a disk: it is cloned from the primary.

use super::Verdict;
use crate::harness::Lab;

pub(super) fn empty_data_directory(lab: &Lab) -> Verdict {
    lab.set_parameter("rejoin", "clone")?;
    lab.wait_for_full_strength()?;
    let primary = lab.primary()?;
    let standby = lab.a_standby()?;
    let client = lab.writing_client()?;

    lab.while_stopped(&standby, |lab| lab.empty_data_directory(&standby))?;

    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_primary(&primary)?;
    // There was nothing to keep.
    lab.assert_nothing_kept()?;
    lab.assert_no_failures()
}
