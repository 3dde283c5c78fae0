//! The ballot papers of an election: the private attribute `pgbaton-<resource>` of every node.
//!
//! Private attributes never reach the cluster configuration, so writing them starts no transition, and
//! every node can read them; they vanish with the node. A paper is one of:
//!
//! | text | meaning |
//! |---|---|
//! | `ask <round> <node,node,...>` | a candidate asks these nodes |
//! | `decided <round> <node,node,...>` | it has decided and waits for nobody any more |
//! | `vote <round> <timeline> <lsn>` | the position of a node |
//! | `unknown <round> <timeline or -> <lsn or -> <why>` | the node cannot tell, and what it holds at least |
//! | `primary <round>` | the node takes writes |
//! | `left <timeline> <lsn>` | where a primary's WAL ended when it was stopped cleanly |
//!
//! A round's name is new for every question, so no answer can be older than its question.

use std::fmt;
use std::str::FromStr;

use super::{Cluster, ClusterError, bounded};
use crate::policy::election::Vote;
use crate::sys::{Deadline, Running, since_boot};
use crate::types::{NodeName, Position};

/// The name of one question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Round(String);

impl Round {
    /// A name that this node has not used since it booted, and that no other node uses.
    #[must_use]
    pub fn new(node: &NodeName) -> Self {
        Round(format!("{node}-{:x}-{:x}", since_boot().as_nanos(), std::process::id()))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one node has published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paper {
    /// A candidate's question to these nodes.
    Ask(Round, Vec<NodeName>),
    /// A candidate that has decided, having asked these nodes.
    Decided(Round, Vec<NodeName>),
    /// An answer.
    Vote(Round, Vote),
    /// The last position of a primary that was stopped cleanly.
    Left(Position),
}

impl fmt::Display for Paper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Paper::Ask(round, nodes) => write!(f, "ask {round} {}", listed(nodes)),
            Paper::Decided(round, nodes) => write!(f, "decided {round} {}", listed(nodes)),
            Paper::Vote(round, Vote::At(at)) => write!(f, "vote {round} {} {}", at.timeline, at.end),
            Paper::Vote(round, Vote::Primary) => write!(f, "primary {round}"),
            Paper::Vote(round, Vote::Silent) => write!(f, "unknown {round} - - silent"),
            Paper::Vote(round, Vote::Unknown { why, at_least }) => {
                let why: String = why.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(200).collect();
                let why = why.replace('"', "'");
                match at_least {
                    Some(at) => write!(f, "unknown {round} {} {} {why}", at.timeline, at.end),
                    None => write!(f, "unknown {round} - - {why}"),
                }
            }
            Paper::Left(at) => write!(f, "left {} {}", at.timeline, at.end),
        }
    }
}

impl FromStr for Paper {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let words: Vec<&str> = text.splitn(5, ' ').collect();
        let round = |name: &str| if name.is_empty() { Err(()) } else { Ok(Round(name.to_owned())) };
        match words.as_slice() {
            ["ask", name, list] => Ok(Paper::Ask(round(name)?, nodes(list)?)),
            ["decided", name, list] => Ok(Paper::Decided(round(name)?, nodes(list)?)),
            ["vote", name, timeline, end] => Ok(Paper::Vote(round(name)?, Vote::At(position(timeline, end)?))),
            ["primary", name] => Ok(Paper::Vote(round(name)?, Vote::Primary)),
            ["unknown", name, timeline, end, why] => {
                let (why, at_least) = ((*why).to_owned(), position(timeline, end).ok());
                Ok(Paper::Vote(round(name)?, Vote::Unknown { why, at_least }))
            }
            ["left", timeline, end] => position(timeline, end).map(Paper::Left),
            _ => Err(()),
        }
    }
}

fn position(timeline: &str, end: &str) -> Result<Position, ()> {
    Ok(Position { timeline: timeline.parse().map_err(drop)?, end: end.parse().map_err(drop)? })
}

