//! The ballot papers of an election: the private attribute `pgbaton-<resource>` of every node.
//!
//! Private attributes never reach the cluster configuration, so writing them starts no transition, and
//! every node can read them; they vanish with the node. A paper is one of:
//!
//! | text | meaning |
//! |---|---|
//! | `vote <node,node,...> <timeline> <lsn> [replay=<bytes>] [serves=no] [replaying=yes] [unfit=<why>]` | the position of this node, in an election among these nodes, what it has not replayed, whether others can fetch all of it, whether it is at replaying it, and why it should not be promoted itself |
//! | `unknown <node,node,...> <timeline or -> <lsn or -> <why>` | the node cannot tell, and what it holds at least |
//! | `unknown <node,node,...> <timeline> <lsn> final=yes <why>` | the node is not consistent, has no more than that, and nobody gets more from it: it is not to be waited for |
//! | `primary <node,node,...>` | the node takes writes |
//! | `void <node,node,...>` | the node is being rewound or cloned, and holds nothing that counts |
//! | `fork <node,node,...> <timeline> <lsn>` | the node is on a timeline that a person made, and left the others' there |
//! | `left <timeline> <lsn>` | where a primary's WAL ended when it was stopped cleanly |
//!
//! Nodes are upgraded one by one. Unknown words at the end of a paper are passed over; new ones of a vote come before
//! `unfit=`, which goes on to the end. A vote without such words is what versions before them wrote and read; they take
//! one with such words for no answer, and wait for that node as they did for any that was replaying. For those that do not know
//! `final=yes` it is part of the reason: they wait for that node in vain, and count what it has.
//!
//! A vote is valid until the next promotion: without a primary no node's WAL grows. So the node that is
//! promoted discards all votes first, and a vote that is there was given after the last promotion.

use std::fmt;
use std::str::FromStr;

use super::{Cluster, ClusterError, finish};
use crate::sys::{Deadline, Running};
use crate::types::{NodeName, Position, Reach, Vote};

/// What comes before the reason of a node that is not to be waited for.
const FINAL: &str = "final=yes ";

/// What one node has published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paper {
    /// Its vote, and the nodes among which the election is held.
    Vote(Vec<NodeName>, Vote),
    /// The last position of a primary that was stopped cleanly.
    Left(Position),
}

impl fmt::Display for Paper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Paper::Vote(among, Vote::At(reach)) => write_vote(f, among, reach),
            Paper::Vote(among, Vote::Primary) => write!(f, "primary {}", listed(among)),
            Paper::Vote(among, Vote::Void) => write!(f, "void {}", listed(among)),
            Paper::Vote(among, Vote::Fork(at)) => write!(f, "fork {} {} {}", listed(among), at.timeline, at.end),
            Paper::Vote(among, Vote::Silent) => write!(f, "unknown {} - - silent", listed(among)),
            Paper::Vote(among, Vote::Unknown { why, at_least }) => {
                let (among, why) = (listed(among), plain(why));
                match at_least {
                    Some(at) => write!(f, "unknown {among} {} {} {why}", at.timeline, at.end),
                    None => write!(f, "unknown {among} - - {why}"),
                }
            }
            Paper::Vote(among, Vote::Incomplete { why, until: at }) => {
                write!(f, "unknown {} {} {} {FINAL}{}", listed(among), at.timeline, at.end, plain(why))
            }
            Paper::Left(at) => write!(f, "left {} {}", at.timeline, at.end),
        }
    }
}

/// What is zero, or goes without saying, is left out: so the usual vote is what every version reads.
fn write_vote(f: &mut fmt::Formatter<'_>, among: &[NodeName], reach: &Reach) -> fmt::Result {
    let Reach { position, to_replay, serves, replaying, unfit } = reach;
    write!(f, "vote {} {} {}", listed(among), position.timeline, position.end)?;
    if *to_replay > 0 {
        write!(f, " replay={to_replay}")?;
    }
    if !serves {
        write!(f, " serves=no")?;
    }
    if *replaying {
        write!(f, " replaying=yes")?;
    }
    unfit.as_ref().map_or(Ok(()), |why| write!(f, " unfit={}", plain(why)))
}

