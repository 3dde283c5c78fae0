//! Pacemaker's controller on a standby's node is killed. Its successor finds the instance by a probe, and the node's promotion
//! score is gone from the cluster configuration, while the attribute daemon believes that it is there.

use std::time::Duration;

use super::Verdict;
use crate::error::{Result, unexpected};
use crate::harness::Lab;
use crate::wait;

const PROBE_LIMIT: Duration = Duration::from_secs(60);
const PROBED: &str = "Result of probe operation for pgsql on";
/// Pacemaker fences a node whose controller it misses while it plans, and that is another story.
const ATTEMPTS: usize = 3;

pub(super) fn sigkill_of_the_controller(lab: &Lab) -> Verdict {
    let (primary, standby) = (lab.primary()?, lab.a_standby()?);
    let mut attempts = 1;
    while !runs_through(lab, &standby)? {
        attempts += 1;
        if attempts > ATTEMPTS {
            return unexpected(format!("{standby} was fenced each of {ATTEMPTS} times"));
        }
    }
    lab.assert_primary(&primary)?;
    lab.switch_over_to(&standby)?;
    lab.wait_for_full_strength()?;
    lab.assert_no_failures()
}

/// Kills it, and waits for full strength, which includes a score above 0 of each standby. Tells whether nobody was fenced.
fn runs_through(lab: &Lab, standby: &str) -> Result<bool> {
    lab.wait_until_idle()?;
    let before = lab.boots();
    let logged_before = lab.syslog(standby)?.len();

    lab.run(standby, &["pkill", "-KILL", "-f", "/pacemaker-controld"])?;

    wait::until_true(&format!("a probe on {standby}"), PROBE_LIMIT, || {
        Ok(lab.syslog(standby)?.get(logged_before..).is_some_and(|logged| logged.contains(PROBED)))
    })?;
    lab.wait_for_full_strength()?;
    Ok(lab.boots() == before)
}
