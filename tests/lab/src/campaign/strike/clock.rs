//! A node whose date is wrong for a while: everything that runs there jumps by years, and back.

use super::{Made, Scene};
use crate::error::Result;

const YEAR: i64 = 31_556_952;
const MOST_YEARS: u64 = 20;

pub(super) fn set(scene: &Scene<'_>) -> Result<Made> {
    let seconds = shift(scene.fault.choice, scene.lab.plan.profile.is_delayed());
    // Neither needs the node's power, and a loss of that takes nothing back.
    scene.lasting_whatever(|node| scene.lab.set_clock(node, seconds), |node| scene.lab.set_clock(node, 0))
}

/// By how many seconds: one to so many years, forward or back. Never forward where a standby applies late: PostgreSQL compares
/// its clock with the primary's, so that it would wait for years to apply what was committed then
/// (`recovery_min_apply_delay` says so in its documentation).
fn shift(choice: u64, is_delayed: bool) -> i64 {
    let years = 1 + i64::try_from(choice / 2 % MOST_YEARS).unwrap_or_default();
    let is_forward = choice % 2 == 0 && !is_delayed;
    if is_forward { years * YEAR } else { -years * YEAR }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_set_forward_or_back_by_whole_years() {
        assert_eq!([0, 1, 38, 39, 41].map(|choice| shift(choice, false) / YEAR), [1, -1, 20, -20, -1]);
        assert_eq!([0, 1].map(|choice| shift(choice, true) / YEAR), [-1, -1]);
    }
}
