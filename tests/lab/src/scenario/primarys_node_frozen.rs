//! The primary's node stands still and does not know it. When it goes on, another one must not write beside it.

use std::time::Duration;

use super::Verdict;
use crate::harness::Lab;

const DETECTION_LIMIT: Duration = Duration::from_secs(30);

/// It goes on long after another node has taken over.
pub(super) fn primarys_node_frozen(lab: &Lab) -> Verdict {
    lab.use_synchronous_commit()?;
    let old = lab.primary()?;
    let before = lab.boots();
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.freeze(&old)?;

    lab.wait_for_another_primary(&old)?;
    lab.assert_only_fenced(&old, &before)?;
    lab.thaw(&old)?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}

/// It goes on in the very moment in which the others have found it lost, still sure to be the primary.
pub(super) fn primarys_node_thawed_too_late(lab: &Lab) -> Verdict {
    lab.use_synchronous_commit()?;
    let old = lab.primary()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.freeze(&old)?;
    let lost = format!("{old} found lost");
    lab.wait_until(&lost, DETECTION_LIMIT, |state| !state.online.contains(&old))?;
    lab.thaw(&old)?;

    lab.wait_for_another_primary(&old)?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}
