//! The whole cluster is shut down in order and comes up again.

use super::Verdict;
use crate::harness::Lab;

pub(super) fn cold_start(lab: &Lab) -> Verdict {
    let before = lab.writing_client()?;
    before.wait_for_rows(50)?;
    before.stop()?.assert_nothing_lost()?;

    lab.stop_services(&lab.nodes())?;
    for node in lab.nodes() {
        lab.power_off(&node)?;
    }
    for node in lab.nodes() {
        lab.power_on(&node)?;
    }

    lab.wait_for_primary()?;
    let after = lab.writing_client()?;
    after.wait_for_rows(50)?;
    after.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}
