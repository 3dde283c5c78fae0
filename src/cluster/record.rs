//! The record of the timelines: who wrote last, and which history that has.
//!
//! It is kept twice. Every promoted node publishes it as the private attribute `pgbaton-<resource>-timeline`,
//! for as long as it is promoted: what is there is true of a node that is there. And it is written to the
//! cluster configuration, in a property set of its own, where it survives all nodes. A change of the
//! configuration makes Pacemaker plan anew, so that is done once after each promotion.
//!
//! A third thing survives a primary that was lost before anybody received its new timeline: the highest number that a
//! promotion was about to use. It is put as the private attribute `pgbaton-<resource>-reserved` on all nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Cluster, ClusterError, bounded};
use crate::policy::rejoin::Reference;
use crate::sys::{Deadline, Program, Running};
use crate::types::{Gather, History, Lsn, NodeName, SystemId, Timeline};

/// What a primary says of itself, as `<system identifier> <node> <history>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The cluster of databases.
    pub system: SystemId,
    /// The primary.
    pub primary: NodeName,
    /// The history of the timeline that it writes.
    pub history: History,
}

impl Record {
    /// What an instance is compared with.
    #[must_use]
    pub fn reference(&self) -> Reference {
        Reference { system: self.system, history: self.history.clone() }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.system, self.primary, self.history)
    }
}

impl FromStr for Record {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (system, rest) = text.trim().split_once(' ').ok_or(())?;
        let (primary, history) = rest.split_once(' ').ok_or(())?;
        Ok(Record {
            system: system.parse().map_err(drop)?,
            primary: primary.parse().map_err(drop)?,
            history: history.parse().map_err(drop)?,
        })
    }
}

impl Cluster {
    /// What the promoted nodes say of themselves. Nonsense is left out, and named in the log.
    ///
    /// # Errors
    /// When the attribute daemon does not answer.
    pub fn primaries(&self, deadline: Deadline) -> Result<Vec<Record>, ClusterError> {
        let entries = self.read_attribute(&self.timeline_name(), deadline)?;
        let mut records = Vec::new();
        for entry in entries {
            match entry.value.parse::<Record>() {
                Ok(record) if record.primary == entry.node => records.push(record),
                _ => log::warn!("ignoring the attribute {} of {}: '{}'", self.timeline_name(), entry.node, entry.value),
            }
        }
        Ok(records)
    }

    /// Starts publishing what this node is the primary of; `None` when it is none any more.
    ///
    /// # Errors
    /// When the tool cannot be started.
    pub fn begin_publishing_primary(&self, record: Option<&Record>) -> Result<Running, ClusterError> {
        let value = record.map(ToString::to_string);
        self.write_attribute(&self.timeline_name(), value.as_deref(), None, true)
    }

