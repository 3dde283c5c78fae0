//! Two of three nodes lose their power under no-quorum-policy=demote. The one that is left serves reads and takes no writes,
//! whatever it was; when the others come back, so does everything.

use super::Verdict;
use crate::harness::Lab;

pub(super) fn both_standbys_nodes_lost(lab: &Lab) -> Verdict {
    let left = lab.primary()?;
    tell(lab, &left)
}

pub(super) fn primarys_and_a_standbys_node_lost(lab: &Lab) -> Verdict {
    let left = lab.a_standby()?;
    tell(lab, &left)
}

fn tell(lab: &Lab, left: &str) -> Verdict {
    lab.use_synchronous_commit()?;
    lab.set_property("no-quorum-policy", "demote")?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;
    let lost: Vec<_> = lab.nodes().into_iter().filter(|node| node != left).collect();

    for node in &lost {
        lab.power_off(node)?;
    }
    lab.wait_until_alone_as_standby(left)?;
    lab.assert_only_reads(left)?;

    for node in &lost {
        lab.power_on(node)?;
    }
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}
