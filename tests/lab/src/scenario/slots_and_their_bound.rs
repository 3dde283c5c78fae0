//! A standby's node is away while the primary writes WAL, of which only its slot keeps anything.

use std::time::Duration;

use super::Verdict;
use super::wal_is_gone::outlast_its_wal;
use crate::error::unexpected;
use crate::harness::{KEEP_LITTLE_WAL, KEEP_WAL_IN_SLOTS, Lab};

const DETECTION_LIMIT: Duration = Duration::from_secs(30);
/// Ten segments, more than twice what is left without slots.
const MEGABYTES: u64 = 160;

/// It comes back, and finds all that it needs.
pub(super) fn slot_keeps_wal_within_the_bound(lab: &Lab) -> Verdict {
    lab.use_slots(KEEP_WAL_IN_SLOTS)?;
    let primary = lab.primary()?;
    let away = lab.a_standby()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.stays_off_after_fencing(&away)?;
    lab.power_off(&away)?;
    lab.wait_until(&format!("{away} found lost"), DETECTION_LIMIT, |state| !state.online.contains(&away))?;
    let position = lab.slot_position(&primary, &away)?;
    lab.turn_wal_over(&primary, MEGABYTES)?;
    client.wait_for_rows(50)?;
    lab.assert_slot_holds(&primary, &away, &position)?;
    lab.assert_only_slot_keeps_wal(&primary, &away)?;
    // Fencing would take the power again that it is about to be given.
    lab.wait_until_idle()?;

    lab.power_on(&away)?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_primary(&primary)?;
    lab.assert_nothing_kept()?;
    lab.wait_for_slots()?;
    lab.assert_no_failures()
}

/// The server gives its slot up, and it is cloned. Then it has a slot again.
pub(super) fn slot_keeps_no_wal_beyond_the_bound(lab: &Lab) -> Verdict {
    lab.set_parameter("rejoin", "clone")?;
    lab.wait_for_full_strength()?;
    lab.use_slots(KEEP_LITTLE_WAL)?;
    let client = lab.writing_client()?;
    let away = lab.a_standby()?;
    let before = lab.kept_on(&away)?;
    let logged_before = lab.server_log(&lab.primary()?)?.len();
    let primary = outlast_its_wal(lab, &client, &away)?;
    lab.wait_until_slot_is_lost(&primary, &away, logged_before)?;

    lab.power_on(&away)?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_primary(&primary)?;
    if !lab.kept_since(&away, &before)?.is_whole() {
        return unexpected(format!("{away} should keep its old data directory as it was"));
    }
    lab.wait_for_slots()?;
    lab.assert_no_failures()
}
