//! What the primary's monitor writes about nodes that do not follow it, and takes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Agent, finish};
use crate::cluster::Durable;
use crate::policy::candidacy::Lacks;
use crate::policy::score::Connected;
use crate::policy::strike::{Plan, View, plan};
use crate::sys::{Deadline, Notes, Roster, ms_since_boot, utc_now};
use crate::types::{Gather, Lsn, NodeName, Position, Score, Timeline};

/// How long one write may take.
const WRITE: Duration = Duration::from_secs(2);

/// What a monitor sees.
pub(super) struct Look<'a> {
    pub(super) own: &'a NodeName,
    /// Where its WAL ends, if that can be seen.
    pub(super) at: Option<Position>,
    pub(super) connected: &'a [Connected],
    pub(super) scores: &'a BTreeMap<NodeName, Score>,
    pub(super) maxlag: Option<u64>,
    pub(super) away_for: &'a BTreeMap<NodeName, Duration>,
}

impl Agent {
    /// Whom to strike off and to take back, and who is struck off then.
    pub(super) fn judge_strikes(&self, look: &Look<'_>, notes: &Notes) -> (Plan, BTreeSet<NodeName>) {
        let roster = notes.roster.clone().unwrap_or_default();
        let mut struck: BTreeSet<NodeName> = parsed(&roster.struck);
        let nodes: BTreeSet<_> = parsed(&roster.nodes).into_iter().chain(look.scores.keys().cloned()).into_set();
        let Look { own, connected, maxlag, away_for, .. } = *look;
        let end = look.at.map_or(Lsn(0), |at| at.end);
        let plan = plan(&View { own, end, connected, maxlag, nodes: &nodes, struck: &struck, away_for });
        struck.extend(plan.strike.iter().map(|(node, _)| node.clone()));
        struck.retain(|node| !plan.take_back.contains(node));
        (plan, struck)
    }

    /// Puts it on record, and notes who is away. A failure is a warning, and the next monitor tries again.
    pub(super) fn write_strikes(&self, look: &Look<'_>, plan: Plan, notes: &mut Notes, deadline: Deadline) {
        let now = ms_since_boot();
        let since = |node: &NodeName| notes.missing.get(node.as_str()).copied().unwrap_or(now);
        notes.missing = plan.away.iter().map(|node| (node.to_string(), since(node))).into_map();
        let Some(roster) = notes.roster.as_mut() else { return };
        let mut struck = parsed(&roster.struck);
        for (node, is_struck) in self.write_lacks(look, plan.strike, &plan.take_back, deadline) {
            if is_struck {
                struck.insert(node)
            } else {
                struck.remove(&node)
            };
        }
        roster.struck = names(&struck);
    }

    /// The nodes and who of them is struck off, from the notes while that is fresh: a person may take a node back. What a person
    /// has done to the record, by restoring an old configuration for instance, is seen in the same look, and undone by
    /// [`Self::publish_timeline`].
    pub(super) fn refresh_roster(
        &self,
        own: &NodeName,
        timeline: Option<Timeline>,
        notes: &mut Notes,
        deadline: Deadline,
    ) {
        if notes.roster.as_ref().is_some_and(Roster::is_fresh) {
            return;
        }
        match self.cluster.durable(deadline) {
            Ok(durable) => {
                let is_old = |timeline| self.is_out_of_date(&durable, own, timeline, deadline);
                if notes.published_timeline.is_some() && timeline.is_some_and(is_old) {
                    log::warn!("the record in the cluster configuration is out of date: it is written again");
                    notes.published_timeline = None;
                }
                self.forget_announced(&durable, deadline);
                let struck = durable.lacks.keys().map(ToString::to_string).collect();
                let nodes = durable.nodes.iter().map(ToString::to_string).collect();
                notes.roster = Some(Roster { read_ms: ms_since_boot(), nodes, struck });
            }
            Err(error) => log::warn!("cannot see which nodes are struck off: {error}"),
        }
    }

    fn forget_announced(&self, durable: &Durable, deadline: Deadline) {
        let Some(timeline) = durable.announced.filter(|_| durable.announced_is_on_record()) else { return };
        match finish(self.cluster.begin_forgetting_announced(timeline), deadline.at_most(WRITE)) {
            Ok(()) => log::info!("timeline {timeline}, which a promotion had announced, is on record"),
            Err(error) => log::warn!("cannot remove that timeline {timeline} was announced: {error}"),
        }
    }

    /// Whether the record is not this primary's. One that is younger may be another's, that takes writes as well.
    fn is_out_of_date(&self, durable: &Durable, own: &NodeName, timeline: Timeline, deadline: Deadline) -> bool {
        let Some(record) = &durable.record else { return true };
        let last = record.history.last().timeline;
        if record.primary == *own && last == timeline || last > timeline && self.other_primary(deadline).is_some() {
            return false;
        }
        true
    }

    /// What was written, all at the same time.
    fn write_lacks(
        &self,
        look: &Look<'_>,
        strike: Vec<(NodeName, String)>,
        take_back: &[NodeName],
        deadline: Deadline,
    ) -> Vec<(NodeName, bool)> {
        let from = look.at;
        let strike = strike.into_iter().filter(|(node, _)| self.may_have_an_instance(node, look, deadline));
        let lacks = strike.map(|(node, why)| (node, Some(Lacks { from, since: utc_now(), why })));
        let changes = lacks.chain(take_back.iter().map(|node| (node.clone(), None)));
        let begun: Vec<_> = changes
            .map(|(node, lacks)| {
                match &lacks {
                    Some(lacks) => log::warn!("{node} is not to be promoted: {lacks}"),
                    None => log::info!("{node} has what this primary has: it may be promoted again"),
                }
                let writing = self.cluster.begin_striking_off(&node, lacks.as_ref());
                (node, lacks.is_some(), writing)
            })
            .collect();
        let ended = begun.into_iter().filter_map(|(node, is_struck, writing)| {
            let written = finish(writing, deadline.at_most(WRITE));
            written.map_err(|error| log::warn!("that is not on record yet for {node}: {error}")).ok()?;
            Some((node, is_struck))
        });
        ended.collect()
    }

    /// A node that is there and has no score runs no instance.
    fn may_have_an_instance(&self, node: &NodeName, look: &Look<'_>, deadline: Deadline) -> bool {
        look.scores.contains_key(node)
            || look.connected.iter().any(|standby| standby.name == *node)
            || self.cluster.present(deadline).is_ok_and(|present| !present.contains(node))
    }
}

/// How long nodes have been away, as this primary's monitors have noted.
pub(super) fn away_for(notes: &Notes) -> BTreeMap<NodeName, Duration> {
    let now = ms_since_boot();
    let away = |since: &u64| Duration::from_millis(now.saturating_sub(*since));
    notes.missing.iter().filter_map(|(name, since)| Some((name.parse().ok()?, away(since)))).into_map()
}

fn parsed(names: &[String]) -> BTreeSet<NodeName> {
    names.iter().filter_map(|name| name.parse().ok()).into_set()
}

fn names(nodes: &BTreeSet<NodeName>) -> Vec<String> {
    nodes.iter().map(ToString::to_string).collect()
}
