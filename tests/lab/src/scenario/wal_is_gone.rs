//! A standby's node was without power for so long that the primary no longer has the WAL which it needs next.

use std::time::Duration;

use super::Verdict;
use crate::error::{Result, unexpected};
use crate::harness::{Client, KEEP_LITTLE_WAL, Lab};

const DETECTION_LIMIT: Duration = Duration::from_secs(30);
/// Otherwise the connection of a node that lost its power counts as one that streams for a minute, back or not.
const FORGET_LOST_STANDBYS: &str = "wal_sender_timeout = '5s'";
/// More than one monitor of each role.
const WATCH: Duration = Duration::from_secs(15);

/// It is cloned anew, and its old data directory is kept.
pub(super) fn wal_is_gone(lab: &Lab) -> Verdict {
    lab.set_parameter("rejoin", "clone")?;
    lab.wait_for_full_strength()?;
    let client = lab.writing_client()?;
    let away = lab.a_standby()?;
    let before = lab.kept_on(&away)?;
    let primary = outlast_its_wal(lab, &client, &away)?;

    lab.power_on(&away)?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_primary(&primary)?;
    if !lab.kept_since(&away, &before)?.is_whole() {
        return unexpected(format!("{away} should keep its old data directory as it was"));
    }
    lab.assert_no_failures()
}

/// A clone takes its time and its share of the network: by default a person decides. Until then the node serves reads of
/// what it has, and says why it does not follow.
pub(super) fn wal_is_gone_and_no_clone_is_wanted(lab: &Lab) -> Verdict {
    let client = lab.writing_client()?;
    let away = lab.a_standby()?;
    let primary = outlast_its_wal(lab, &client, &away)?;

    lab.power_on(&away)?;
    lab.wait_for_words(&away, "too far behind")?;
    lab.watch_left_out(&away, &primary, WATCH)?;
    lab.assert_only_reads(&away)?;
    lab.assert_no_failures()?;
    lab.assert_nothing_kept()?;

    // The person decides.
    lab.set_parameter("rejoin", "clone")?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}

/// The standby's node is off until the others have dropped the segment that it had received last.
pub(super) fn outlast_its_wal(lab: &Lab, client: &Client, away: &str) -> Result<String> {
    let primary = lab.primary()?;
    client.wait_for_rows(50)?;
    lab.stays_off_after_fencing(away)?;
    lab.power_off(away)?;
    let lost = format!("{away} found lost");
    lab.wait_until(&lost, DETECTION_LIMIT, |state| !state.online.iter().any(|online| online == away))?;
    let segment = lab.current_segment(&primary)?;
    for node in lab.nodes().iter().filter(|node| *node != away) {
        lab.configure(node, &format!("{KEEP_LITTLE_WAL}\n{FORGET_LOST_STANDBYS}"))?;
    }
    client.wait_for_rows(50)?;
    lab.push_wal_out(&primary, &segment)?;
    // Fencing would take the power again that it is about to be given.
    lab.wait_until_idle()?;
    Ok(primary)
}
