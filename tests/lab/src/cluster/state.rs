//! What Pacemaker says about the cluster, from `crm_mon --output-as=xml`.

use std::collections::BTreeMap;

use roxmltree::{Document, Node as Element};

use super::node_shell::check_on;
use crate::error::{Result, unexpected};

/// The name of the promotable clone's primitive in every example.
pub(crate) const RESOURCE: &str = "pgsql";
/// The name of the virtual address in every example.
pub(crate) const ADDRESS: &str = "pgsql-vip";

/// One look at the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub quorum: bool,
    /// The node whose controller plans for all.
    pub dc: Option<String>,
    pub online: Vec<String>,
    pub standby_mode: Vec<String>,
    pub promoted: Vec<String>,
    pub unpromoted: Vec<String>,
    /// The node that has the virtual address.
    pub address: Option<String>,
    /// Promotion scores by node.
    pub scores: BTreeMap<String, i64>,
    /// What the agent says of each node in few words.
    pub words: BTreeMap<String, String>,
    /// Failed actions, as `crm_mon` lists them.
    pub failures: Vec<String>,
    /// Location constraints that commands like `pcs resource move` leave behind.
    pub bans: Vec<String>,
    /// Resources that are failed, blocked, unmanaged or orphaned.
    pub troubled: Vec<String>,
}

impl State {
    /// The cluster as the given node sees it.
    pub(crate) fn seen_by(node: &str) -> Result<Self> {
        Self::parse(&check_on(node, &["crm_mon", "--one-shot", "--inactive", "--output-as=xml"])?)
    }

    fn parse(xml: &str) -> Result<Self> {
        let Ok(document) = Document::parse(xml) else {
            return unexpected(format!("crm_mon printed no XML: '{}'", xml.lines().next().unwrap_or_default()));
        };
        let root = document.root_element();
        let dc = first(root, "current_dc");
        let quorum = dc.is_some_and(|dc| is_true(dc, "with_quorum"));
        let mut state = Self { quorum, dc: dc.and_then(|dc| text(dc, "name")), ..Self::default() };
        state.read_nodes(root);
        state.read_resources(root);
        state.read_attributes(root);
        let failures = descendants(root, "failure");
        state.failures = failures.map(failure_text).collect();
        let bans = descendants(root, "ban").filter_map(|ban| text(ban, "id"));
        state.bans = bans.filter(|id| id.starts_with("cli-")).collect();
        Ok(state)
    }

    fn read_nodes(&mut self, root: Element<'_, '_>) {
        let Some(nodes) = root.children().find(|child| child.has_tag_name("nodes")) else {
            return;
        };
        for node in descendants(nodes, "node") {
            let Some(name) = text(node, "name") else { continue };
            if is_true(node, "online") && !is_true(node, "pending") && !is_true(node, "unclean") {
                self.online.push(name.clone());
            }
            if is_true(node, "standby") {
                self.standby_mode.push(name);
            }
        }
    }

    fn read_resources(&mut self, root: Element<'_, '_>) {
        for resource in descendants(root, "resource") {
            let Some(id) = text(resource, "id") else { continue };
            let troubles = ["failed", "blocked", "orphaned", "failure_ignored"];
            if troubles.iter().any(|trouble| is_true(resource, trouble)) || text(resource, "pending").is_some() {
                self.troubled.push(id.clone());
            }
            let Some(node) = first(resource, "node").and_then(|node| text(node, "name")) else {
                continue;
            };
            let role = text(resource, "role").unwrap_or_default();
            match (id.split(':').next(), role.as_str()) {
                (Some(RESOURCE), "Promoted" | "Master") => self.promoted.push(node),
                (Some(RESOURCE), "Unpromoted" | "Slave") => self.unpromoted.push(node),
                (Some(ADDRESS), "Started") => self.address = Some(node),
                _ => {}
            }
        }
    }

    fn read_attributes(&mut self, root: Element<'_, '_>) {
        let Some(attributes) = first(root, "node_attributes") else {
            return;
        };
        for node in descendants(attributes, "node") {
            let Some(name) = text(node, "name") else { continue };
            if let Some(score) = value(node, &format!("master-{RESOURCE}")).and_then(score) {
                self.scores.insert(name.clone(), score);
            }
            if let Some(words) = value(node, &format!("{RESOURCE}-state")) {
                self.words.insert(name, words.to_owned());
            }
        }
    }
}

/// The value of a node attribute.
fn value<'a>(node: Element<'a, '_>, attribute: &str) -> Option<&'a str> {
    descendants(node, "attribute").find(|there| there.attribute("name") == Some(attribute))?.attribute("value")
}

fn score(value: &str) -> Option<i64> {
    match value {
        "INFINITY" | "+INFINITY" => Some(1_000_000),
        "-INFINITY" => Some(-1_000_000),
        number => number.parse().ok(),
    }
}

fn failure_text(failure: Element<'_, '_>) -> String {
    let read = |name| failure.attribute(name).unwrap_or_default();
    let what = text(failure, "op_key").or(text(failure, "id")).unwrap_or_default();
    format!("{what} on {}: {} '{}'", read("node"), read("exitstatus"), read("exitreason"))
}

/// Whether a failed action, as it is listed, is an instance that runs and lacks something: the exit codes 190 and 191, which
/// Pacemaker 2.1.5 calls "OCF_DEGRADED" and "promoted (degraded)".
pub(crate) fn is_degraded(failure: &str) -> bool {
    let status = failure.split(" '").next().unwrap_or_default();
    status.ends_with(": OCF_DEGRADED") || status.ends_with(": degraded") || status.ends_with(": promoted (degraded)")
}

fn descendants<'a, 'i>(root: Element<'a, 'i>, tag: &'static str) -> impl Iterator<Item = Element<'a, 'i>> {
    root.descendants().filter(move |element| element.has_tag_name(tag))
}

fn first<'a, 'i>(root: Element<'a, 'i>, tag: &'static str) -> Option<Element<'a, 'i>> {
    descendants(root, tag).next()
}

fn text(element: Element<'_, '_>, attribute: &str) -> Option<String> {
    element.attribute(attribute).map(str::to_owned)
}

fn is_true(element: Element<'_, '_>, attribute: &str) -> bool {
    element.attribute(attribute) == Some("true")
}
