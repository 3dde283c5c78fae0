//! For a minute nobody gets a connection to the primary, not even the agent. That is no reason to stop it.

use std::time::Duration;

use super::Verdict;
use crate::error::{Result, unexpected};
use crate::harness::Lab;

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn primary_out_of_connections(lab: &Lab) -> Verdict {
    let primary = lab.primary()?;
    let server = lab.server_of(&primary)?;
    let client = lab.writing_client()?;
    let warnings = refusals(lab, &primary)?;

    let connections = lab.take_all_connections(&primary)?;
    lab.watch("a primary that is left alone", MINUTE, |state| {
        state.promoted == [primary.clone()] && state.address.as_ref() == Some(&primary) && state.failures.is_empty()
    })?;
    connections.give_back()?;

    if refusals(lab, &primary)? == warnings {
        return unexpected(format!("the agent on {primary} was never refused"));
    }
    let report = client.stop()?;
    report.assert_nothing_lost()?;
    lab.wait_for_full_strength()?;
    lab.assert_undisturbed(&primary, &server, &report)?;
    lab.assert_no_failures()
}

/// How often the agent has said that the server refuses it.
fn refusals(lab: &Lab, node: &str) -> Result<usize> {
    Ok(lab.syslog(node)?.lines().filter(|line| line.contains("refuses the agent")).count())
}