/// A reason without what could break the paper, or the tool's output.
fn plain(why: &str) -> String {
    let plain: String = why.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(200).collect();
    plain.replace('"', "'")
}

impl FromStr for Paper {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let words: Vec<&str> = text.splitn(5, ' ').collect();
        match words.as_slice() {
            ["vote", among, timeline, end, more @ ..] => {
                Ok(Paper::Vote(nodes(among)?, Vote::At(reach(position(timeline, end)?, more.first().unwrap_or(&"")))))
            }
            ["void", among, ..] => Ok(Paper::Vote(nodes(among)?, Vote::Void)),
            ["fork", among, timeline, end, ..] => Ok(Paper::Vote(nodes(among)?, Vote::Fork(position(timeline, end)?))),
            ["primary", among, ..] => Ok(Paper::Vote(nodes(among)?, Vote::Primary)),
            ["unknown", among, timeline, end, why] => {
                let at_least = position(timeline, end).ok();
                let vote = match (why.strip_prefix(FINAL), at_least) {
                    (Some(why), Some(until)) => Vote::Incomplete { why: why.to_owned(), until },
                    _ => Vote::Unknown { why: (*why).to_owned(), at_least },
                };
                Ok(Paper::Vote(nodes(among)?, vote))
            }
            ["left", timeline, end, ..] => position(timeline, end).map(Paper::Left),
            _ => Err(()),
        }
    }
}

