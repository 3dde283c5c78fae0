//! The example for two nodes: a third machine lends its vote, and the loss of the primary's node is survived.

use std::time::Duration;

use super::Verdict;
use crate::harness::Lab;

pub(super) const NODES: &[&str] = &["srv1", "srv2"];
pub(super) const EXAMPLE: &str = "two-nodes-qdevice";
const RETURN_LIMIT: Duration = Duration::from_secs(90);

pub(super) fn two_nodes_with_a_quorum_device(lab: &Lab) -> Verdict {
    lab.use_synchronous_commit()?;
    let old = lab.primary()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.power_off(&old)?;

    let new = lab.wait_for_another_primary(&old)?;
    // Alone, it has nobody to wait for.
    lab.configure(&new, "synchronous_standby_names = ''")?;
    client.wait_for_rows(50)?;
    lab.wait_until(&format!("{old} back as a standby"), RETURN_LIMIT, |state| state.unpromoted.contains(&old))?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}
