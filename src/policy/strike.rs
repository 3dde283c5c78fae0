//! Whom does the primary strike off, and whom does it take back?
//!
//! | the node | step |
//! |---|---|
//! | streams, within `maxlag` | taken back |
//! | connected, within `maxlag`, and catches up | left as it is |
//! | connected, and the agent's role may not see more | left as it is |
//! | connected and beyond `maxlag` | struck off |
//! | not connected, or not to receive WAL, for [`GRACE`] | struck off |
//! | the primary itself | taken back: it was promoted |
//!
//! A node that is struck off is not promoted ([`super::candidacy`]), and has no score until it is taken back. That it
//! is struck off is permanent, as its score is not: a score goes when its node leaves, and a node that was away for days comes
//! back without one. So nodes without a score count, too. Not one that is there and has none: it runs no instance.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::score::{Connected, GRACE};
use crate::types::{Lsn, NodeName};

/// What the primary knows.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Its own node.
    pub own: &'a NodeName,
    /// The end of its WAL.
    pub end: Lsn,
    /// Connected receivers that are cluster nodes.
    pub connected: &'a [Connected],
    /// Bytes of lag that exclude a standby.
    pub maxlag: Option<u64>,
    /// All nodes of the cluster that may have an instance.
    pub nodes: &'a BTreeSet<NodeName>,
    /// Those that are struck off.
    pub struck: &'a BTreeSet<NodeName>,
    /// How long ago a monitor first found these nodes not following.
    pub away_for: &'a BTreeMap<NodeName, Duration>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Nodes to strike off, and why.
    pub strike: Vec<(NodeName, String)>,
    /// Nodes to take back.
    pub take_back: Vec<NodeName>,
    /// Nodes that do not follow now.
    pub away: BTreeSet<NodeName>,
}

enum Follows {
    Near,
    CatchesUp,
    BeyondMaxlag(u64),
    Not,
}

/// Decides over all nodes.
#[must_use]
pub fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    for node in view.nodes.iter().chain(view.struck.difference(view.nodes)) {
        let struck = view.struck.contains(node);
        if node == view.own {
            plan.take_back.extend(struck.then(|| node.clone()));
            continue;
        }
        let why = match follows(node, view) {
            Follows::Near => {
                plan.take_back.extend(struck.then(|| node.clone()));
                continue;
            }
            Follows::CatchesUp => continue,
            Follows::BeyondMaxlag(lag) => format!("it was {lag} bytes behind, beyond maxlag"),
            Follows::Not => {
                plan.away.insert(node.clone());
                let away = view.away_for.get(node).is_some_and(|away| *away >= GRACE);
                if !away {
                    continue;
                }
                format!("it had not been connected to {} for {} s", view.own, GRACE.as_secs())
            }
        };
        plan.strike.extend((!struck).then(|| (node.clone(), why)));
    }
    plan
}

/// Of several connections the best.
fn follows(node: &NodeName, view: &View<'_>) -> Follows {
    let receives = |standby: &&Connected| !matches!(standby.state.as_str(), "startup" | "backup" | "stopping");
    let mut receivers = view.connected.iter().filter(|standby| standby.name == *node).filter(receives);
    let best = receivers.clone().filter_map(|standby| Some((standby.flushed?, standby.state == "streaming"))).max();
    let Some((flushed, streams)) = best else {
        return if receivers.any(Connected::is_hidden) { Follows::CatchesUp } else { Follows::Not };
    };
    let lag = view.end.bytes_beyond(flushed);
    match view.maxlag.is_none_or(|limit| lag <= limit) {
        false => Follows::BeyondMaxlag(lag),
        true if streams => Follows::Near,
        true => Follows::CatchesUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    /// What becomes of srv2: `+` taken back, `-` struck off, `~` noted as away. The state `hidden` is one that the role may not
    /// see.
    fn what(state: &str, flushed: Option<u64>, struck: bool, away_s: Option<u64>) -> String {
        let own = node("srv1");
        let shown = if state == "hidden" { "" } else { state }.to_owned();
        let connected = Connected { name: node("srv2"), state: shown, flushed: flushed.map(Lsn), replayed: None };
        let connected: Vec<_> = (!state.is_empty()).then_some(connected).into_iter().collect();
        let plan = plan(&View {
            own: &own,
            end: Lsn(1000),
            connected: &connected,
            maxlag: Some(100),
            nodes: &[node("srv1"), node("srv2")].into(),
            struck: &struck.then(|| node("srv2")).into_iter().collect(),
            away_for: &away_s.map(|s| (node("srv2"), Duration::from_secs(s))).into_iter().collect(),
        });
        let signs = [(!plan.take_back.is_empty(), '+'), (!plan.strike.is_empty(), '-'), (!plan.away.is_empty(), '~')];
        signs.iter().filter(|(is_so, _)| *is_so).map(|(_, sign)| *sign).collect()
    }

    #[test]
    fn every_standby() {
        let grace = GRACE.as_secs();
        for (state, flushed, struck, away_s, expected) in [
            ("streaming", Some(950), false, None, ""),
            ("streaming", Some(950), true, None, "+"),
            ("streaming", Some(950), false, Some(999), ""),
            ("catchup", Some(950), true, None, ""),
            ("catchup", Some(950), false, Some(999), ""),
            ("streaming", Some(899), false, None, "-"),
            ("streaming", Some(899), true, None, ""),
            ("startup", Some(950), false, None, "~"),
            ("backup", None, false, Some(grace), "-~"),
            ("streaming", None, false, Some(grace), "-~"),
            ("hidden", None, false, Some(grace), ""),
            ("hidden", None, true, None, ""),
            ("", None, false, None, "~"),
            ("", None, false, Some(grace - 1), "~"),
            ("", None, false, Some(grace), "-~"),
            ("", None, true, Some(grace), "~"),
        ] {
            assert_eq!(what(state, flushed, struck, away_s), expected, "{state} {flushed:?} {struck} {away_s:?}");
        }
    }

    #[test]
    fn the_primary_itself_is_taken_back_and_so_is_one_that_left_the_configuration() {
        let own = node("srv1");
        let plan = plan(&View {
            own: &own,
            end: Lsn(1000),
            connected: &[Connected {
                name: node("srv9"),
                state: "streaming".to_owned(),
                flushed: Some(Lsn(1000)),
                replayed: None,
            }],
            maxlag: None,
            nodes: &[node("srv1")].into(),
            struck: &[node("srv1"), node("srv9")].into(),
            away_for: &BTreeMap::new(),
        });
        assert_eq!((plan.take_back, plan.strike), (vec![node("srv1"), node("srv9")], Vec::new()));
    }
}
