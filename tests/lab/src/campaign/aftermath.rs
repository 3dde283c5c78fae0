//! The cluster after a round, compared with what it was before.

use std::collections::BTreeMap;

use super::healing::Healing;
use super::position;
use super::record::{Aftermath, KeptAside};
use crate::error::{Error, Result};
use crate::harness::{Kept, Lab};

/// What is needed of the time before a round.
#[derive(Debug)]
pub(super) struct Before {
    boots: BTreeMap<String, Option<String>>,
    kept: BTreeMap<String, Vec<Kept>>,
    /// The timeline on which the primary wrote.
    pub(super) timeline: u32,
}

impl Before {
    pub(super) fn note(lab: &Lab) -> Result<Self> {
        let kept = |node: String| Ok((node.clone(), lab.kept_on(&node)?));
        let timeline = lab.timeline(&lab.primary()?)?;
        let timeline = u32::try_from(timeline).unwrap_or(u32::MAX);
        Ok(Self { boots: lab.boots(), kept: lab.nodes().into_iter().map(kept).collect::<Result<_>>()?, timeline })
    }

    /// Nodes that have lost their power since then.
    pub(super) fn power_lost(&self, lab: &Lab) -> Vec<String> {
        let now = lab.boots();
        now.into_iter().filter(|(node, boot)| self.boots.get(node) != Some(boot)).map(|(node, _)| node).collect()
    }

    fn kept_since(&self, lab: &Lab) -> Vec<Kept> {
        let is_new = |node: &str, kept: &Kept| !self.kept.get(node).is_some_and(|before| before.contains(kept));
        let on = |node: String| {
            let mut kept = lab.kept_on(&node).unwrap_or_default();
            kept.retain(|kept| is_new(&node, kept));
            kept.into_iter().map(move |kept| (node.clone(), kept))
        };
        lab.nodes().into_iter().flat_map(on).collect::<Vec<_>>().into_iter().map(|(_, kept)| kept).collect()
    }
}

/// Rows by client: how often each number is there, and in which order they were committed.
#[derive(Debug, Default)]
struct Rows {
    counts: BTreeMap<i32, BTreeMap<i64, u64>>,
    order: BTreeMap<i32, Vec<i64>>,
}

/// Looks at everything that the checker needs. What cannot be had is left out: `survivor` is there only with its rows.
pub(super) fn look(lab: &Lab, before: &Before, clients: &[i32], healing: Healing) -> Aftermath {
    let state = lab.state().unwrap_or_default();
    let primary = state.promoted.first().cloned();
    let (survivor, rows) = match primary.map(|primary| (rows(lab, &primary, clients), primary)) {
        Some((Ok(rows), primary)) => (Some(primary), rows),
        _ => (None, Rows::default()),
    };
    Aftermath {
        healed_after: healing.healed_after,
        missing: healing.missing,
        survivor,
        rows: rows.counts,
        order: rows.order,
        failures: all_of(healing.failures, state.failures),
        power_lost: before.power_lost(lab),
        kept: before.kept_since(lab).iter().map(|kept| kept_aside(lab, kept, clients)).collect(),
        manual_steps: healing.manual_steps,
    }
}

/// Those that were forgotten on the way, and those that are listed still.
fn all_of(forgotten: Vec<String>, listed: Vec<String>) -> Vec<String> {
    let mut all = forgotten;
    all.extend(listed);
    all.sort();
    all.dedup();
    all
}

/// In the order of their transactions' numbers. Each row is a transaction of its own, and each client begins one after the
/// other has ended or its fate is given up, so that within a client it is the order of sending. Commit timestamps would need
/// `track_commit_timestamp`, which is off by default and wants a restart.
fn rows(lab: &Lab, node: &str, clients: &[i32]) -> Result<Rows> {
    let list = clients.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
    let text = lab.sql(
        node,
        &format!(
            "select client, n from lab.rows where client in ({list}) order by xmin::text::bigint, cmin::text::bigint, n"
        ),
    )?;
    let mut rows = Rows::default();
    for line in text.lines() {
        let (client, n) = row(line).ok_or_else(|| Error::Unexpected(format!("no row: '{line}'")))?;
        *rows.counts.entry(client).or_default().entry(n).or_default() += 1;
        rows.order.entry(client).or_default().push(n);
    }
    Ok(rows)
}

fn row(line: &str) -> Option<(i32, i64)> {
    let (client, n) = line.split_once('|')?;
    Some((client.parse().ok()?, n.parse().ok()?))
}

fn kept_aside(lab: &Lab, kept: &Kept, clients: &[i32]) -> KeptAside {
    let rows_of = |client: i32| {
        let rows = lab.rows_in_kept_wal(kept, client).unwrap_or_default();
        (client, rows.into_iter().collect::<Vec<_>>())
    };
    KeptAside {
        node: kept.node().to_owned(),
        directory: kept.name().to_owned(),
        timeline: kept.timeline(),
        fork: position(kept.fork()).unwrap_or_default(),
        whole: kept.is_whole(),
        end: lab.end_of_kept_wal(kept),
        rows: clients.iter().copied().map(rows_of).filter(|(_, rows)| !rows.is_empty()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn a_row_is_a_client_and_a_number() {
        assert_eq!(row("7|12"), Some((7, 12)));
        assert_eq!(row("7"), None);
    }
}
