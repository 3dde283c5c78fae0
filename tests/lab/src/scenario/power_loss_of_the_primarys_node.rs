//! The primary's node loses its power while a client writes. The cluster makes sure by fencing, and goes on elsewhere.

use super::Verdict;
use crate::harness::Lab;

pub(super) fn power_loss_of_the_primarys_node(lab: &Lab) -> Verdict {
    lab.use_synchronous_commit()?;
    let old = lab.primary()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    // Nobody gives it back by hand: fencing does.
    lab.power_off(&old)?;

    lab.wait_for_another_primary(&old)?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}
