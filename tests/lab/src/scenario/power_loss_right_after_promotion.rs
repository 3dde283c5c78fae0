//! A switchover, and the new primary's node loses its power before it was ever monitored as a primary: no score has been
//! given under its rule, and no standby has reconnected. The others must go on all the same.

use std::time::Duration;

use super::Verdict;
use crate::error::{Result, unexpected};
use crate::harness::Lab;
use crate::wait;

const SWITCHOVER_LIMIT: Duration = Duration::from_secs(60);
const RETURN_LIMIT: Duration = Duration::from_secs(60);
/// A row that reaches no other node, and that nobody was promised.
const STRAY_ROW: &str = "set synchronous_commit = local; insert into lab.rows(client, n) values (-1, -1)";
const STRAY_ROWS: &str = "select count(*) from lab.rows where client = -1";

pub(super) fn power_loss_right_after_promotion(lab: &Lab) -> Verdict {
    lose_the_new_primary(lab, |_| Ok(())).map(drop)
}

/// The lost node had begun a timeline of its own, and the next primary began one with the same number: PostgreSQL cannot
/// tell them apart. What comes back must not pass for a standby while it holds what the primary does not have.
pub(super) fn return_of_a_short_primary(lab: &Lab) -> Verdict {
    let new = lose_the_new_primary(lab, |new| lab.sql(new, STRAY_ROW).map(drop))?;

    lab.power_on(&new)?;
    lab.wait_until(&format!("an instance on {new}"), RETURN_LIMIT, |state| state.unpromoted.contains(&new))?;

    let primary = lab.primary()?;
    wait::until_true(&format!("judgement of {new} by the primary"), RETURN_LIMIT, || {
        let follows = format!(
            "select count(*) from pg_stat_replication where application_name = '{new}' and state = 'streaming'"
        );
        Ok(lab.sql(&primary, &follows)? == "1" || lab.server_log(&new)?.contains("forked off"))
    })?;
    let (here, there) = (lab.sql(&primary, STRAY_ROWS)?, lab.sql(&new, STRAY_ROWS)?);
    match lab.score(&new)?.is_some_and(|score| score > 0) && here != there {
        true => {
            unexpected(format!("{new} could be promoted, and has {there} rows where the primary {primary} has {here}"))
        }
        false => Ok(()),
    }
}

fn lose_the_new_primary(lab: &Lab, before_the_loss: impl Fn(&str) -> Verdict) -> Result<String> {
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
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()?;
    lab.clear_moves()?;
    Ok(new)
}