    /// The record in the cluster configuration; `None` when there is none that is understood.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn record(&self, deadline: Deadline) -> Result<Option<Record>, ClusterError> {
        let output = self.record_tool().args(["--query", "--quiet"]).output(bounded(deadline))?;
        // Exit status 105 (6 in 2.1.5 for some sections): there is none.
        if !output.status.success() {
            return Ok(None);
        }
        let record = output.stdout.trim().parse();
        if record.is_err() && !output.stdout.trim().is_empty() {
            log::warn!("ignoring the record in the cluster configuration: '{}'", output.stdout.trim());
        }
        Ok(record.ok())
    }

    /// Writes the record to the cluster configuration.
    ///
    /// # Errors
    /// When it is not written.
    pub fn write_record(&self, record: &Record, deadline: Deadline) -> Result<(), ClusterError> {
        let tool = self.record_tool().args(["--update", &record.to_string()]);
        Ok(tool.run(bounded(deadline)).map(drop)?)
    }

    /// Puts on record that a promotion is about to make this timeline.
    ///
    /// # Errors
    /// When it is not written.
    pub fn announce(&self, timeline: Timeline, deadline: Deadline) -> Result<(), ClusterError> {
        let words = self.property_words(&self.announced_name());
        let tool = Program::new(&words[0]).args(&words[1..]).args(["--update", &format!("1 {timeline}")]);
        Ok(tool.run(bounded(deadline)).map(drop)?)
    }

    /// Starts removing that, if it is still no higher than this: a later promotion may have announced another one.
    ///
    /// # Errors
    /// When the tool cannot be started.
    pub fn begin_forgetting_announced(&self, timeline: Timeline) -> Result<Running, ClusterError> {
        let name = self.announced_name();
        let path = format!("//nvpair[@name='{name}'][substring-after(@value,' ') <= {timeline}]");
        Ok(Program::new("cibadmin").args(["--delete", "--xpath", &path]).spawn()?)
    }

    /// The command for a person who knows that the record is wrong.
    #[must_use]
    pub fn way_to_remove_record(&self) -> String {
        format!("{} --delete", self.record_tool_words().join(" "))
    }

    fn record_tool(&self) -> Program {
        let words = self.record_tool_words();
        Program::new(&words[0]).args(&words[1..])
    }

    fn record_tool_words(&self) -> [String; 7] {
        self.property_words(&self.record_name())
    }

    fn property_words(&self, name: &str) -> [String; 7] {
        let set = format!("pgbaton-{}", self.resource);
        ["crm_attribute", "--type", "crm_config", "--set-name", &set, "--name", name].map(str::to_owned)
    }

    /// What a promotion was about to make, in the same set.
    pub(super) fn announced_name(&self) -> String {
        format!("pgbaton-{}-announced", self.resource)
    }

    /// The record's name in the property set.
    pub(super) fn record_name(&self) -> String {
        format!("pgbaton-{}-record", self.resource)
    }

    /// The highest number of a timeline that a promotion was about to use.
    ///
    /// # Errors
    /// When the attribute daemon does not answer.
    pub fn reserved(&self, deadline: Deadline) -> Result<Option<Timeline>, ClusterError> {
        Ok(self.witnessed(deadline)?.into_values().max())
    }

    /// The same, node by node.
    ///
    /// # Errors
    /// When the attribute daemon does not answer.
    pub fn witnessed(&self, deadline: Deadline) -> Result<BTreeMap<NodeName, Timeline>, ClusterError> {
        let entries = self.read_attribute(&self.reserved_name(), deadline)?;
        Ok(entries.into_iter().filter_map(|entry| Some((entry.node, entry.value.parse().ok()?))).into_map())
    }

    /// Puts the number on these nodes, all at the same time. It is enough that one of them keeps it.
    ///
    /// # Errors
    /// When there are some and it is on none of them.
    pub fn reserve(&self, timeline: Timeline, nodes: &[NodeName], deadline: Deadline) -> Result<(), ClusterError> {
        let results = self.write_private(&self.reserved_name(), Some(&timeline.to_string()), nodes, deadline);
        if results.iter().any(Result::is_ok) { Ok(()) } else { results.into_iter().collect() }
    }

    /// The oldest WAL that a primary has told of. Of several, the oldest: nothing is cloned too early.
    ///
    /// # Errors
    /// When the attribute daemon does not answer.
    pub fn oldest_wal(&self, deadline: Deadline) -> Result<Option<Lsn>, ClusterError> {
        let entries = self.read_attribute(&self.oldest_name(), deadline)?;
        Ok(entries.into_iter().filter_map(|entry| entry.value.parse().ok()).min())
    }

    /// Starts publishing the oldest WAL of this primary, or withdrawing it.
    ///
    /// # Errors
    /// When the tool cannot be started.
    pub fn begin_publishing_oldest(&self, oldest: Option<&str>) -> Result<Running, ClusterError> {
        self.write_attribute(&self.oldest_name(), oldest, None, true)
    }

    /// What primaries say whose server refuses the agent: that they are alive, with another word each time.
    ///
    /// # Errors
    /// When the attribute daemon does not answer.
    pub fn blind_primaries(&self, deadline: Deadline) -> Result<BTreeMap<String, String>, ClusterError> {
        let entries = self.read_attribute(&self.blind_name(), deadline)?;
        Ok(entries.into_iter().map(|entry| (entry.node.to_string(), entry.value)).into_map())
    }

    /// Starts saying so of this node.
    ///
    /// # Errors
    /// When the tool cannot be started.
    pub fn begin_telling_blind(&self, word: &str) -> Result<Running, ClusterError> {
        self.write_attribute(&self.blind_name(), Some(word), None, true)
    }

    fn blind_name(&self) -> String {
        format!("pgbaton-{}-blind", self.resource)
    }

    fn oldest_name(&self) -> String {
        format!("pgbaton-{}-oldest", self.resource)
    }

    fn timeline_name(&self) -> String {
        format!("pgbaton-{}-timeline", self.resource)
    }

    fn reserved_name(&self) -> String {
        format!("pgbaton-{}-reserved", self.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let text = "7412345678901234567 srv2 1@0/0 2@0/5000148#00000000000000af";
        let record: Record = text.parse().unwrap();
        assert_eq!((record.primary.as_str(), record.history.last().timeline), ("srv2", Timeline(2)));
        assert_eq!(record.to_string(), text);
        for nonsense in ["", "7", "7 srv2", "x srv2 1@0/0", "7 srv2 1"] {
            assert!(nonsense.parse::<Record>().is_err(), "{nonsense:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in ".*|[0-9@/# a-z]*") {
            let _ = text.parse::<Record>();
        }
    }
}
