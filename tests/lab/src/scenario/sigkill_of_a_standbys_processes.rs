//! All of a standby's server processes die at once. The primary does not mind, and the standby comes back.

use super::Verdict;
use crate::harness::Lab;

pub(super) fn sigkill_of_a_standbys_processes(lab: &Lab) -> Verdict {
    let primary = lab.primary()?;
    let standby = lab.a_standby()?;
    let server = lab.server_of(&primary)?;
    let client = lab.writing_client()?;

    lab.signal_server(&standby, "KILL")?;

    lab.wait_for_failure("monitor", &standby)?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    let report = client.stop()?;
    report.assert_nothing_lost()?;
    lab.assert_undisturbed(&primary, &server, &report)?;
    lab.assert_only_failure("monitor", &standby)
}
