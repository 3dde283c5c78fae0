//! Who was promoted in a round, from the history files of the timelines that appeared in it.

use std::collections::BTreeSet;
use std::fs;

use super::position;
use super::record::{Lsn, Micros, Outcome, Promotion, Read, Sight, Write};
use crate::harness::Lab;
use crate::paths;

/// What the agent writes into the history of a timeline that it only knows to be used.
const PLANTED: &str = "number kept free by pgbaton";

/// A primary that somebody saw.
#[derive(Debug, Clone)]
struct Seen {
    node: String,
    timeline: u32,
    at: Micros,
}

/// All timelines above `before` that the survivor's history has or anybody saw a primary on. One that nobody saw counts as seen
/// at the round's end, on the node that has its history.
pub(super) fn promotions(
    lab: &Lab,
    before: u32,
    ended: Micros,
    (writes, reads, sights): (&[Write], &[Read], &[Sight]),
) -> Vec<Promotion> {
    let seen = seen(writes, reads, sights);
    let mut timelines: BTreeSet<u32> = seen.iter().map(|seen| seen.timeline).collect();
    for node in lab.nodes() {
        timelines.extend(histories_on(&node));
    }
    timelines.retain(|timeline| *timeline > before);
    let promotion = |timeline: u32| {
        let (holder, parent, fork) = origin(lab, timeline)?;
        let first = seen.iter().filter(|seen| seen.timeline == timeline).min_by_key(|seen| seen.at);
        let (node, seen) = first.map_or((holder, ended), |seen| (seen.node.clone(), seen.at));
        Some(Promotion { node, timeline, parent, fork, seen })
    };
    timelines.into_iter().filter_map(promotion).collect()
}

fn seen(writes: &[Write], reads: &[Read], sights: &[Sight]) -> Vec<Seen> {
    let of_write = |write: &Write| match &write.outcome {
        Outcome::Acknowledged { at, node, timeline, .. } => Some((node.clone(), *timeline, *at)),
        Outcome::Refused { .. } | Outcome::Unknown { .. } => None,
    };
    let reads = reads.iter().filter(|read| !read.standby);
    let sights = sights.iter().filter(|sight| !sight.standby);
    let all = writes
        .iter()
        .filter_map(of_write)
        .chain(reads.map(|read| (read.node.clone(), read.timeline, read.answered)))
        .chain(sights.map(|sight| (sight.node.clone(), sight.timeline, sight.answered)));
    all.map(|(node, timeline, at)| Seen { node, timeline, at }).collect()
}

/// The timelines whose history lies in the node's data directory, its node being on or off.
fn histories_on(node: &str) -> Vec<u32> {
    let entries = fs::read_dir(paths::wal_of(node, &paths::data(node))).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| u32::from_str_radix(name.strip_suffix(".history")?, 16).ok()).collect()
}

/// Who has the history of that timeline, what was before it, and where that ends. Its node may have been rewound since, and have
/// it kept aside.
fn origin(lab: &Lab, timeline: u32) -> Option<(String, u32, Lsn)> {
    let nodes = lab.nodes();
    let data = nodes.iter().map(|node| (node.clone(), paths::data(node)));
    let kept = nodes.iter().flat_map(|node| lab.kept_on(node).unwrap_or_default());
    let kept = kept.map(|kept| (kept.node().to_owned(), kept.path()));
    data.chain(kept).find_map(|(node, dir)| {
        let path = paths::wal_of(&node, &dir).join(format!("{timeline:08X}.history"));
        let (parent, fork) = last_switch(&fs::read_to_string(path).ok()?)?;
        Some((node, parent, fork))
    })
}

/// The last line of a history: `2<tab>0/5328410<tab>no recovery target specified`. None of one that only keeps a number free.
fn last_switch(text: &str) -> Option<(u32, Lsn)> {
    if text.contains(PLANTED) {
        return None;
    }
    let switch = |line: &str| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?.parse().ok()?, position(fields.next()?)?))
    };
    text.lines().rev().find_map(switch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_history_is_its_origin() {
        let text = "1\t0/5328410\tno recovery target specified\n\n2\t0/6000028\tno recovery target specified\n";
        assert_eq!(last_switch(text), Some((2, 0x600_0028)));
        assert_eq!(last_switch(""), None);
        assert_eq!(last_switch("1\t0/1\tnumber kept free by pgbaton\n"), None);
    }

    #[test]
    fn only_primaries_count_as_seen() {
        let sight = |standby| Sight {
            node: "a".to_owned(),
            asked: 1,
            answered: 2,
            server_started: String::new(),
            standby,
            timeline: 3,
            lsn: 4,
        };
        let seen = seen(&[], &[], &[sight(true), sight(false)]);
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].timeline, seen[0].at), (3, 2));
    }
}
