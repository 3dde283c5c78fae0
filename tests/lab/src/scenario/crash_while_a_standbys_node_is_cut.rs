//! The primary crashes in the seconds in which a standby's node is cut and not yet found lost. Pacemaker plans the recovery of
//! the one and the fencing of the other together, and a demotion then has lists that leave out its own instance.

use super::Verdict;
use crate::harness::Lab;

pub(super) fn crash_while_a_standbys_node_is_cut(lab: &Lab) -> Verdict {
    let (primary, standby) = (lab.primary()?, lab.a_standby()?);
    let before = lab.boots();
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.cut(&standby)?;
    lab.signal_postmaster(&primary, "KILL")?;

    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.wait_for_full_strength()?;
    lab.assert_only_fenced(&standby, &before)?;
    lab.assert_only_failure("monitor", &primary)
}
