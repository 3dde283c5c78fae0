//! What Pacemaker shows of a node's instance: an attribute, and the answers of a degraded monitor.

use std::collections::BTreeMap;

use super::{Cluster, ClusterError, bounded, finish};
use crate::sys::{Deadline, Program, Running};
use crate::types::{Gather, NodeName};

impl Cluster {
    /// Shows in few words what this node's instance is doing, as the public attribute `<resource>-state`, or nothing any more.
    ///
    /// # Errors
    /// When it is not written.
    pub fn show_state(&self, words: Option<&str>, deadline: Deadline) -> Result<(), ClusterError> {
        finish(self.begin_showing_state(words), deadline)
    }

    /// What the nodes show.
    ///
    /// # Errors
    /// When the attribute daemon does not answer.
    pub fn states(&self, deadline: Deadline) -> Result<BTreeMap<NodeName, String>, ClusterError> {
        let entries = self.read_attribute(&self.state_name(), deadline)?;
        Ok(entries.into_iter().map(|entry| (entry.node, entry.value)).into_map())
    }

    /// Starts showing the state.
    ///
    /// # Errors
    /// When the tool cannot be started.
    pub fn begin_showing_state(&self, words: Option<&str>) -> Result<Running, ClusterError> {
        self.write_attribute(&self.state_name(), words, None, false)
    }

    fn state_name(&self) -> String {
        format!("{}-state", self.resource)
    }

    /// Removes the answers 190 and 191 of a monitor on that node from what `crm_mon` lists as failed actions. Real failures
    /// stay, and nothing is probed anew, as after `crm_resource --cleanup`.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn unlist_degraded(&self, node: &NodeName, deadline: Deadline) -> Result<(), ClusterError> {
        let resource = &self.resource;
        let path = format!(
            "//node_state[@uname='{node}']//lrm_resource[@id='{resource}']\
             /lrm_rsc_op[@id='{resource}_last_failure_0'][@rc-code='190' or @rc-code='191']"
        );
        let output = Program::new("cibadmin").args(["--delete", "--xpath", &path]).output(bounded(deadline))?;
        // Exit status when nothing was there to delete: 6, 105 since 2.0.0.
        match output.status.code() {
            Some(0 | 6 | 105) => Ok(()),
            _ => Err(ClusterError::Output("cibadmin --delete")),
        }
    }
}
