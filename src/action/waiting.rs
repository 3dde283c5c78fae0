//! A node without an instance, which is to be made from a primary, while there is none.
//!
//! Nobody is at work then: what the node waits for is in the marker beside the empty directory, and every monitor looks
//! for a primary. `start` answers 0, as it does for a clone under way, so that nothing has to be cleaned up when the
//! primary comes; `stop` ends the waiting by removing the marker, and the next `start` begins anew.

use std::time::Duration;

use super::Agent;
use super::rejoin::WayIn;
use crate::cluster::Record;
use crate::instance::rejoin::{Marker, Rejoining, Task};
use crate::ocf::{ExitCode, Failure};
use crate::policy::condition::Condition;
use crate::policy::rejoin::{Prospect, Trouble, prospect, waits_for_primary};
use crate::types::NodeName;

/// The words of the node attribute.
pub(super) const WAITING: &str = "waiting for a primary to clone from";
const NOBODY: &str = "empty, and no other node may become the primary";
const FILLED: &str = "not started: the data directory was filled";

/// How long the cluster may take for each answer.
const LOOK: Duration = Duration::from_secs(5);

impl Agent {
    /// Whether an instance that is down is one that waits, or is cloned at once when there is a primary.
    pub(super) fn may_wait_for_primary(&self) -> Result<bool, Failure> {
        let is_empty = self.instance.has_empty_directory();
        Ok(is_empty && waits_for_primary(is_empty, self.request.parameters.rejoin()?))
    }

    /// For `start`. What the cluster does not tell now it tells a later monitor.
    pub(super) fn clone_or_wait(&self) -> Result<WayIn, Failure> {
        if let Some(primary) = self.primary_there() {
            return self.mend(&Trouble::Empty, &primary, None);
        }
        let marker = self.new_marker(Task::Clone, &Trouble::Empty)?;
        self.instance.plan_rejoin(marker, self.deadline)?;
        let data = self.instance.data_directory().display();
        log::warn!("{data} is empty and there is no primary: {WAITING}; this node has no say in elections until then");
        Ok(WayIn::UnderWay)
    }

    /// For `monitor`. It counts as running whatever it finds: a recovery would change nothing.
    pub(super) fn clone_or_go_on_waiting(&self, marker: &Marker) -> Result<ExitCode, Failure> {
        let is_empty = self.instance.has_empty_directory();
        let primary = if is_empty { self.primary_there() } else { None };
        let found = prospect(is_empty, primary.is_some(), self.other_candidates());
        let (words, why) = match (found, primary) {
            (Prospect::Clone, Some(primary)) => {
                let planned = self.plan_mending(&Trouble::Empty, &primary, None)?;
                self.start_worker(&planned)?;
                return Ok(self.tell_of_work(&planned));
            }
            (Prospect::Clone | Prospect::Wait, _) => {
                self.change_notes(|notes| notes.refused = None);
                return Ok(self.tell_of_work(marker));
            }
            (Prospect::Nobody, _) => (NOBODY, self.nobody_in_words()),
            (Prospect::Filled, _) => (FILLED, self.filled_in_words()),
        };
        self.log_refusal_once(&why);
        Ok(self.tell(&Condition::standby(words, Some(why))))
    }

    fn nobody_in_words(&self) -> String {
        format!(
            "{} is empty, there is no primary, and no other node has a promotion score above 0, so there is nothing to \
             clone: start a node that has the database, or stop the resource and put a copy of it on one node",
            self.instance.data_directory().display()
        )
    }

    fn filled_in_words(&self) -> String {
        format!(
            "{} was empty and is no longer, so it is not cloned; when it is complete, restart the resource on this node \
             to have it started",
            self.instance.data_directory().display()
        )
    }

    /// The promoted instance of another node, as it says and as the cluster says. Not knowing is as good as none.
    pub(super) fn primary_there(&self) -> Option<Record> {
        let primary = self.other_primary(self.deadline.at_most(LOOK))?;
        let is_there = self.is_promoted_there(&primary.primary);
        let is_there = is_there.unwrap_or_else(|failure| {
            log::warn!("cannot see whether {} is promoted: {failure}", primary.primary);
            false
        });
        is_there.then_some(primary)
    }

    /// How many other nodes may be promoted by their scores. When the cluster does not tell, there may be one.
    fn other_candidates(&self) -> usize {
        let Ok(own) = self.own_name() else { return 1 };
        let is_other = |node: &NodeName| *node != own;
        match self.cluster.scores(self.deadline.at_most(LOOK)) {
            Ok(scores) => scores.iter().filter(|(node, score)| is_other(node) && score.allows_promotion()).count(),
            Err(error) => {
                log::warn!("cannot see which nodes may be promoted: {error}");
                1
            }
        }
    }

    /// Whether there is an instance that may stand for election. One that is being made, or is to be made, is none; a
    /// directory that was filled while the node waited for a primary has to be asked, as any other.
    pub(super) fn has_instance(&self) -> bool {
        match self.instance.rejoining() {
            _ if self.instance.is_running() => true,
            Ok(Rejoining::No | Rejoining::Waiting(_)) => !self.instance.has_empty_directory(),
            Ok(Rejoining::Done(_)) => true,
            Ok(Rejoining::Interrupted(marker)) => marker.is_untouched() && !self.instance.has_empty_directory(),
            Ok(Rejoining::UnderWay(_)) | Err(_) => false,
        }
    }
}
