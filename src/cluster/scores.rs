//! Promotion scores: the transient attribute `master-<resource>`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cluster, ClusterError, bounded, finish};
use crate::sys::{Deadline, Pace, Program, Running};
use crate::types::{Gather, NodeName, Score};

impl Cluster {
    /// The scores of all nodes. A value that is no number is as good as none.
    ///
    /// # Errors
    /// When the attribute daemon does not answer.
    pub fn scores(&self, deadline: Deadline) -> Result<BTreeMap<NodeName, Score>, ClusterError> {
        let entries = self.read_attribute(&self.score_name(), deadline)?;
        Ok(entries.into_iter().filter_map(|entry| Some((entry.node, entry.value.parse().ok()?))).into_map())
    }

    /// Writes scores, all at the same time. A `None` removes one.
    ///
    /// # Errors
    /// When one of them cannot be written; the others are.
    pub fn set_scores(&self, scores: &[(NodeName, Option<Score>)], deadline: Deadline) -> Result<(), ClusterError> {
        let name = self.score_name();
        let write = |(node, score): &(NodeName, Option<Score>)| {
            let value = score.map(|score| score.to_string());
            self.write_attribute(&name, value.as_deref(), Some(node), false)
        };
        let started: Vec<_> = scores.iter().map(write).collect();
        let results: Vec<Result<(), ClusterError>> =
            started.into_iter().map(|running| finish(running, deadline)).collect();
        results.into_iter().collect()
    }

    /// Starts writing the score of a node.
    ///
    /// # Errors
    /// When the tool cannot be started.
    pub fn begin_setting_score(&self, node: &NodeName, score: Score) -> Result<Running, ClusterError> {
        self.write_attribute(&self.score_name(), Some(&score.to_string()), Some(node), false)
    }

    /// Waits until the cluster configuration shows these scores: Pacemaker plans by it, and the attribute
    /// daemon takes a score before it has written it there (seen, 2.1.5: a promotion began in between).
    /// False when it does not show them at the deadline.
    pub fn await_scores(&self, scores: &[(NodeName, Score)], deadline: Deadline) -> bool {
        let mut pace = Pace::up_to(Duration::from_millis(50));
        loop {
            if scores.iter().all(|(node, score)| self.is_in_configuration(node, *score, deadline)) {
                return true;
            }
            if !pace.step(deadline) {
                return false;
            }
        }
    }

    /// A node's name has no quote in it, so it cannot leave the expression.
    fn is_in_configuration(&self, node: &NodeName, score: Score, deadline: Deadline) -> bool {
        let name = self.score_name();
        let path = format!("//node_state[@uname='{node}']/transient_attributes//nvpair[@name='{name}']");
        let text = Program::new("cibadmin").args(["--query", "--xpath", &path]).run(bounded(deadline));
        text.is_ok_and(|text| text.contains(&format!("value=\"{score}\"")))
    }

    /// `pcmk_promotion_score_name` in Pacemaker's sources.
    fn score_name(&self) -> String {
        format!("master-{}", self.resource)
    }
}
