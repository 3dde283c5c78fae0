//! What a scenario may expect of the cluster after its story.
#![allow(dead_code, reason = "a vocabulary for scenarios is larger than what they say today")]

use std::time::Duration;

use super::full_strength;
use super::lab::Lab;
use crate::error::{Result, unexpected};

const FULL_STRENGTH_LIMIT: Duration = Duration::from_secs(120);

impl Lab {
    /// Waits until the cluster has recovered by itself: nobody mends, rebuilds or cleans anything up. Failed actions
    /// that are listed do not count here: see [`Self::assert_no_failures`].
    pub(crate) fn wait_for_full_strength(&self) -> Result<()> {
        full_strength::wait_for(self, FULL_STRENGTH_LIMIT)
    }

    /// Nothing is listed under "Failed Resource Actions".
    pub(crate) fn assert_no_failures(&self) -> Result<()> {
        match &self.state()?.failures[..] {
            [] => Ok(()),
            failures => unexpected(format!("no failed action expected, there are: {}", failures.join("; "))),
        }
    }

    /// The failure that was made is listed, once, and no other.
    pub(crate) fn assert_only_failure(&self, operation: &str, node: &str) -> Result<()> {
        match &self.state()?.failures[..] {
            [one] if one.contains(&format!("_{operation}_")) && one.contains(&format!(" on {node}:")) => Ok(()),
            failures => unexpected(format!(
                "exactly one failed {operation} on {node} expected, there are: {}",
                failures.join("; ")
            )),
        }
    }

    pub(crate) fn assert_primary(&self, node: &str) -> Result<()> {
        match self.primary()? {
            primary if primary == node => Ok(()),
            primary => unexpected(format!("{node} should be the primary, {primary} is")),
        }
    }
}
