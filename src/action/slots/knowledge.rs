//! What the server does not tell: from the notes while it is fresh, else from the cluster, which costs a program.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Keeper, QUESTION, RETRY, Surroundings, tell_of_cluster, tell_once, time_since};
use crate::cluster::ClusterError;
use crate::instance::{Receiver, SqlError};
use crate::policy::hold::Hold;
use crate::policy::primary_slot::{View, needs_the_primarys_word};
use crate::policy::slots::{Members, Volume, left_behind, needs_look};
use crate::sys::ms_since_boot;
use crate::types::{Gather, Lsn, NodeName, SlotName};

/// How often the cluster is asked whether it still knows a node that is away.
const NODES: Duration = Duration::from_secs(300);

/// How often a standby asks for the primary's word while it cannot have what it wants.
const WORD: Duration = Duration::from_secs(60);

const READ_NODES: &str = "read the cluster's nodes";
const READ_WORD: &str = "read what the primary published about slots";

impl Keeper<'_> {
    /// Whether this failed a moment ago.
    pub(super) fn failed_lately(&self, what: &str) -> bool {
        self.notes.refused.get(what).is_some_and(|since| time_since(*since) < RETRY)
    }

    /// What the connected standbys have flushed. Where the cluster does not tell its nodes they are what their names say.
    pub(super) fn flushed(&self, members: Option<&Members>) -> Result<BTreeMap<NodeName, Lsn>, SqlError> {
        let receivers = self.session.sending(self.deadline)?.receivers;
        let node = |name: &str| match members {
            Some(members) => NodeName::of_application(name, &members.nodes).cloned(),
            None => name.parse().ok(),
        };
        let follows = |receiver: &Receiver| !["startup", "backup", "stopping"].contains(&receiver.state.as_str());
        let standbys = receivers.into_iter().filter(follows);
        Ok(standbys.filter_map(|receiver| Some((node(&receiver.name)?, receiver.flushed?))).into_map())
    }

    pub(super) fn surroundings(&mut self, somebody_is_away: bool) -> Surroundings {
        let members = self.members(somebody_is_away);
        let left_for = self.left_for(members.as_ref());
        Surroundings { members, left_for, volume: self.volume() }
    }

    /// The nodes of the cluster: asked for when nothing is known, after a notification that something has changed, and
    /// now and then while a slot's node is away, which may have left for good. `None` when nothing is known.
    fn members(&mut self, somebody_is_away: bool) -> Option<Members> {
        let may_have_left = somebody_is_away || !self.notes.left.is_empty();
        let due = self.notes.nodes_asked_ms.is_none_or(|asked| may_have_left && time_since(asked) >= NODES);
        if due && !self.failed_lately(READ_NODES) {
            match self.ask_for_members() {
                Ok(members) => self.note(&members),
                Err(error) => tell_of_cluster(&mut self.notes, READ_NODES, &error),
            }
        }
        let nodes = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).into_set();
        let members = Members { nodes: nodes(&self.notes.nodes), instances: nodes(&self.notes.instances) };
        (!members.nodes.is_empty()).then_some(members)
    }

    /// Every instance that was started has a promotion score, were it minus infinity.
    fn ask_for_members(&self) -> Result<Members, ClusterError> {
        let cluster = &self.agent.cluster;
        let nodes: BTreeSet<_> = cluster.nodes(self.deadline.at_most(QUESTION))?.into_iter().into_set();
        if !nodes.contains(&self.own) {
            return Err(ClusterError::Output("crm_node -l"));
        }
        Ok(Members { nodes, instances: cluster.scores(self.deadline.at_most(QUESTION))?.into_keys().into_set() })
    }

    fn note(&mut self, members: &Members) {
        let names = |nodes: &BTreeSet<NodeName>| nodes.iter().map(ToString::to_string).collect();
        self.notes.nodes = names(&members.nodes);
        self.notes.instances = names(&members.instances);
        self.notes.nodes_asked_ms = Some(ms_since_boot());
        self.notes.refused.remove(READ_NODES);
    }

    /// How long the cluster has not known the nodes of some slots. It is noted.
    fn left_for(&mut self, members: Option<&Members>) -> BTreeMap<SlotName, Duration> {
        let Some(members) = members else { return BTreeMap::new() };
        let left = left_behind(&self.facts.slots, members, &self.own);
        let since = |name: &SlotName| self.notes.left.get(name.as_str()).copied().unwrap_or_else(now);
        let left: BTreeMap<_, _> = left.into_iter().map(|name| (since(&name), name)).map(|(s, n)| (n, s)).into_map();
        self.notes.left = left.iter().map(|(name, since)| (name.to_string(), *since)).into_map();
        left.into_iter().map(|(name, since)| (name, time_since(since))).into_map()
    }

    /// The volume of the WAL, where no setting bounds what a slot retains.
    fn volume(&mut self) -> Option<Volume> {
        if self.facts.bounded {
            return None;
        }
        let found = self.agent.instance.wal_volume();
        found.map_err(|cause| tell_once(&mut self.notes, "look at the volume of pg_wal", &cause.to_string())).ok()
    }

    /// How long no WAL receiver has been streaming. It is noted.
    pub(super) fn unfed_for(&mut self) -> Duration {
        if self.facts.streaming {
            self.notes.unfed_since_ms = None;
            return Duration::ZERO;
        }
        time_since(*self.notes.unfed_since_ms.get_or_insert_with(now))
    }

    /// When slots are worth a look at the primary's word: the replay position at the look before.
    pub(super) fn due_look(&mut self) -> Option<Lsn> {
        let end = self.facts.end;
        let before = self.notes.looked_at.as_deref().and_then(|text| text.parse().ok()).filter(|at| *at <= end);
        let Some(before) = before else {
            self.notes.looked_at = Some(end.to_string());
            return None;
        };
        let failed_lately = self.notes.look_failed_ms.is_some_and(|since| time_since(since) < WORD);
        (!failed_lately && needs_look(&self.facts.slots, end, before, self.facts.segment)).then_some(before)
    }

    /// The primary's word, if there is reason to ask for it: the outer `None` is that it was not asked for or the cluster
    /// did not answer, the inner one that there is none.
    pub(super) fn word(&mut self, unfed_for: Duration, for_slots: bool) -> Option<Option<Hold>> {
        let for_name = self.wants_word_for_name(unfed_for);
        if !(for_slots || for_name) || self.failed_lately(READ_WORD) {
            return None;
        }
        let word = self.agent.cluster.hold(self.deadline.at_most(QUESTION));
        let word = word.map_err(|error| tell_of_cluster(&mut self.notes, READ_WORD, &error)).ok()?;
        self.notes.refused.remove(READ_WORD);
        if for_name {
            self.notes.name_asked_ms = Some(ms_since_boot());
        }
        if for_slots && word.is_some() {
            self.notes.looked_at = Some(self.facts.end.to_string());
        }
        self.notes.look_failed_ms = word.is_none().then(ms_since_boot);
        Some(word)
    }

    fn wants_word_for_name(&self, unfed_for: Duration) -> bool {
        let own = SlotName::of(&self.own);
        let view = View { value: &self.facts.primary_slot_name, own: &own, used: true, unfed_for };
        let asked_lately = self.notes.name_asked_ms.is_some_and(|asked| time_since(asked) < WORD);
        needs_the_primarys_word(&view) && self.notes.written_name.is_none() && !asked_lately
    }
}

fn now() -> i64 {
    i64::try_from(ms_since_boot()).unwrap_or(i64::MAX)
}