/// A number that cannot be read is as much as there can be: nobody is preferred for it.
fn reach(position: Position, words: &str) -> Reach {
    let (words, unfit) = match words.split_once("unfit=") {
        Some((words, why)) => (words, Some(why.to_owned())),
        None => (words, None),
    };
    let value = |key: &str| words.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let to_replay = value("replay").map_or(0, |bytes| bytes.parse().unwrap_or(u64::MAX));
    let (serves, replaying) = (value("serves") != Some("no"), value("replaying") == Some("yes"));
    Reach { position, to_replay, serves, replaying, unfit }
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
        finish(self.begin_publishing(Some(paper)), deadline)
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

    /// Discards the votes of these nodes, all at the same time, before a promotion makes them old.
    ///
    /// # Errors
    /// When one of them cannot be discarded.
    pub fn discard_votes(&self, nodes: &[NodeName], deadline: Deadline) -> Result<(), ClusterError> {
        self.write_private(&self.paper_name(), None, nodes, deadline).into_iter().collect()
    }

    /// Whether this node's instance was started before, or was seen to follow or serve, since the node is in the cluster: the
    /// private attribute `pgbaton-<resource>-here` goes when it leaves.
    ///
    /// # Errors
    /// When the attribute daemon does not answer.
    pub fn was_here(&self, own: &NodeName, deadline: Deadline) -> Result<bool, ClusterError> {
        Ok(self.read_attribute(&self.here_name(), deadline)?.iter().any(|entry| entry.node == *own))
    }

    /// Notes that it was.
    ///
    /// # Errors
    /// When the attribute daemon does not take it.
    pub fn note_here(&self, deadline: Deadline) -> Result<(), ClusterError> {
        finish(self.write_attribute(&self.here_name(), Some("1"), None, true), deadline)
    }

    fn here_name(&self) -> String {
        format!("pgbaton-{}-here", self.resource)
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

    fn unfit(to_replay: u64, serves: bool) -> Reach {
        let unfit = Some("no room: 5 < 9, replay=0".to_owned());
        Reach { to_replay, serves, unfit, ..at(1, 5).into() }
    }

    #[test]
    fn a_vote_of_another_version_is_read_for_what_is_known_in_it() {
        let vote = |text: &str| match text.parse() {
            Ok(Paper::Vote(_, Vote::At(reach))) => reach,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(vote("vote a 1 0/5"), Reach::from(at(1, 5)));
        assert_eq!(vote("vote a 1 0/5 color=blue x"), Reach::from(at(1, 5)));
        assert_eq!(
            vote("vote a 1 0/5 x=y serves=no replay=4 unfit=a b"),
            Reach { to_replay: 4, serves: false, unfit: Some("a b".to_owned()), ..at(1, 5).into() }
        );
        assert_eq!(vote("vote a 1 0/5 replay=many").to_replay, u64::MAX);
        // What versions before these words wrote and read.
        let among = vec!["a".parse().unwrap()];
        assert_eq!(Paper::Vote(among, Vote::At(at(1, 5).into())).to_string(), "vote a 1 0/5");
        for (text, paper) in [
            ("primary a since=5", Paper::Vote(vec!["a".parse().unwrap()], Vote::Primary)),
            ("void a why=x", Paper::Vote(vec!["a".parse().unwrap()], Vote::Void)),
            ("left 1 0/5 forced", Paper::Left(at(1, 5))),
        ] {
            assert_eq!(text.parse(), Ok(paper), "{text}");
        }
    }

    #[test]
    fn papers_are_read_as_they_were_written() {
        let among = || vec!["srv1".parse().unwrap(), "srv10".parse().unwrap()];
        let unknown = |at_least| Vote::Unknown { why: "it is still replaying".to_owned(), at_least };
        for paper in [
            Paper::Vote(among(), Vote::At(at(3, 0x532_8398).into())),
            Paper::Vote(among(), Vote::At(Reach { to_replay: 7, ..at(3, 5).into() })),
            Paper::Vote(among(), Vote::At(Reach { to_replay: 7, replaying: true, ..at(3, 5).into() })),
            Paper::Vote(among(), Vote::At(Reach { serves: false, unfit: Some(String::new()), ..at(3, 5).into() })),
            Paper::Vote(among(), Vote::At(unfit(9, true))),
            Paper::Vote(among(), Vote::At(unfit(0, false))),
            Paper::Vote(among(), Vote::Primary),
            Paper::Vote(among(), Vote::Void),
            Paper::Vote(among(), Vote::Fork(at(2, 0x532_8398))),
            Paper::Vote(among(), unknown(None)),
            Paper::Vote(among(), unknown(Some(at(2, 7)))),
            Paper::Vote(among(), Vote::Incomplete { why: "it is not consistent".to_owned(), until: at(2, 7) }),
            Paper::Left(at(1, 5)),
        ] {
            assert_eq!(paper.to_string().parse(), Ok(paper));
        }
    }

    /// Versions before the word take it for a part of the reason, and count what the node has.
    #[test]
    fn who_is_not_to_be_waited_for_cannot_tell_its_position() {
        let among = vec!["a".parse().unwrap()];
        let vote = Vote::Incomplete { why: "it ends".to_owned(), until: at(2, 5) };
        assert_eq!(Paper::Vote(among.clone(), vote).to_string(), "unknown a 2 0/5 final=yes it ends");
        for (text, why, at_least) in [
            ("unknown a - - final=yes x", "final=yes x", None),
            ("unknown a 2 0/5 final=no x", "final=no x", Some(at(2, 5))),
            ("unknown a 2 0/5 it is final=yes x", "it is final=yes x", Some(at(2, 5))),
        ] {
            let vote = Vote::Unknown { why: why.to_owned(), at_least };
            assert_eq!(text.parse(), Ok(Paper::Vote(among.clone(), vote)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_paper() {
        for text in
            ["", "vote", "vote a", "vote a 1", "vote a 0 0/5", "vote a 1 5", "left 1", "elect a 1 0/5", "primary"]
        {
            assert!(text.parse::<Paper>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in "(vote|unknown|left|primary| |[0-9A-F/,-])*") {
            let _ = text.parse::<Paper>();
        }

        #[test]
        fn a_reason_cannot_break_the_paper(why in ".*") {
            let paper = Paper::Vote(vec!["a".parse().unwrap()], Vote::Unknown { why: why.clone(), at_least: None });
            let text = paper.to_string();
            prop_assert!(!text.contains('"') && !text.contains('\n'));
            let read_back = matches!(text.parse(), Ok(Paper::Vote(_, Vote::Unknown { .. })));
            prop_assert!(read_back);
            let reach = Reach { to_replay: 3, unfit: Some(why), ..at(1, 5).into() };
            let text = Paper::Vote(vec!["a".parse().unwrap()], Vote::At(reach)).to_string();
            prop_assert!(!text.contains('"') && !text.contains('\n'));
            let read_back = matches!(text.parse(), Ok(Paper::Vote(_, Vote::At(Reach { to_replay: 3, unfit: Some(_), .. }))));
            prop_assert!(read_back);
        }
    }
}
