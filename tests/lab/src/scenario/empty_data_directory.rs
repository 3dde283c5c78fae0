//! A node whose data directory is empty, as after the change of a disk: it is cloned from the primary.

use std::time::Duration;

use super::Verdict;
use crate::harness::Lab;

/// More than one monitor of each role.
const WATCH: Duration = Duration::from_secs(15);
const EXPRESSIONS: &[&str] = &["data directory is empty"];

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

/// By default a person decides: somebody may have put a wrong disk in. Until then the node stays out, and says why.
pub(super) fn empty_data_directory_and_no_clone_is_wanted(lab: &Lab) -> Verdict {
    let primary = lab.primary()?;
    let standby = lab.a_standby()?;
    let client = lab.writing_client()?;
    let logged_before = lab.syslog(&standby)?.len();

    lab.while_stopped(&standby, |lab| lab.empty_data_directory(&standby))?;

    lab.wait_for_failure("start", &standby)?;
    lab.wait_for_reason(&standby, logged_before, EXPRESSIONS)?;
    lab.watch_left_out(&standby, &primary, WATCH)?;
    lab.assert_only_failure("start", &standby)?;

    // The person decides.
    lab.set_parameter("rejoin", "clone")?;
    lab.clean_up_failures()?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_nothing_kept()?;
    lab.assert_no_failures()
}
