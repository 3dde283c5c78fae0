//! Only the primary's postmaster dies. A backend in the middle of a long transaction does not notice and goes on.

use super::Verdict;
use crate::error::unexpected;
use crate::harness::Lab;

/// Kills the one and finds the other alive in the same breath: the agent ends it soon.
const KILL_AND_LOOK: &str = "kill -KILL \"$1\" && kill -0 \"$2\"";

pub(super) fn sigkill_of_the_primarys_postmaster(lab: &Lab) -> Verdict {
    let old = lab.primary()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;
    let transaction = lab.long_transaction(&old)?;

    let postmaster = lab.postmaster(&old)?;
    lab.run(&old, &["bash", "-c", KILL_AND_LOOK, "kill", &postmaster, &transaction.backend])?;

    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    let left = lab.rows_of_client(&lab.primary()?, transaction.client)?;
    if !left.is_empty() {
        return unexpected("the row of a transaction that never committed is there");
    }
    lab.wait_for_full_strength()?;
    lab.assert_only_failure("monitor", &old)
}
