//! In the middle of a clone the power goes: the old data directory is renamed, and the new one is half there. The clone is
//! begun anew, without a hand, and the old directory is still whole.

use std::time::Duration;

use super::Verdict;
use super::wal_is_gone::outlast_its_wal;
use crate::error::unexpected;
use crate::harness::Lab;

/// A table that makes the clone long enough.
const MEGABYTES: u64 = 200;
const DETECTION_LIMIT: Duration = Duration::from_secs(30);
const RETURN_LIMIT: Duration = Duration::from_secs(240);

pub(super) fn clone_interrupted_by_power_loss(lab: &Lab) -> Verdict {
    lab.set_parameter("rejoin", "clone")?;
    lab.wait_for_full_strength()?;
    lab.make_ballast(&lab.primary()?, MEGABYTES)?;
    lab.wait_until_all_caught_up()?;
    let client = lab.writing_client()?;
    let away = lab.a_standby()?;
    let before = lab.kept_on(&away)?;
    let primary = outlast_its_wal(lab, &client, &away)?;

    lab.power_on(&away)?;
    lab.wait_until_halfway_cloned(&away)?;
    lab.assert_counts_as_no_standby(&primary, &away)?;
    lab.power_off(&away)?;
    lab.assert_interrupted(&away)?;
    lab.wait_until(&format!("{away} found lost"), DETECTION_LIMIT, |state| !state.online.contains(&away))?;
    // Fencing would take the power again that it is about to be given.
    lab.wait_until_idle()?;
    lab.power_on(&away)?;

    lab.wait_for_full_strength_within(RETURN_LIMIT)?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_primary(&primary)?;
    if !lab.kept_since(&away, &before)?.is_whole() {
        return unexpected(format!("{away} should keep its old data directory as it was"));
    }
    lab.drop_ballast(&primary)?;
    lab.assert_no_failures()
}
