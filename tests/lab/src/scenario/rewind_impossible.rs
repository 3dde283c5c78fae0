//! Instances with neither data checksums nor wal_log_hints: pg_rewind cannot tell which blocks of an old primary differ. Made
//! with an instance of their own.

use std::time::Duration;

use super::Verdict;
use crate::error::{Result, unexpected};
use crate::harness::{Kept, Lab, Report};

/// More than one monitor of each role.
const WATCH: Duration = Duration::from_secs(15);
/// The words of the two settings, one of which would help.
const EXPRESSIONS: &[&str] = &["wal_log_hints", "checksums"];

/// The node stays away, and says what is missing. A person decides.
pub(super) fn rewind_impossible_is_refused(lab: &Lab) -> Verdict {
    let primary = lab.primary()?;
    let logged_before = lab.syslog(&primary)?.len();
    let story = fail_over(lab)?;

    lab.wait_for_reason(&story.old, logged_before, EXPRESSIONS)?;
    lab.watch_left_out(&story.old, &story.new, WATCH)?;
    lab.assert_nothing_kept()?;

    // The person decides.
    lab.set_parameter("rejoin", "clone")?;
    lab.clean_up_failures()?;
    end(lab, &story)
}

pub(super) fn rewind_impossible_is_cloned(lab: &Lab) -> Verdict {
    lab.set_parameter("rejoin", "clone")?;
    lab.wait_for_full_strength()?;
    let story = fail_over(lab)?;
    end(lab, &story)
}

struct Story {
    old: String,
    new: String,
    kept_before: Vec<Kept>,
    lost: Report,
}

fn fail_over(lab: &Lab) -> Result<Story> {
    if lab.sql(&lab.primary()?, "select current_setting('data_checksums') || current_setting('wal_log_hints')")?
        != "offoff"
    {
        return unexpected("the instances should be made without data checksums and wal_log_hints");
    }
    let kept_before = lab.kept_on(&lab.primary()?)?;
    let client = lab.writing_client()?;
    let old = lab.lose_primary(&client, |_| Ok(()))?;
    let new = lab.wait_for_another_primary(&old)?;
    client.wait_for_rows(50)?;
    let lost = client.stop()?;
    lost.assert_no_two_writers()?;
    Ok(Story { old, new, kept_before, lost })
}

/// The clone has happened. What the node alone had is in its old data directory.
fn end(lab: &Lab, story: &Story) -> Verdict {
    lab.wait_for_full_strength()?;
    let kept = lab.kept_since(&story.old, &story.kept_before)?;
    if !kept.is_whole() {
        return unexpected(format!("{} should keep its old data directory as it was", story.old));
    }
    lab.assert_directory_has_what_was_lost(&kept, &story.lost)?;
    lab.assert_no_failures()
}
