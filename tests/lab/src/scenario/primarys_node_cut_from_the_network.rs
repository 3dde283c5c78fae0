//! The primary's node lives on, but nobody reaches it any more. The others make sure by fencing before they go on.

use super::Verdict;
use crate::harness::Lab;

pub(super) fn primarys_node_cut_from_the_network(lab: &Lab) -> Verdict {
    lab.use_synchronous_commit()?;
    let old = lab.primary()?;
    let before = lab.boots();
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.cut(&old)?;

    lab.wait_for_another_primary(&old)?;
    lab.assert_only_fenced(&old, &before)?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}
