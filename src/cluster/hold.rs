//! What the primary tells about the members' slots: the private attribute `pgbaton-<resource>-hold`.
//!
//! Only the primary has one. It withdraws it when it ceases to be the primary, and it goes with the node. While two
//! nodes have one, one of them is out of date, and neither counts.

use super::{Cluster, ClusterError};
use crate::policy::hold::Hold;
use crate::sys::{Deadline, Running};

impl Cluster {
    /// The word of the primary. `None` when no node has one, or more than one, or it is not understood.
    ///
    /// # Errors
    /// When the attribute daemon does not answer.
    pub fn hold(&self, deadline: Deadline) -> Result<Option<Hold>, ClusterError> {
        let entries = self.read_attribute(&self.hold_name(), deadline)?;
        let [entry] = entries.as_slice() else { return Ok(None) };
        Ok(entry.value.parse().ok())
    }

    /// Starts publishing this node's word as it is written, or withdrawing it.
    ///
    /// # Errors
    /// When the tool cannot be started.
    pub fn begin_publishing_hold(&self, word: Option<&str>) -> Result<Running, ClusterError> {
        self.write_attribute(&self.hold_name(), word, None, true)
    }

    fn hold_name(&self) -> String {
        format!("pgbaton-{}-hold", self.resource)
    }
}
