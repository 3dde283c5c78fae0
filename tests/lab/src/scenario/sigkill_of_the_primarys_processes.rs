//! All of the primary's server processes die at once; its node lives on.

use super::Verdict;
use crate::harness::Lab;

pub(super) fn sigkill_of_the_primarys_processes(lab: &Lab) -> Verdict {
    let old = lab.primary()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.signal_server(&old, "KILL")?;

    // Whether it comes back where it was or elsewhere: what it acknowledged is on its disk.
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_only_failure("monitor", &old)
}
