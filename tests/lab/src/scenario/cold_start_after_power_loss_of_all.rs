//! All nodes lose their power under load, and nobody helps when it comes back.

use super::Verdict;
use crate::harness::Lab;

/// Only the old primary's disk has the last rows: no other node may win, though none has a role or a score any more.
pub(super) fn cold_start_after_power_loss_of_all(lab: &Lab) -> Verdict {
    let old = lab.primary()?;
    let client = lab.writing_client()?;
    for standby in lab.standbys()? {
        lab.stop_receiving(&standby)?;
    }
    client.wait_for_rows(50)?;

    for node in lab.nodes() {
        lab.power_off(&node)?;
    }
    for node in lab.nodes() {
        lab.power_on(&node)?;
    }

    lab.wait_for_primary()?;
    lab.assert_primary(&old)?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    for standby in lab.standbys()? {
        lab.receive_again(&standby)?;
    }
    lab.wait_for_full_strength()?;
    lab.assert_no_failures()
}

/// The old primary does not come back. Of the standbys, one has all that was acknowledged; the other was given the
/// better place in the node list, and both have just been started within one WAL segment.
pub(super) fn cold_start_without_the_old_primary(lab: &Lab) -> Verdict {
    lab.use_synchronous_commit()?;
    let old = lab.primary()?;
    let laggard = lab.a_standby()?;
    lab.sql(&old, "select pg_switch_wal()")?;
    let client = lab.writing_client()?;
    client.wait_for_rows(10)?;
    lab.stop_receiving(&laggard)?;
    client.wait_for_rows(50)?;

    lab.stays_off_after_fencing(&old)?;
    for node in lab.nodes() {
        lab.power_off(&node)?;
    }
    for node in lab.nodes().iter().filter(|node| **node != old) {
        lab.power_on(node)?;
    }

    // The laggard is back in sync when it can be: the rows that follow wait for a synchronous standby.
    lab.wait_for_another_primary(&laggard)?;
    lab.receive_again(&laggard)?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}
