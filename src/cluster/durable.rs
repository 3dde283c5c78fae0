//! What outlives every agent, every node and the whole cluster: the record of the last primary, and permanent node
//! attributes. All of it is read in one call.
//!
//! | attribute of a node | text | meaning |
//! |---|---|---|
//! | `pgbaton-<resource>-left` | `1 <timeline> <lsn> <time>` | the node was stopped, and has the WAL that begins there |
//! | the same | `1 <timeline> <lsn> given-up` | a person has given up what the node has, up to there |
//! | `pgbaton-<resource>-lacks` | `1 <timeline or -> <lsn or -> <time> <why>` | the node lacks what was written after that |
//!
//! In the property set of the record there may be `pgbaton-<resource>-announced`, as `1 <timeline>`: a promotion was about to make that
//! one, and neither its own file nor another node could keep that. A primary removes it when the record has that timeline, or a
//! later one: nobody asks for it then.
//!
//! A permanent attribute is part of the configuration: each change makes Pacemaker plan anew. So it is written and removed
//! rarely, and never between a demotion and the promotion that follows it. The number in front is the version of the text; a
//! later version may put more behind what is there. What cannot be read of `left` is passed over with a warning; a node with a
//! `lacks` that cannot be read lacks something. A version that does not know the word `given-up` takes it for a time, and waits for that
//! node as before: its own command, which removes the attribute, is enough for it.

use std::collections::BTreeMap;

use roxmltree::Document;

use super::{Cluster, ClusterError, Record, bounded};
use crate::policy::candidacy::Lacks;
use crate::policy::leaving::is_given_up;
use crate::sys::{Deadline, Program, Running, utc_now};
use crate::types::{NodeName, Position, Timeline};

/// In the place of the time.
const GIVEN_UP: &str = "given-up";

/// What is on record, as the cluster configuration has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// The last primary.
    pub record: Option<Record>,
    /// The timeline that a promotion was about to make.
    pub announced: Option<Timeline>,
    /// What stopped nodes have.
    pub left: Vec<(NodeName, Position)>,
    /// Up to where a person has given up what they have.
    pub given_up: BTreeMap<NodeName, Position>,
    /// The nodes that were struck off.
    pub lacks: BTreeMap<NodeName, Lacks>,
    /// All nodes of the cluster, present or not.
    pub nodes: Vec<NodeName>,
}

impl Durable {
    /// Whether a person has given up what this node left.
    #[must_use]
    pub fn is_given_up(&self, node: &NodeName, left: Position) -> bool {
        is_given_up(left, self.given_up.get(node).copied())
    }

    /// Whether something is on record of what this node left.
    #[must_use]
    pub fn tells_of(&self, node: &NodeName) -> bool {
        self.given_up.contains_key(node) || self.left.iter().any(|(of, _)| of == node)
    }

    /// Whether the record says what was announced, or more: what was announced tells nothing any more.
    #[must_use]
    pub fn announced_is_on_record(&self) -> bool {
        let last = self.record.as_ref().map(|record| record.history.last().timeline);
        self.announced.is_some() && self.announced <= last
    }
}

