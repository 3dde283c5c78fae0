//! Pacemaker's attribute daemon is killed, and with it goes all that was told of its node: the promotion score, for which
//! Pacemaker plans to move the primary at once, and what the agent has published.

use std::time::Duration;

use super::Verdict;
use crate::error::Result;
use crate::harness::Lab;
use crate::wait::{self, Seen};

const DAEMON_LIMIT: Duration = Duration::from_secs(20);
/// Whether a state is still shown is looked at once a minute.
const TOLD_LIMIT: Duration = Duration::from_secs(100);
const BEGINS: &str = "Pacemaker node attribute manager successfully started";
const SPARED: &str = "the plan to demote it is void";

pub(super) fn sigkill_of_the_attribute_daemon(lab: &Lab) -> Verdict {
    let (primary, standby) = (lab.primary()?, lab.a_standby()?);
    let server = lab.server_of(&primary)?;
    let client = lab.writing_client()?;
    lab.wait_for_words(&primary, "primary")?;
    lab.wait_for_words(&standby, "streaming")?;

    kill_daemon(lab, &primary, SPARED)?;
    wait_until_told(lab, &primary, "pgbaton-pgsql-timeline", &format!(" {primary} "))?;
    wait_until_told(lab, &primary, "pgsql-state", "primary")?;
    kill_daemon(lab, &standby, BEGINS)?;
    wait_until_told(lab, &standby, "pgsql-state", "streaming")?;
    lab.wait_for_full_strength()?;

    let report = client.stop()?;
    report.assert_nothing_lost()?;
    lab.assert_undisturbed(&primary, &server, &report)?;
    lab.assert_no_failures()
}

/// Kills it, and waits until the node has logged what follows. All that was told of the node is gone then.
fn kill_daemon(lab: &Lab, node: &str, followed_by: &str) -> Result<()> {
    let logged_before = lab.syslog(node)?.len();
    lab.run(node, &["pkill", "-KILL", "-f", "/pacemaker-attrd"])?;
    wait::until_true(&format!("'{followed_by}' on {node}"), DAEMON_LIMIT, || {
        Ok(lab.syslog(node)?.get(logged_before..).is_some_and(|logged| logged.contains(followed_by)))
    })
}

/// The daemon itself is asked: the cluster configuration follows it a moment later.
fn wait_until_told(lab: &Lab, node: &str, attribute: &str, words: &str) -> Result<()> {
    wait::until(&format!("'{words}' as {attribute} of {node}"), TOLD_LIMIT, || {
        let told = lab.run(node, &["attrd_updater", "-n", attribute, "-Q", "-A"]).unwrap_or_default();
        let of_node = told.lines().find(|line| line.contains(&format!("host=\"{node}\"")));
        Ok(match of_node {
            Some(line) if line.contains(words) => Seen::Yes(()),
            other => Seen::NotYet(format!("{other:?}")),
        })
    })
}
