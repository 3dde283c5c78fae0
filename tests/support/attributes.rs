//! What the scripted tools keep: attributes, members, who is promoted, and the calls.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The store of one cluster.
#[derive(Debug)]
pub(crate) struct Attributes {
    store: PathBuf,
    resource: String,
}

impl Attributes {
    pub(crate) fn new(store: &Path, resource: &str) -> Attributes {
        for file in ["calls", "members", "promoted", "running", "unmanaged"] {
            fs::write(store.join(file), "").unwrap();
        }
        Attributes { store: store.to_owned(), resource: resource.to_owned() }
    }

    pub(crate) fn all(&self, name: &str) -> BTreeMap<String, String> {
        let Ok(entries) = fs::read_dir(self.store.join("attributes").join(name)) else { return BTreeMap::new() };
        let entries = entries.flatten().map(|entry| entry.path()).filter_map(|path| {
            let node = path.file_name()?.to_str()?.to_owned();
            let value = fs::read_to_string(&path).ok()?;
            (!node.starts_with('.') && !value.is_empty()).then_some((node, value))
        });
        entries.collect()
    }

    fn set(&self, name: &str, node: &str, value: &str) {
        let directory = self.store.join("attributes").join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(node), value).unwrap();
    }

    /// What is left when the attribute daemon of a node was killed: nothing of that node.
    pub(crate) fn lose_all_of(&self, node: &str) {
        for attribute in fs::read_dir(self.store.join("attributes")).unwrap() {
            let _ = fs::remove_file(attribute.unwrap().path().join(node));
        }
    }

    /// What a node has published as the primary, empty when it has nothing.
    pub(crate) fn timeline(&self, node: &str) -> String {
        self.all(&format!("pgbaton-{}-timeline", self.resource)).remove(node).unwrap_or_default()
    }

    /// The promotion scores of all nodes, as `srv1=1001 srv2=1000`.
    pub(crate) fn scores(&self) -> String {
        let scores = self.all(&format!("master-{}", self.resource));
        scores.iter().map(|(node, score)| format!("{node}={score}")).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn set_score(&self, node: &str, score: &str) {
        self.set(&format!("master-{}", self.resource), node, score);
    }

    /// The ballot paper of a node, empty when it has none.
    pub(crate) fn paper(&self, node: &str) -> String {
        self.all(&format!("pgbaton-{}", self.resource)).remove(node).unwrap_or_default()
    }

    pub(crate) fn set_paper(&self, node: &str, paper: &str) {
        self.set(&format!("pgbaton-{}", self.resource), node, paper);
    }

    /// What a node shows of its state, empty when it shows nothing.
    pub(crate) fn state(&self, node: &str) -> String {
        self.all(&format!("{}-state", self.resource)).remove(node).unwrap_or_default()
    }

    /// The record in the cluster configuration.
    pub(crate) fn record(&self) -> String {
        let name = format!("pgbaton-{}-record", self.resource);
        fs::read_to_string(self.store.join("properties").join(name)).unwrap_or_default()
    }

    /// The timeline that a promotion has announced in the cluster configuration.
    pub(crate) fn announced(&self) -> String {
        let name = format!("pgbaton-{}-announced", self.resource);
        fs::read_to_string(self.store.join("properties").join(name)).unwrap_or_default()
    }

    /// A permanent attribute of a node, empty when it has none.
    pub(crate) fn permanent(&self, node: &str, what: &str) -> String {
        fs::read_to_string(self.permanent_file(node, what)).unwrap_or_default()
    }

    pub(crate) fn set_permanent(&self, node: &str, what: &str, value: &str) {
        let path = self.permanent_file(node, what);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }

    fn permanent_file(&self, node: &str, what: &str) -> PathBuf {
        self.store.join("permanent").join(node).join(format!("pgbaton-{}-{what}", self.resource))
    }

    /// As an administrator who restores an old cluster configuration.
    pub(crate) fn set_record(&self, record: &str) {
        fs::write(self.store.join("properties").join(format!("pgbaton-{}-record", self.resource)), record).unwrap();
    }

    /// As an administrator who knows better.
    pub(crate) fn forget_record(&self) {
        fs::remove_file(self.store.join("properties").join(format!("pgbaton-{}-record", self.resource))).unwrap();
    }

    /// What a node has published as the primary about slots, empty when it has nothing.
    pub(crate) fn hold(&self, node: &str) -> String {
        self.all(&format!("pgbaton-{}-hold", self.resource)).remove(node).unwrap_or_default()
    }

    /// The number of the last timeline that a promotion has reserved, as this node was told.
    pub(crate) fn set_reserved(&self, node: &str, timeline: u32) {
        self.set(&format!("pgbaton-{}-reserved", self.resource), node, &timeline.to_string());
    }

    pub(crate) fn set_hold(&self, node: &str, hold: &str) {
        self.set(&format!("pgbaton-{}-hold", self.resource), node, hold);
    }

    /// Where a node is, when that is not its name.
    pub(crate) fn set_address(&self, node: &str, address: &str) {
        self.set(&format!("pgbaton-{}-address", self.resource), node, address);
    }

    /// The nodes that `crm_node -l` knows.
    pub(crate) fn set_members(&self, names: &[&str]) {
        let lines: String = names.iter().enumerate().map(|(i, name)| format!("{} {name} member\n", i + 1)).collect();
        fs::write(self.store.join("members"), lines).unwrap();
    }

    /// Of these, the nodes that are there.
    pub(crate) fn set_present(&self, names: &[&str]) {
        fs::write(self.store.join("present"), names.join(" ")).unwrap();
    }

    /// This node was lost: its attributes are gone, and `crm_node -l` says so.
    pub(crate) fn lose(&self, node: &str) {
        self.lose_all_of(node);
        let path = self.store.join("members");
        let members = fs::read_to_string(&path).unwrap();
        fs::write(path, members.replace(&format!(" {node} member"), &format!(" {node} lost"))).unwrap();
    }

    /// The resources of this agent that the configuration has.
    pub(crate) fn set_primitives(&self, names: &[&str]) {
        fs::write(self.store.join("primitives"), names.join("\n")).unwrap();
    }

    /// The nodes that `crm_mon` shows as promoted.
    pub(crate) fn set_promoted(&self, names: &[&str]) {
        let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
        fs::write(self.store.join("promoted"), lines).unwrap();
    }

    /// The nodes whose instance `crm_mon` shows to run, as a standby where it is not promoted.
    pub(crate) fn set_running(&self, names: &[&str]) {
        let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
        fs::write(self.store.join("running"), lines).unwrap();
    }

    /// A node whose instance Pacemaker leaves alone, as `crm_mon` shows it.
    pub(crate) fn set_unmanaged(&self, name: &str) {
        fs::write(self.store.join("unmanaged"), format!("{name}\n")).unwrap();
    }

    /// From now on every tool prints this text when it is asked.
    pub(crate) fn answer_nonsense(&self, text: &str) {
        fs::write(self.store.join("nonsense"), text).unwrap();
    }

    /// From now on every tool fails.
    pub(crate) fn break_down(&self) {
        fs::write(self.store.join("broken"), "").unwrap();
    }

    /// From now on no tool ends by itself.
    pub(crate) fn hang(&self) {
        fs::write(self.store.join("hanging"), "").unwrap();
    }

    /// The calls since the last look, as `srv1 attrd_updater [-n] [x]`.
    pub(crate) fn take_calls(&self) -> Vec<String> {
        let path = self.store.join("calls");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, "").unwrap();
        text.lines().map(str::to_owned).collect()
    }
}
