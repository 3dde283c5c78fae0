//! A failover, of which the old primary's node knows nothing: it has no power. Then all lose theirs, and all get it back at
//! the same time. The old primary has the longer WAL, and the wrong one.

use std::time::Duration;

use super::Verdict;
use crate::error::{Error, unexpected};
use crate::harness::Lab;

/// A table that only the old primary has: more WAL than all that follows elsewhere.
const MEGABYTES: u64 = 32;
const RETURN_LIMIT: Duration = Duration::from_secs(180);

pub(super) fn power_loss_of_all_after_a_failover(lab: &Lab) -> Verdict {
    lab.keep_much_wal()?;
    let primary = lab.primary()?;
    let kept_before = lab.kept_on(&primary)?;
    lab.stays_off_after_fencing(&primary)?;
    let client = lab.writing_client()?;

    let old = lab.lose_primary(&client, |primary| lab.make_ballast(primary, MEGABYTES))?;
    let new = lab.wait_for_another_primary(&old)?;
    client.wait_for_rows(50)?;
    let third = lab.nodes().into_iter().find(|node| *node != old && *node != new);
    let third = third.ok_or_else(|| Error::Unexpected("the lab should have three nodes".to_owned()))?;
    lab.wait_until_streaming(&third, RETURN_LIMIT)?;
    // The last rows are on the new primary's disk alone.
    lab.stop_receiving(&third)?;
    client.wait_for_rows(50)?;

    lab.boots_after_fencing(&old)?;
    for node in [&new, &third] {
        lab.power_off(node)?;
    }
    for node in lab.nodes() {
        lab.power_on(&node)?;
    }

    lab.wait_for_primary()?;
    lab.assert_primary(&new)?;
    lab.receive_again(&third)?;
    client.wait_for_rows(50)?;
    lab.wait_for_full_strength_within(RETURN_LIMIT)?;
    let report = client.stop()?;
    report.assert_no_two_writers()?;
    lab.assert_keeps_exactly_what_was_lost(&lab.kept_since(&old, &kept_before)?, &report)?;
    for node in [&new, &third] {
        if let [kept, ..] = &lab.kept_on(node)?[..] {
            return unexpected(format!("{node} had nothing of its own to keep aside, there is {kept:?}"));
        }
    }
    lab.assert_no_failures()
}