fn listed(nodes: &[NodeName]) -> String {
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(",")
}

fn nodes(list: &str) -> Result<Vec<NodeName>, ()> {
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.parse().map_err(drop)).collect()
}

impl Cluster {
    /// The papers of all nodes. Nonsense is left out, and named in the log.
    ///
    /// # Errors
    /// When the attribute daemon does not answer.
    pub fn papers(&self, deadline: Deadline) -> Result<Vec<(NodeName, Paper)>, ClusterError> {
        let entries = self.read_attribute(&self.paper_name(), deadline)?;
        let mut papers = Vec::new();
        for entry in entries {
            match entry.value.parse() {
                Ok(paper) => papers.push((entry.node, paper)),
                Err(()) => {
                    log::warn!("ignoring the attribute {} of {}: '{}'", self.paper_name(), entry.node, entry.value)
                }
            }
        }
        Ok(papers)
    }

    /// Publishes this node's paper.
    ///
    /// # Errors
    /// When the attribute daemon does not take it.
    pub fn publish(&self, paper: &Paper, deadline: Deadline) -> Result<(), ClusterError> {
        let running = self.begin_publishing(Some(paper))?;
        Ok(running.finish(bounded(deadline)).map(drop)?)
    }

    /// Starts publishing this node's paper, or withdrawing it, for a caller that has something else to
    /// do meanwhile.
    ///
    /// # Errors
    /// When the tool cannot be started.
    pub fn begin_publishing(&self, paper: Option<&Paper>) -> Result<Running, ClusterError> {
        let value = paper.map(ToString::to_string);
        self.write_attribute(&self.paper_name(), value.as_deref(), None, true)
    }

    /// The attribute's name.
    #[must_use]
    pub fn paper_name(&self) -> String {
        format!("pgbaton-{}", self.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Lsn, Timeline};
    use proptest::prelude::*;

    fn at(timeline: u32, end: u64) -> Position {
        Position { timeline: Timeline(timeline), end: Lsn(end) }
    }

    #[test]
    fn papers_are_read_as_they_were_written() {
        let round = Round::new(&"srv1".parse().unwrap());
        let unknown = |at_least| Vote::Unknown { why: "it is still replaying".to_owned(), at_least };
        for paper in [
            Paper::Ask(round.clone(), vec!["srv1".parse().unwrap(), "srv10".parse().unwrap()]),
            Paper::Ask(round.clone(), Vec::new()),
            Paper::Vote(round.clone(), Vote::At(at(3, 0x532_8398))),
            Paper::Vote(round.clone(), Vote::Primary),
            Paper::Vote(round.clone(), unknown(None)),
            Paper::Vote(round, unknown(Some(at(2, 7)))),
            Paper::Left(at(1, 5)),
        ] {
            assert_eq!(paper.to_string().parse(), Ok(paper));
        }
    }

    #[test]
    fn nonsense_is_no_paper() {
        for text in [
            "",
            "vote",
            "vote r",
            "vote r 1",
            "vote r 0 0/5",
            "vote r 1 5",
            "left 1",
            "ask",
            "elect r 1 0/5",
            "ask r $(id),b c",
        ] {
            assert!(text.parse::<Paper>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn rounds_differ() {
        let node = "srv1".parse().unwrap();
        assert_ne!(Round::new(&node), Round::new(&node));
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in "(ask|vote|unknown|left|primary| |[0-9A-F/,-])*") {
            let _ = text.parse::<Paper>();
        }

        #[test]
        fn a_reason_cannot_break_the_paper(why in ".*") {
            let paper = Paper::Vote(Round("r".to_owned()), Vote::Unknown { why, at_least: None });
            let text = paper.to_string();
            prop_assert!(!text.contains('"') && !text.contains('\n'));
            let read_back = matches!(text.parse(), Ok(Paper::Vote(_, Vote::Unknown { .. })));
            prop_assert!(read_back);
        }
    }
}
