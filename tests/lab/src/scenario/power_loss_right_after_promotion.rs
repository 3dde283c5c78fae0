//! A switchover, and the new primary's node loses its power before it was ever monitored as a primary: no score has been
//! given under its rule, and no standby has reconnected. The others must go on all the same.

use std::time::Duration;

use super::Verdict;
use crate::harness::Lab;
use crate::wait;

const SWITCHOVER_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn power_loss_right_after_promotion(lab: &Lab) -> Verdict {
    lab.use_synchronous_commit()?;
    let new = lab.a_standby()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;
    lab.stays_off_after_fencing(&new)?;

    lab.ask_for_switchover_to(&new)?;
    wait::until_true(&format!("promotion on {new}"), SWITCHOVER_LIMIT, || {
        Ok(lab.sql(&new, "select pg_is_in_recovery()")? == "f")
    })?;
    lab.power_off(&new)?;

    lab.wait_for_another_primary(&new)?;
    client.wait_for_rows(50)?;
    lab.clear_moves()?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}