impl Cluster {
    /// Reads it. That nothing is there is no error.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn durable(&self, deadline: Deadline) -> Result<Durable, ClusterError> {
        let (record, announced) = (self.record_name(), self.announced_name());
        let path = format!("/cib/configuration/nodes|//nvpair[@name='{record}' or @name='{announced}']");
        let text = Program::new("cibadmin").args(["--query", "--xpath", &path]).run(bounded(deadline))?;
        self.read_durable(&text)
    }

    fn read_durable(&self, xml: &str) -> Result<Durable, ClusterError> {
        let document = Document::parse(xml).map_err(|_| ClusterError::Output("cibadmin --query"))?;
        let mut durable = Durable::default();
        for pair in document.descendants().filter(|element| element.has_tag_name("nvpair")) {
            let (name, value) =
                (pair.attribute("name").unwrap_or_default(), pair.attribute("value").unwrap_or_default());
            if name == self.record_name() {
                durable.record = read(name, value, |text| text.parse().ok());
            } else if name == self.announced_name() {
                durable.announced = read(name, value, announced);
            }
            let holder = pair.ancestors().find(|element| element.has_tag_name("node"));
            let Some(node) = holder.and_then(|node| node.attribute("uname")?.parse().ok()) else { continue };
            if name == self.left_name() {
                match read(name, value, position) {
                    Some(at) if value.split_whitespace().nth(3) == Some(GIVEN_UP) => {
                        durable.given_up.insert(node, at);
                    }
                    Some(at) => durable.left.push((node, at)),
                    None => {}
                }
            } else if name == self.lacks_name() && !value.trim().is_empty() {
                durable.lacks.insert(node, lacks(value));
            }
        }
        // Neither remote nodes nor guests count in a quorum: they have a type of their own.
        let members = document.descendants().filter(|element| element.has_tag_name("node"));
        let members =
            members.filter(|node| node.attribute("type").is_none_or(|kind| kind == "member" || kind == "normal"));
        durable.nodes = members.filter_map(|node| node.attribute("uname")?.parse().ok()).collect();
        Ok(durable)
    }

    /// Starts putting on record what this node has when it is stopped, or removing that.
    ///
    /// # Errors
    /// When the tool cannot be started.
    pub fn begin_leaving(&self, node: &NodeName, left: Option<Position>) -> Result<Running, ClusterError> {
        let value = left.map(|at| format!("1 {} {} {}", at.timeline, at.end, utc_now()));
        self.write_permanent(&self.left_name(), node, value.as_deref())
    }

    /// The command for a person who gives up what a stopped node has, up to there. To remove what is on record would not be
    /// enough: the node's next start in vain would bring it back.
    #[must_use]
    pub fn way_to_give_up(&self, node: &NodeName, left: Position) -> String {
        let (name, Position { timeline, end }) = (self.left_name(), left);
        format!("crm_attribute --type nodes --node {node} --name {name} --update \"1 {timeline} {end} {GIVEN_UP}\"")
    }

    /// Starts striking off a node, or taking it back.
    ///
    /// # Errors
    /// When the tool cannot be started.
    pub fn begin_striking_off(&self, node: &NodeName, lacks: Option<&Lacks>) -> Result<Running, ClusterError> {
        let value = lacks.map(|Lacks { from, since, why }| match from {
            Some(at) => format!("1 {} {} {since} {why}", at.timeline, at.end),
            None => format!("1 - - {since} {why}"),
        });
        self.write_permanent(&self.lacks_name(), node, value.as_deref())
    }

    /// The command for a person who gives up what a node lacks.
    #[must_use]
    pub fn way_to_take_back(&self, node: &NodeName) -> String {
        format!("crm_attribute --type nodes --node {node} --name {} --delete", self.lacks_name())
    }

    fn write_permanent(&self, name: &str, node: &NodeName, value: Option<&str>) -> Result<Running, ClusterError> {
        let tool = Program::new("crm_attribute").args(["--type", "nodes", "--node", node.as_str(), "--name", name]);
        let tool = match value {
            Some(value) => tool.args(["--update", value]),
            None => tool.arg("--delete"),
        };
        Ok(tool.spawn()?)
    }

    fn lacks_name(&self) -> String {
        format!("pgbaton-{}-lacks", self.resource)
    }

    fn left_name(&self) -> String {
        format!("pgbaton-{}-left", self.resource)
    }
}

/// What is not understood is named in the log.
fn read<T>(name: &str, value: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let value = value.trim();
    let read = parse(value);
    if read.is_none() && !value.is_empty() {
        log::warn!("ignoring '{name}' in the cluster configuration: '{value}'");
    }
    read
}

/// `<version> <timeline> <lsn>`, and whatever follows.
fn position(text: &str) -> Option<Position> {
    let mut words = text.split_whitespace();
    words.next()?.parse::<u32>().ok()?;
    Some(Position { timeline: words.next()?.parse().ok()?, end: words.next()?.parse().ok()? })
}

/// `<version> <timeline>`, and whatever follows.
fn announced(text: &str) -> Option<Timeline> {
    let mut words = text.split_whitespace();
    words.next()?.parse::<u32>().ok()?;
    words.next()?.parse().ok()
}

