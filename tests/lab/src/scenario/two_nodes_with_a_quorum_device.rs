//! The example for two nodes: a third machine lends its vote, and the loss of the primary's node is survived.

use super::Verdict;
use crate::harness::Lab;

pub(super) const NODES: &[&str] = &["srv1", "srv2"];
pub(super) const EXAMPLE: &str = "two-nodes-qdevice";

pub(super) fn two_nodes_with_a_quorum_device(lab: &Lab) -> Verdict {
    lab.use_synchronous_commit()?;
    let old = lab.primary()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.power_off(&old)?;

    lab.wait_for_another_primary(&old)?;
    // Commits wait for the only standby there is: the node that fencing gives its power back.
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}
