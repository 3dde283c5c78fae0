//! Nodes: this one's name, the cluster's, and which of them has the promoted instance.

use std::collections::BTreeMap;

use roxmltree::{Document, Node};

use super::{Cluster, ClusterError, bounded};
use crate::sys::{Deadline, Program};
use crate::types::{Gather, NodeName};

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

/// Where the nodes are, and which of them are promoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Nodes whose instance the cluster holds for promoted.
    pub promoted: Vec<NodeName>,
    /// The values of the node attribute `pgbaton-<resource>-address`.
    pub of_nodes: BTreeMap<NodeName, String>,
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

    /// The nodes that are in the cluster now, this one included.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn present(&self, deadline: Deadline) -> Result<Vec<NodeName>, ClusterError> {
        let text = Program::new("crm_node").arg("-p").run(bounded(deadline))?;
        Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
    }

    /// The nodes that the cluster knows and has lost. One that it does not list, as a remote one, is none of them.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn lost(&self, deadline: Deadline) -> Result<Vec<NodeName>, ClusterError> {
        let text = Program::new("crm_node").arg("-l").run(bounded(deadline))?;
        Ok(lost(&text))
    }

    /// The nodes whose instance of this resource the cluster holds for promoted.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn promoted(&self, deadline: Deadline) -> Result<Vec<NodeName>, ClusterError> {
        Ok(promoted(&parsed(&status(deadline)?)?, &self.resource))
    }

    /// The nodes whose instance of this resource the cluster holds for a standby.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn standbys(&self, deadline: Deadline) -> Result<Vec<NodeName>, ClusterError> {
        Ok(hosts(&parsed(&status(deadline)?)?, &self.resource, |instance| {
            matches!(instance.attribute("role"), Some("Unpromoted" | "Slave"))
        }))
    }

    /// The nodes on which Pacemaker leaves the instance of this resource alone, and tells it nothing. With a node's maintenance
    /// mode the instances there count as unmanaged (`native_add_running` in Pacemaker).
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn unmanaged(&self, deadline: Deadline) -> Result<Vec<NodeName>, ClusterError> {
        Ok(hosts(&parsed(&status(deadline)?)?, &self.resource, |instance| {
            instance.attribute("managed") == Some("false")
        }))
    }

    /// The promoted nodes and the addresses of nodes that have another one than their name, in one look.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn addresses(&self, deadline: Deadline) -> Result<Addresses, ClusterError> {
        let text = status(deadline)?;
        let document = parsed(&text)?;
        let attribute = self.address_name();
        Ok(Addresses { promoted: promoted(&document, &self.resource), of_nodes: values(&document, &attribute) })
    }

    /// The node attribute that says where a node is, when that is not its name.
    #[must_use]
    pub fn address_name(&self) -> String {
        format!("pgbaton-{}-address", self.resource)
    }
}

/// `1 srv1 member`, or `2 srv2 lost`.
fn lost(text: &str) -> Vec<NodeName> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter_map(|words| matches!(words.as_slice(), [_, _, "lost"]).then(|| words[1].parse().ok())?).collect()
}

/// What `crm_mon` shows; as XML that is everything, the attributes of nodes that are online included, permanent and
/// transient ones (`default_includes` in Pacemaker's `crm_mon.c`).
fn status(deadline: Deadline) -> Result<String, ClusterError> {
    Ok(Program::new("crm_mon").args(["-1", "-r", "--output-as=xml"]).run(bounded(deadline))?)
}

fn parsed(xml: &str) -> Result<Document<'_>, ClusterError> {
    Document::parse(xml).map_err(|_| ClusterError::Output("crm_mon"))
}

/// The value of a node attribute on each node that has it.
fn values(document: &Document<'_>, attribute: &str) -> BTreeMap<NodeName, String> {
    let lists = document.descendants().filter(|element| element.has_tag_name("node_attributes"));
    let nodes = lists.flat_map(|list| list.children().filter(|child| child.has_tag_name("node")));
    let value = |node: Node<'_, '_>| {
        let entry = node.children().find(|child| child.attribute("name") == Some(attribute))?;
        Some((node.attribute("name")?.parse().ok()?, entry.attribute("value")?.to_owned()))
    };
    nodes.filter_map(value).into_map()
}

fn promoted(document: &Document<'_>, resource: &str) -> Vec<NodeName> {
    hosts(document, resource, |instance| matches!(instance.attribute("role"), Some("Promoted" | "Master")))
}

/// The nodes of the resource's instances that are of this kind.
fn hosts(document: &Document<'_>, resource: &str, is_meant: impl Fn(&Node<'_, '_>) -> bool) -> Vec<NodeName> {
    let is_ours = |id: &str| id.split_once(':').map_or(id, |(name, _)| name) == resource;
    let instances = document.descendants().filter(|node| node.has_tag_name("resource"));
    let ours = instances.filter(|node| node.attribute("id").is_some_and(is_ours)).filter(|node| is_meant(node));
    let hosts = ours.flat_map(|instance| instance.children().filter(|child| child.has_tag_name("node")));
    hosts.filter_map(|host| host.attribute("name")?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_found_by_its_exact_name_and_role() {
        let xml = r#"<pacemaker-result><resources><clone id="pgsql-clone">
            <resource id="pgsql" role="Unpromoted" managed="false"><node name="srv1"/></resource>
            <resource id="pgsql" role="Promoted" managed="true"><node name="srv10"/></resource>
            <resource id="pgsql2" role="Promoted"><node name="srv2"/></resource>
            <resource id="pgsql:2" role="Master"><node name="srv3"/></resource>
            </clone></resources></pacemaker-result>"#;
        let names: Vec<_> = promoted(&parsed(xml).unwrap(), "pgsql").iter().map(ToString::to_string).collect();
        assert_eq!(names, ["srv10", "srv3"]);
        let unmanaged = hosts(&parsed(xml).unwrap(), "pgsql", |node| node.attribute("managed") == Some("false"));
        assert_eq!(unmanaged, ["srv1".parse().unwrap()]);
    }

    #[test]
    fn a_lost_node_is_told_to_be_lost() {
        let names = lost("1 srv1 member\n2 srv2 lost\n\n3 srv3 member\n4 srv4\n");
        assert_eq!(names, ["srv2".parse().unwrap()]);
    }

    /// From version 2.1.5, shortened.
    #[test]
    fn an_address_is_found_by_its_exact_name() {
        let xml = r#"<pacemaker-result><nodes><node name="srv1" online="true"/></nodes><node_attributes>
            <node name="srv1"><attribute name="master-pgsql" value="1001"/>
            <attribute name="pgbaton-pgsql-address" value="10.0.0.1"/></node>
            <node name="srv2"><attribute name="pgbaton-pgsql2-address" value="10.0.0.2"/></node>
            </node_attributes></pacemaker-result>"#;
        let found = values(&parsed(xml).unwrap(), "pgbaton-pgsql-address");
        assert_eq!(found, [("srv1".parse().unwrap(), "10.0.0.1".to_owned())].into());
    }

    #[test]
    fn what_is_no_xml_is_an_error() {
        assert!(parsed("Error: cluster is not available").is_err());
    }
}
