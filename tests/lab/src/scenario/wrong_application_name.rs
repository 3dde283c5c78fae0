//! Somebody writes a wrong application_name into primary_conninfo while the servers run. That is a slip, not a failure.

use std::time::Duration;

use super::Verdict;
use crate::cluster::state::is_degraded;
use crate::harness::Lab;
use crate::plan::VIP;

/// More than two monitors of each role.
const WATCH: Duration = Duration::from_secs(25);
const NOTICE_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn wrong_application_name(lab: &Lab) -> Verdict {
    let primary = lab.primary()?;
    let standby = lab.a_standby()?;
    let before = lab.boots();
    let server = lab.server_of(&primary)?;
    let client = lab.writing_client()?;

    let slip = format!("primary_conninfo = 'host={VIP} user=replicator application_name=somebody connect_timeout=3'");
    lab.configure(&primary, &slip)?;
    lab.configure(&standby, &slip)?;

    // The primary no longer knows whom it is talking to, and takes the score away from who is missing.
    let unknown = format!("{standby} not promotable");
    lab.wait_until(&unknown, NOTICE_LIMIT, |state| state.scores.get(&standby).is_none_or(|score| *score <= 0))?;
    let others = lab.nodes().len() - 1;
    lab.watch("servers that are left alone", WATCH, |state| {
        state.promoted == [primary.clone()]
            && state.unpromoted.len() == others
            && state.failures.iter().all(|failure| is_degraded(failure))
            && state.troubled.is_empty()
    })?;
    let report = client.stop()?;
    report.assert_nothing_lost()?;

    lab.configure(&primary, "")?;
    lab.configure(&standby, "")?;
    lab.wait_for_full_strength()?;
    lab.assert_nobody_fenced(&before)?;
    lab.assert_undisturbed(&primary, &server, &report)?;
    lab.assert_no_failures()
}
