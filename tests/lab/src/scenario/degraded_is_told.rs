//! Somebody pauses the replay of a standby, and goes on with it later. Pacemaker is told, and nothing is left of it, also when
//! maintenance mode came in between.

use std::time::Duration;

use super::Verdict;
use crate::harness::Lab;

/// More than a deep monitor of a standby and a plain one.
const NOTICE_LIMIT: Duration = Duration::from_secs(90);
/// More than two plain monitors.
const REMOVAL_LIMIT: Duration = Duration::from_secs(35);
/// What Pacemaker calls the exit codes 190 and 191.
const DEGRADED: &str = "OCF_DEGRADED";

/// The monitor that tells, besides the plain ones of the example.
const ADD_DEEP: &[&str] = &[
    "pcs",
    "resource",
    "op",
    "add",
    "pgsql",
    "monitor",
    "interval=20s",
    "timeout=10s",
    "role=Unpromoted",
    "OCF_CHECK_LEVEL=10",
];
const REMOVE_DEEP: &[&str] = &["pcs", "resource", "op", "remove", "pgsql-monitor-interval-20s"];

pub(super) fn degraded_is_told(lab: &Lab) -> Verdict {
    let (primary, standby) = (lab.primary()?, lab.a_standby()?);
    lab.change(ADD_DEEP)?;
    lab.wait_until_idle()?;
    let before = lab.boots();

    lab.sql(&standby, "select pg_wal_replay_pause()")?;
    let is_told = |failure: &String| failure.contains(DEGRADED) && failure.contains(&format!("on {standby}"));
    lab.wait_until("a paused standby in the list", NOTICE_LIMIT, |state| {
        state.words.get(&standby).is_some_and(|words| words == "paused") && state.failures.iter().any(is_told)
    })?;

    // Maintenance mode cancels all monitors. Those that are listed as failed are not started again after it.
    lab.set_property("maintenance-mode", "true")?;
    lab.wait_until_idle()?;
    lab.set_property("maintenance-mode", "false")?;
    lab.wait_until_idle()?;

    lab.sql(&standby, "select pg_wal_replay_resume()")?;
    lab.wait_until("a standby that streams, and an empty list", REMOVAL_LIMIT, |state| {
        state.words.get(&standby).is_some_and(|words| words == "streaming") && state.failures.is_empty()
    })?;
    lab.change(REMOVE_DEEP)?;
    lab.wait_for_full_strength()?;
    lab.assert_primary(&primary)?;
    lab.assert_nobody_fenced(&before)
}
