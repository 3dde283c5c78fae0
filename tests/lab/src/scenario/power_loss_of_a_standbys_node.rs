//! A standby's node loses its power. Writes go on as if nothing had been; the node comes back and streams by itself.

use std::time::Duration;

use super::Verdict;
use crate::harness::Lab;

const DETECTION_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn power_loss_of_a_standbys_node(lab: &Lab) -> Verdict {
    let primary = lab.primary()?;
    let standby = lab.a_standby()?;
    let server = lab.server_of(&primary)?;
    let client = lab.writing_client()?;

    lab.power_off(&standby)?;

    let lost = format!("{standby} found lost");
    lab.wait_until(&lost, DETECTION_LIMIT, |state| !state.online.contains(&standby))?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    let report = client.stop()?;
    report.assert_nothing_lost()?;
    lab.assert_undisturbed(&primary, &server, &report)?;
    lab.assert_no_failures()
}
