//! Transient node attributes, by `attrd_updater`.
//!
//! Only the spellings `-n -U -D -Q -A -N -p -R` are used: others were removed in Pacemaker 3.0.2.

use super::{Cluster, ClusterError, bounded, finish};
use crate::sys::{Deadline, Program, Running};
use crate::types::NodeName;

/// An attribute's value on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The node.
    pub node: NodeName,
    /// The value.
    pub value: String,
}

impl Cluster {
    /// Reads an attribute of all nodes. That nobody has it is an empty list.
    pub(super) fn read_attribute(&self, name: &str, deadline: Deadline) -> Result<Vec<Entry>, ClusterError> {
        let output = Program::new("attrd_updater").args(["-n", name, "-Q", "-A"]).output(bounded(deadline))?;
        if output.status.success() {
            return Ok(entries(&output.stdout));
        }
        // No node has the attribute: the exit status for it was 6, then 78 (2.1.5), now 105.
        if output.stderr.contains("attribute does not exist") {
            return Ok(Vec::new());
        }
        Err(ClusterError::Output("attrd_updater -Q"))
    }

    /// Has the attribute daemon write all that it knows to the cluster configuration once more. A controller that died takes
    /// its node's attributes away there, and the daemon does not know of it (seen, 2.1.5).
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn resend_attributes(&self, deadline: Deadline) -> Result<(), ClusterError> {
        Ok(Program::new("attrd_updater").arg("-R").run(bounded(deadline)).map(drop)?)
    }

    /// Starts writing an attribute, of this node unless another is named. `None` removes it.
    pub(super) fn write_attribute(
        &self,
        name: &str,
        value: Option<&str>,
        node: Option<&NodeName>,
        private: bool,
    ) -> Result<Running, ClusterError> {
        let mut program = Program::new("attrd_updater").args(["-n", name]);
        program = match value {
            Some(value) => program.args(["-U", value]),
            None => program.arg("-D"),
        };
        if let Some(node) = node.or(self.own.as_ref()) {
            program = program.args(["-N", node.as_str()]);
        }
        if private {
            program = program.arg("-p");
        }
        Ok(program.spawn()?)
    }

    /// Writes a private attribute of these nodes, all at the same time, and waits for each. `None` removes it.
    pub(super) fn write_private(
        &self,
        name: &str,
        value: Option<&str>,
        nodes: &[NodeName],
        deadline: Deadline,
    ) -> Vec<Result<(), ClusterError>> {
        let started: Vec<_> = nodes.iter().map(|node| self.write_attribute(name, value, Some(node), true)).collect();
        started.into_iter().map(|running| finish(running, deadline)).collect()
    }
}

/// Reads lines of the form `name="x" host="srv1" value="1"`. Others are left out: they may belong to a
/// later version, and none of them may be mistaken for a value.
fn entries(text: &str) -> Vec<Entry> {
    text.lines().filter_map(entry).collect()
}

fn entry(line: &str) -> Option<Entry> {
    let (_, rest) = line.split_once("host=\"")?;
    let (host, rest) = rest.split_once('"')?;
    let (_, rest) = rest.split_once("value=\"")?;
    let value = rest.trim_end().strip_suffix('"')?;
    Some(Entry { node: host.parse().ok()?, value: value.to_owned() }).filter(|entry| !entry.value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_version_2_1_prints() {
        let text = "name=\"master-pgsql\" host=\"srv1\" value=\"1001\"\n\
                    name=\"master-pgsql\" host=\"srv10\" value=\"\"\n\
                    warning: something else\n\
                    name=\"master-pgsql\" host=\"srv2\" value=\"-1000000\"\n";
        let found: Vec<_> = entries(text).into_iter().map(|e| format!("{}={}", e.node, e.value)).collect();
        assert_eq!(found, ["srv1=1001", "srv2=-1000000"]);
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in "(host=\"|value=\"|\"|[a-z ]|\n)*") {
            let _ = entries(&text);
        }
    }
}
