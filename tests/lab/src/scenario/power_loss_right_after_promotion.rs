//! A switchover, and the new primary's node loses its power before it was ever monitored as a primary: no score has been
//! given under its rule, and no standby has reconnected. The others must go on all the same.

use std::time::Duration;

use super::Verdict;
use crate::error::{Result, unexpected};
use crate::harness::Lab;
use crate::harness::client::Client;
use crate::wait;

const SWITCHOVER_LIMIT: Duration = Duration::from_secs(60);
const RETURN_LIMIT: Duration = Duration::from_secs(60);
/// Longer than two monitor intervals of the primary, at a row per 10 ms or less.
const ROWS_OF_A_FEW_MONITORS: usize = 1000;
/// A row that reaches no other node, and that nobody was promised.
const STRAY_ROW: &str = "set synchronous_commit = local; insert into lab.rows(client, n) values (-1, -1)";
const STRAY_ROWS: &str = "select count(*) from lab.rows where client = -1";

pub(super) fn power_loss_right_after_promotion(lab: &Lab) -> Verdict {
    let (_, client) = lose_the_new_primary(lab, |_| Ok(()))?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}

/// The lost node had begun a timeline of its own, and the next primary began one with the same number: PostgreSQL cannot
/// tell them apart. What comes back must not pass for a standby while it holds what the primary does not have.
pub(super) fn return_of_a_short_primary(lab: &Lab) -> Verdict {
    let (new, client) = lose_the_new_primary(lab, |new| lab.sql(new, STRAY_ROW).map(drop))?;
    let logged_before = lab.server_log(&new)?.len();

    lab.power_on(&new)?;
    wait::until_true(&format!("a WAL receiver on {new}"), RETURN_LIMIT, || {
        Ok(lab.server_log(&new)?.get(logged_before..).is_some_and(|log| log.contains("started streaming WAL")))
    })?;
    client.wait_for_rows(ROWS_OF_A_FEW_MONITORS)?;

    let primary = lab.primary()?;
    let (here, there) = (lab.sql(&primary, STRAY_ROWS)?, lab.sql(&new, STRAY_ROWS)?);
    if here != there && lab.score(&new)?.is_some_and(|score| score > 0) {
        return unexpected(format!(
            "{new} has {there} rows where the primary {primary} has {here}, and may be promoted"
        ));
    }
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}

fn lose_the_new_primary(lab: &Lab, before_the_loss: impl Fn(&str) -> Verdict) -> Result<(String, Client)> {
    lab.use_synchronous_commit()?;
    let new = lab.a_standby()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;
    lab.stays_off_after_fencing(&new)?;

    lab.ask_for_switchover_to(&new)?;
    wait::until_true(&format!("promotion on {new}"), SWITCHOVER_LIMIT, || {
        Ok(lab.sql(&new, "select pg_is_in_recovery()")? == "f")
    })?;
    before_the_loss(&new)?;
    lab.power_off(&new)?;

    lab.wait_for_another_primary(&new)?;
    client.wait_for_rows(50)?;
    lab.clear_moves()?;
    Ok((new, client))
}
