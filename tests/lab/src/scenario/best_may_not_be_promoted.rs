//! The node with the most WAL is not the one that may be promoted, or it has yet to replay. What it alone holds is acknowledged,
//! and must be on the node that is promoted.

use super::Verdict;
use crate::error::{Result, unexpected};
use crate::harness::lab::CLONE;
use crate::harness::{Client, Lab};

const RULE: &str = "not-the-best";

/// A ban that somebody has forgotten.
pub(super) fn best_node_is_banned(lab: &Lab) -> Verdict {
    tell(lab, |best| lab.change(&["pcs", "resource", "ban", CLONE, best, "--promoted"]))?;
    lab.clear_moves()
}

/// A node for reports only.
pub(super) fn best_node_is_excluded_by_a_rule(lab: &Lab) -> Verdict {
    let id = format!("constraint-id={RULE}");
    let told = tell(lab, |best| {
        let rule = ["rule", &id, "role=Promoted", "score=-INFINITY", "#uname", "eq", best];
        lab.change(&[&["pcs", "constraint", "location", CLONE][..], &rule[..]].concat())
    });
    let removed = lab.change(&["pcs", "constraint", "delete", RULE]);
    told.and(removed)
}

/// The rows of the last seconds are on the best node only.
fn tell(lab: &Lab, exclude: impl Fn(&str) -> Result<()>) -> Verdict {
    let (old, laggard, best) = roles(lab)?;
    let client = lab.writing_client()?;
    client.wait_for_rows(10)?;
    exclude(&best)?;
    lab.stop_receiving(&laggard)?;
    client.wait_for_rows(50)?;

    lab.power_off(&old)?;
    lab.wait_for_primary_on(&laggard)?;
    go_on(lab, client, &laggard)
}

/// The only node that has the last rows would not replay them for an hour, and has been restarted since it received them.
pub(super) fn best_node_delays_its_replay(lab: &Lab) -> Verdict {
    let (old, laggard, best) = roles(lab)?;
    let client = lab.writing_client()?;
    client.wait_for_rows(10)?;
    lab.stop_receiving(&laggard)?;
    lab.configure(&best, "recovery_min_apply_delay = '1h'")?;
    client.wait_for_rows(50)?;

    lab.power_off(&old)?;
    lab.restart_server_processes(&best)?;
    lab.wait_for_primary_on(&best)?;
    go_on(lab, client, &laggard)
}

/// The one that lagged receives again, and nothing is missing.
fn go_on(lab: &Lab, client: Client, laggard: &str) -> Verdict {
    client.wait_for_rows(50)?;
    lab.receive_again(laggard)?;
    client.stop()?.assert_nothing_lost()?;
    lab.wait_for_full_strength()?;
    lab.assert_no_failures()
}

/// The primary, a standby that will lag, and one that will have everything.
fn roles(lab: &Lab) -> Result<(String, String, String)> {
    lab.use_synchronous_commit()?;
    match &lab.standbys()?[..] {
        [laggard, best] => Ok((lab.primary()?, laggard.clone(), best.clone())),
        standbys => unexpected(format!("two standbys expected, there are {standbys:?}")),
    }
}
