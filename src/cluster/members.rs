//! Nodes: this one's name, the cluster's, and which of them has the promoted instance.

use roxmltree::Document;

use super::{Cluster, ClusterError, bounded};
use crate::sys::{Deadline, Program};
use crate::types::NodeName;

/// This node's name: as Pacemaker gave it, else as the cluster knows it, else the host's.
///
/// # Errors
/// When none of these is a node name.
pub fn own_name(given: Option<&NodeName>, deadline: Deadline) -> Result<NodeName, ClusterError> {
    if let Some(name) = given {
        return Ok(name.clone());
    }
    let asked = Program::new("crm_node").arg("-n").run(bounded(deadline)).ok();
    if let Some(name) = asked.and_then(|text| text.trim().parse().ok()) {
        return Ok(name);
    }
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    host.parse().map_err(|_| ClusterError::Name(host))
}

impl Cluster {
    /// The names of all nodes that the cluster knows, present or not.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn nodes(&self, deadline: Deadline) -> Result<Vec<NodeName>, ClusterError> {
        let text = Program::new("crm_node").arg("-l").run(bounded(deadline))?;
        Ok(text.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect())
    }

    /// The nodes whose instance of this resource the cluster holds for promoted.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn promoted(&self, deadline: Deadline) -> Result<Vec<NodeName>, ClusterError> {
        let text = Program::new("crm_mon").args(["-1", "-r", "--output-as=xml"]).run(bounded(deadline))?;
        promoted(&text, &self.resource)
    }
}

fn promoted(xml: &str, resource: &str) -> Result<Vec<NodeName>, ClusterError> {
    let document = Document::parse(xml).map_err(|_| ClusterError::Output("crm_mon"))?;
    let is_ours = |id: &str| id.split_once(':').map_or(id, |(name, _)| name) == resource;
    let is_promoted = |role: &str| role == "Promoted" || role == "Master";
    let instances = document.descendants().filter(|node| node.has_tag_name("resource"));
    let promoted = instances
        .filter(|node| node.attribute("id").is_some_and(is_ours))
        .filter(|node| node.attribute("role").is_some_and(is_promoted));
    let hosts = promoted.flat_map(|instance| instance.children().filter(|child| child.has_tag_name("node")));
    Ok(hosts.filter_map(|host| host.attribute("name")?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promoted_instance_is_found_by_its_exact_name() {
        let xml = r#"<pacemaker-result><resources><clone id="pgsql-clone">
            <resource id="pgsql" role="Unpromoted"><node name="srv1"/></resource>
            <resource id="pgsql" role="Promoted"><node name="srv10"/></resource>
            <resource id="pgsql2" role="Promoted"><node name="srv2"/></resource>
            <resource id="pgsql:2" role="Master"><node name="srv3"/></resource>
            </clone></resources></pacemaker-result>"#;
        let names: Vec<_> = promoted(xml, "pgsql").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["srv10", "srv3"]);
    }

    #[test]
    fn what_is_no_xml_is_an_error() {
        assert!(promoted("Error: cluster is not available", "pgsql").is_err());
    }
}
