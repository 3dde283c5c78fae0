//! All of a standby's server processes die at once. The primary does not mind, and the standby comes back.

use std::time::Duration;

use super::Verdict;
use crate::harness::Lab;

/// Nothing that the client does depends on this: only a disk that stalls makes it wait, for a second or two.
const OUTAGE_LIMIT: Duration = Duration::from_secs(4);

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
    report.assert_outage_below(OUTAGE_LIMIT)?;
    lab.assert_primary(&primary)?;
    lab.assert_same_server(&primary, &server)?;
    lab.assert_only_failure("monitor", &standby)
}
