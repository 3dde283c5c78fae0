//! Somebody made a new instance on a standby's node. It is none of this cluster's: it is left as it is, and the reason is
//! told. When its own data directory is back, the node follows as before.

use std::time::Duration;

use super::Verdict;
use crate::error::unexpected;
use crate::harness::Lab;

/// More than one monitor of each role.
const WATCH: Duration = Duration::from_secs(15);
const EXPRESSIONS: &[&str] = &["another cluster", "system identifier"];

pub(super) fn directory_of_another_cluster(lab: &Lab) -> Verdict {
    let primary = lab.primary()?;
    let standby = lab.a_standby()?;
    let client = lab.writing_client()?;
    let logged_before = lab.syslog(&standby)?.len();

    lab.while_stopped(&standby, |lab| {
        lab.set_data_directory_aside(&standby)?;
        lab.make_another_instance(&standby)
    })?;
    let foreign = lab.system_identifier(&standby)?;

    lab.wait_for_reason(&standby, logged_before, EXPRESSIONS)?;
    lab.watch_left_out(&standby, &primary, WATCH)?;
    let now = lab.system_identifier(&standby)?;
    if now != foreign {
        return unexpected(format!(
            "the instance {foreign} on {standby} should have been left alone, now there is {now}"
        ));
    }
    lab.assert_nothing_kept()?;

    lab.while_stopped(&standby, |lab| lab.put_data_directory_back(&standby))?;
    lab.clean_up_failures()?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_primary(&primary)?;
    lab.assert_no_failures()
}
