//! What a scenario may expect of the cluster after its story.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::full_strength;
use super::lab::{Lab, brief};
use crate::cluster::state::{State, is_degraded};
use crate::error::{Result, unexpected};
use crate::switch;
use crate::wait;

const FULL_STRENGTH_LIMIT: Duration = Duration::from_secs(120);
/// Longer than the longest monitor interval and the timeout of a monitor.
const FAILURE_LIMIT: Duration = Duration::from_secs(60);
/// More than two monitors of a standby, the first of which may see the reason still.
const DEGRADED_LIMIT: Duration = Duration::from_secs(35);
/// The examples' failure-timeout, and the time in which Pacemaker acts on it.
const EXPIRY_LIMIT: Duration = Duration::from_secs(90);
const FENCING_LIMIT: Duration = Duration::from_secs(60);
const LOOK_PAUSE: Duration = Duration::from_millis(200);

impl Lab {
    /// Waits until the cluster has recovered by itself: nobody mends, rebuilds or cleans anything up. Failed actions
    /// that are listed do not count here: see [`Self::assert_no_failures`].
    pub(crate) fn wait_for_full_strength(&self) -> Result<()> {
        self.wait_for_full_strength_within(FULL_STRENGTH_LIMIT)
    }

    /// [`Self::wait_for_full_strength`] where a standby may have been away from more WAL than is kept by default: that one is
    /// made anew, as a person would.
    pub(crate) fn wait_for_full_strength_with_a_hand(&self) -> Result<()> {
        full_strength::wait_with_a_hand(self, FULL_STRENGTH_LIMIT)
    }

    /// [`Self::wait_for_full_strength`] where a node has much to fetch.
    pub(crate) fn wait_for_full_strength_within(&self, limit: Duration) -> Result<()> {
        full_strength::wait_for(self, limit)
    }

    /// Waits until Pacemaker has done all that it can do, whatever came of that.
    pub(crate) fn wait_until_idle(&self) -> Result<()> {
        full_strength::wait_until_idle(self, FULL_STRENGTH_LIMIT)
    }

    /// Waits until no answer of a degraded instance is listed any more: the monitor that finds its reason gone removes it.
    fn wait_until_nothing_is_degraded(&self) -> Result<State> {
        self.wait_until("list without degraded instances", DEGRADED_LIMIT, |state| {
            !state.failures.iter().any(|failure| is_degraded(failure))
        })
    }

    /// Nothing is listed under "Failed Resource Actions", or not for long.
    pub(crate) fn assert_no_failures(&self) -> Result<()> {
        match &self.wait_until_nothing_is_degraded()?.failures[..] {
            [] => Ok(()),
            failures => unexpected(format!("no failed action expected, there are: {}", failures.join("; "))),
        }
    }

    /// Waits until the failures that are listed are older than the definition's failure-timeout, and forgotten.
    pub(crate) fn wait_until_failures_expire(&self) -> Result<()> {
        self.wait_until("a list without failures", EXPIRY_LIMIT, |state| state.failures.is_empty()).map(drop)
    }

    /// The failure that was made is listed, once, and no other.
    pub(crate) fn assert_only_failure(&self, operation: &str, node: &str) -> Result<()> {
        match &self.wait_until_nothing_is_degraded()?.failures[..] {
            [one] if is_failure_of(one, operation, node) => Ok(()),
            failures => unexpected(format!(
                "exactly one failed {operation} on {node} expected, there are: {}",
                failures.join("; ")
            )),
        }
    }

    /// Waits until Pacemaker lists the failure that was made.
    pub(crate) fn wait_for_failure(&self, operation: &str, node: &str) -> Result<()> {
        let made = |failure: &String| is_failure_of(failure, operation, node);
        let what = format!("a failed {operation} on {node}");
        self.wait_until(&what, FAILURE_LIMIT, |state| state.failures.iter().any(made)).map(drop)
    }

    /// Looks at the cluster for that long; at every look it has to be as wanted.
    pub(crate) fn watch(&self, what: &str, time: Duration, wanted: impl Fn(&State) -> bool) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            let state = self.state()?;
            if !wanted(&state) {
                let after = start.elapsed().as_millis();
                return unexpected(format!("{what}: not so after {after} ms: {}", brief(&state)));
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        Ok(())
    }

    /// Which boot of each node this is: another one, or none, after the node has lost its power.
    pub(crate) fn boots(&self) -> BTreeMap<String, Option<String>> {
        let boot = |node: String| {
            let boot = switch::order(&format!("pid {node}")).ok();
            (node, boot)
        };
        self.nodes().into_iter().map(boot).collect()
    }

    /// No node has lost its power since [`Self::boots`] was looked at.
    pub(crate) fn assert_nobody_fenced(&self, before: &BTreeMap<String, Option<String>>) -> Result<()> {
        match self.boots() {
            now if now == *before => Ok(()),
            now => unexpected(format!("no node should have been fenced; boots before: {before:?}, now: {now:?}")),
        }
    }

    /// That node, and no other, has lost its power since [`Self::boots`] was looked at.
    pub(crate) fn assert_only_fenced(&self, node: &str, before: &BTreeMap<String, Option<String>>) -> Result<()> {
        let now = self.boots();
        let fenced: Vec<_> = now.iter().filter(|(name, boot)| before.get(*name) != Some(boot)).collect();
        match fenced[..] {
            [(one, _)] if one == node => Ok(()),
            _ => unexpected(format!("only {node} should have been fenced; boots before: {before:?}, now: {now:?}")),
        }
    }

    /// Waits until that node has lost its power and is in the cluster again.
    pub(crate) fn wait_until_fenced_and_back(
        &self,
        node: &str,
        before: &BTreeMap<String, Option<String>>,
    ) -> Result<()> {
        wait::until_true(&format!("fencing of {node}"), FENCING_LIMIT, || {
            let now = self.boots().remove(node).flatten();
            Ok(now.is_some() && now.as_ref() != before.get(node).and_then(Option::as_ref))
        })?;
        let back = |state: &State| state.online.iter().any(|online| online == node);
        self.wait_until(&format!("return of {node}"), FENCING_LIMIT, back).map(drop)
    }

    pub(crate) fn assert_primary(&self, node: &str) -> Result<()> {
        match self.primary()? {
            primary if primary == node => Ok(()),
            primary => unexpected(format!("{node} should be the primary, {primary} is")),
        }
    }
}

fn is_failure_of(failure: &str, operation: &str, node: &str) -> bool {
    failure.contains(&format!("_{operation}_")) && failure.contains(&format!(" on {node}:"))
}
