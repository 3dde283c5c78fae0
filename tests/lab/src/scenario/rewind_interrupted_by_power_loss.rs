//! In the middle of a rewind the power goes: a data directory that nobody may start. It is made whole all the same, without
//! a hand, and what was kept aside before is still there.

use std::time::Duration;

use super::Verdict;
use crate::harness::{Kept, Lab, Report};

/// Blocks of a table that the node changed and the primary did not, all of which are copied.
const MEGABYTES: u64 = 100;
const RETURN_LIMIT: Duration = Duration::from_secs(240);

/// Of the node that is being rewound.
pub(super) fn rewind_interrupted_by_power_loss(lab: &Lab) -> Verdict {
    let story = begin(lab)?;

    lab.wait_until_halfway_rewound(&story.old)?;
    lab.power_off(&story.old)?;
    lab.assert_interrupted(&story.old)?;
    lab.wait_until(&format!("{} found lost", story.old), RETURN_LIMIT, |state| !state.online.contains(&story.old))?;
    // Its fencing may come after its power, and takes that away once more.
    lab.boots_after_fencing(&story.old)?;
    lab.power_on(&story.old)?;

    end(lab, &story)
}

/// Of the primary that it is rewound from. The third node takes over, and both come back as its standbys.
pub(super) fn rewind_interrupted_by_power_loss_of_its_source(lab: &Lab) -> Verdict {
    let story = begin(lab)?;

    lab.wait_until_halfway_rewound(&story.old)?;
    lab.power_off(&story.source)?;
    lab.assert_interrupted(&story.old)?;

    lab.wait_for_another_primary(&story.source)?;
    end(lab, &story)
}

struct Story {
    old: String,
    source: String,
    kept_before: Vec<Kept>,
    /// What the first failover took.
    lost: Report,
}

/// Up to the moment when the old primary's node gets its power back.
fn begin(lab: &Lab) -> crate::error::Result<Story> {
    lab.keep_much_wal()?;
    let primary = lab.primary()?;
    let kept_before = lab.kept_on(&primary)?;
    lab.make_ballast(&primary, MEGABYTES)?;
    lab.wait_until_all_caught_up()?;
    lab.stays_off_after_fencing(&primary)?;
    let client = lab.writing_client()?;
    let old = lab.lose_primary(&client, |primary| lab.rewrite_ballast(primary))?;
    let source = lab.wait_for_another_primary(&old)?;
    client.wait_for_rows(50)?;
    let lost = client.stop()?;
    lost.assert_no_two_writers()?;
    lab.power_on(&old)?;
    Ok(Story { old, source, kept_before, lost })
}

fn end(lab: &Lab, story: &Story) -> Verdict {
    lab.wait_for_full_strength_within(RETURN_LIMIT)?;
    let kept = lab.first_kept_since(&story.old, &story.kept_before)?;
    lab.assert_keeps_what_was_lost(&kept, &story.lost)?;
    lab.drop_ballast(&lab.primary()?)?;
    lab.assert_no_failures()
}
