//! Promotion scores: the transient attribute `master-<resource>`.

use std::collections::BTreeMap;

use super::{Cluster, ClusterError, bounded};
use crate::sys::Deadline;
use crate::types::{NodeName, Score};

impl Cluster {
    /// The scores of all nodes. A value that is no number is as good as none.
    ///
    /// # Errors
    /// When the attribute daemon does not answer.
    pub fn scores(&self, deadline: Deadline) -> Result<BTreeMap<NodeName, Score>, ClusterError> {
        let entries = self.read_attribute(&self.score_name(), deadline)?;
        Ok(entries.into_iter().filter_map(|entry| Some((entry.node, entry.value.parse().ok()?))).collect())
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
        let finish = |running: Result<crate::sys::Running, ClusterError>| {
            running.and_then(|running| Ok(running.finish(bounded(deadline)).map(drop)?))
        };
        let results: Vec<Result<(), ClusterError>> = started.into_iter().map(finish).collect();
        results.into_iter().collect()
    }

    /// `pcmk_promotion_score_name` in Pacemaker's sources.
    fn score_name(&self) -> String {
        format!("master-{}", self.resource)
    }
}
