//! A standby is away, and meanwhile another node becomes the primary, which writes WAL and keeps none without need. The
//! standby finds what it needs there: the new primary has held it while it was a standby itself.
//!
//! The standby is away by standby mode and not without power: of three nodes, two have to be there when the third is lost.

use std::time::Duration;

use super::Verdict;
use crate::error::{Result, unexpected};
use crate::harness::{KEEP_WAL_IN_SLOTS, Lab, Report};

/// More than twice what is left without slots.
const MEGABYTES: u64 = 160;
/// The old primary is rewound with all WAL that the new one holds.
const RETURN_LIMIT: Duration = Duration::from_secs(240);

/// Asynchronous: of the old primary's last rows nothing is demanded, and it may have to be rewound.
pub(super) fn failover_while_a_standby_is_away_keeps_its_wal(lab: &Lab) -> Verdict {
    let report = tell(lab, |old, new| {
        lab.power_off(old)?;
        lab.wait_for_primary_on(new)
    })?;
    report.assert_no_two_writers()?;
    lab.assert_no_failures()
}

pub(super) fn switchover_while_a_standby_is_away_keeps_its_wal(lab: &Lab) -> Verdict {
    let report = tell(lab, |_, new| lab.switch_over_to(new))?;
    report.assert_nothing_lost()?;
    lab.assert_nothing_kept()?;
    lab.assert_no_failures()
}

fn tell<T>(lab: &Lab, change_primary: impl FnOnce(&str, &str) -> Result<T>) -> Result<Report> {
    lab.use_slots(KEEP_WAL_IN_SLOTS)?;
    let (old, standbys) = (lab.primary()?, lab.standbys()?);
    let [away, new] = &standbys[..] else {
        return unexpected(format!("two standbys expected, there are {standbys:?}"));
    };
    let kept_before = lab.kept_on(away)?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.while_stopped(away, |lab| {
        let position = lab.slot_position(&old, away)?;
        lab.write_until_slots_move(&old, new, &position)?;
        lab.assert_slot_holds(new, away, &position)?;
        change_primary(&old, new)?;
        client.wait_for_rows(50)?;
        lab.turn_wal_over(new, MEGABYTES)?;
        lab.assert_slot_holds(new, away, &position)?;
        lab.assert_only_slot_keeps_wal(new, away)
    })?;

    lab.wait_for_full_strength_within(RETURN_LIMIT)?;
    client.wait_for_rows(50)?;
    let report = client.stop()?;
    lab.assert_primary(new)?;
    if lab.kept_on(away)? != kept_before {
        return unexpected(format!("{away} should have followed with the files that it had"));
    }
    lab.wait_for_slots()?;
    Ok(report)
}
