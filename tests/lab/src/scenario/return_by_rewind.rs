//! The primary's node loses its power with rows that no standby has received. It comes back as a standby without a hand, and
//! what it alone had is kept aside.

use std::time::Duration;

use super::Verdict;
use crate::error::unexpected;
use crate::harness::Lab;

/// From the node's start to its stream.
const SOON: Duration = Duration::from_secs(10);

pub(super) fn return_by_rewind(lab: &Lab) -> Verdict {
    let old = lab.primary()?;
    lose_and_get_back(lab, &old)?;
    lab.assert_no_failures()
}

/// Two nodes in turn: the second time, each has a history of several timelines.
pub(super) fn return_by_rewind_three_times(lab: &Lab) -> Verdict {
    let (first, second) = (lab.primary()?, lab.a_standby()?);
    for node in [&first, &second, &first] {
        if lab.primary()? != *node {
            lab.switch_over_to(node)?;
            lab.wait_for_full_strength()?;
        }
        lose_and_get_back(lab, node)?;
    }
    lab.assert_no_failures()
}

fn lose_and_get_back(lab: &Lab, node: &str) -> Verdict {
    let before = lab.kept_on(node)?;
    let client = lab.writing_client()?;

    let old = lab.lose_primary(&client, |_| Ok(()))?;
    if old != node {
        return unexpected(format!("{node} should have been the primary, {old} was"));
    }

    lab.wait_for_another_primary(&old)?;
    client.wait_for_rows(50)?;
    lab.wait_for_full_strength()?;
    assert_soon_streaming(lab, &old)?;
    client.wait_for_rows(50)?;
    let report = client.stop()?;
    report.assert_no_two_writers()?;
    lab.assert_keeps_exactly_what_was_lost(&lab.kept_since(&old, &before)?, &report)
}

fn assert_soon_streaming(lab: &Lab, node: &str) -> Verdict {
    let took = lab.time_from_start_to_streaming(node)?;
    lab.remark(format!("{} ms from start to streaming", took.as_millis()));
    match took <= SOON {
        true => Ok(()),
        false => unexpected(format!("{node} should stream {SOON:?} after its start at the latest, it took {took:?}")),
    }
}
