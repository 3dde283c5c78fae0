//! Who else has what this instance has: for what is given up here only where somebody can go on instead.

use std::time::Duration;

use super::Agent;
use super::scores::connected_as;
use crate::instance::Session;
use crate::policy::elsewhere::close;
use crate::policy::score::Connected;
use crate::sys::Notes;
use crate::types::{Lsn, NodeName};

/// How long the question may take, of the server and of the cluster each.
const QUESTION: Duration = Duration::from_secs(2);

impl Agent {
    /// The standbys that have what this primary has, by what it says now.
    pub(super) fn close_standbys(&self, session: &Session) -> Vec<String> {
        let Ok(sending) = session.sending(self.deadline.at_most(QUESTION)) else { return Vec::new() };
        let named =
            sending.receivers.iter().filter_map(|receiver| Some(connected_as(receiver.name.parse().ok()?, receiver)));
        names_of_close(&named.collect::<Vec<_>>(), sending.end)
    }

    /// A node that has what this instance has, that is in the cluster and may be promoted: one of these, or without a server
    /// to ask, of those that the last monitor saw. Not knowing is as good as none.
    pub(super) fn has_it_elsewhere(&self, close: Option<&[String]>) -> Option<NodeName> {
        if !self.in_cluster() {
            return None;
        }
        let noted = Notes::load(&self.notes_path()).close;
        let close = close.unwrap_or(&noted);
        let own = self.own_name().ok()?;
        let scores = self.cluster.scores(self.deadline.at_most(QUESTION)).ok()?;
        let is = |name: &str, node: &NodeName| name == node.as_str() || name == node.application_name();
        let may_be = |node: &&NodeName| close.iter().any(|name| is(name, node)) && **node != own;
        scores.iter().filter(|(_, score)| score.allows_promotion()).map(|(node, _)| node).find(may_be).cloned()
    }
}

/// The names are whatever the receivers chose; only a node with a promotion score counts in the end.
pub(super) fn names_of_close(connected: &[Connected], end: Lsn) -> Vec<String> {
    close(connected, end).iter().map(ToString::to_string).collect()
}
