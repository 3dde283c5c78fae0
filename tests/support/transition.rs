//! What Pacemaker tells the agents about a transition.

use super::agent::{Answer, Call, Flight};
use super::at_once;
use super::node::Node;

/// A planned promotion: who runs as a standby now, and who is to be promoted.
#[derive(Clone, Debug)]
pub(crate) struct Promotion<'a> {
    pub(crate) of: &'a Node,
    pub(crate) standbys: Vec<&'a str>,
    pub(crate) timeout_ms: u64,
    pub(crate) election_timeout: &'a str,
}

impl<'a> Promotion<'a> {
    pub(crate) fn new(of: &'a Node, standbys: &[&'a str]) -> Promotion<'a> {
        Promotion { of, standbys: standbys.to_vec(), timeout_ms: 20_000, election_timeout: "60" }
    }

    pub(crate) fn timeout(self, timeout_ms: u64) -> Promotion<'a> {
        Promotion { timeout_ms, ..self }
    }

    pub(crate) fn election_timeout(self, election_timeout: &'a str) -> Promotion<'a> {
        Promotion { election_timeout, ..self }
    }

    /// The pre-promote notifications of these nodes, at the same time. A notification never fails.
    pub(crate) fn announce(&self, to: &[&Node]) -> Vec<Answer> {
        at_once(to, |node| self.begin_announcing(node).finish().expect_code(0))
    }

    /// The pre-promote notification of one node, under way.
    pub(crate) fn begin_announcing(&self, to: &Node) -> Flight {
        let notify = self.told(to.call("notify"));
        notify.meta("notify_type", "pre").meta("notify_operation", "promote").spawn()
    }

    /// Pacemaker 2.1.5 gives the lists to every action of the transition.
    pub(crate) fn promote(&self) -> Answer {
        self.begin().finish()
    }

    /// The promotion, under way.
    pub(crate) fn begin(&self) -> Flight {
        self.told(self.of.call("promote")).spawn()
    }

    /// A list that is empty is one blank. Both generations of names are given.
    fn told(&self, call: Call) -> Call {
        let standbys = self.standbys.join(" ");
        let lists = [
            ("active", standbys.as_str()),
            ("promoted", " "),
            ("master", " "),
            ("unpromoted", &standbys),
            ("slave", &standbys),
            ("start", " "),
            ("stop", " "),
            ("demote", " "),
            ("promote", &self.of.name),
        ];
        let call = call.timeout(self.timeout_ms).parameter("election_timeout", self.election_timeout);
        lists.iter().fold(call, |call, (name, list)| call.meta(&format!("notify_{name}_uname"), list))
    }
}
