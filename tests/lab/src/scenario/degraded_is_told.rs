//! Somebody pauses the replay of a standby, and goes on with it later. Where that is wanted, Pacemaker is told, and nothing is
//! left of it.

use std::time::Duration;

use super::Verdict;
use crate::harness::Lab;

/// More than three monitors of a standby.
const NOTICE_LIMIT: Duration = Duration::from_secs(35);
/// What Pacemaker calls the exit codes 190 and 191.
const DEGRADED: &str = "OCF_DEGRADED";

pub(super) fn degraded_is_told(lab: &Lab) -> Verdict {
    lab.set_parameter("degraded", "report")?;
    lab.wait_for_full_strength()?;
    let (primary, standby) = (lab.primary()?, lab.a_standby()?);
    let before = lab.boots();

    lab.sql(&standby, "select pg_wal_replay_pause()")?;
    let is_told = |failure: &String| failure.contains(DEGRADED) && failure.contains(&format!("on {standby}"));
    lab.wait_until("a paused standby in the list", NOTICE_LIMIT, |state| {
        state.words.get(&standby).is_some_and(|words| words == "paused") && state.failures.iter().any(is_told)
    })?;

    lab.sql(&standby, "select pg_wal_replay_resume()")?;
    lab.wait_until("a standby that streams, and an empty list", NOTICE_LIMIT, |state| {
        state.words.get(&standby).is_some_and(|words| words == "streaming") && state.failures.is_empty()
    })?;
    lab.assert_primary(&primary)?;
    lab.assert_nobody_fenced(&before)?;

    // The monitor goes on: it sees the next time, too.
    lab.sql(&standby, "select pg_wal_replay_pause()")?;
    lab.wait_until("a paused standby once more", NOTICE_LIMIT, |state| state.failures.iter().any(is_told))?;
    // A primary of the same node starts with an empty list.
    lab.sql(&standby, "select pg_wal_replay_resume()")?;
    lab.switch_over_to(&standby)?;
    lab.wait_for_full_strength()?;
    lab.wait_until("an empty list", NOTICE_LIMIT, |state| state.failures.is_empty()).map(drop)
}