/// `<version> <timeline> <lsn> <time> <why>`.
fn lacks(text: &str) -> Lacks {
    let words: Vec<_> = text.trim().splitn(5, ' ').collect();
    let word = |number: usize| words.get(number).copied().filter(|word| !word.is_empty());
    Lacks {
        from: position(text),
        since: word(3).unwrap_or("an unknown time").to_owned(),
        why: word(4).map_or_else(|| format!("'{text}'"), str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Lsn;
    use proptest::prelude::*;

    /// From version 2.1.5; the order is the one in which it answers.
    const ANSWER: &str = r#"<xpath-query>
  <nvpair id="pgbaton-pgsql-pgbaton-pgsql-record" name="pgbaton-pgsql-record" value="741 srv1 1@0/0"/>
  <nodes>
    <node id="1" uname="srv1"/>
    <node id="2" uname="srv2">
      <instance_attributes id="nodes-2">
        <nvpair id="nodes-2-pgbaton-pgsql-left" name="pgbaton-pgsql-left" value="1 3 0/5000000 20261124T080000Z"/>
        <nvpair id="nodes-2-pgbaton-pgsql-lacks" name="pgbaton-pgsql-lacks" value="1 3 0/4000000 20261124T070000Z it was away"/>
        <nvpair id="nodes-2-pgbaton-pgsql2-left" name="pgbaton-pgsql2-left" value="1 9 0/9000000 20261124T080000Z"/>
      </instance_attributes>
    </node>
    <node id="remote1" uname="remote1" type="remote"/>
  </nodes>
</xpath-query>"#;

    fn durable(xml: &str) -> Result<Durable, ClusterError> {
        Cluster::new("pgsql").read_durable(xml)
    }

    #[test]
    fn what_version_2_1_answers() {
        let durable = durable(ANSWER).unwrap();
        assert_eq!(durable.record.unwrap().to_string(), "741 srv1 1@0/0");
        let at = Position { timeline: Timeline(3), end: Lsn(0x500_0000) };
        assert_eq!(durable.left, [("srv2".parse().unwrap(), at)]);
        assert_eq!(durable.lacks.len(), 1);
        let words = "it lacks what was written after 0/4000000 on timeline 3, since 20261124T070000Z: it was away";
        assert_eq!(durable.lacks[&"srv2".parse().unwrap()].to_string(), words);
        assert_eq!(durable.nodes.iter().map(NodeName::as_str).collect::<Vec<_>>(), ["srv1", "srv2"]);
    }

    #[test]
    fn what_a_person_gave_up_binds_nobody() {
        let node = "srv2".parse().unwrap();
        let read = |value: &str| {
            let pair = format!("<nvpair name='pgbaton-pgsql-left' value='{value}'/>");
            durable(&format!("<nodes><node uname='srv2'>{pair}</node></nodes>")).unwrap()
        };
        let at = Position { timeline: Timeline(3), end: Lsn(0x500_0000) };
        let command = Cluster::new("pgsql").way_to_give_up(&node, at);
        let value = command.split('"').nth(1).unwrap();
        let given_up = read(value);
        assert_eq!((given_up.left.len(), given_up.given_up.get(&node)), (0, Some(&at)), "{command}");
        assert!(given_up.tells_of(&node) && given_up.is_given_up(&node, at));
        for (value, binds) in [
            ("1 3 0/5000000", 1),
            ("1 3 0/5000000 20261124T080000Z given-up", 1),
            ("2 3 0/5000000 given-up by x", 0),
            ("given-up", 0),
        ] {
            assert_eq!(read(value).left.len(), binds, "{value}");
        }
        // What versions before this word make of it.
        assert_eq!(position(value), Some(at));
    }

    #[test]
    fn what_was_announced_is_beside_the_record() {
        let announced = |text: &str| {
            let name = "pgbaton-pgsql-announced";
            durable(&format!("<xpath-query><nvpair name='{name}' value='{text}'/></xpath-query>")).unwrap().announced
        };
        assert_eq!(
            (announced("1 4"), announced("2 5 more"), announced("4")),
            (Some(Timeline(4)), Some(Timeline(5)), None)
        );
    }

    #[test]
    fn what_was_announced_is_superfluous_when_the_record_has_it() {
        for (announced, record, expected) in [
            (Some(2), Some("7 srv1 1@0/0"), false),
            (Some(2), Some("7 srv1 1@0/0 2@0/5"), true),
            (Some(2), Some("7 srv1 1@0/0 3@0/5"), true),
            (Some(2), None, false),
            (None, Some("7 srv1 1@0/0"), false),
            (None, None, false),
        ] {
            let record = record.map(|text| text.parse().unwrap());
            let durable = Durable { record, announced: announced.map(Timeline), ..Durable::default() };
            assert_eq!(durable.announced_is_on_record(), expected, "{durable:?}");
        }
    }

    #[test]
    fn without_a_record_the_answer_is_the_nodes_alone() {
        let durable = durable(r#"<nodes><node id="1" uname="srv1"/></nodes>"#).unwrap();
        assert_eq!((durable.record, durable.left.len(), durable.nodes.len()), (None, 0, 1));
    }

    #[test]
    fn a_later_version_may_say_more() {
        let at = Some(Position { timeline: Timeline(3), end: Lsn(5) });
        for text in ["1 3 0/5", "1 3 0/5 20261124T080000Z", "2 3 0/5 whatever follows"] {
            assert_eq!(position(text), at, "{text}");
        }
        for text in ["", "1", "1 3", "x 3 0/5", "1 0 0/5", "1 3 5"] {
            assert_eq!(position(text), None, "{text}");
        }
    }

    #[test]
    fn who_lacks_something_that_cannot_be_read_lacks_something() {
        let unknown = lacks("1 - - 20261124T070000Z it came back alone");
        assert_eq!((unknown.from, unknown.why.as_str()), (None, "it came back alone"));
        for text in ["7", "true", "1 3", "9 x y z", "1 3 0/5"] {
            assert!(!lacks(text).to_string().is_empty(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in ".*|(<nodes>|<node uname='a'>|</node>|</nodes>|<nvpair name='pgbaton-pgsql-left' value='1 '/>)*") {
            let _ = durable(&text);
        }
    }
}
